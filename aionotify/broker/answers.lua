-- Write, then read, what the main host has said of tokens.
--
-- KEYS[1]  {prefix}:auth{0}:numbers, a hash: `secret`, by which records are named; `number`, the
--          counter; `revoked`, the number of the last revocation; `missing`, up to which number
--          others are not kept any more; and by the first digits of their names the numbers of
--          refusals
-- KEYS     then the records that are written to, and then those that are read, hashes: `number` and
--          `at` of the question, the `sealed` answer, and the names of nodes with a stream, which
--          begin with @
-- ARGV     the secret that the names go by, another to be taken if there is none, for how many
--          seconds numbers are to be kept, this node, how many records are written to, and for each
--          what for, the first digits of its name, number, at, seconds to live, answer
--
-- Returns the secret, the counter, the number of the last revocation and the time in microseconds;
-- and of each record that is read the answer, or 0, and how many nodes have a stream. Nothing is
-- done if the secret is another one.

local numbers = KEYS[1]
local named_by, candidate, keep, node = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local writes = tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- Made once, and again when it was lost with all numbers. So that those that are given out then
-- are above those from before, which lie in tickets, the counter begins at the time.
if not redis.call('HGET', numbers, 'secret') then
  redis.call('HSET', numbers, 'secret', candidate, 'number', string.format('%.0f', now))
  redis.call('EXPIRE', numbers, keep)
end
local secret, number, revoked = unpack(redis.call('HMGET', numbers, 'secret', 'number', 'revoked'))
local reply = {secret, number, revoked or '0', string.format('%.0f', now)}
if secret ~= named_by then return reply end

local function put(record, place, number, at, ttl, sealed)
  -- What was asked before the token was refused does not count; nor does a number that this Redis
  -- has not given out, which is from a master that it has taken the place of.
  local refused = tonumber(redis.call('HGET', numbers, place) or 0)
  if number < refused or number > tonumber(reply[2]) then return end
  local kept = redis.call('HMGET', record, 'number', 'at')
  local kept_number, kept_at = tonumber(kept[1] or -1), tonumber(kept[2] or -1)
  if number < kept_number or (number == kept_number and at < kept_at) then return end
  redis.call('HSET', record, 'number', string.format('%.0f', number),
    'at', string.format('%.0f', at), 'sealed', sealed)
  redis.call('EXPIRE', record, ttl)
  for _, field in ipairs(redis.call('HKEYS', record)) do  -- nodes may be gone for long
    if string.sub(field, 1, 1) == '@' then redis.call('HDEL', record, field) end
  end
end

for i = 1, writes do
  local record, first = KEYS[1 + i], 6 * i
  local kind, place = ARGV[first], ARGV[first + 1]
  if kind == 'refused' then
    redis.call('DEL', record)
    -- Up to the time if that is more than the next number: see revoke.lua.
    local step = string.format('%.0f', math.max(1, now - tonumber(reply[2])))
    reply[2] = redis.call('HINCRBY', numbers, 'number', step)
    redis.call('HSET', numbers, place, string.format('%.0f', reply[2]))
  elseif kind == 'answered' then
    local number, at, ttl = tonumber(ARGV[first + 2]), tonumber(ARGV[first + 3]), ARGV[first + 4]
    put(record, place, number, at, ttl, ARGV[first + 5])
  elseif kind == 'opened' then
    if redis.call('EXISTS', record) == 1 then redis.call('HSET', record, node, '') end
  else
    redis.call('HDEL', record, node)
  end
end
if writes > 0 and redis.call('TTL', numbers) < keep then
  redis.call('EXPIRE', numbers, keep)
end

for i = 2 + writes, #KEYS do
  reply[#reply + 1] = redis.call('HGET', KEYS[i], 'sealed') or 0
  reply[#reply + 1] = redis.call('HLEN', KEYS[i]) - 3
end
return reply
