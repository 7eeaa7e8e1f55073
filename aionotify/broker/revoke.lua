-- Tell all nodes that a user is revoked, and keep it for those that do not hear it.
--
-- KEYS[1]  {prefix}:auth{0}:numbers, see answers.lua
-- KEYS[2]  {prefix}:auth{0}:revoked, a sorted set: users by the number of their revocation
-- ARGV     channel, user, the same as JSON, a secret to be taken if there is none, for how many
--          seconds it is kept, how many users are kept
--
-- Returns the number of nodes that were told, and 1 or the error for which it could not be kept; at
-- a replica, where hardly anybody listens, that error alone.

-- Who comes back after longer than revocations are kept has to see that there were some.
local COUNTED = 366 * 86400 -- seconds

local numbers, users = KEYS[1], KEYS[2]
local channel, user, quoted, candidate = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local keep, max = tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- A Redis that stores nothing just now must not keep anybody from being revoked.
if not redis.pcall('HGET', numbers, 'secret') then
  redis.pcall('HSET', numbers, 'secret', candidate, 'number', string.format('%.0f', now))
end
-- The next number, or the time if that is more: a replica that takes over, or a snapshot that is
-- loaded, may be behind what nodes have heard, and a number that they have heard tells them nothing.
local before = tonumber(redis.pcall('HGET', numbers, 'number') or 0) or 0
local step = string.format('%.0f', math.max(1, now - before))
local number = redis.pcall('HINCRBY', numbers, 'number', step)
local failed = type(number) ~= 'number' and number
if failed then
  number = before + 0.5  -- after all that was before, and before all that comes
end
local secret = redis.pcall('HGET', numbers, 'secret')
local installation = type(secret) == 'string' and redis.sha1hex(secret) or ''
local told = redis.call('PUBLISH', channel, string.format(
  '{"revoke":%s,"number":%.1f,"installation":"%s"}', quoted, number, installation))
if failed then
  if string.match(failed.err, 'READONLY') then return failed end
  return {told, failed}
end

local function keep_it()
  -- What was kept has expired, or was evicted: of a revocation before this one nobody can be told.
  local last = redis.call('HGET', numbers, 'revoked')
  if last and redis.call('EXISTS', users) == 0 then
    redis.call('HSET', numbers, 'missing', last)
  end
  redis.call('HSET', numbers, 'revoked', string.format('%.0f', number))
  redis.call('ZADD', users, string.format('%.0f', number), user)
  redis.call('ZREMRANGEBYRANK', users, 0, -max - 1)
  if redis.call('TTL', users) < keep then redis.call('EXPIRE', users, keep) end
  redis.call('EXPIRE', numbers, math.max(keep, COUNTED))
  return 1
end

local fine, kept = pcall(keep_it)
if not fine then kept = type(kept) == 'table' and kept or redis.error_reply(tostring(kept)) end
return {told, kept}
