-- ARGV 4 a bucket or '', 5 whether upwards, 6 behind which event, 7 how many.
local name, up, after, most = ARGV[4], ARGV[5] == '1', tonumber(ARGV[6]), tonumber(ARGV[7])
local last = tonumber(call('GET', G .. 'seq') or '0')
local first = tonumber(call('GET', G .. 'floor') or '0') * 64 + 1
local answer = { 'ok', '0', '0' } -- code, the last event looked at, whether there are more
local n, looked, at = 0, 0, nil

local function add(seq, e)
  at, looked = seq, looked + 1
  if e and e ~= '' then
    n = n + 1
    answer[#answer + 1] = num(seq)
    answer[#answer + 1] = e
  end
end

if name ~= '' then
  local key = G .. name
  local size, place = call('LLEN', key), 0
  while place < size and n < most and looked < 2000 do
    local part
    if up then part = call('LRANGE', key, place, place + 99) else part = call('LRANGE', key, -place - 100, -place - 1) end
    for i = 1, #part do
      local seq = tonumber(part[up and i or #part + 1 - i])
      if n < most and (after == 0 or up and seq > after or not up and seq < after) then
        add(seq, call('LINDEX', G .. 'a:' .. num(math.floor((seq - 1) / 64)), num((seq - 1) % 64)))
      end
    end
    place = place + 100
  end
  if n == most or place < size then answer[3] = '1' end
else
  local seq
  if up then seq = math.max(after + 1, first) elseif after == 0 then seq = last else seq = math.min(after - 1, last) end
  while n < most and looked < 20000 and seq >= first and seq <= last do
    local chunk = math.floor((seq - 1) / 64)
    local part = call('LRANGE', G .. 'a:' .. num(chunk), 0, -1)
    if #part == 0 then
      looked, at = looked + 64, seq
      if up then seq = (chunk + 1) * 64 + 1 else seq = chunk * 64 end
      at = up and seq - 1 or seq + 1
    end
    while #part > 0 and n < most and seq >= first and seq <= last and math.floor((seq - 1) / 64) == chunk do
      add(seq, part[(seq - 1) % 64 + 1])
      seq = up and seq + 1 or seq - 1
    end
  end
  if seq >= first and seq <= last then answer[3] = '1' end
end
if at then answer[2] = num(at) end
return answer
