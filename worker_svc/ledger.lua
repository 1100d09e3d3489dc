-- Applies each report once. Returns the sequence number that Redis holds for this worker, and the number of coins in the
-- wallet. A report takes two calls, each of them atomic:
--
--   with the report      writes the whole report to pending_report, with one command
--   without arguments    applies the report in pending_report, and removes it
--
-- A call with a report first applies what it finds in pending_report, of whatever worker. The reason is the append-only
-- file, which holds a script's writes as MULTI, the commands, EXEC. When the file ends within one of the commands, Redis 7
-- and 8 forget those before it, but leave them in the file, and execute them at the next restart, together with those of
-- the next EXEC. These then are the same ones, since the report was still in pending_report. So each command must be one
-- that may be repeated: a count is SET to its value, and a stream refuses an entry whose id it has.
--
-- chassis/redis/schema.py describes KEYS (Keys.for_report), ARGV (report_arguments), and what the keys hold.
--
-- Times in ARGV are on the worker's clock. The report in the stream keeps them and gets redis_us, the time on Redis's clock
-- at which it was written. The ten-second buckets are on Redis's clock, which is redis_us - sent_us ahead.
--
-- worker:<id> outlives the worker by a day. It has no time to live: Redis may evict keys that have one, and without the
-- sequence number it would count reports again. workers has the Unix second of each worker's last report, which tells
-- whose key is to be removed; under the empty name it has that of the last report of all. totals:<id> has the worker's
-- part of totals, and is removed an hour after its last batch.

local BUCKET_SECONDS = 10
local TOTALS_SECONDS = 3600
local REPORTS_SECONDS = 900
local WORKER_SECONDS = 86400
local ANNOTATIONS_SECONDS = 3600
local MAX_ANNOTATIONS = 1000
-- Changes of one kind are one annotation as long as the time between two of them is shorter; they are looked for among
-- this number of the latest annotations.
local GROUP_SECONDS = 10
local MAX_OPEN_GROUPS = 32
local MAX_NAMES = 256
-- A worker is lost after this time without a report, or after three of its report intervals.
local SILENCE_SECONDS = 5
-- A longer time without any report than this and the report interval is a gap.
local GAP_SECONDS = 2
-- A longer gap between two reports does not age the workers: no worker ran, or the clock was set.
local PAUSE_SECONDS = 3600
-- The most workers whose keys one report removes.
local MAX_REMOVED = 10
-- Reports of a worker from one check of the eviction policy to the next.
local POLICY_REPORTS = 10

-- Whatever can fail is checked before the first write: Redis does not undo a script's writes. These are missing rights,
-- which Redis 6 can't check, then keys of another type, and counts with no room for the report. Each function returns the
-- error, if there is one.
local function forbidden(KEYS)
  for _, command in ipairs(redis.acl_check_cmd and {
    {'TIME'}, {'INFO', 'memory'},
    {'GET', KEYS[1]}, {'INCRBY', KEYS[1], 1}, {'SET', KEYS[1], 1},
    {'GET', KEYS[2]}, {'INCRBY', KEYS[2], 1}, {'SET', KEYS[2], 1},
    {'HLEN', KEYS[3]}, {'HSET', KEYS[3], 'f', 'v'}, {'XLEN', KEYS[10]}, {'ZCARD', KEYS[11]},
    {'XLEN', KEYS[4]}, {'XINFO', 'STREAM', KEYS[4]}, {'XADD', KEYS[4], '*', 'f', 'v'},
    {'HLEN', KEYS[5]}, {'HINCRBYFLOAT', KEYS[5], 'f', 1}, {'HKEYS', KEYS[5]}, {'HDEL', KEYS[5], 'f'},
    {'HGET', KEYS[5], 'f'}, {'HGET', KEYS[7], 'f'}, {'ZSCORE', KEYS[8], 'm'},
    {'HGET', KEYS[6], 'f'}, {'HSET', KEYS[6], 'f', 'v'}, {'DEL', KEYS[6]},
    {'HLEN', KEYS[7]}, {'HINCRBYFLOAT', KEYS[7], 'f', 1}, {'HKEYS', KEYS[7]}, {'HDEL', KEYS[7], 'f'},
    {'EXPIRE', KEYS[7], 1},
    {'ZCARD', KEYS[8]}, {'ZADD', KEYS[8], 1, 'm'}, {'ZRANGEBYSCORE', KEYS[8], 0, 1}, {'ZREM', KEYS[8], 'm'},
    {'GET', KEYS[9]}, {'SET', KEYS[9], 'v'}, {'DEL', KEYS[9]},
    {'XREVRANGE', KEYS[4], '+', '-'}, {'XREVRANGE', KEYS[10], '+', '-'}, {'XADD', KEYS[10], '*', 'f', 'v'},
    {'XDEL', KEYS[10], '1-1'}, {'XTRIM', KEYS[10], 'MAXLEN', 1}, {'XINFO', 'STREAM', KEYS[10]},
    {'ZADD', KEYS[11], 1, 'm'}, {'ZSCORE', KEYS[11], 'm'}, {'ZREM', KEYS[11], 'm'}, {'ZRANGEBYSCORE', KEYS[11], 0, 1},
  } or {}) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM this user has no right to ' .. command[1] .. ' ' .. (command[2] or ''))
    end
  end
