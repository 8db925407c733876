-- Before it stand the store's constants: P the prefix of its keys, S its name, R the
-- retention in milliseconds, CL whether it is in a cluster. ARGV[1] is the time where
-- a test gives one, ARGV[2] the tag of the keys, ARGV[3] what a publication begins with.
local call, pack, values, unpack, sub = redis.call, struct.pack, unpack, struct.unpack, string.sub

-- What belongs to no session: once in the store, or in a cluster once for each tag.
local G = P
if CL then G = P .. '{' .. ARGV[2] .. '}' end

local now = tonumber(ARGV[1])
if not now then
  local t = call('TIME')
  now = t[1] * 1000000 + t[2]
end
local gen = call('GET', G .. 'gen:' .. S)
if not gen then return redis.error_reply('LKGONE the generation is missing') end
gen = tonumber(gen)
if not gen then return redis.error_reply('LKFOREIGN the generation is no number') end

-- How long a changed stateless session stays listed after its limit, in microseconds. It
-- counts for no reader meanwhile, but does again once a clock that was ahead is put right.
local DAY = 86400000000

local function num(n) return string.format('%.0f', n) end

-- The head of a row; see layout.go.
local HEAD, FORMAT, NOBODY = 119, '>BBi8i8i8i8i8i8i8I4I4c25c3c25', string.rep(' ', 25)

local function head(key)
  local h = call('GETRANGE', key, 0, HEAD - 1)
  if h == '' then return nil end
  if #h ~= HEAD or string.byte(h) ~= 1 then error('LKFOREIGN a row is of another format') end
  local r, _ = { ver = sub(h, 35, 42) }, nil
  _, r.flags, r.last, r.idle, r.expires, r.created, r.version, r.gen, r.revoked, r.stem, r.packed, r.who, r.stag, r.sid = unpack(FORMAT, h)
  return r
end

-- The head of a row, or nil and whether there is something else under its key, for
-- those who have others to look at, too.
local function peek(key)
  local ok, r = pcall(head, key)
  if ok then return r, false end
  local why = type(r) == 'table' and r.err or tostring(r)
  if string.find(why, 'LKFOREIGN', 1, true) or string.find(why, 'WRONGTYPE', 1, true) then return nil, true end
  error(r) -- the key is on its way to another server of a cluster, say
end

local function live(r)
  return r.revoked == 0 and r.gen >= gen and now < r.expires and (r.idle == 0 or now < r.last + r.idle)
end

local function rowkey(id) return P .. '{' .. sub(id, 16, 18) .. '}s:' .. id end

-- A key of an index: of a reference the first three characters are its tag.
local function idx(kind, ref) return P .. '{' .. sub(ref, 1, 3) .. '}' .. kind .. ':' .. sub(ref, 4) end

-- The rank in a sorted set of what comes behind a place in it, upwards or downwards.
local function seek(z, created, id, down)
  if id == '' then return 0 end
  local score = call('ZSCORE', z, id)
  if score and tonumber(score) == tonumber(created) then
    return call(down and 'ZREVRANK' or 'ZRANK', z, id) + 1
  end
  local rank
  if down then rank = call('ZCOUNT', z, '(' .. created, '+inf') else rank = call('ZCOUNT', z, '-inf', '(' .. created) end
  while true do
    local at = call(down and 'ZREVRANGE' or 'ZRANGE', z, rank, rank, 'WITHSCORES')
    if #at == 0 or tonumber(at[2]) ~= tonumber(created) then return rank end
    if down and at[1] < id or not down and at[1] > id then return rank end
    rank = rank + 1
  end
end
