-- Ask Redis which data set this is and what time it is there, and say so to all nodes, or to nobody.
--
-- KEYS[1]  {prefix}:epoch, a hash without a TTL: `epoch`, by which this data set is known; `clock`,
--          the latest time that was ever seen; `since`; `inbox`, what the nodes keep,
--          "<retention> <max_events> <idempotency>"; and for each pair of settings in use,
--          "<retention> <max_events>", and each other one, "<kind> <value>", when it was used last;
--          and when each lease was renewed last, "node:<name>"
-- ARGV     channel ('' = tell nobody), message, floor, retention s, max_events, a name for the data
--          set if it has none, whether to ask which server it is ('' = no), another channel to which
--          all subscribe who hear the first ('' = do not look), idempotency s, whose retention,
--          max_events and idempotency these are ('node', 'own', or 'default', if those of the nodes
--          count for more), the name of a node whose lease is to be renewed ('' = none), seconds that
--          a lease lasts, and other settings that are in use
--
-- Times are in microseconds. What `floor`, `clock` and `since` are: aionotify/broker/data_set.py.
--
-- Returns what PUBLISH returned, 1 or the error for which nothing could be stored, the epoch ('' if
-- there is none), clock, since, which server this is ('' if one may not ask), the settings that
-- others have used since ours of that kind were used before, how many subscribe to the other channel
-- and do not hear the first, what is kept by whoever asks, as in `inbox`, whether the lease was there
-- before and had not lapsed, and the names of the nodes whose leases have.

local key = KEYS[1]
local channel, message, floor = ARGV[1], ARGV[2], tonumber(ARGV[3])
local candidate, whose, inbox = ARGV[6], ARGV[10], ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. ARGV[9]

local IN_FLIGHT = 3000000 -- for which settings may be used after whoever does so has said so
local FORGOTTEN = 3600000000 -- after which nobody has settings any more that make no difference

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
local settings, retention = string.match(inbox, '^((%S+) %S+)')
retention = tonumber(retention)

local clock = math.max(time, floor, tonumber(known.clock or 0) or 0)
local since = math.max(tonumber(known.since or 0) or 0, clock - retention * 1000000)
local function number(value) return string.format('%.0f', value) end
local written_fields = {'epoch', known.epoch or candidate, 'clock', number(clock)}
local ours = {}
if whose == 'node' then
  written_fields[#written_fields + 1] = 'inbox'
  written_fields[#written_fields + 1] = inbox
end
for i = 13, #ARGV + 1 do
  local setting = ARGV[i] or settings
  ours[string.match(setting, '^%a+ ') or 'inbox'] = setting
  written_fields[#written_fields + 1] = setting
  written_fields[#written_fields + 1] = number(clock)
end

local others = {}
for field, used in pairs(known) do
  local theirs = tonumber(string.match(field, '^(%S+) %d+$') or '')
  local kind = theirs and 'inbox' or string.match(field, '^%a+ ')
  used = tonumber(used)
  if kind and used and field ~= ours[kind] then
    local before = tonumber(known[ours[kind]])
    if before and used > before then others[#others + 1] = field end
    local forgotten = clock - used > FORGOTTEN
    if theirs then
      -- What was stored with that retention until then expires with it, too.
      local until_then = used + IN_FLIGHT
      since = math.max(since, math.min(clock - theirs * 1000000, until_then))
      forgotten = since >= until_then
    end
    if forgotten then redis.pcall('HDEL', key, field) end
  end
end

local node, lasts, held, lapsed = ARGV[11], tonumber(ARGV[12]), 0, {}
if node ~= '' then
  for field, renewed in pairs(known) do
    local name = string.match(field, '^node:(.+)$')
    -- By the time it is now: after the clock was set back, `clock` stands still until then.
    if name and math.abs(time - (tonumber(renewed) or 0)) > lasts * 1000000 then
      lapsed[#lapsed + 1] = name
    elseif name == node then
      held = 1
    end
  end
  if held == 1 or not known['node:' .. node] then
    written_fields[#written_fields + 1] = 'node:' .. node
    written_fields[#written_fields + 1] = number(time)
  end
end

if written == 1 then
  local stored = redis.pcall('HSET', key, 'since', number(since), unpack(written_fields))
  if type(stored) == 'table' and stored.err then written = stored end
end
local epoch = known.epoch or written == 1 and candidate or ''
local info = ARGV[7] ~= '' and redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''

local more = 0
if ARGV[8] ~= '' then
  local counts = redis.pcall('PUBSUB', 'NUMSUB', channel, ARGV[8])
  if not counts.err then more = counts[4] - counts[2] end
end
return {told, written, epoch, number(clock), number(since), run_id, others, more, inbox, held, lapsed}
