-- ARGV 4 what to remove: erase, old, events or name; see purge.go for the rest.
local raises = {}

-- When everything of a lower generation ended.
local function raised(generation)
  if not raises[generation] then
    local v = call('HGET', G .. 'raise', num(generation))
    raises[generation] = v and unpack('>i8', v) or now
  end
  return raises[generation]
end

local function ended(r)
  local at = r.expires
  if r.idle > 0 then at = math.min(at, r.last + r.idle) end
  if r.revoked ~= 0 then return math.min(at, r.revoked) end
  if r.gen < gen then return math.min(at, raised(r.gen)) end
  return at
end

local going = {}

local function wipe(id, r)
  tell(id)
  going[#going + 1] = { id, r }
end

-- In the order that write.lua tells of.
local function wipeAll()
  for _, e in ipairs(going) do changed(e[1], e[2], e[2].expires) end
  for _, e in ipairs(going) do call('DEL', rowkey(e[1])) end
  for _, e in ipairs(going) do
    local id, r = e[1], e[2]
    call('ZREM', G .. 'all', id)
    if r.who ~= NOBODY then
      for _, kind in ipairs({ 'i', 'x', 'e' }) do call('ZREM', idx(kind, r.who), id) end
    end
    if r.sid ~= NOBODY and not CL then call('ZREM', idx('d', r.sid), id) end
  end
end

local function answer(n, more, a, b)
  publish()
  wipeAll()
  return { 'ok', num(n), more and '1' or '0', #told > 0 and '1' or '0', a or '', b or '' }
end

if ARGV[4] == 'erase' then -- 5 whose, 6 at most, 7 the subject
  local most = tonumber(ARGV[6])
  for _, kind in ipairs({ 'i', 'x', 'e' }) do
    local z, at, ids = idx(kind, ARGV[5]), 0, nil
    repeat
      if #told == most then return answer(most, true) end
      ids = call('ZRANGE', z, at, at + most - #told - 1)
      for _, id in ipairs(ids) do
        local r = head(rowkey(id))
        if r then
          wipe(id, r)
          at = at + 1
        else
          call('ZREM', z, id)
        end
      end
    until #ids == 0
  end
  if not CL then call('SREM', idx('u', ARGV[7]), ARGV[5]) end
  if #told == 0 then again() end
  return answer(#told, false)
end

if ARGV[4] == 'one' then -- 5 a session that was made in vain, 6 rest of the event
  local r = head(rowkey(ARGV[5]))
  if r then
    record(now, 0, stem(rowkey(ARGV[5]), r), '', ARGV[5], ARGV[6], r.stag)
    r.flags = 0 -- nobody has its token
    wipe(ARGV[5], r)
  end
  return answer(#told, false)
end

if ARGV[4] == 'old' then -- 5 ended before, 6 at most, behind 7 created and 8 ID
  local bound, most = tonumber(ARGV[5]), tonumber(ARGV[6])
  local z, created, id = G .. 'all', ARGV[7], ARGV[8]
  local at = seek(z, created, id, false)
  local part = call('ZRANGE', z, at, at + most - 1, 'WITHSCORES')
  for i = 1, #part, 2 do
    id, created = part[i], part[i + 1]
    if tonumber(created) >= bound then return answer(#told, false) end
    local r = head(rowkey(id))
    if not r then
      call('ZREM', z, id) -- the server removed it by itself
    elseif not live(r) and ended(r) < bound then
      wipe(id, r)
    end
  end
  return answer(#told, #part == 2 * most, created, id)
end

if ARGV[4] == 'events' then -- 5 older than, 6 at most, 7 from which list of events on
  local bound, most, n = tonumber(ARGV[5]), tonumber(ARGV[6]), 0
  local last = math.floor(tonumber(call('GET', G .. 'seq') or '0') / 64)
  local first = tonumber(call('GET', G .. 'floor') or '0')
  local chunk, looked = math.max(first, tonumber(ARGV[7]) or 0), 0
  while chunk <= last and looked < most do
    local key, old, rest = G .. 'a:' .. num(chunk), {}, 0
    for i, e in ipairs(call('LRANGE', key, 0, -1)) do
      if e ~= '' and unpack('>i8', e, 2) < bound then old[#old + 1] = i - 1 elseif e ~= '' then rest = rest + 1 end
    end
    n, looked = n + #old, looked + 64
    chunk = chunk + 1
    if rest == 0 and chunk <= last then
      call('DEL', key)
      if chunk == first + 1 then first = chunk end
    else
      for _, i in ipairs(old) do call('LSET', key, i, '') end
      if #old == 0 and rest > 0 then chunk = last + 1 end -- times ascend, but for differences of clocks within a list
    end
  end
  call('SET', G .. 'floor', num(first))
  -- What ended at its limit needs no note that it changed.
  for _, id in ipairs(call('ZRANGEBYSCORE', G .. 'changedby', '-inf', num(now - DAY), 'LIMIT', 0, 1000)) do
    call('ZREM', G .. 'changed', id)
    call('ZREM', G .. 'changedby', id)
  end
  return answer(n, chunk <= last, num(chunk))
end

-- 5 the tag of a subject, 6 from which place in its bucket, 7 at most, 8 provider, 9 subject
local from, most = tonumber(ARGV[6]), tonumber(ARGV[7])
local seqs = call('LRANGE', G .. 'au:' .. ARGV[5], from, from + most - 1)
for _, text in ipairs(seqs) do
  local seq = tonumber(text)
  local key, place = G .. 'a:' .. num(math.floor((seq - 1) / 64)), num((seq - 1) % 64)
  local e = call('LINDEX', key, place)
  if e and #e > 29 then
    local time, count, size = unpack('>i8i8I4', e, 2)
    local np = unpack('>I4', e, 22)
    local ns = unpack('>I4', e, 26 + np)
    local provider, subject = sub(e, 26, 25 + np), sub(e, 30 + np, 29 + np + ns)
    if subject == ARGV[9] and (provider == ARGV[8] or provider == '') then
      call('LSET', key, place, pack('>Bi8i8I4', 1, time, count, 8) .. pack('>I4I4', 0, 0) .. sub(e, 22 + size))
    end
  end
end
return answer(0, #seqs == most)
