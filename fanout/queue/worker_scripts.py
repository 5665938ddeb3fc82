"""The Lua functions of leases, workers, pauses, callers and old dead letters; those of entries are in `scripts`.

Rule guarded: the same as there. Each is one atomic step, documented by KEYS, ARGV and what it returns.
"""

from fanout.queue.remembered import REMEMBERING
from fanout.queue.scripts import SHED
from fanout.queue.whole_slot import REFUSE_MOVE
from fanout.redis.client import Script

# KEYS[1] the lease, KEYS[2] the fence. ARGV[1] the worker, ARGV[2] the lifetime in milliseconds.
# Returns the token of the new lease, or nil when somebody holds it.
ACQUIRE = Script("""#!lua flags=allow-oom
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
local token = ARGV[1] .. ':' .. redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token, 'PX', ARGV[2])
return token
""")

# KEYS[1] the lease, then streams. ARGV[1] the holder's token, ARGV[2] the lifetime in milliseconds.
# Returns nil when the lease is not the caller's, else for each stream the id of its oldest entry ("" for none).
RENEW = Script("""#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local answer = {}
for k = 2, #KEYS do
  local oldest = redis.call('XRANGE', KEYS[k], '-', '+', 'COUNT', 1)[1]
  answer[k - 1] = oldest and oldest[1] or ''
end
return answer
""")

# KEYS[1] the lease, KEYS[2] the rest of it. ARGV[1] the holder's token, ARGV[2] that of the rest. Releases whichever of
# them the caller has: it may not have heard that the one became the other. Returns how many that were.
RELEASE = Script("""
local count = 0
for k = 1, 2 do
  if redis.call('GET', KEYS[k]) == ARGV[k] then count = count + redis.call('DEL', KEYS[k]) end
end
return count
""")

# KEYS[1] the lease, KEYS[2] the rest of it, KEYS[3] the lanes left. ARGV[1] the holder's token, ARGV[2] that of the
# rest, ARGV[3] the lifetime of the rest in milliseconds, ARGV[4] the most lanes that may be left, ARGV[5..] the lanes
# with a call in flight. Releases the lease but for these lanes, in one step: the next holder knows of them at once.
# Returns 1, also when repeated, which begins the lifetime of the rest again; 0 when the lanes are too many and nothing
# changed; -1 when the lease is another's.
HAND_OVER = Script("""#!lua flags=allow-oom
if redis.call('GET', KEYS[2]) == ARGV[2] then return redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if redis.call('HLEN', KEYS[3]) + #ARGV - 4 > tonumber(ARGV[4]) then return 0 end
for k = 5, #ARGV do redis.call('HSET', KEYS[3], ARGV[k], ARGV[2]) end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[1])
return 1
""")

# KEYS[1] the lanes left. ARGV[1] how the key of the rest of a lease begins; its token follows.
# Returns the lanes whose former holder still has its rest, and forgets the others.
LEFT = Script(
    "#!lua flags=allow-oom"
    + REFUSE_MOVE
    + """
refuse_move(KEYS[1])
local all, answer, holds = redis.call('HGETALL', KEYS[1]), {}, {}
for k = 1, #all, 2 do
  local token = all[k + 1]
  if holds[token] == nil then holds[token] = redis.call('GET', ARGV[1] .. token) == token end
  if holds[token] then
    answer[#answer + 1] = all[k]
  else
    redis.call('HDEL', KEYS[1], all[k])
  end
end
return answer
"""
)

# KEYS[1] the lanes left, KEYS[2] what wakes the reader. ARGV[1] the token of the rest of a lease, ARGV[2..] lanes in
# which its holder has no call in flight any more. Returns how many of them were its own.
FREE = Script("""#!lua flags=allow-oom
local count = 0
for k = 2, #ARGV do
  if redis.call('HGET', KEYS[1], ARGV[k]) == ARGV[1] then
    redis.call('HDEL', KEYS[1], ARGV[k])
    count = count + 1
  end
end
if count > 0 then redis.call('XADD', KEYS[2], 'MAXLEN', 1, '*', 'f', '') end
return count
""")

# KEYS[1] the set of workers. ARGV[1] this worker, ARGV[2] the lifetime of its mark in milliseconds (0 takes it away),
# ARGV[3..] further members that get the same lifetime and are not taken away: what it knows of partitions.
# Returns the store's time in milliseconds, then every member that is alive.
HEARTBEAT = Script("""#!lua flags=allow-oom
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if tonumber(ARGV[2]) > 0 then
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
  for k = 3, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[k]) end
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
local answer = redis.call('ZRANGE', KEYS[1], 0, -1)
table.insert(answer, 1, string.format('%.0f', now))
return answer
""")