end

local function unfit(KEYS, ARGV)
  redis.call('HLEN', KEYS[3])
  redis.call('XLEN', KEYS[4])
  redis.call('HLEN', KEYS[5])
  redis.call('HGET', KEYS[6], 'sequence')
  redis.call('HLEN', KEYS[7])
  redis.call('ZCARD', KEYS[8])
  redis.call('XLEN', KEYS[10])
  redis.call('ZCARD', KEYS[11])
  for i, more in ipairs({ARGV[5] or 0, ARGV[6] or 0}) do
    local count = redis.call('GET', KEYS[i]) or '0'
    local sound = count == '0' or count:match('^-?[1-9]%d*$')
    if not sound or (tonumber(more) > 0 and tonumber(count) + more >= 2^63) then
      return redis.error_reply('ERR ' .. KEYS[i] .. ' holds no count that has room for this report: ' .. count:sub(1, 40))
    end
  end
end

-- If any key may be evicted, so may the sequence numbers, and reports would be counted again.
local function evicting()
  local memory = redis.pcall('INFO', 'memory')
  local policy = type(memory) == 'string' and memory:match('maxmemory_policy:(%S+)') or ''
  if policy:match('^allkeys') then
    return redis.error_reply('EVICTION maxmemory-policy is ' .. policy .. ', which may evict what was counted')
  end
end

-- Adds an entry to a stream, under the same id if it is repeated: the report's time or, if that is not after the last
-- entry's, the id after that one. Ids then do not show the time, and the stream is held to a length.
local function add_entry(name, seconds, length, now_us, ...)
  local oldest_ms = math.max(0, math.floor(now_us / 1000000) - seconds) * 1000
  local id = string.format('%d-%d', math.floor(now_us / 1000), now_us % 1000)
  local added = redis.pcall('XADD', name, 'MINID', '~', oldest_ms, id, ...)
  if type(added) == 'table' and added.err then
    local stream = redis.pcall('XINFO', 'STREAM', name)
    for i = 1, stream.err and 0 or #stream, 2 do
      if stream[i] == 'last-generated-id' then
        local ms, number = stream[i + 1]:match('(%d+)-(%d+)')
        id = tonumber(number) < 2^53 and ms .. string.format('-%d', number + 1) or '*'
      end
    end
    added = redis.pcall('XADD', name, 'MAXLEN', '~', length, id, ...)
  end
  return type(added) == 'table' and added.err and added
end

-- Moves the buckets to times before, so that what is counted from now on is not added to them.
local function move_back(totals, seconds)
  local moved = {}
  for _, bucket in ipairs(redis.call('HKEYS', totals)) do
    if tonumber(bucket) then
      local before = tonumber(bucket) - math.ceil(seconds / BUCKET_SECONDS) * BUCKET_SECONDS
      moved[string.format('%d', before)] = redis.call('HGET', totals, bucket)
      redis.call('HDEL', totals, bucket)
    end
  end
  for bucket, count in pairs(moved) do
    redis.pcall('HINCRBYFLOAT', totals, bucket, count)
  end
end

