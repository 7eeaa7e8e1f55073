-- Count the events of an inbox that are not marked as read.
--
-- KEYS[1]  {prefix}:{recipient}:inbox
-- ARGV     max events, max bytes, what time it is (0 = unknown), and the marks: the position up to which
--          all are read, and those of others, each as 14 hexadecimal digits with a space after it
--
-- Returns how many there are, of those that it looks at: the newest ones, up to max events, and up
-- to max bytes.

local inbox = KEYS[1]
local max_events, max_bytes, clock = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local upto = tonumber(string.sub(ARGV[4], 1, 14), 16) or 0
local read = {}
for position in string.gmatch(string.sub(ARGV[4], 15), '%x+') do read[tonumber(position, 16)] = true end

local function is_too_old(position, entry)
  if not string.find(entry, '"expires_in"', 1, true) then return false end
  local fine, event = pcall(cjson.decode, string.match(entry, '^%d+ %d+ (.*)'))
  local options = fine and type(event) == 'table' and event.aionotify
  local expires_in = type(options) == 'table' and tonumber(options.expires_in)
  return expires_in and clock - position >= expires_in * 1000000
end

local count, bytes = 0, 0
for last = redis.call('LLEN', inbox) - 1, 0, -16 do
  local entries = redis.call('LRANGE', inbox, math.max(0, last - 15), last)
  for i = #entries, 1, -1 do
    local position = tonumber(string.match(entries[i], '^(%d+) %d+ .')) -- an emptied one has no event
    if position and position <= upto then return count end
    bytes = bytes + #entries[i]
    local counts = position and position < 9e15 and not read[position]
    if counts and not is_too_old(position, entries[i]) then count = count + 1 end
    if count >= max_events or bytes >= max_bytes then return count end
  end
end
return count
