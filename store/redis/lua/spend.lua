-- KEYS what is used once. ARGV 4 until when it is remembered.
local before, ends = call('GET', KEYS[1]), tonumber(ARGV[4])
if ends <= now or ends > now + 86400000000 then return { 'bounds' } end
if before then
  before = tonumber(before)
  if not before then return redis.error_reply('LKFOREIGN a note of use is no time') end
  if before > now then return { 'spent' } end
end
call('SET', KEYS[1], num(ends), 'PX', num(math.ceil((ends - now) / 1000)))
return { 'ok' }
