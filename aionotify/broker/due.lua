-- Say whose events are to be looked at now, and when those are next that were looked at before.
--
-- KEYS[1]  {prefix}:{away}:due    a sorted set: whose events are to be looked at, and when
-- KEYS[2]  {prefix}:{away}:again  the same, of users of whom nothing was left
-- ARGV     how many, in how many milliseconds to look again at somebody of whom nothing is left,
--          seconds for which what is due is kept, and for each user who was looked at: who, the time
--          by which that was due, when the next event is due ('' = there is none, '+1000' = look again
--          in 1,000 milliseconds)
--
-- Times are in milliseconds by Redis' clock. A user is noted before an event is stored (expect.lua). So
-- it may be stored when he has been looked at already: therefore he is looked at once more.
--
-- Returns for each who is due now: who, by which time that was due.

local due, again = KEYS[1], KEYS[2]
local most, pause, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

for i = 4, #ARGV, 3 do
  local who, looked_at, following = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local noted = redis.call('ZSCORE', due, who)
  if string.sub(following, 1, 1) == '+' then following = now + following end
  if following ~= '' then
    redis.call('ZADD', due, following, who)
    local ends = kept + math.ceil(math.max(0, following - now) / 1000)
    if redis.call('TTL', due) < ends then redis.call('EXPIRE', due, ends) end
    redis.call('ZREM', again, who)
  elseif noted == looked_at then
    redis.call('ZREM', due, who)
    redis.call('ZADD', again, now + pause, who)
    redis.call('EXPIRE', again, kept)
  elseif not noted and redis.call('ZSCORE', again, who) == looked_at then
    redis.call('ZREM', again, who)
  end
end

local found = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'WITHSCORES', 'LIMIT', 0, most)
if #found < 2 * most then
  local rest = most - #found / 2
  for _, word in ipairs(
    redis.call('ZRANGEBYSCORE', again, '-inf', now, 'WITHSCORES', 'LIMIT', 0, rest)
  ) do
    found[#found + 1] = word
  end
end
return found