-- Stores the Unix second of a worker's report, and compensates for steps of the clock since the last reports.
local function follow_clock(KEYS, worker, now)
  local function last_report(name)
    local second = tonumber(redis.call('ZSCORE', KEYS[8], name) or now)
    return second >= 0 and second < 1e11 and second or now
  end
  for totals, name in pairs({[KEYS[5]] = '', [KEYS[7]] = worker}) do
    if last_report(name) > now then
      move_back(totals, last_report(name) - now)
    end
  end
  local pause = now - last_report('')
  if pause > PAUSE_SECONDS then
    for _, each in ipairs(redis.call('ZRANGEBYSCORE', KEYS[8], '-inf', '+inf')) do
      redis.call('ZADD', KEYS[8], last_report(each) + pause, each)
    end
  end
  redis.call('ZADD', KEYS[8], now, worker, now, '')
end

-- Returns the annotation that a change belongs to, with its id, if there is one.
local function open_group(annotations, kind, service, name, at_us)
  for _, entry in ipairs(redis.call('XREVRANGE', annotations, '+', '-', 'COUNT', MAX_OPEN_GROUPS)) do
    local group = {id = entry[1]}
    for i = 1, #entry[2], 2 do
      group[entry[2][i]] = entry[2][i + 1]
    end
    if group.kind == kind and group.service == service and (not name or group.names == name)
        and math.abs(at_us - (tonumber(group.until_us) or 0)) < GROUP_SECONDS * 1000000 then
      return group
    end
  end
end

-- Returns a list of names with one more, and whether it was not there yet.
local function with_name(names, name)
  if name == '' or (' ' .. names .. ' '):find(' ' .. name .. ' ', 1, true) then
    return names, false
  end
  local _, spaces = names:gsub(' ', '')
  if names == '' then
    return name, true
  end
  return spaces < MAX_NAMES - 1 and names .. ' ' .. name or names, true
end

-- Writes what changed. What ten workers notice is one annotation, and so is a storm of changes. Changes of batches are
-- those of one replica each, and add up.
local function annotate(annotations, now_us, change)
  local of_replica = change.kind == 'slow' or change.kind == 'retried' or change.kind == 'ejected'
  local at_us = math.min(change.at_us, now_us)
  local group = open_group(annotations, change.kind, change.service, of_replica and change.name, at_us)
  local old = group or {names = '', count = 0, to = '', value = '', at_us = at_us, until_us = at_us}
  local names, is_new = with_name(old.names, change.name)
  local count = (tonumber(old.count) or 0) + (of_replica and change.count or is_new and 1 or 0)
  local to = with_name(old.to, change.to)
  if group and not is_new and count == tonumber(old.count) and change.value == old.value then
    return
  end
  if group then
    redis.call('XDEL', annotations, group.id)
  end
  add_entry(annotations, ANNOTATIONS_SECONDS, MAX_ANNOTATIONS, now_us, 'kind', change.kind, 'service', change.service,
    'names', names, 'count', string.format('%d', count), 'to', to, 'value', change.value,
    'at_us', string.format('%d', old.at_us),  -- by which webui knows what it extends
    'until_us', string.format('%d', math.max(old.until_us, change.until_us or at_us)),
    'redis_us', string.format('%d', now_us))
  redis.call('XTRIM', annotations, 'MAXLEN', '~', MAX_ANNOTATIONS)
end

local function changed(kind, service, name, at_us)
  return {kind = kind, service = service, name = name, at_us = at_us, count = 0, to = '', value = ''}
end

