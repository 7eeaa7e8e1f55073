-- Say who has streams at a node, and find out who has come and gone.
--
-- KEYS[1]  {prefix}:presence{0}:nodes         a set: the names under which nodes may say so
-- KEYS[2]  {prefix}:presence{0}:node:<name>   a set: the users at this node
-- KEYS[3]  {prefix}:presence{0}:users         a hash: at how many nodes a user is
-- KEYS[4]  {prefix}:presence{0}:leaving       a sorted set: the users who are at none, and when they
--                                             will be taken to have gone, in ms
-- KEYS[5]  {prefix}:presence{0}:events        a stream: who came, who went
-- ARGV     what to do, name of the node, grace in ms, entries of the stream, how many users at a
--          time, seconds that the keys are kept from now on, and for `tell` users, each after + (is
--          there) or - (is there no more)
--
-- `begin` lets the node say who is there; `tell` is to say it; `remove` takes the node and its users
-- away, also that of another one that has died; `settle` finds out who has gone.
--
-- Whoever calls this twice, or after somebody else has, changes nothing.
--
-- Returns whether the node may say who is there, how many came and went, whether there is more to
-- remove or to settle, and in how many ms the next user will have gone (-1 = nobody is leaving).

local nodes, there, users, leaving, events = unpack(KEYS)
local what, node, grace, longest, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local came, went, more = 0, 0, 0

-- Nothing is changed by this, but a Redis that is full refuses it, and then nothing is half done.
redis.call('ZADD', leaving, 'XX', 0, '')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function say(event, user)
  redis.call('XADD', events, 'MAXLEN', longest, '*', 'event', event, 'user_id', user)
end

local function come(user)
  if redis.call('SADD', there, user) == 0 then return end
  if redis.call('HINCRBY', users, user, 1) > 1 then return end
  if redis.call('ZREM', leaving, user) == 1 then return end
  say('came', user)
  came = came + 1
end

local function leave(user)
  if redis.call('HINCRBY', users, user, -1) > 0 then return end
  redis.call('HDEL', users, user)
  redis.call('ZADD', leaving, now + grace, user)
end

if what == 'begin' then
  redis.call('SADD', nodes, node)
elseif what == 'remove' then
  redis.call('SREM', nodes, node)
  for _, user in ipairs(redis.call('SPOP', there, most)) do leave(user) end
  more = redis.call('EXISTS', there)
elseif what == 'settle' then
  -- Where the clock was set back, nobody is to wait for longer than the grace.
  local late = '(' .. string.format('%.0f', now + grace)
  for _, user in ipairs(redis.call('ZRANGE', leaving, late, '+inf', 'BYSCORE', 'LIMIT', 0, most)) do
    redis.call('ZADD', leaving, now + grace, user)
  end
  local gone = redis.call('ZRANGE', leaving, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
  for _, user in ipairs(gone) do
    redis.call('ZREM', leaving, user)
    say('went', user)
  end
  went = #gone
  more = went == most and 1 or 0
end

local may = redis.call('SISMEMBER', nodes, node)
if may == 1 then
  for i = 7, #ARGV do
    local user = string.sub(ARGV[i], 2)
    if string.sub(ARGV[i], 1, 1) == '+' then
      come(user)
    elseif redis.call('SREM', there, user) == 1 then
      leave(user)
    end
  end
end

for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[6]) end

local first = redis.call('ZRANGE', leaving, 0, 0, 'WITHSCORES')
local left = first[2] and math.max(0, first[2] - now) or -1
return {may, came, went, more, left}
