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

-- The position in ARGV of the first coin for the wallet; named_report names what is before it.
local FIRST_COIN = 20

local function named_keys(KEYS)
  return {
    hashes = KEYS[1], coins = KEYS[2], wallet = KEYS[3], reports = KEYS[4], totals = KEYS[5], worker = KEYS[6],
    worker_totals = KEYS[7], workers = KEYS[8], pending_report = KEYS[9], annotations = KEYS[10], live_workers = KEYS[11],
  }
end

local function named_report(ARGV)
  return {
    worker = ARGV[1], instance = ARGV[2], sequence = ARGV[3], oldest_sequence = ARGV[4], hashes = ARGV[5],
    coins = ARGV[6], begin_us = ARGV[7], end_us = ARGV[8], batch_size = ARGV[9], pace = ARGV[10],
    report_interval_us = ARGV[11], sent_us = ARGV[12], stalled_since_us = ARGV[13], waits_for = ARGV[14],
    wallet_limit = ARGV[15], replicas = ARGV[16], new_coins = ARGV[17], changes = ARGV[18], leaving = ARGV[19],
  }
end

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
-- The kinds of changes that are about one replica each.
local REPLICA_KINDS = {slow = true, retried = true, ejected = true}
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
local function forbidden(keys)
  for _, command in ipairs(redis.acl_check_cmd and {
    {'TIME'}, {'INFO', 'memory'},
    {'GET', keys.hashes}, {'INCRBY', keys.hashes, 1}, {'SET', keys.hashes, 1},
    {'GET', keys.coins}, {'INCRBY', keys.coins, 1}, {'SET', keys.coins, 1},
    {'HLEN', keys.wallet}, {'HSET', keys.wallet, 'f', 'v'},
    {'XLEN', keys.reports}, {'XINFO', 'STREAM', keys.reports}, {'XADD', keys.reports, '*', 'f', 'v'},
    {'XREVRANGE', keys.reports, '+', '-'},
    {'HLEN', keys.totals}, {'HINCRBYFLOAT', keys.totals, 'f', 1}, {'HKEYS', keys.totals}, {'HDEL', keys.totals, 'f'},
    {'HGET', keys.totals, 'f'},
    {'HGET', keys.worker, 'f'}, {'HSET', keys.worker, 'f', 'v'}, {'DEL', keys.worker},
    {'HLEN', keys.worker_totals}, {'HINCRBYFLOAT', keys.worker_totals, 'f', 1}, {'HKEYS', keys.worker_totals},
    {'HDEL', keys.worker_totals, 'f'}, {'HGET', keys.worker_totals, 'f'}, {'EXPIRE', keys.worker_totals, 1},
    {'ZCARD', keys.workers}, {'ZADD', keys.workers, 1, 'm'}, {'ZRANGEBYSCORE', keys.workers, 0, 1},
    {'ZREM', keys.workers, 'm'}, {'ZSCORE', keys.workers, 'm'},
    {'GET', keys.pending_report}, {'SET', keys.pending_report, 'v'}, {'DEL', keys.pending_report},
    {'XLEN', keys.annotations}, {'XINFO', 'STREAM', keys.annotations}, {'XADD', keys.annotations, '*', 'f', 'v'},
    {'XREVRANGE', keys.annotations, '+', '-'}, {'XDEL', keys.annotations, '1-1'},
    {'XTRIM', keys.annotations, 'MAXLEN', 1},
    {'ZCARD', keys.live_workers}, {'ZADD', keys.live_workers, 1, 'm'}, {'ZSCORE', keys.live_workers, 'm'},
    {'ZREM', keys.live_workers, 'm'}, {'ZRANGEBYSCORE', keys.live_workers, 0, 1},
  } or {}) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM this user has no right to ' .. command[1] .. ' ' .. (command[2] or ''))
    end
  end
end

