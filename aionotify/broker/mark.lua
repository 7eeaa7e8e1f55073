-- Mark events as read by their user, and tell the user's streams; never the other way round.
--
-- KEYS[1]  {prefix}:{user}:read   a hash: for each inbox, by its mark, the position up to which all
--                                 are read, and those of others, each with a space after it
-- KEYS[2]  {prefix}:{user}:inbox
-- ARGV     channel, publish command, retention s, floor as in probe.lua, how many others are kept,
--          the newest position that is known of another inbox, and then for each inbox its mark, a
--          position up to which all are read ('' = none), and other positions, each with a space
--          after it
--
-- What is marked and kept is 14 hexadecimal digits, and so compares as text. If there are too many
-- others, the oldest of them becomes the position up to which all are read.
--
-- Returns 0, with nothing marked, if a position is later than now and than every event, else 1.

local key, inbox, channel, publish = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local retention, floor, kept = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local time = redis.call('TIME')
local now = math.max(time[1] * 1000000 + time[2], floor)
local newest = redis.call('LINDEX', inbox, -1)
newest = newest and tonumber(string.match(newest, '^(%d+) ')) or 0
newest = math.max(now, newest, tonumber(ARGV[6]))
local function number(position) return tonumber(position, 16) or 0 end

for i = 7, #ARGV, 3 do
  for position in string.gmatch(ARGV[i + 1] .. ' ' .. ARGV[i + 2], '%x+') do
    if number(position) > newest then return 0 end
  end
end

local values, uptos, ids, last = {}, {}, {}, now
for i = 7, #ARGV, 3 do
  local mark, upto = ARGV[i], ARGV[i + 1]
  local before = redis.call('HGET', key, mark) or ''
  local known = string.match(before, '^%x+') or string.rep('0', 14)
  upto = upto > known and upto or known
  local set, others, new = {}, {}, {}
  for id in string.gmatch(string.sub(before, 15), '%x+') do
    if id > upto then
      set[id] = true
      others[#others + 1] = id
    end
  end
  for id in string.gmatch(ARGV[i + 2], '%x+') do
    if id > upto and not set[id] then
      set[id] = true
      others[#others + 1] = id
      new[#new + 1] = id
    end
  end
  table.sort(others)
  while #others > kept do upto = table.remove(others, 1) end
  if upto > known then uptos[#uptos + 1] = '"' .. mark .. '.' .. upto .. '"' end
  for _, id in ipairs(new) do
    if id > upto then ids[#ids + 1] = '"' .. mark .. '.' .. id .. '"' end
  end
  if upto > known or #new > 0 then
    last = math.max(last, number(others[#others] or upto))
    table.insert(others, 1, upto)
    values[#values + 1] = mark
    values[#values + 1] = table.concat(others, ' ') .. ' '
  end
end
if #values == 0 then return 1 end

redis.call('HSET', key, unpack(values))
redis.call('EXPIRE', key, math.ceil(retention + (last - now) / 1000000))
redis.call(publish, channel, '- read {"reason":"marked","upto":[' .. table.concat(uptos, ',')
  .. '],"ids":[' .. table.concat(ids, ',') .. ']}')
return 1
