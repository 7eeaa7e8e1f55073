-- Count who subscribes to some channels, at a master only: a replica does not know.
--
-- KEYS[1]  {prefix}:epoch, in which nothing is changed
-- ARGV     channels
--
-- Returns what PUBSUB NUMSUB does.

-- Nothing is there to be deleted, but a replica refuses to; other refusals are of no interest here.
local found = redis.pcall('HDEL', KEYS[1], '')
if type(found) == 'table' and string.match(found.err, 'READONLY') then return found end
return redis.call('PUBSUB', 'NUMSUB', unpack(ARGV))
