-- Read a page of an inbox for a list, in either direction.
--
-- KEYS[1]  {prefix}:{recipient}:inbox
-- ARGV     which comes first ('newest' or 'oldest'), after and before which positions ('' = all), max
--          events, max bytes, retention s, floor and since as in probe.lua, and settled
--
-- What positions are: aionotify/events/position.py.
--
-- Returns {newest, complete 0 or 1, entry ...}: newest is `settled` when the inbox is empty. What is
-- no entry, whoever put it there, is passed over.

local inbox, newest_first = KEYS[1], ARGV[1] == 'newest'
local after, before = tonumber(ARGV[2]) or -1, tonumber(ARGV[3]) or 9e15
local max_events, max_bytes, retention = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local floor, since, settled = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

local time = redis.call('TIME')
local oldest_kept = math.max(time[1] * 1000000 + time[2], floor) - retention * 1000000
oldest_kept = math.max(oldest_kept, since)
settled = math.max(settled, oldest_kept + 1 - oldest_kept % 2)

local function position_of(entry)
  local position = tonumber(string.match(entry, '^(%d+) %d+ '))
  return position and position < 9e15 and position -- see append.lua
end
-- What is no entry counts as part of the one before it; 0 before the first.
local function position_at(index)
  for at = index, 0, -1 do
    local position = position_of(redis.call('LINDEX', inbox, at))
    if position then return position end
  end
  return 0
end

local length = redis.call('LLEN', inbox)
local newest = position_at(length - 1)
local reply = {string.format('%.0f', newest > 0 and newest or settled), 1}

local bound = newest_first and before - 1 or after
local index, high = 0, length -- of the first entry after `bound`, between the two
while index < high do
  local middle = math.floor((index + high) / 2)
  if position_at(middle) > bound then high = middle else index = middle + 1 end
end

local bytes = 0
local function take(entry)
  local position = position_of(entry)
  if not position then return true end
  if position <= after or position >= before then return false end
  bytes = bytes + #entry
  if #reply > 2 and (bytes > max_bytes or #reply - 2 >= max_events) then
    reply[2] = 0
    return false
  end
  reply[#reply + 1] = entry
  return true
end

if newest_first then
  for last = index - 1, 0, -16 do -- a call for each would cost ten times as much
    local entries = redis.call('LRANGE', inbox, math.max(0, last - 15), last)
    for i = #entries, 1, -1 do
      if not take(entries[i]) then return reply end
    end
  end
else
  for first = index, length - 1, 16 do
    for _, entry in ipairs(redis.call('LRANGE', inbox, first, first + 15)) do
      if not take(entry) then return reply end
    end
  end
end
return reply
