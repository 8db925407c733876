-- KEYS a key of this node, and a generation: without one there is no store any more,
-- and what nodes remember of it counts for nothing. ARGV 1 the channel, 2 what to publish, 3 the command, 4 for
-- how long to note the beat; empty where no replica is to confirm it. A change that
-- changes nothing tells a primary from a replica all the same.
if redis.call('EXISTS', KEYS[2]) == 0 then return redis.error_reply('LKGONE the generation is missing') end
if ARGV[4] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])
end
redis.call(ARGV[3], ARGV[1], ARGV[2])
return redis.call('TIME')
