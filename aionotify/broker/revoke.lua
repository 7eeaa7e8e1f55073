-- Tell all nodes that a user is revoked, and keep it for those that do not hear it.
--
-- KEYS[1]  {prefix}:auth{0}:numbers, see answers.lua
-- KEYS[2]  {prefix}:auth{0}:revoked, a sorted set: users by the number of their revocation
-- ARGV     channel, user, the same as JSON, a secret to be taken if there is none, for how many
--          seconds it is kept, how many users are kept
--
-- Returns the number of nodes that were told, or the error for which it could not be kept.

local numbers, users = KEYS[1], KEYS[2]
local channel, user, quoted, candidate = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local keep, max = tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')

-- A Redis that stores nothing just now must not keep anybody from being revoked.
if not redis.pcall('HGET', numbers, 'secret') then
  local first = string.format('%.0f', time[1] * 1000000 + time[2])
  redis.pcall('HSET', numbers, 'secret', candidate, 'number', first)
end
local number = redis.pcall('HINCRBY', numbers, 'number', 1)
local failed = type(number) ~= 'number' and number
if failed then
  -- After all that was before, and before all that comes.
  number = (tonumber(redis.pcall('HGET', numbers, 'number') or 0) or 0) + 0.5
end
local secret = redis.pcall('HGET', numbers, 'secret')
local installation = type(secret) == 'string' and redis.sha1hex(secret) or ''
local told = redis.call('PUBLISH', channel, string.format(
  '{"revoke":%s,"number":%.1f,"installation":"%s"}', quoted, number, installation))
if failed then return failed end

redis.call('HSET', numbers, 'revoked', string.format('%.0f', number))
redis.call('ZADD', users, string.format('%.0f', number), user)
redis.call('ZREMRANGEBYRANK', users, 0, -max - 1)
for _, key in ipairs(KEYS) do
  if redis.call('TTL', key) < keep then redis.call('EXPIRE', key, keep) end
end
return told
