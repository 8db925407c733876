-- For clusters, where what a subject or a provider's session leads to is elsewhere.
-- ARGV 4 what to do: subject, sid, end, of or look, 5 the reference, 6 the identity or the ID
-- it leads to, 7 until when that may live, 8 when the sign-in began.
local ref = ARGV[5]

-- Those it leads to, and a mark against those that are under way, in one step.
if ARGV[4] == 'end' then
  call('SET', G .. 'm:' .. sub(ref, 4), num(now), 'PX', 901000)
  return { 'ok', table.concat(call('SMEMBERS', idx('u', ref))), table.concat(call('ZRANGE', idx('d', ref), 0, -1)) }
end
if ARGV[4] == 'of' then return { 'ok', table.concat(call('SMEMBERS', idx('u', ref))), '' } end

local began = tonumber(ARGV[8])
local at = tonumber(call('GET', G .. 'm:' .. sub(ref, 4)) or '')
if began ~= 0 and at and at >= began and now - at <= 900000000 then return { 'denied' } end
if ARGV[4] == 'look' then return { 'ok' } end
local key, new
if ARGV[4] == 'subject' then
  key = idx('u', ref)
  new = call('SADD', key, ARGV[6])
else
  key = idx('d', ref)
  new = call('ZADD', key, ARGV[7], ARGV[6])
  call('ZREMRANGEBYSCORE', key, '-inf', num(now - R * 1000)) -- dangling for as long as rows are kept
end
keep(key, math.max(0, (tonumber(ARGV[7]) - now) / 1000) + R)
if new == 0 then again() end
return { 'ok' }
