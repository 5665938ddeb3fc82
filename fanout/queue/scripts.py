"""The Lua scripts: each is one atomic step in the slot of one partition, documented by KEYS, ARGV and what it returns.

Rules guarded: two writes that belong together are one script. What a worker writes is fenced: the script first compares
the lease with the caller's token, so a holder whose lease was taken over can neither delete nor park anything. Scripts
that workers need to drain a full Redis may run beyond maxmemory (`allow-oom`, Redis 7.0). PARK adds before it deletes,
so that a refused write leaves the entry where it was.
"""

from fanout.redis.script import Script

# How an entry gets its id, wherever one is added: add(stream, number, data). `number` is below 2^32 and hardly ever the
# same in two requests. The second half of an id starts at `number`, or is that much greater than the last one, instead
# of counting from 0. Otherwise a server that took over without the last writes, with its clock behind, would assign
# their ids again, and a worker that still holds one of those entries would delete another entry by its id. Beyond 2^52
# Lua could no longer count exactly.
_ADD = """
local fresh = false
local function add(stream, number, data)
  if fresh then return redis.call('XADD', stream, '*', 'e', data) end
  fresh = true
  local time = redis.call('TIME')
  local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
  local id = redis.pcall('XADD', stream, now .. '-' .. number, 'e', data)
  if type(id) ~= 'table' then return id end
  if not string.find(id.err, 'smaller', 1, true) then error(id) end
  local info, last = redis.call('XINFO', 'STREAM', stream), nil
  for k = 1, #info, 2 do
    if info[k] == 'last-generated-id' then last = info[k + 1] end
  end
  local head, count = string.match(last, '^(%d+)-(%d+)$')
  if tonumber(count) > 4503599627370496 then head, count = head + 1, 0 end
  id = string.format('%.0f-%.0f', head, count + number + 1)
  return redis.call('XADD', stream, id, 'e', data)
end
"""

# KEYS[1] the stream; KEYS[2..] the keys of the dedup ids, in the order of the entries that have one.
# ARGV[1] the maximum length of the stream, ARGV[2] the dedup window in milliseconds, ARGV[3] the number for `add`; then
# for each entry its bytes and its fingerprint ("" for an entry without a dedup id).
# Returns the length of the stream, then for each entry: the new stream id; "D" and the id of the duplicate; "C" for a
# conflict; or "F" when the stream is full.
# A duplicate writes too (the lifetime its key already has), so that a WAIT after it waits until the replicas have come
# this far, and with that to the entry stored before. A connection that wrote nothing would wait for nothing.
APPEND = Script(
    _ADD
    + """
local room = redis.call('XLEN', KEYS[1]) < tonumber(ARGV[1])
local answers, seen = {0}, 1
for i = 4, #ARGV, 2 do
  local fingerprint, known = ARGV[i + 1], false
  if fingerprint ~= '' then
    seen = seen + 1
    known = redis.call('GET', KEYS[seen])
  end
  if known then
    if string.sub(known, 1, #fingerprint) == fingerprint then
      answers[#answers + 1] = 'D' .. string.sub(known, #fingerprint + 1)
      redis.call('PEXPIRE', KEYS[seen], redis.call('PTTL', KEYS[seen]))
    else
      answers[#answers + 1] = 'C'
    end
  elseif not room then
    answers[#answers + 1] = 'F'
  else
    local id = add(KEYS[1], ARGV[3], ARGV[i])
    if fingerprint ~= '' then
      redis.call('SET', KEYS[seen], fingerprint .. id, 'PX', ARGV[2])
    end
    answers[#answers + 1] = id
  end
end
answers[1] = redis.call('XLEN', KEYS[1])
return answers
"""
)

# KEYS[1] the lease, KEYS[2] the stream. ARGV[1] the holder's token, ARGV[2..] stream ids.
# Returns how many were deleted, or -1 when the lease is not the caller's.
SETTLE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
return redis.call('XDEL', KEYS[2], unpack(ARGV, 2))
""")

# KEYS[1] the lease, KEYS[2] the stream. ARGV[1] the holder's token, ARGV[2] a stream id, ARGV[3] a time to live in
# milliseconds. Returns 1 when the entry is older than that by the clock of this server, which also assigned the id, and
# was deleted (or was gone already); 0 when it is not older; -1 when the lease is not the caller's.
EXPIRE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now - tonumber(string.match(ARGV[2], '^%d+')) <= tonumber(ARGV[3]) then return 0 end
redis.call('XDEL', KEYS[2], ARGV[2])
return 1
""")

