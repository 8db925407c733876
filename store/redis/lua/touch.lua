-- KEYS the rows. ARGV 4 and on: when each was seen.
for i, key in ipairs(KEYS) do
  local r = head(key)
  if r then
    local at = math.min(tonumber(ARGV[3 + i]), now)
    -- Whether it was idle is judged at the activity, everything else at present.
    if at > r.last and r.revoked == 0 and r.gen >= gen and now < r.expires and (r.idle == 0 or at < r.last + r.idle) then
      call('SETRANGE', key, 2, pack('>i8', at))
    end
  end
end
return { 'ok' }
