-- Takes one report, atomically and once. Answers with the sequence number that Redis holds for this worker, and with the
-- number of coins in the wallet.
--
-- KEYS: hashes, coins, wallet, reports, totals, worker:<id>, totals:<id>
-- ARGV: worker, instance, sequence, oldest sequence still kept by the worker, hashes, coins, begin_us, end_us,
--       batch_size, pace, report_interval_us, sent_us, stalled_since_us, waits_for, wallet limit, backends, latest coins,
--       then digest and message of each coin for the wallet
--
-- Times in ARGV are on the worker's clock. The report in the stream keeps them and gets redis_us, the time of Redis's
-- clock at which it was taken; the ten-second buckets are on Redis's clock, which is redis_us - sent_us ahead. The totals
-- have the time of their last report beside the buckets, so that they can move when Redis's clock is set back.
--
-- worker:<id> is a hash that outlives the worker by a day:
--   sequence   the number of the last report taken
--   backends   what the worker saw between that report and the one before, in JSON, for whoever draws the system:
--              {"seconds": S, "rng": [B...], "hasher": [B...]}, at most 64 backends a service, those that serve first;
--              B is {"name", "state": "serving" | "late" | "gone", "batches", "latency"}, and latency counts batches by
--              bucket: in bucket "i" they took over 2^((i-1)/4) us and at most 2^(i/4) us
--   coins      the latest coins found in that time, in JSON, the oldest first, at most 8:
--              {"bits": leading zero bits of a coin, "latest": [[hex digest, Unix seconds]...]}
-- totals:<id> has the worker's part of totals, and an hour after its last batch it is gone.

local BUCKET_SECONDS = 10
local TOTALS_SECONDS = 3600
local REPORTS_SECONDS = 900
local WORKER_SECONDS = 86400

-- What fails comes before the first write: Redis does not undo a script's writes. First what this user has no right to,
-- which Redis 6 can't tell beforehand; then what fails on a key of another type.
if redis.acl_check_cmd then
  for _, command in ipairs({
    {'TIME'}, {'INCRBY', KEYS[1], 1}, {'INCRBY', KEYS[2], 1}, {'HLEN', KEYS[3]}, {'HSET', KEYS[3], 'f', 'v'},
    {'XLEN', KEYS[4]}, {'XADD', KEYS[4], '*', 'f', 'v'},
    {'HLEN', KEYS[5]}, {'HINCRBYFLOAT', KEYS[5], 'f', 1}, {'HKEYS', KEYS[5]}, {'HDEL', KEYS[5], 'f'},
    {'HGET', KEYS[6], 'f'}, {'HSET', KEYS[6], 'f', 'v'}, {'EXPIRE', KEYS[6], 1},
    {'HLEN', KEYS[7]}, {'HINCRBYFLOAT', KEYS[7], 'f', 1}, {'HKEYS', KEYS[7]}, {'HDEL', KEYS[7], 'f'},
    {'EXPIRE', KEYS[7], 1},
  }) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM this user has no right to ' .. command[1] .. ' ' .. (command[2] or ''))
    end
  end
end

local held = tonumber(redis.call('HGET', KEYS[6], 'sequence') or 0)
local coins_kept = redis.call('HLEN', KEYS[3])
redis.call('HLEN', KEYS[5])
redis.call('HLEN', KEYS[7])
redis.call('XLEN', KEYS[4])
redis.call('INCRBY', KEYS[2], 0)

local sequence, oldest = tonumber(ARGV[3]), tonumber(ARGV[4])
local seen = sequence <= held
-- Redis is behind when it holds less than the worker was told: it was restored from an older state. The worker sends
-- what is missing, as far as it still has it.
local behind = sequence > math.max(held + 1, oldest)
if seen or behind then
  return {held, coins_kept}
end

-- A count may have no room for more, and a stream end with the last id there is. Neither shows beforehand, so what was
-- written until then is taken back.
redis.call('INCRBY', KEYS[1], ARGV[5])
local failed = redis.pcall('INCRBY', KEYS[2], ARGV[6])
if type(failed) == 'table' and failed.err then
  redis.call('INCRBY', KEYS[1], string.format('%d', -ARGV[5]))
  return failed
end
local time = redis.call('TIME')
local now = tonumber(time[1])
local now_us = now * 1000000 + tonumber(time[2])
failed = redis.pcall('XADD', KEYS[4], 'MINID', '~', (now - REPORTS_SECONDS) * 1000, '*',
  'worker', ARGV[1], 'instance', ARGV[2], 'sequence', ARGV[3], 'hashes', ARGV[5], 'coins', ARGV[6],
  'begin_us', ARGV[7], 'end_us', ARGV[8], 'batch_size', ARGV[9], 'pace', ARGV[10], 'report_interval_us', ARGV[11],
  'sent_us', ARGV[12], 'stalled_since_us', ARGV[13], 'waits_for', ARGV[14], 'redis_us', string.format('%d', now_us))
if type(failed) == 'table' and failed.err then
  redis.call('INCRBY', KEYS[1], string.format('%d', -ARGV[5]))
  redis.call('INCRBY', KEYS[2], string.format('%d', -ARGV[6]))
  return failed
end
redis.call('HSET', KEYS[6], 'sequence', ARGV[3], 'backends', ARGV[16], 'coins', ARGV[17])
redis.call('EXPIRE', KEYS[6], WORKER_SECONDS)

local room = tonumber(ARGV[15]) - coins_kept
local last = math.min(#ARGV, 17 + 2 * room)
if last > 18 then
  coins_kept = coins_kept + redis.call('HSET', KEYS[3], unpack(ARGV, 18, last))
end

-- Spread the hashes evenly over the interval's ten-second buckets, of all workers and of this one. A bucket that holds no
-- number begins anew.
local ahead_us = now_us - tonumber(ARGV[12])
local hashes, begin_us, end_us = tonumber(ARGV[5]), tonumber(ARGV[7]) + ahead_us, tonumber(ARGV[8]) + ahead_us
if hashes > 0 then
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
      for _, totals in ipairs({KEYS[5], KEYS[7]}) do
        local start, count = string.format('%d', bucket * BUCKET_SECONDS), string.format('%.17g', hashes * share)
        local added = redis.pcall('HINCRBYFLOAT', totals, start, count)
        if type(added) == 'table' and added.err then
          redis.call('HDEL', totals, start)
          redis.call('HINCRBYFLOAT', totals, start, count)
        end
      end
    end
  end
  for _, totals in ipairs({KEYS[5], KEYS[7]}) do
    if redis.call('HLEN', totals) > TOTALS_SECONDS / BUCKET_SECONDS + 1 then
      for _, bucket in ipairs(redis.call('HKEYS', totals)) do
        local start = tonumber(bucket)
        if not start or math.abs(now - start) > TOTALS_SECONDS then
          redis.call('HDEL', totals, bucket)
        end
      end
    end
  end
  redis.call('EXPIRE', KEYS[7], TOTALS_SECONDS)
end

return {sequence, coins_kept}