-- Returns what changed with this report, of this worker and of others: they join with their first report, leave with their
-- last one, and are lost when none has come for some time. `last` is the Unix second of the last report of all.
local function changes_of_workers(KEYS, ARGV, now_us, last)
  local worker, instance, interval = ARGV[1], ARGV[2], tonumber(ARGV[11]) / 1000000
  local now, changes = math.floor(now_us / 1000000), {}
  local pause = now - last
  if pause > GAP_SECONDS + interval then
    -- No report came, so none is missed of other workers. If this one waited meanwhile, Redis was away.
    for _, each in ipairs(redis.call('ZRANGEBYSCORE', KEYS[11], '-inf', now)) do
      redis.call('ZADD', KEYS[11], now + SILENCE_SECONDS, each)
    end
    local age_us = tonumber(ARGV[12]) - tonumber(ARGV[8])
    if redis.call('ZSCORE', KEYS[11], worker) and age_us > GAP_SECONDS * 1000000 then
      local gap = changed('gap', 'redis', '', last * 1000000)
      gap.until_us = now_us
      table.insert(changes, gap)
    end
  end
  if ARGV[19] == '1' then
    if redis.call('ZREM', KEYS[11], worker) == 1 then
      table.insert(changes, changed('left', 'worker', instance, now_us))
    end
  elseif redis.call('ZADD', KEYS[11], now + math.max(SILENCE_SECONDS, 3 * math.ceil(interval)), worker) == 1 then
    table.insert(changes, changed('joined', 'worker', instance, now_us))
  end
  for _, lost in ipairs(redis.call('ZRANGEBYSCORE', KEYS[11], '-inf', '(' .. now, 'LIMIT', 0, MAX_REMOVED)) do
    redis.call('ZREM', KEYS[11], lost)
    local seen = tonumber(redis.call('ZSCORE', KEYS[8], lost) or now)
    table.insert(changes, changed('lost', 'worker', lost:gsub('%-%x%x%x%x%x%x%x%x$', ''), seen * 1000000))
  end
  return changes
end

-- Returns the pace of the report before, of any worker.
local function last_pace(reports)
  local entry = redis.call('XREVRANGE', reports, '+', '-', 'COUNT', 1)[1]
  for i = 1, entry and #entry[2] or 0, 2 do
    if entry[2][i] == 'pace' then
      return entry[2][i + 1]
    end
  end
end

