-- KEYS the description of the store, its first generation's key without its name, in
-- a cluster only the former. ARGV 1 a name, 2 a placement key, 3 the schema, 4 the
-- mark, 5 whether it must be there. Makes the store where there is none, and answers its description.
if redis.call('EXISTS', KEYS[1]) == 0 then
  if ARGV[5] == '1' then return { '' } end
  -- By the clock, so that a store which lost everything begins above what it had.
  local t = redis.call('TIME')
  local generation = string.format('%.0f', t[1] * 1000000 + t[2])
  redis.call('HSET', KEYS[1], 'schema', ARGV[3], 'oldest', ARGV[3], 'name', ARGV[1], 'placement', ARGV[2], 'mark', ARGV[4],
    'generation', generation, 'ready', KEYS[2] and '1' or '0')
  if KEYS[2] then redis.call('SET', KEYS[2] .. ARGV[1], generation) end
end
return redis.call('HMGET', KEYS[1], 'schema', 'oldest', 'name', 'placement', 'mark', 'generation', 'ready')