# KEYS[1] the lease, KEYS[2] the stream, KEYS[3] the dead letters. ARGV[1] the holder's token, ARGV[2] the stream id,
# ARGV[3..] field, value, ... of the dead letter. Returns 1; 0 when the entry was gone
# already; -1 when the lease is not the caller's.
PARK = Script("""#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if #redis.call('XRANGE', KEYS[2], ARGV[2], ARGV[2]) == 0 then return 0 end
redis.call('XADD', KEYS[3], '*', unpack(ARGV, 3))
redis.call('XDEL', KEYS[2], ARGV[2])
return 1
""")

# KEYS[1] the stream, KEYS[2] the dead letters. ARGV[1] the dead letter's id, ARGV[2] the number for `add`.
# Returns the id of the new entry; nil when the letter is gone; "" when it holds no entry, and remains.
# A Redis that is out of memory refuses it like an append, and the letter remains.
REPLAY = Script(
    _ADD
    + """
local letter = redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1])[1]
if not letter then return false end
for k = 1, #letter[2], 2 do
  if letter[2][k] == 'entry' then
    local id = add(KEYS[1], ARGV[2], letter[2][k + 1])
    redis.call('XDEL', KEYS[2], ARGV[1])
    return id
  end
end
return ''
"""
)

# KEYS[1] the dead letters. ARGV[1] the id to begin after, ARGV[2] the end as XRANGE takes it, ARGV[3] the maximum
# number of letters, ARGV[4] the number of bytes after which no further letter is added. Returns the id of the newest
# letter ("" for none), then letters in the form of XRANGE: at least one where one exists, however large it is.
PEEK = Script("""#!lua flags=no-writes
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local answer, after, room = {last and last[1] or ''}, ARGV[1], tonumber(ARGV[4])
for _ = 1, tonumber(ARGV[3]) do
  local letter = redis.call('XRANGE', KEYS[1], '(' .. after, ARGV[2], 'COUNT', 1)[1]
  if not letter then break end
  answer[#answer + 1] = letter
  after = letter[1]
  for _, part in ipairs(letter[2]) do room = room - #part end
  if room <= 0 then break end
end
return answer
""")

# KEYS[1] the lease, KEYS[2] the fence. ARGV[1] the worker, ARGV[2] the lifetime in milliseconds.
# Returns the token of the new lease, or nil when the lease is held.
ACQUIRE = Script("""#!lua flags=allow-oom
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
local token = ARGV[1] .. ':' .. redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token, 'PX', ARGV[2])
return token
""")

# KEYS[1] the lease, KEYS[2] the stream. ARGV[1] the holder's token, ARGV[2] the lifetime in milliseconds.
# Returns nil when the lease is not the caller's, else the id of the oldest entry ("" for an empty stream).
RENEW = Script("""#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)
return oldest[1] and oldest[1][1] or ''
""")

# KEYS[1] the lease. ARGV[1] the holder's token. Returns 1 when released, 0 when it was not the caller's any more.
RELEASE = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")

# KEYS[1] the set of workers. ARGV[1] this worker, ARGV[2] the lifetime of its heartbeat in milliseconds (0 removes it).
# Returns the time of this server in milliseconds, then every live worker.
HEARTBEAT = Script("""#!lua flags=allow-oom
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if tonumber(ARGV[2]) > 0 then
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
local answer = redis.call('ZRANGE', KEYS[1], 0, -1)
table.insert(answer, 1, string.format('%.0f', now))
return answer
""")

# KEYS[1] the key of an Idempotency-Key. ARGV[1] the body's fingerprint, ARGV[2] the dedup window in milliseconds.
# Returns 1 when the key is new or was used with the same body, else 0.
CLAIM = Script("""
local known = redis.call('GET', KEYS[1])
if known and known ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")

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

# KEYS[1] the demand of all workers. ARGV[1] this worker, ARGV[2] for how many milliseconds its demand counts, ARGV[3]
# its demand. Returns name, "until:demand", name, ... of every worker whose demand still counts.
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
