-- Take one event out of an inbox, and tell the nodes: both happen, or neither.
--
-- KEYS[1]  {prefix}:{recipient}:inbox, see append.lua
-- KEYS[2], KEYS[3]  {prefix}:{recipient}:away, {prefix}:{recipient}:away:events, see away.lua
-- ARGV     the event's position, channel, message, publish command
--
-- Its entry keeps its place, its position and that of the one before it. So nobody finds a gap.
--
-- Returns 1, or 0 if the event is not there, or not there any more.

local inbox, wanted = KEYS[1], tonumber(ARGV[1])

-- What is no entry, whoever put it there, counts as part of the one before it.
local function position_at(index)
  for at = index, 0, -1 do
    local position = tonumber(string.match(redis.call('LINDEX', inbox, at), '^%d+ '))
    if position and position < 9e15 then return position end -- see append.lua
  end
  return 0
end

local low, high = 0, redis.call('LLEN', inbox)
while low < high do
  local middle = math.floor((low + high) / 2)
  if position_at(middle) < wanted then low = middle + 1 else high = middle end
end
local entry = redis.call('LINDEX', inbox, low)
local places, event = string.match(entry or '', '^(%d+ %d+ )(.*)$')
if not places or event == '' or tonumber(string.match(places, '^%d+')) ~= wanted then return 0 end

redis.call('LSET', inbox, low, places)
local heard = redis.pcall(ARGV[4], ARGV[2], ARGV[3])
if type(heard) == 'table' then -- an error: it may write the key, but not to the channel
  redis.call('LSET', inbox, low, entry)
  return heard
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
return 1