local function unfit(keys, report)
  redis.call('HLEN', keys.wallet)
  redis.call('XLEN', keys.reports)
  redis.call('HLEN', keys.totals)
  redis.call('HGET', keys.worker, 'sequence')
  redis.call('HLEN', keys.worker_totals)
  redis.call('ZCARD', keys.workers)
  redis.call('XLEN', keys.annotations)
  redis.call('ZCARD', keys.live_workers)
  for _, name in ipairs({'hashes', 'coins'}) do
    local count, more = redis.call('GET', keys[name]) or '0', report[name] or 0
    local sound = count == '0' or count:match('^-?[1-9]%d*$')
    if not sound or (tonumber(more) > 0 and tonumber(count) + more >= 2^63) then
      return redis.error_reply(
        'ERR ' .. keys[name] .. ' holds no count that has room for this report: ' .. count:sub(1, 40))
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
local function follow_clock(keys, worker, now)
  local function last_report(name)
    local second = tonumber(redis.call('ZSCORE', keys.workers, name) or now)
    return second >= 0 and second < 1e11 and second or now
  end
  for totals, name in pairs({[keys.totals] = '', [keys.worker_totals] = worker}) do
    if last_report(name) > now then
      move_back(totals, last_report(name) - now)
    end
  end
  local pause = now - last_report('')
  if pause > PAUSE_SECONDS then
    for _, each in ipairs(redis.call('ZRANGEBYSCORE', keys.workers, '-inf', '+inf')) do
      redis.call('ZADD', keys.workers, last_report(each) + pause, each)
    end
  end
  redis.call('ZADD', keys.workers, now, worker, now, '')
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

-- Writes what changed. What ten workers notice is one annotation, and so is a storm of changes. Those of one replica's
-- batches add up.
local function annotate(annotations, now_us, change)
  local of_replica = REPLICA_KINDS[change.kind]
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

-- As instance_of in the schema.
local function instance_of(worker)
  return (worker:gsub('%-%x%x%x%x%x%x%x%x$', ''))
end

local function changed(kind, service, name, at_us)
  return {kind = kind, service = service, name = name, at_us = at_us, count = 0, to = '', value = ''}
end

