-- Read a page of each of some inboxes.
--
-- KEYS  {prefix}:{recipient}:inbox, any number of them
-- ARGV  max events, max bytes, retention s, floor and since as in probe.lua, settled, and then for
--       each inbox after which position ('' asks for the newest position only)
--
-- Or a page of some groups of a shard; see append.lua:
--
-- KEYS  {prefix}:{%gN}:positions, and {prefix}:{%gN}:{group}:inbox, any number of them
-- ARGV  the first six as above, 'shard', after which position, and positions of which is asked
--       whether they were given out; this is not known of those that are too old
--
-- What positions are, even and odd ones, and what a page is: aionotify/events/position.py.
--
-- Returns for each inbox the error that reading it was, or newest, which is `settled` when the inbox
-- is empty, or {newest, complete 0 or 1, gap, entry ...}: gap is '' or why events after the position
-- are gone:
--   trimmed  the inbox keeps newer ones only
--   lost     Redis has lost what it had: the position is not in the inbox, or is later than it is
--   unknown  nobody can have been given this position
--
-- For a shard {newest, complete, gap, denied, entry ...}, where denied has the positions, separated by
-- spaces, that were never given out, or are lost. The entries of all groups are in one order.

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

-- The index of the first entry after a position that is not the newest or beyond it.
local function first_after(inbox, length, after)
  local low, high = 0, length - 1 -- it is between the two
  while low < high do
    local middle = math.floor((low + high) / 2)
    if position_at(inbox, middle) > after then high = middle else low = middle + 1 end
  end
  return low
end

local function read(inbox, after)
  local length = redis.call('LLEN', inbox)
  local newest = length > 0 and position_at(inbox, length - 1) or 0
  if newest == 0 then return nothing(after) end
  if not after then return number(newest) end
  if after == newest then return {number(newest), 1, ''} end

  if after > newest then
    local gone = after % 2 == 0 or after > math.max(now, newest) + 1
    return {number(newest), 1, gone and 'lost' or ''}
  end

  local first = first_after(inbox, length, after)
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

-- What a shard says of a position: whether it is the newest, is there, or is too old to tell.
local function is_denied(positions, length, newest, position)
  if position >= newest then return position > newest end
  local first = first_after(positions, length, position)
  return first > 0 and position_at(positions, first - 1) ~= position
end

-- The entries of a group that come after a position, one after the other, and whether all are there.
local function group_after(inbox, after)
  local length = redis.call('LLEN', inbox)
  local newest = length > 0 and position_at(inbox, length - 1) or 0
  if newest == 0 then return nil, after >= oldest_kept end -- there may have been some, and expired
  if newest <= after then return nil, true end
  local index = first_after(inbox, length, after)
  local whole = index > 0
  if not whole then
    local first = redis.call('LINDEX', inbox, 0)
    whole = after >= tonumber(string.match(first, '^%d+ (%d+) ') or 0)
  end
  local some, at, position = {}, 0, 0
  local function take()
    at = at + 1
    if not some[at] then
      some, at = redis.call('LRANGE', inbox, index, index + 15), 1
      index = index + 16
    end
    -- What is no entry counts as part of the one before it.
    local found = some[at] and tonumber(string.match(some[at], '^%d+ '))
    position = found and found < 9e15 and found or position
    return some[at], position
  end
  return take, whole
end

local function read_shard(after, asked)
  local positions = KEYS[1]
  local length = redis.call('LLEN', positions)
  local newest = length > 0 and position_at(positions, length - 1) or 0
  local denied, gap = {}, ''
  for _, position in ipairs(asked) do
    local gone = position > oldest_kept
    if newest > 0 then gone = is_denied(positions, length, newest, position) end
    if gone then denied[#denied + 1] = number(position) end
  end
  denied = table.concat(denied, ' ')
  if newest == 0 then
    local page = nothing(after)
    return {page[1], 1, page[3], denied}
  end
  if after == 0 then gap = 'unknown'
  elseif after > newest then gap = (after % 2 == 0 or after > now + 1) and 'lost' or ''
  elseif after % 2 == 0 and is_denied(positions, length, newest, after) then gap = 'lost' end

  local reply = {number(newest), 0, gap, denied}
  if after >= newest then
    reply[2] = 1
    return reply
  end
  local heads = {}
  for i = 2, #KEYS do
    local fine, take, whole = pcall(group_after, KEYS[i], after)
    if not fine then reply[3] = 'lost' -- what is wrong with one group is no reason not to read others
    elseif not whole and reply[3] == '' then reply[3] = 'trimmed' end
    if fine and take then
      local entry, position = take()
      heads[#heads + 1] = {take = take, entry = entry, position = position}
    end
  end
  local bytes = 0
  while #heads > 0 do
    local least = 1
    for i = 2, #heads do
      if heads[i].position < heads[least].position then least = i end
    end
    local head = heads[least]
    bytes = bytes + #head.entry
    if #reply > 4 and (bytes > max_bytes or #reply - 4 >= max_events) then return reply end
    reply[#reply + 1] = head.entry
    head.entry, head.position = head.take()
    if not head.entry then table.remove(heads, least) end
  end
  reply[2] = 1
  return reply
end

if ARGV[7] == 'shard' then
  local asked = {}
  for i = 9, #ARGV do asked[#asked + 1] = tonumber(ARGV[i]) end
  return read_shard(tonumber(ARGV[8]), asked)
end

local pages = {}
for i, inbox in ipairs(KEYS) do
  local fine, page = pcall(read, inbox, tonumber(ARGV[6 + i]))
  -- What is wrong with one inbox is no reason not to read the others.
  pages[i] = fine and page or type(page) == 'table' and page or redis.error_reply(tostring(page))
end
return pages