-- Counts a report that was written at that time, in microseconds. Returns the error, if there is one.
local function apply(KEYS, ARGV, now_us)
  local failed = forbidden(KEYS) or unfit(KEYS, ARGV)
  if failed then
    return failed
  end
  local pace_before = ARGV[3] == '1' and last_pace(KEYS[4])
  failed = add_entry(KEYS[4], REPORTS_SECONDS, (redis.call('ZCARD', KEYS[8]) + 1) * REPORTS_SECONDS, now_us,
    'worker', ARGV[1], 'instance', ARGV[2], 'sequence', ARGV[3], 'hashes', ARGV[5], 'coins', ARGV[6],
    'begin_us', ARGV[7], 'end_us', ARGV[8], 'batch_size', ARGV[9], 'pace', ARGV[10], 'report_interval_us', ARGV[11],
    'sent_us', ARGV[12], 'stalled_since_us', ARGV[13], 'waits_for', ARGV[14], 'redis_us', string.format('%d', now_us))
  if failed then
    return failed
  end
  local now = math.floor(now_us / 1000000)
  -- Lua's numbers are exact up to 2^53, Redis's up to 2^63.
  for i, more in ipairs({ARGV[5], ARGV[6]}) do
    redis.call('INCRBY', KEYS[i], more)
    redis.call('SET', KEYS[i], redis.call('GET', KEYS[i]))
  end
  local last = tonumber(redis.call('ZSCORE', KEYS[8], '') or now)
  follow_clock(KEYS, ARGV[1], now)
  redis.call('HSET', KEYS[6], 'sequence', ARGV[3], 'replicas', ARGV[16], 'coins', ARGV[17])

  local room = tonumber(ARGV[15]) - redis.call('HLEN', KEYS[3])
  local last_coin = math.min(#ARGV, 19 + 2 * room)
  if last_coin > 20 then
    redis.call('HSET', KEYS[3], unpack(ARGV, 20, last_coin))
  end

  -- Spread the hashes evenly over the interval's ten-second buckets, of all workers and of this one. A report without a
  -- batch makes the buckets of the time since the report before it, so that time without work differs from time without
  -- workers. A bucket that holds no number begins anew. HINCRBYFLOAT is in the append-only file as the HSET of what it
  -- comes to. Half of a worker's first batch is left out, as in webui_svc/speed.py.
  local ahead_us = now_us - tonumber(ARGV[12])
  local hashes, begin_us, end_us = tonumber(ARGV[5]), tonumber(ARGV[7]) + ahead_us, tonumber(ARGV[8]) + ahead_us
  local both = {KEYS[5], KEYS[7]}
  if redis.call('HLEN', KEYS[7]) == 0 then
    hashes = hashes - math.min(hashes, ARGV[9]) / 2
  end
  if hashes == 0 then
    begin_us, end_us, both = now_us - tonumber(ARGV[11]), now_us, {KEYS[5]}
  end
  local width = BUCKET_SECONDS * 1000000
  local final = math.floor(end_us / width)
  begin_us = math.max(begin_us, (final - TOTALS_SECONDS / BUCKET_SECONDS) * width)
  local span = end_us - begin_us
  for bucket = math.floor(begin_us / width), final do
    local share = bucket == final and 1 or 0
    if span > 0 then
      share = (math.min(end_us, (bucket + 1) * width) - math.max(begin_us, bucket * width)) / span
    end
    if share > 0 then
      for _, totals in ipairs(both) do
        local start, count = string.format('%d', bucket * BUCKET_SECONDS), string.format('%.17g', hashes * share)
        local added = redis.pcall('HINCRBYFLOAT', totals, start, count)
        if type(added) == 'table' and added.err then
          redis.call('HDEL', totals, start)
          redis.call('HINCRBYFLOAT', totals, start, count)
        end
      end
    end
  end
  for _, totals in ipairs(both) do
    if redis.call('HLEN', totals) > TOTALS_SECONDS / BUCKET_SECONDS + 1 then
      for _, bucket in ipairs(redis.call('HKEYS', totals)) do
        local start = tonumber(bucket)
        if not start or math.abs(now - start) > TOTALS_SECONDS then
          redis.call('HDEL', totals, bucket)
        end
      end
    end
  end
  if hashes > 0 then
    redis.call('EXPIRE', KEYS[7], TOTALS_SECONDS)
  end

  -- Names of other workers' keys are not in KEYS; in a cluster all names have one slot.
  local before_id = KEYS[6]:sub(1, #KEYS[6] - #ARGV[1])
  for _, worker in ipairs(redis.call(
    'ZRANGEBYSCORE', KEYS[8], '-inf', now - WORKER_SECONDS, 'LIMIT', 0, MAX_REMOVED
  )) do
    redis.call('DEL', before_id .. worker)
    redis.call('ZREM', KEYS[8], worker)
  end

  local changes = changes_of_workers(KEYS, ARGV, now_us, last)
  if pace_before and pace_before ~= ARGV[10] then
    local pace = changed('pace', 'worker', ARGV[2], now_us)
    pace.value = ARGV[10]
    table.insert(changes, pace)
  end
  for _, change in ipairs(ARGV[18] == '[]' and {} or cjson.decode(ARGV[18])) do
    change.at_us = change.at_us + ahead_us
    table.insert(changes, change)
  end
  for _, change in ipairs(changes) do
    annotate(KEYS[10], now_us, change)
  end
  redis.call('DEL', KEYS[9])
end

local pending = redis.call('GET', KEYS[9])
local failed
if pending then
  failed = apply(unpack(cmsgpack.unpack(pending)))
elseif #ARGV == 0 then
  failed = forbidden(KEYS) or unfit(KEYS, ARGV) or evicting()
end
if failed then
  return failed
end

local held, coins_kept = tonumber(redis.call('HGET', KEYS[6], 'sequence') or 0), redis.call('HLEN', KEYS[3])
local sequence, oldest = tonumber(ARGV[3] or 0), tonumber(ARGV[4])
if sequence > held then
  -- If the sequence number was evicted, this report does not follow it.
  local suspicious = sequence ~= held + 1 or sequence % POLICY_REPORTS == 1
  failed = unfit(KEYS, ARGV) or suspicious and evicting()
  if failed then
    return failed
  end
  -- Redis is behind if it holds less than it acknowledged: it was restored from an older state. The worker sends what is
  -- missing, as far as it still has it.
  local behind = sequence > math.max(held + 1, oldest)
  if not behind then
    local now = redis.call('TIME')
    redis.call('SET', KEYS[9], cmsgpack.pack({KEYS, ARGV, now[1] * 1000000 + now[2]}))
  end
end
return {held, coins_kept}
