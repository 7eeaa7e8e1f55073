-- Take away what need not be handed on any more, and say which events of a user are due.
--
-- KEYS[1]  {prefix}:{user}:away         a sorted set: positions of events that wait, and until when
-- KEYS[2]  {prefix}:{user}:away:events  a hash: of each position "<until> <event>", `until` is
--                                       "written" or "read"
-- KEYS[3]  {prefix}:{user}:read         what the user has read, see mark.lua
-- ARGV     how many, bytes (but at least one event), the mark of the user's inbox, and the positions of
--          those that need not be handed on
--
-- Times are in milliseconds by Redis' clock.
--
-- Returns when the next one is due that is not among these ('' = there is none), and of those that are
-- due position, when that was, "<until> <event>".

local waiting, events = KEYS[1], KEYS[2]
local most, free = tonumber(ARGV[1]), tonumber(ARGV[2])
local function take_away(position)
  redis.call('ZREM', waiting, position)
  redis.call('HDEL', events, position)
end
for i = 4, #ARGV do take_away(ARGV[i]) end

local marks
local function is_read(position)
  marks = marks or redis.call('HGET', KEYS[3], ARGV[3]) or ''
  local id = string.format('%014x', position)
  return id <= string.sub(marks, 1, 14) or string.find(marks, ' ' .. id .. ' ', 15, true)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {''}
local used = 0
local found = redis.call('ZRANGE', waiting, 0, most, 'WITHSCORES')
for i = 1, #found, 2 do
  local position, due = found[i], found[i + 1]
  local event = redis.call('HGET', events, position)
  if not event or string.find(event, '^read ') and is_read(position) then
    take_away(position) -- not there: evicted
  elseif tonumber(due) > now or i > 2 * most or (used > 0 and used + #event > free) then
    reply[1] = due
    break
  else
    used = used + #event
    reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = position, due, event
  end
end
return reply
