-- KEYS the row, or what is declared for a cluster. ARGV 4 the kind: id, ids, who,
-- subject, sid or all, 5 whom: an ID or a reference, 6 the exception or, with id, the
-- owner, 7 how rows end, 8 the mark to leave, event: 9 count, 10 stem, 11 ip, 12
-- session, 13 rest, 14 tag; 15 with id the version expected of a live row, with ids
-- those, with all the generation to raise to; 16 whether no event is to be recorded.
local kind, whom, except, tail = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local count, names, ending = 0, {}, {}
local damaged = false -- something else is under a key: the others end all the same

local function row(id)
  local r, other = peek(rowkey(id))
  damaged = damaged or other
  return r, other
end

-- What is revoked already, or superseded, stays as it is. The former is listed as
-- changed once more, in case that what revoked it did not get that far.
local function revoke(id, r)
  if r.revoked ~= 0 then changed(id, r, r.expires) end
  if r.revoked ~= 0 or r.gen < gen then return false end
  if live(r) then
    count = count + 1
    names[count] = id
  end
  tell(id)
  ending[#ending + 1] = { id, r, tail }
  return true
end

local function identity(who)
  for _, list in ipairs({ 'i', 'x' }) do
    local z, at = idx(list, who), 0
    repeat
      local ids = call('ZRANGE', z, at, at + 999)
      for _, id in ipairs(ids) do
        local r, other = row(id)
        if other then
          at = at + 1
        elseif not r then
          call('ZREM', z, id)
        elseif id == except or revoke(id, r) then
          at = at + 1
        else
          call('ZREM', z, id)
          shelve(id, r, 'e')
        end
      end
    until #ids < 1000
  end
end

local function mark() call('SET', G .. 'm:' .. ARGV[8], num(now), 'PX', 901000) end

if kind == 'id' then
  local r = head(KEYS[1])
  if not r or except ~= '' and r.who ~= except then return { 'gone' } end
  if ARGV[15] ~= '' and r.ver ~= ARGV[15] and live(r) then return { 'changed' } end
  if revoke(whom, r) then
    publish()
    finish(ending, function()
      if ARGV[10] == '' then
        record(now, tonumber(ARGV[9]), stem(KEYS[1], r), ARGV[11], ARGV[12], ARGV[13], r.stag)
      else
        record(now, tonumber(ARGV[9]), ARGV[10], ARGV[11], ARGV[12], ARGV[13], ARGV[14])
      end
    end)
  else
    again()
  end
  return { 'ok', num(count), table.concat(names), #told > 0 and '1' or '0' }
end

if kind == 'all' then
  -- A number that no generation ever had, even if what is here was restored from a
  -- backup: a stateless session's token may tell of a generation of what was in use
  -- after it.
  local target = tonumber(ARGV[15]) or math.max(gen + 1, now)
  if gen >= target then
    again()
    return { 'ok', '0', '', '0', '0', num(now), num(gen) }
  end
  local total = call('ZCARD', G .. 'all')
  if total > 10000 then
    count = -1 -- counted afterwards: nothing of it changes any more
  else
    for _, id in ipairs(call('ZRANGE', G .. 'all', 0, -1)) do
      local r = peek(rowkey(id))
      if r and live(r) then count = count + 1 end
    end
  end
  publish(true)
  call('HSET', G .. 'raise', num(gen), pack('>i8', now) .. tail)
  call('SET', G .. 'gen:' .. S, num(target))
  local seq = 0
  if ARGV[16] ~= '1' then seq = record(now, math.max(count, 0), ARGV[10], ARGV[11], ARGV[12], ARGV[13], ARGV[14]) end
  return { 'ok', num(count), '', '1', num(seq), num(now), num(gen) }
end

if kind == 'who' then
  identity(whom)
elseif kind == 'subject' then
  local u = idx('u', whom)
  for _, who in ipairs(call('SMEMBERS', u)) do
    identity(who)
    if call('EXISTS', idx('i', who), idx('x', who), idx('e', who)) == 0 then call('SREM', u, who) end
  end
elseif kind == 'ids' then
  for i = 1, #ARGV[15], 36 do
    local id = sub(ARGV[15], i, i + 35)
    local r = row(id)
    if r and r.sid == whom then revoke(id, r) end
  end
else
  local d = idx('d', whom)
  for _, id in ipairs(call('ZRANGE', d, 0, -1)) do
    local r = row(id)
    if r and r.sid == whom then revoke(id, r) end
  end
end
mark()
publish()
finish(ending, function()
  if ARGV[16] ~= '1' then record(now, count, ARGV[10], ARGV[11], ARGV[12], ARGV[13], ARGV[14]) end
end)
if damaged then return redis.error_reply('LKFOREIGN a row is of another format') end
if kind == 'sid' and not CL then call('DEL', idx('d', whom)) end
return { 'ok', num(count), table.concat(names), #told > 0 and '1' or '0' }
