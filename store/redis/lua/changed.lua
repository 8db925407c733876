-- ARGV 4 the ID to go on behind, 5 how many.
for _, id in ipairs(call('ZRANGEBYSCORE', G .. 'changedby', '-inf', num(now - DAY), 'LIMIT', 0, 1000)) do
  call('ZREM', G .. 'changed', id)
  call('ZREM', G .. 'changedby', id)
end
local from = ARGV[4] == '' and '-' or '(' .. ARGV[4]
local part, listed = call('ZRANGEBYLEX', G .. 'changed', from, '+', 'LIMIT', 0, ARGV[5]), {}
for i = 1, #part, 1000 do
  local limits = call('ZMSCORE', G .. 'changedby', values(part, i, math.min(i + 999, #part)))
  for j, limit in ipairs(limits) do
    if not limit or tonumber(limit) > now then listed[#listed + 1] = part[i + j - 1] end
  end
end
return { 'ok', num(gen), table.concat(listed), #part == tonumber(ARGV[5]) and part[#part] or '' }
