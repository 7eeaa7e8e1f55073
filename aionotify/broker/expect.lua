-- Note that events are about to be stored that are to be handed on if their users stay away.
--
-- KEYS[1]  {prefix}:{away}:due    a sorted set: whose events are to be looked at, and when
-- ARGV     seconds for which what is due is kept, and for each of some users: who, in how many
--          milliseconds
--
-- Times are in milliseconds by Redis' clock. Who is there for an earlier time keeps that. Whoever dies
-- before he has stored the event leaves one look for nothing.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local longest = 0
for i = 2, #ARGV, 2 do
  local after = tonumber(ARGV[i + 1])
  redis.call('ZADD', KEYS[1], 'LT', now + after, ARGV[i])
  longest = math.max(longest, after)
end
local ends = tonumber(ARGV[1]) + math.ceil(longest / 1000)
if redis.call('TTL', KEYS[1]) < ends then redis.call('EXPIRE', KEYS[1], ends) end
