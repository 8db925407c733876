-- ARGV 4 whether to correct the count of event 5, or an event: 5 count, 6 stem, 7 ip,
-- 8 session, 9 rest, 10 tag.
if ARGV[4] == 'count' then
  local seq = tonumber(ARGV[5])
  local key, place = G .. 'a:' .. num(math.floor((seq - 1) / 64)), num((seq - 1) % 64)
  local e = call('LINDEX', key, place)
  if e and #e > 17 then call('LSET', key, place, sub(e, 1, 9) .. pack('>i8', tonumber(ARGV[6])) .. sub(e, 18)) end
else
  record(now, tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10])
end
return { 'ok' }
