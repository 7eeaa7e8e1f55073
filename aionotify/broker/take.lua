-- Read the first entries of a Redis stream, no more of them than fit.
--
-- KEYS[1]  {prefix}:publish
-- ARGV     entries, bytes (but at least one entry), bytes of the longest name or value, where to begin
--          as for XRANGE
--
-- Returns how many entries there are, how long ago the first was added (in milliseconds, by its id),
-- and the entries: {id, name, value, ...}. In the place of what is too long is its length, and of
-- names and values only the first eight pairs are there: nothing of ours has as many.

local most, free, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local PAIRS = 8
local at_once = math.min(100, math.max(1, math.floor(8388608 / longest)))

local found, used = {}, 0
local start, count = ARGV[4], 1
while #found < most and used < free do
  local entries = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', count)
  for _, entry in ipairs(entries) do
    if used >= free then break end
    local words = {entry[1]}
    for i, word in ipairs(entry[2]) do
      if i > 2 * PAIRS then break end
      local length = #word
      words[i + 1] = length > longest and length or word
      used = used + math.min(length, longest)
    end
    found[#found + 1] = words
  end
  if #entries < count then break end
  start = '(' .. entries[#entries][1]
  -- As many as would fit if they are like those before.
  local fit = math.floor((free - used) * #found / math.max(used, 1))
  count = math.min(math.max(fit, 1), most - #found, at_once)
end

local age = 0
if found[1] then
  local time = redis.call('TIME')
  age = math.max(0, time[1] * 1000 + math.floor(time[2] / 1000) - string.match(found[1][1], '^%d+'))
end
return {redis.call('XLEN', KEYS[1]), math.min(age, 2^53), unpack(found)}
