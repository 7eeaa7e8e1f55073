-- Put a user in a group, or take them out of it, and tell all nodes.
--
-- KEYS[1]  {prefix}:{<user>}:groups, a sorted set without a TTL: the groups that the user was put in
-- ARGV     channel, message, group, 1 to put them in, how many groups a user may be in
--
-- Returns how many nodes were told, and 1 if that changed anything; -1, and nobody is told, if the
-- user is in as many groups as they may be.

local groups = KEYS[1]
local channel, message, group, member, max = unpack(ARGV)
local changed
if member == '1' then
  changed = redis.call('ZADD', groups, 0, group)
  if changed == 1 and redis.call('ZCARD', groups) > tonumber(max) then
    redis.call('ZREM', groups, group)
    return {-1, 0}
  end
else
  changed = redis.call('ZREM', groups, group)
end
return {redis.call('PUBLISH', channel, message), changed}
