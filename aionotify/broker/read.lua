-- Read a page of each of some inboxes.
--
-- KEYS  {prefix}:{recipient}:inbox, any number of them
-- ARGV  max events, max bytes, retention s, floor and since as in probe.lua, settled, and then for
--       each inbox after which position ('' asks for the newest position only)
--
-- What positions are, even and odd ones, and what a page is: aionotify/events/position.py.
--
-- Returns for each inbox the error that reading it was, or newest, which is `settled` when the inbox
-- is empty, or {newest, complete 0 or 1, gap, entry ...}: gap is '' or why events after the position
-- are gone:
--   trimmed  the inbox keeps newer ones only
--   lost     Redis has lost what it had: the position is not in the inbox, or is later than it is
--   unknown  nobody can have been given this position

local max_events, max_bytes, retention = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local floor, since, settled = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local time = redis.call('TIME')
local now = math.max(time[1] * 1000000 + time[2], floor)
local oldest_kept = math.max(now - retention * 1000000, since)
-- Of an inbox that is empty nothing is known before that, for it may have expired.
settled = math.max(settled, oldest_kept + 1 - oldest_kept % 2)

local function number(position) return string.format('%.0f', position) end
-- What is no entry, whoever put it there, counts as part of the one before it; 0 before the first.
local function position_at(inbox, index)
  for at = index, 0, -1 do
    local position = tonumber(string.match(redis.call('LINDEX', inbox, at), '^%d+ '))
    if position and position < 9e15 then return position end -- see append.lua
  end
  return 0
end

local function nothing(after)
  if not after then return number(settled) end
  local gap = ''
  if after == 0 then gap = 'unknown'
  elseif after > now + 1 then gap = 'lost'
  elseif after < oldest_kept then gap = 'trimmed'
  elseif after % 2 == 0 then gap = 'lost' end
  return {number(settled), 1, gap}
end

local function read(inbox, after)
  local length = redis.call('LLEN', inbox)
  local newest = length > 0 and position_at(inbox, length - 1) or 0
  if newest == 0 then return nothing(after) end
  if not after then return number(newest) end
  if after == newest then return {number(newest), 1, ''} end

  if after > newest then
    local gone = after % 2 == 0 or after > now + 1
    return {number(newest), 1, gone and 'lost' or ''}
  end

  local first, high = 0, length - 1 -- index of the first entry after `after`, between the two
  while first < high do
    local middle = math.floor((first + high) / 2)
    if position_at(inbox, middle) > after then high = middle else first = middle + 1 end
  end
  local gap = ''
  local before = first > 0 and position_at(inbox, first - 1) or 0 -- the position of the one before
  if after == 0 then gap = 'unknown'
  elseif before > 0 then
    if after % 2 == 0 and after ~= before then gap = 'lost' end
  else -- it is the first that there is, and says itself what was before it
    before = tonumber(string.match(redis.call('LINDEX', inbox, first), '^%d+ (%d+) ') or 0)
    if after < before then gap = 'trimmed'
    elseif after % 2 == 0 and after ~= before then gap = 'lost' end
  end

  local reply = {number(newest), 0, gap}
  local bytes = 0
  for index = first, length - 1, 16 do -- a call for each would cost ten times as much
    for _, entry in ipairs(redis.call('LRANGE', inbox, index, index + 15)) do
      bytes = bytes + #entry
      if #reply > 3 and (bytes > max_bytes or #reply - 3 >= max_events) then return reply end
      reply[#reply + 1] = entry
    end
  end
  reply[2] = 1
  return reply
end

local pages = {}
for i, inbox in ipairs(KEYS) do
  local fine, page = pcall(read, inbox, tonumber(ARGV[6 + i]))
  -- What is wrong with one inbox is no reason not to read the others.
  pages[i] = fine and page or type(page) == 'table' and page or redis.error_reply(tostring(page))
end
return pages