# KEYS[1] the name that those of remembered ids begin with. ARGV[1] what an Idempotency-Key is remembered by, 12 bytes,
# ARGV[2] the body's fingerprint, 8 bytes, ARGV[3] the dedup window in milliseconds.
# Returns 1 when the key is new or was used with the same body, else 0.
CLAIM = Script(
    REMEMBERING
    + REFUSE_MOVE
    + """
refuse_move(KEYS[1])
local find, keep = remembering(KEYS[1], tonumber(ARGV[3]))
local known = find(ARGV[1])
if known and known ~= ARGV[2] then return 0 end
keep(ARGV[1], ARGV[2])
return 1
"""
)

# KEYS[1] the endpoints that the queue is delivered to. ARGV[1..] the endpoints of this process, each by its identity.
# Returns 1 and then every known endpoint, those of this process included; or 0 and the known ones, when none of them is
# one of this process: then nothing is changed.
JOIN_ENDPOINTS = Script("""#!lua flags=allow-oom
local known = redis.call('SMEMBERS', KEYS[1])
local joined = #known == 0
for _, own in ipairs(ARGV) do
  joined = joined or redis.call('SISMEMBER', KEYS[1], own) == 1
end
if joined then
  redis.call('SADD', KEYS[1], unpack(ARGV))
  known = redis.call('SMEMBERS', KEYS[1])
end
table.insert(known, 1, joined and 1 or 0)
return known
""")

# KEYS[1] the demand of all workers. ARGV[1] this worker, ARGV[2] how long its word counts in milliseconds, ARGV[3] its
# demand. Returns name, "until:demand", name, ... of every worker whose word still counts.
EXCHANGE_DEMAND = Script("""#!lua flags=allow-oom
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + ARGV[2]) .. ':' .. ARGV[3])
local all, answer = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  if tonumber(string.match(all[i + 1], '^%d+')) < now then
    redis.call('HDEL', KEYS[1], all[i])
  else
    answer[#answer + 1] = all[i]
    answer[#answer + 1] = all[i + 1]
  end
end
return answer
""")

# KEYS[1] the pauses. ARGV[1] what is held back, ARGV[2] the milliseconds it lasts ("" for no end), ARGV[3] the note to
# store with it, ARGV[4] "1" to keep a pause of the same target that ends later.
# Returns when the pause began and when it ends ("" for no end), in unix milliseconds; nothing if the other one is kept.
# Pauses that are over are deleted with it, so that hubs which were paused once do not stay for ever.
PUT_PAUSE = Script("""#!lua flags=allow-oom
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = ''
if ARGV[2] ~= '' then ends = string.format('%.0f', now + ARGV[2]) end
if ARGV[4] == '1' then
  local known = redis.call('HGET', KEYS[1], ARGV[1])
  if known and tonumber(string.match(known, '^%d+ (%d*) ')) >= tonumber(ends) then return {} end
end
local pauses = redis.call('HGETALL', KEYS[1])
for k = 1, #pauses, 2 do
  local over = string.match(pauses[k + 1], '^%d+ (%d+) ')
  if over and tonumber(over) <= now then redis.call('HDEL', KEYS[1], pauses[k]) end
end
local began = string.format('%.0f', now)
redis.call('HSET', KEYS[1], ARGV[1], began .. ' ' .. ends .. ' ' .. ARGV[3])
return {began, ends}
""")

# KEYS[1] the lease, KEYS[2] the dead letters, KEYS[3] their bytes, KEYS[4] what was deleted and is not counted yet.
# ARGV[1] the holder's token, ARGV[2] an age in milliseconds, ARGV[3] the most letters, ARGV[4] how many bytes are
# enough, ARGV[5] the last letter that the caller has counted ("" for none). Deletes dead letters that are older than
# this, the oldest first. Returns -1 when the lease is not the caller's, else how many were deleted and not counted, the
# last of them ("" for none), and in how many milliseconds the oldest that is left is too old: 0 for now, -1 when none
# is left. An answer that is lost loses no count: these stay to be counted until the caller names the last of them.
DELETE_OLD = Script(
    "#!lua flags=allow-oom"
    + SHED
    + REFUSE_MOVE
    + """
refuse_move(KEYS[1])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if redis.call('HGET', KEYS[4], 'last') == ARGV[5] then redis.call('DEL', KEYS[4]) end
local time = redis.call('TIME')
local first = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[2]  -- the first millisecond that is young enough
local room, count, last, left = tonumber(ARGV[4]), 0, '', -1
while true do
  local letter = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  if not letter then break end
  left = math.max(0, string.match(letter[1], '^%d+') - first + 1)
  if left > 0 or count >= tonumber(ARGV[3]) or room <= 0 then break end
  left = -1
  room = room - delete(KEYS[2], KEYS[3], letter)
  count, last = count + 1, letter[1]
end
if count > 0 then
  redis.call('HINCRBY', KEYS[4], 'n', count)
  redis.call('HSET', KEYS[4], 'last', last)
end
return {tonumber(redis.call('HGET', KEYS[4], 'n') or 0), redis.call('HGET', KEYS[4], 'last') or '', left}
"""
)