-- Returns what changed with this report, of this worker and of others: they join with their first report, leave with their
-- last one, and are lost when none has come for some time. `last` is the Unix second of the last report of all.
local function changes_of_workers(keys, report, now_us, last)
  local worker, instance, interval = report.worker, report.instance, report.report_interval_us / 1000000
  local now, changes = math.floor(now_us / 1000000), {}
  local pause = now - last
  if pause > GAP_SECONDS + interval then
    -- No report came, so none is missed of other workers. If this one waited meanwhile, Redis was away.
    for _, each in ipairs(redis.call('ZRANGEBYSCORE', keys.live_workers, '-inf', now)) do
      redis.call('ZADD', keys.live_workers, now + SILENCE_SECONDS, each)
    end
    local age_us = report.sent_us - report.end_us
    if redis.call('ZSCORE', keys.live_workers, worker) and age_us > GAP_SECONDS * 1000000 then
      local gap = changed('gap', 'redis', '', last * 1000000)
      gap.until_us = now_us
      table.insert(changes, gap)
    end
  end
  if report.leaving == '1' then
    if redis.call('ZREM', keys.live_workers, worker) == 1 then
      table.insert(changes, changed('left', 'worker', instance, now_us))
    end
  elseif redis.call('ZADD', keys.live_workers, now + math.max(SILENCE_SECONDS, 3 * math.ceil(interval)), worker) == 1 then
    table.insert(changes, changed('joined', 'worker', instance, now_us))
  end
  for _, lost in ipairs(redis.call('ZRANGEBYSCORE', keys.live_workers, '-inf', '(' .. now, 'LIMIT', 0, MAX_REMOVED)) do
    redis.call('ZREM', keys.live_workers, lost)
    local seen = tonumber(redis.call('ZSCORE', keys.workers, lost) or now)
    table.insert(changes, changed('lost', 'worker', instance_of(lost), seen * 1000000))
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
  local keys, report = named_keys(KEYS), named_report(ARGV)
  local failed = forbidden(keys) or unfit(keys, report)
  if failed then
    return failed
  end
  local pace_before = report.sequence == '1' and last_pace(keys.reports)
  failed = add_entry(keys.reports, REPORTS_SECONDS, (redis.call('ZCARD', keys.workers) + 1) * REPORTS_SECONDS, now_us,
    'worker', report.worker, 'instance', report.instance, 'sequence', report.sequence,
    'hashes', report.hashes, 'coins', report.coins, 'begin_us', report.begin_us, 'end_us', report.end_us,
    'batch_size', report.batch_size, 'pace', report.pace, 'report_interval_us', report.report_interval_us,
    'sent_us', report.sent_us, 'stalled_since_us', report.stalled_since_us, 'waits_for', report.waits_for,
    'redis_us', string.format('%d', now_us))
  if failed then
    return failed
  end
  local now = math.floor(now_us / 1000000)
  -- Lua's numbers are exact up to 2^53, Redis's up to 2^63.
  for _, name in ipairs({'hashes', 'coins'}) do
    redis.call('INCRBY', keys[name], report[name])
    redis.call('SET', keys[name], redis.call('GET', keys[name]))
  end
  local last = tonumber(redis.call('ZSCORE', keys.workers, '') or now)
  follow_clock(keys, report.worker, now)
  redis.call('HSET', keys.worker, 'sequence', report.sequence, 'replicas', report.replicas, 'coins', report.new_coins)

  local room = report.wallet_limit - redis.call('HLEN', keys.wallet)
  local last_coin = math.min(#ARGV, FIRST_COIN - 1 + 2 * room)
  if last_coin > FIRST_COIN then
    redis.call('HSET', keys.wallet, unpack(ARGV, FIRST_COIN, last_coin))
  end

  -- Spread the hashes evenly over the interval's ten-second buckets, of all workers and of this one. A report without a
  -- batch makes the buckets of the time since the report before it, so that time without work differs from time without
  -- workers. A bucket that holds no number begins anew. HINCRBYFLOAT is in the append-only file as the HSET of what it
  -- comes to. Half of a worker's first batch is left out, as in webui_svc/speed.py.
  local ahead_us = now_us - report.sent_us
  local hashes, begin_us, end_us = tonumber(report.hashes), report.begin_us + ahead_us, report.end_us + ahead_us
  local both = {keys.totals, keys.worker_totals}
  if redis.call('HLEN', keys.worker_totals) == 0 then
    hashes = hashes - math.min(hashes, report.batch_size) / 2
  end
  if hashes == 0 then
    begin_us, end_us, both = now_us - report.report_interval_us, now_us, {keys.totals}
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
    redis.call('EXPIRE', keys.worker_totals, TOTALS_SECONDS)
  end

  -- Names of other workers' keys are not in KEYS; in a cluster all names have one slot.
  local before_id = keys.worker:sub(1, #keys.worker - #report.worker)
  for _, worker in ipairs(redis.call(
    'ZRANGEBYSCORE', keys.workers, '-inf', now - WORKER_SECONDS, 'LIMIT', 0, MAX_REMOVED
  )) do
    redis.call('DEL', before_id .. worker)
    redis.call('ZREM', keys.workers, worker)
  end

  local changes = changes_of_workers(keys, report, now_us, last)
  if pace_before and pace_before ~= report.pace then
    local pace = changed('pace', 'worker', report.instance, now_us)
    pace.value = report.pace
    table.insert(changes, pace)
  end
  for _, change in ipairs(report.changes == '[]' and {} or cjson.decode(report.changes)) do
    change.at_us = change.at_us + ahead_us
    table.insert(changes, change)
  end
  for _, change in ipairs(changes) do
    annotate(keys.annotations, now_us, change)
  end
  redis.call('DEL', keys.pending_report)
end

local keys, report = named_keys(KEYS), named_report(ARGV)
local pending = redis.call('GET', keys.pending_report)
local failed
if pending then
  failed = apply(unpack(cmsgpack.unpack(pending)))
elseif #ARGV == 0 then
  failed = forbidden(keys) or unfit(keys, report) or evicting()
end
if failed then
  return failed
end

local held, coins_kept = tonumber(redis.call('HGET', keys.worker, 'sequence') or 0), redis.call('HLEN', keys.wallet)
local sequence, oldest = tonumber(report.sequence or 0), tonumber(report.oldest_sequence)
if sequence > held then
  -- If the sequence number was evicted, this report does not follow it.
  local suspicious = sequence ~= held + 1 or sequence % POLICY_REPORTS == 1
  failed = unfit(keys, report) or suspicious and evicting()
  if failed then
    return failed
  end
  -- Redis is behind if it holds less than it acknowledged: it was restored from an older state. The worker sends what is
  -- missing, as far as it still has it.
  local behind = sequence > math.max(held + 1, oldest)
  if not behind then
    local now = redis.call('TIME')
    redis.call('SET', keys.pending_report, cmsgpack.pack({KEYS, ARGV, now[1] * 1000000 + now[2]}))
  end
end
return {held, coins_kept}
