-- KEYS the row. ARGV 4 its ID, 5 the version expected, 6 last seen, 7 idle limit, 8
-- expires, 9 sid, 10 the packed record, 11 whether there is an event: 12 time, 13
-- count, 14 stem, 15 ip, 16 session, 17 rest, 18 tag, 19 subject; 20
-- whether it was announced.
local key, id, sid = KEYS[1], ARGV[4], ARGV[9]
local r = head(key)
if not r then return { 'gone' } end
if not live(r) then return { 'ended' } end
if r.ver ~= ARGV[5] then return { 'changed' } end

local expires = tonumber(ARGV[8])
-- In a cluster what leads to the session is elsewhere, and has to be there first.
if CL and ARGV[20] ~= '1' and (sid ~= '' and sid ~= r.sid or expires > r.expires and (sid ~= '' or r.who ~= NOBODY)) then
  return { 'announce' }
end
tell(id)
publish()
changed(id, r, math.max(r.expires, expires))
if ARGV[11] == '1' then
  record(tonumber(ARGV[12]) or now, tonumber(ARGV[13]), ARGV[14], ARGV[15], ARGV[16], ARGV[17], ARGV[18])
end
local ttl = math.max(0, (expires - now) / 1000) + R
local ref = sid == '' and NOBODY or sid
call('SET', key, pack(FORMAT, 1, r.flags, math.max(r.last, tonumber(ARGV[6])), tonumber(ARGV[7]), expires, r.created, r.version + 1,
  r.gen, 0, r.stem, #ARGV[10], r.who, r.stag, ref) .. stem(key, r) .. ARGV[10], 'PX', num(ttl))
if r.who ~= NOBODY then keep(idx('i', r.who), ttl) end
if not CL then
  if r.who ~= NOBODY and ARGV[19] ~= '' then keep(idx('u', ARGV[19]), ttl) end
  if ref ~= r.sid and r.sid ~= NOBODY then call('ZREM', idx('d', r.sid), id) end
  if sid ~= '' then
    call('ZADD', idx('d', sid), num(r.created), id)
    keep(idx('d', sid), ttl)
  end
end
return { 'ok', '1' }
