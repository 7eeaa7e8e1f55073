-- Append one event to a recipient's inbox and publish it: both happen, or neither.
--
-- KEYS[1]  {prefix}:{recipient}:inbox     the inbox, a list of "<position> <previous> <event>"; of an
--          event that was taken out again, "<position> <previous> " is left
-- KEYS[2]  {prefix}:{recipient}:id:<key>  only with an idempotency key
-- KEYS[3]  {prefix}:{recipient}:id:<key>  of the event before, if this one is not to be stored unless
--          that one was
-- KEYS[#]  {prefix}:{recipient}:collapse  the last one, only with a collapse key: a sorted set of these
--          keys, by the position of the last event of each
-- KEYS[#]  {prefix}:{recipient}:away and {prefix}:{recipient}:away:events before that, only if
--          it is said for how many seconds the event waits, see away.lua
--
-- For a group these are {prefix}:{%gN}:{group}:..., and between the first two there is one more:
-- {prefix}:{%gN}:positions, the last positions that were given out in the group's shard, "<position> "
-- each. The next one there is for whichever group of the shard comes next. In the group's inbox
-- `previous` is the one before it there; what is published has the one before it in the shard.
--
-- ARGV     channel, event (one line of JSON; before it, for a group, the marks of receivers, see
--          aionotify/events/group.py), max_events, retention s, idempotency s, publish command,
--          floor and since as in probe.lua, if they are known, whether replicas are waited for
--          ('' = no), when the lease begins and ends by which it is stored, see lease.lua ('' = there
--          is none), the collapse key: the last event of the same is taken out, if it is there ('' =
--          there is none), for how many seconds the event waits for its user (0 = it does not, and
--          an older one whose place it takes waits no more), what for, and for how many seconds more
--          it is kept
--
-- What positions are, even and odd ones, and `previous`: aionotify/events/position.py.
--
-- Returns {position, number of subscribers, 1 when the key had been used before}.
--
-- What Redis can refuse (read-only, out of memory, too few replicas, MISCONF) it refuses at the
-- first write of a script, so nothing is ever half done.

local POSITIONS = 4096 -- kept in a shard: 100 kB

local collapse = (ARGV[12] or '') ~= '' and ARGV[12]
local collapses = collapse and table.remove(KEYS)
local seconds, waits_for, late = tonumber(ARGV[13] or ''), ARGV[14], tonumber(ARGV[15] or '')
local waiting_events = seconds and table.remove(KEYS)
local waiting = seconds and table.remove(KEYS)
local channel, event, publish = ARGV[1], ARGV[2], ARGV[6]
local max_events, retention, remember = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local floor, since = tonumber(ARGV[7] or 0), tonumber(ARGV[8] or 0)
local waits = (ARGV[9] or '') ~= ''
local shard = string.match(event, '^[%w_-]+ {') and table.remove(KEYS, 2) -- marks come first
local inbox, key, before = KEYS[1], KEYS[2], KEYS[3]

if key then
  local first = redis.call('GET', key)
  if first then
    -- WAIT is for what was written on this connection, and the first time may have been on another.
    if waits then redis.call('SET', key, first, 'KEEPTTL') end
    local count = publish == 'SPUBLISH' and 'SHARDNUMSUB' or 'NUMSUB'
    return {first, redis.call('PUBSUB', count, channel)[2], 1}
  end
end

-- What is no entry, whoever put it there, is at 0. Every event is before 9e15: the next ones would
-- come near 2^53, from where on numbers have gaps between them.
local function position_of(entry)
  local position = tonumber(string.match(entry, '^%d+ ') or 0)
  return position < 9e15 and position or 0
end

local time = redis.call('TIME')
local micros = tonumber(time[2])
time = time[1] * 1000000 + micros
if (ARGV[10] or '') ~= '' and (time < tonumber(ARGV[10]) or time >= tonumber(ARGV[11])) then
  return redis.error_reply('ERR the lease by which this is stored has ended')
end
if before and redis.call('EXISTS', before) == 0 then
  return redis.error_reply('ERR the event before this one is not stored')
end
local now = math.max(time, floor)
local oldest_kept = now - retention * 1000000

-- The first event of an inbox that has expired, or never was, follows on from any position since
-- nothing can have expired: had there been an event, the inbox would still be here. So `previous`
-- is odd.
local nothing = math.max(oldest_kept, since)
nothing = nothing + 1 - nothing % 2
local function last_of(list)
  local index = -1
  local last = redis.call('LINDEX', list, index)
  while last and position_of(last) == 0 do
    index = index - 1
    last = redis.call('LINDEX', list, index)
  end
  return last and position_of(last) or nothing
end
local previous = last_of(shard or inbox)
local own = shard and last_of(inbox) or previous

-- Positions grow even while the clock is set back, and those of events are even. While they do not
-- go by the clock, a step that nobody can foresee keeps a Redis that has lost the last of them from
-- giving them out again.
local position = math.max(now, previous + 1, own + 1)
if position > time then position = position + 2 * (micros % 500) end
position = position + position % 2
if position >= 9e15 then  -- nobody would read it
  return redis.error_reply('ERR the last entry of ' .. (shard or inbox) .. ' leaves no position for another')
end

-- The event that this one takes the place of. What is refused is refused here, see above.
local old_at, old
if collapse then
  -- What is no entry counts as part of the one before it.
  local function position_at(index)
    for at = index, 0, -1 do
      local found = position_of(redis.call('LINDEX', inbox, at))
      if found > 0 then return found end
    end
    return 0
  end
  local wanted = tonumber(redis.call('ZSCORE', collapses, collapse) or 0)
  local low, high = 0, redis.call('LLEN', inbox)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if position_at(middle) < wanted then low = middle + 1 else high = middle end
  end
  local entry = wanted > 0 and redis.call('LINDEX', inbox, low) or ''
  local places = string.match(entry, '^%d+ %d+ ')
  if places and position_of(entry) == wanted then
    old_at, old = low, entry
    redis.call('LSET', inbox, low, places)
  end
end

local id = string.format('%.0f', position)
local function after(one) return id .. ' ' .. string.format('%.0f', one) .. ' ' .. event end
local entry = after(previous)
redis.call('RPUSH', inbox, shard and after(own) or entry)
local heard = redis.pcall(publish, channel, entry)
if type(heard) == 'table' then -- an error: the producer may write the key, but not to the channel
  redis.call('RPOP', inbox)
  if old then redis.call('LSET', inbox, old_at, old) end
  return heard
end
redis.call('LTRIM', inbox, -max_events, -1)
while position_of(redis.call('LINDEX', inbox, 0)) < oldest_kept do
  redis.call('LPOP', inbox)
end
-- By its own positions, which may be ahead of the clock.
local kept_for = math.ceil(retention + math.max(0, position - time - 1) / 1000000)
redis.call('EXPIRE', inbox, kept_for)
if shard then
  redis.call('RPUSH', shard, id .. ' ')
  redis.call('LTRIM', shard, -POSITIONS, -1)
  redis.call('EXPIRE', shard, kept_for)
end
if collapse then -- no more keys than entries
  redis.call('ZADD', collapses, id, collapse)
  local oldest = string.format('%.0f', position_of(redis.call('LINDEX', inbox, 0)))
  redis.call('ZREMRANGEBYSCORE', collapses, '-inf', '(' .. oldest)
  redis.call('EXPIRE', collapses, kept_for)
end
if old and waiting then -- nobody waits for it any more
  local old_id = string.match(old, '^%d+')
  redis.call('ZREM', waiting, old_id)
  redis.call('HDEL', waiting_events, old_id)
end
if seconds and seconds > 0 then
  redis.call('ZADD', waiting, string.format('%.0f', math.floor(time / 1000) + seconds * 1000), id)
  redis.call('HSET', waiting_events, id, waits_for .. ' ' .. event)
  local ends = math.ceil(seconds) + late
  for _, name in ipairs({waiting, waiting_events}) do
    if redis.call('TTL', name) < ends then redis.call('EXPIRE', name, ends) end
  end
end
if key then redis.call('SET', key, id, 'EX', math.ceil(remember)) end

return {id, heard, 0}
