-- ARGV 4 the ID to go on behind, 5 how many.
for _, id in ipairs(call('ZRANGEBYSCORE', G .. 'changedby', '-inf', num(now), 'LIMIT', 0, 1000)) do
  call('ZREM', G .. 'changed', id)
  call('ZREM', G .. 'changedby', id)
end
local from = ARGV[4] == '' and '-' or '(' .. ARGV[4]
return { 'ok', num(gen), table.concat(call('ZRANGEBYLEX', G .. 'changed', from, '+', 'LIMIT', 0, ARGV[5])) }
