-- ARGV 4 a generation: how it was ended.
local how = call('HGET', G .. 'raise', ARGV[4])
return { 'ok', how or '' }
