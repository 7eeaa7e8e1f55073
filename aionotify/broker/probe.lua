-- Ask Redis which data set this is and what time it is there, and say so to all nodes, or to nobody.
--
-- KEYS[1]  {prefix}:epoch, a hash without a TTL: `epoch`, by which this data set is known; `clock`,
--          the latest time that was ever seen; `since`; `inbox`, the settings of the nodes,
--          "<retention> <max_events> <idempotency>"; and for each pair of settings in use,
--          "<retention> <max_events>", when it was used last
-- ARGV     channel ('' = tell nobody), message, floor, retention s, max_events, a name for the data
--          set if it has none, whether to ask which server it is ('' = no), idempotency s, and whose
--          settings these are: 'node', 'own', or 'default', which those of the nodes take the place of
--
-- Times are in microseconds. What `floor`, `clock` and `since` are: aionotify/broker/data_set.py.
--
-- Returns what PUBLISH returned, 1 or the error for which nothing could be stored, the epoch ('' if
-- there is none), clock, since, which server this is ('' if one may not ask), the pairs of settings
-- that others have used since these were used before, and the settings that are in force for the
-- caller.

local key = KEYS[1]
local channel, message, floor = ARGV[1], ARGV[2], tonumber(ARGV[3])
local candidate, whose = ARGV[6], ARGV[9] or 'own'
local inbox = table.concat({ARGV[4], ARGV[5], ARGV[8] or '0'}, ' ')

local IN_FLIGHT = 3000000 -- for which settings may be used after whoever does so has said so

-- First, so that a Redis that stores nothing is heard all the same.
local told = 0
if channel ~= '' then told = redis.pcall('PUBLISH', channel, message) end

local time = redis.call('TIME')
time = time[1] * 1000000 + time[2]
local known = {}
local fields = redis.pcall('HGETALL', key)
local written = fields.err and fields or 1
if not fields.err then
  for i = 1, #fields, 2 do known[fields[i]] = fields[i + 1] end
end

if whose == 'default' and string.match(known.inbox or '', '^%d+ %d+ %d+$') then
  inbox = known.inbox
end
local retention, max_events = string.match(inbox, '^(%S+) (%S+)')
local settings = retention .. ' ' .. max_events
retention = tonumber(retention)

local clock = math.max(time, floor, tonumber(known.clock or 0) or 0)
local since = math.max(tonumber(known.since or 0) or 0, clock - retention * 1000000)
local others, before = {}, tonumber(known[settings])
for field, used in pairs(known) do
  local theirs = tonumber(string.match(field, '^(%S+) %d+$') or '')
  used = tonumber(used)
  if theirs and used and field ~= settings then
    -- What was stored with that retention until then expires with it, too.
    local until_then = used + IN_FLIGHT
    since = math.max(since, math.min(clock - theirs * 1000000, until_then))
    if before and used > before then others[#others + 1] = field end
    if since >= until_then then redis.pcall('HDEL', key, field) end
  end
end

local function number(value) return string.format('%.0f', value) end
if written == 1 then
  local stored = redis.pcall('HSET', key, 'epoch', known.epoch or candidate,
    'clock', number(clock), 'since', number(since), settings, number(clock),
    unpack(whose == 'node' and {'inbox', inbox} or {}))
  if type(stored) == 'table' and stored.err then written = stored end
end
local epoch = known.epoch or written == 1 and candidate or ''
local info = ARGV[7] ~= '' and redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
return {told, written, epoch, number(clock), number(since), run_id, others, inbox}
