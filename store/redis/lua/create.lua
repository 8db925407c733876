-- KEYS the row. ARGV 4 its ID, 5 its value, 6 created, 7 expires, 8 identity, 9
-- subject, 10 sid, 11 when the sign-in began, 12 limit, 13 policy, 14 the predecessor,
-- 15 its version, 16 and 17 how those end that are replaced and evicted, event: 18
-- time, 19 count, 20 stem, 21 ip, 22 session, 23 rest, 24 tag, 25 and 26 rest of the
-- events of those that are replaced and evicted.
local key, id, who, subject, sid = KEYS[1], ARGV[4], ARGV[8], ARGV[9], ARGV[10]
if call('EXISTS', key) == 1 then return { 'exists' } end

local began = tonumber(ARGV[11])
local function overtaken(ref)
  if ref == '' then return false end
  local at = tonumber(call('GET', G .. 'm:' .. sub(ref, 4)) or '')
  return at and at >= began and now - at <= 900000000
end
if began ~= 0 and (overtaken(who) or overtaken(subject) or overtaken(sid)) then return { 'denied' } end

local replaces, old = ARGV[14], nil
if replaces ~= '' and replaces ~= id then
  old = head(rowkey(replaces))
  if old and ARGV[15] ~= '' and old.ver ~= ARGV[15] and live(old) then return { 'changed' } end
end

-- Oldest first, in pieces; what is moved away does not count for the rank of the rest.
local evict, limit = {}, tonumber(ARGV[12])
if limit > 0 and who ~= '' then
  local present, at, z = {}, 0, idx('i', who)
  repeat
    local ids = call('ZRANGE', z, at, at + 199)
    for _, other in ipairs(ids) do
      local r = head(rowkey(other))
      if not r then
        call('ZREM', z, other)
      elseif r.revoked ~= 0 or r.gen < gen then
        shelve(other, r, 'e')
      elseif r.expires < now - 604800000000 then
        shelve(other, r, 'x') -- by a clock that is a week ahead, at most
      else
        at = at + 1
        if other ~= replaces and live(r) then present[#present + 1] = { other, r } end
      end
    end
  until #ids < 200
  local over = #present + 1 - limit
  if over > 0 and ARGV[13] == '1' then return { 'limit' } end
  for i = 1, over do evict[i] = present[i] end
end

local replaced = old and live(old) and '1' or '0'
if old and (old.revoked ~= 0 or old.gen < gen) then old = nil end
if old then tell(replaces) end
for _, e in ipairs(evict) do tell(e[1]) end
publish()

local created = ARGV[6]
local ttl = math.max(0, (tonumber(ARGV[7]) - now) / 1000) + R
call('SET', key, sub(ARGV[5], 1, 42) .. pack('>i8', gen) .. sub(ARGV[5], 51), 'PX', num(ttl))
call('ZADD', G .. 'all', created, id)
if who ~= '' then
  call('ZADD', idx('i', who), created, id)
  keep(idx('i', who), ttl)
  for _, kind in ipairs({ 'x', 'e' }) do -- what the server has removed leaves the index, a little at a time
    for _, other in ipairs(call('ZRANGE', idx(kind, who), 0, 1)) do
      if call('EXISTS', rowkey(other)) == 0 then call('ZREM', idx(kind, who), other) end
    end
  end
end
for _, other in ipairs(call('ZRANGE', G .. 'all', 0, 1)) do
  if call('EXISTS', rowkey(other)) == 0 then call('ZREM', G .. 'all', other) end
end
if not CL then
  if subject ~= '' then
    call('SADD', idx('u', subject), who)
    keep(idx('u', subject), ttl)
  end
  if sid ~= '' then
    call('ZADD', idx('d', sid), created, id)
    keep(idx('d', sid), ttl)
  end
end

local time = tonumber(ARGV[18]) or now
local names, ending = {}, {}
if old then ending[1] = { replaces, old, ARGV[16], ARGV[25] } end
for i, e in ipairs(evict) do
  ending[#ending + 1] = { e[1], e[2], ARGV[17], ARGV[26] }
  names[i] = e[1]
end
finish(ending, function()
  for _, e in ipairs(ending) do record(time, 0, ARGV[20], ARGV[21], e[1], e[4], ARGV[24]) end
end)
record(time, tonumber(ARGV[19]), ARGV[20], ARGV[21], ARGV[22], ARGV[23], ARGV[24])
return { 'ok', num(gen), replaced, #told > 0 and '1' or '0', table.concat(names) }
