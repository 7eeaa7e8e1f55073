-- Say something to all nodes and, while a node is leaving, to those that start after it.
--
-- KEYS[1]  {prefix}:control:log, a list of "<microseconds> <message>" that is there for that time
-- ARGV     channel, message, max messages, for how many seconds it is needed ('' = as long as the
--          log is there anyway)
--
-- Returns the number of nodes that were told. All nodes hear all of it in the order of the log.

local log = KEYS[1]
local channel, message, max, hold = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

-- First, for a Redis that stores nothing just now must not keep anybody from being revoked.
local told = redis.call('PUBLISH', channel, message)

if hold or redis.call('EXISTS', log) == 1 then
  local time = redis.call('TIME')
  redis.call('RPUSH', log, string.format('%.0f ', time[1] * 1000000 + time[2]) .. message)
  redis.call('LTRIM', log, -max, -1)
  if hold and redis.call('TTL', log) < hold then redis.call('EXPIRE', log, math.ceil(hold)) end
end
return told
