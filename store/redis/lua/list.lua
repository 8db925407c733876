-- ARGV 4 the state: live, ended or any, 5 how many, behind 6 created and 7 ID, 8
-- kind: all, who or subject, 9 whose, 10 how many rows of everybody to look at, 11
-- whether their creation is wanted instead of the rows.
local want, most, kind, whose, budget = ARGV[4], tonumber(ARGV[5]), ARGV[8], ARGV[9], tonumber(ARGV[10])
local lists, found, scanned, scannedID = {}, {}, '', ''

local function identity(who)
  lists[#lists + 1] = idx('i', who)
  lists[#lists + 1] = idx('x', who)
  if want ~= 'live' then lists[#lists + 1] = idx('e', who) end
end

if kind == 'all' then
  lists[1] = G .. 'all'
elseif kind == 'who' then
  identity(whose)
else
  for _, who in ipairs(call('SMEMBERS', idx('u', whose))) do identity(who) end
end

for _, z in ipairs(lists) do
  local at, got, seen = seek(z, ARGV[6], ARGV[7], true), 0, 0
  repeat
    local part = call('ZREVRANGE', z, at, at + 99, 'WITHSCORES')
    for i = 1, #part, 2 do
      local r = got < most and head(rowkey(part[i]))
      if r and (want == 'any' or live(r) == (want == 'live')) then
        got = got + 1
        found[#found + 1] = { tonumber(part[i + 1]), part[i] }
      end
    end
    at, seen = at + 100, seen + 100
    if kind == 'all' and seen >= budget and got < most and #part == 200 then
      scanned, scannedID = part[200], part[199]
      break
    end
  until got == most or #part < 200
end
if #lists > 1 then
  table.sort(found, function(a, b)
    if a[1] ~= b[1] then return a[1] > b[1] end
    return a[2] > b[2]
  end)
end
local answer = { 'ok', num(gen), scanned, scannedID }
for i = 1, math.min(#found, most) do
  answer[#answer + 1] = found[i][2]
  answer[#answer + 1] = ARGV[11] == '1' and num(found[i][1]) or call('GET', rowkey(found[i][2]))
end
return answer
