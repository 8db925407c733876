-- Counts sessions, oldest first. ARGV 4 how many to look at, behind 5 created and 6
-- ID, 7 the generation that counts as present, 8 the time that does; both may be empty.
gen = tonumber(ARGV[7]) or gen
now = tonumber(ARGV[8]) or now
local most, z = tonumber(ARGV[4]), G .. 'all'
local present, nobody, ended, created, id = 0, 0, 0, ARGV[5], ARGV[6]
local seen, whose = {}, {}
local at = seek(z, created, id, false)
local part = call('ZRANGE', z, at, at + most - 1, 'WITHSCORES')
for i = 1, #part, 2 do
  id, created = part[i], part[i + 1]
  local r = peek(rowkey(id))
  if r and not live(r) then
    ended = ended + 1
  elseif r then
    present = present + 1
    if r.who == NOBODY then
      nobody = nobody + 1
    elseif not seen[r.who] then
      seen[r.who] = true
      whose[#whose + 1] = r.who
    end
  end
end
return { 'ok', #part == 2 * most and '1' or '0', created, id, num(present), num(nobody), num(ended), table.concat(whose) }
