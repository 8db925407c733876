-- For clusters: events are committed with their change, in the change's slot, and go
-- from there to the trail, which is in one slot. ARGV 4 what to do: read what waits
-- under a tag, add that to the trail, or drop what was added.
local out, base = G .. 'out', G .. 'outbase'
if ARGV[4] == 'read' then
  local waiting = call('LRANGE', out, 0, 499)
  local answer = { 'ok', call('GET', base) or '0' }
  for i, e in ipairs(waiting) do answer[i + 2] = e end
  return answer
end
if ARGV[4] == 'drop' then -- 5 from which number on, 6 how many
  if (call('GET', base) or '0') ~= ARGV[5] then return { 'ok' } end
  call('LTRIM', out, ARGV[6], -1)
  call('SET', base, num(tonumber(ARGV[5]) + tonumber(ARGV[6])))
  return { 'ok' }
end
-- From 5 on, three by three: a tag, the number of an event there, the event. Each is
-- added once.
for i = 5, #ARGV, 3 do
  local tag, number = ARGV[i], tonumber(ARGV[i + 1])
  if number >= tonumber(call('HGET', G .. 'drained', tag) or '0') then
    append(sub(ARGV[i + 2], 12), sub(ARGV[i + 2], 1, 3))
    call('HSET', G .. 'drained', tag, num(number + 1))
  end
end
again()
return { 'ok' }
