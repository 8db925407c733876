local function keep(key, ms)
  if call('PTTL', key) < ms then call('PEXPIRE', key, num(ms)) end
end

-- Who finds that a change has been made already writes all the same. WAIT waits for
-- what was written on its own connection, and for nothing where that is nothing; but
-- whoever made the change may have been told that too few replicas have it.
local function again() call('SET', G .. 'gen:' .. S, num(gen)) end

-- Invalidations are gathered, and published before anything is written: nobody reads
-- in between, and should a write fail, too much was told rather than too little.
-- Messages are of bounded size.
local told = {}

local function tell(id) told[#told + 1] = id end

local function publish(all)
  local command, channel = CL and 'SPUBLISH' or 'PUBLISH', G .. 'feed:' .. S
  if all then return call(command, channel, ARGV[3] .. ':a:') end
  for i = 1, #told, 1000 do
    local last = math.min(i + 999, #told)
    call(command, channel, ARGV[3] .. (last < #told and ':m:' or ':i:') .. table.concat(told, '', i, last))
  end
end

-- Positions of events under a bucket ascend. Those of events that are gone for
-- long are dropped now and then.
local function bucket(key, seq)
  call('RPUSH', key, num(seq))
  call('PEXPIRE', key, R)
  if seq % 16 ~= 0 then return end
  local first = tonumber(call('GET', G .. 'floor') or '0') * 64
  for _ = 1, 64 do
    local oldest = call('LINDEX', key, 0)
    if not oldest or tonumber(oldest) > first then return end
    call('LPOP', key)
  end
end

local function event(time, count, private, session, rest)
  return pack('>Bi8i8I4', 1, time, count, #private) .. private .. pack('>I4', #session) .. session .. rest
end

-- The trail is lists of 64 events.
local function append(e, stag)
  local seq = call('INCR', G .. 'seq')
  local chunk = G .. 'a:' .. num(math.floor((seq - 1) / 64))
  local n = call('RPUSH', chunk, e)
  while n < (seq - 1) % 64 + 1 do n = call('LPUSH', chunk, '') end
  call('PEXPIRE', chunk, R)
  local at = 22 + unpack('>I4', e, 18)
  local size = unpack('>I4', e, at)
  if size == 36 then bucket(G .. 'as:' .. sub(e, at + 19, at + 21), seq) elseif size > 0 then bucket(G .. 'as:other', seq) end
  if stag ~= '' and stag ~= '   ' then bucket(G .. 'au:' .. stag, seq) end
  return seq
end

-- Every change adds to the trail in the same step; in a cluster to what is on its way
-- there.
local function record(time, count, stem, ip, session, rest, stag)
  local e = event(time, count, stem .. ip, session, rest)
  if not CL then return append(e, stag) end
  local t = call('TIME') -- by which the trail is put in order; the event may have another time
  call('RPUSH', G .. 'out', stag .. string.rep(' ', 3 - #stag) .. pack('>i8', t[1] * 1000000 + t[2]) .. e)
  call('PEXPIRE', G .. 'out', R)
  return 0
end

-- A script of a cluster may break off between its writes, at a key that is not there
-- while its slot is on its way to another server, and what it wrote before stays. So
-- the order is: what is listed as changed, events, rows, indexes. A repetition then
-- finds left to do whatever is not listed or recorded yet.

-- Stateless sessions that are no longer as they were made. One too many does no harm.
local function changed(id, r, limit)
  if r.flags % 2 == 0 or limit <= now - DAY then return end
  call('ZADD', G .. 'changedby', 'GT', num(limit), id) -- a token may tell of a later limit than the row does now
  call('ZADD', G .. 'changed', 0, id)
end

-- Moves what has ended for good out of the way of those who look for live sessions.
local function shelve(id, r, kind)
  call('ZADD', idx(kind, r.who), num(r.created), id)
  keep(idx(kind, r.who), math.max(0, (r.expires - now) / 1000) + R)
  call('ZREM', idx('i', r.who), id)
end

-- Marks rows as ended, each an ID, its head and how it ended, and has events recorded
-- in between. A row that is idle or expired is marked like the rest: a touch that is
-- under way, or a clock that is put right, must not bring it back. Whoever calls has
-- told of them.
local function finish(rows, events)
  for _, e in ipairs(rows) do changed(e[1], e[2], e[2].expires) end
  events()
  for _, e in ipairs(rows) do
    local key = rowkey(e[1])
    call('SETRANGE', key, 50, pack('>i8', now))
    call('APPEND', key, e[3])
    call('PEXPIRE', key, R)
    e[2].revoked = now
  end
  for _, e in ipairs(rows) do
    if e[2].who ~= NOBODY then
      shelve(e[1], e[2], 'e')
      call('ZREM', idx('x', e[2].who), e[1])
    end
  end
end

-- The stem of a row: provider and subject.
local function stem(key, r) return call('GETRANGE', key, HEAD, HEAD + r.stem - 1) end
