-- Take a lease, renew one's own, or give it back.
--
-- KEYS[1]  {prefix}:publish:lease or {prefix}:presence{0}:lease   who has it
-- ARGV     who asks, milliseconds (0 = give it back)
--
-- Times are in microseconds by Redis' clock. Whatever is stored by the lease is stored in between, see
-- append.lua; the key is there for no less.
--
-- Returns {when it begins, when it ends, 1 if it was one's own until now}, or how many milliseconds
-- somebody else still has it, to the second.

local key, who, length = KEYS[1], ARGV[1], tonumber(ARGV[2])

local holder = redis.call('GET', key)
if holder and holder ~= who then
  -- In whole seconds, as a node's rights in Redis are those to the commands that count them.
  local left = redis.call('TTL', key) * 1000
  if length > 0 and left > length then -- the clock was set back
    redis.call('EXPIRE', key, math.ceil(length / 1000))
  end
  return math.min(left, length)
end
if length == 0 then
  if holder then redis.call('DEL', key) end
  return 0
end
local time = redis.call('TIME')
local from = time[1] * 1000000 + math.floor(time[2] / 1000) * 1000
redis.call('SET', key, who, 'PX', length)
local ends = string.format('%.0f', from + length * 1000)
return {string.format('%.0f', from), ends, holder and 1 or 0}
