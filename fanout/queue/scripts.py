"""The Lua functions: each is one atomic step in one partition's slot, documented by KEYS, ARGV and what it returns.

Rule guarded: two writes that belong together are one script. What a worker writes is fenced: the script first compares
the lease with the caller's token, so a holder whose lease was taken over can neither delete nor park anything.
Scripts that workers need in order to drain a full store are allowed past maxmemory (`allow-oom`, Redis 7.0). PARK adds
before it deletes, so that a refused write leaves the entry where it was.

The layout they keep is described in `stream`: a stream for each flow, the set of flows, bodies with a count of the
entries that need them, and the number of bytes that wait, each entry with 64 more for what Redis keeps around it
(`entry.weight_of`).
"""

from fanout.queue.remembered import REMEMBERING
from fanout.queue.whole_slot import REFUSE_MOVE
from fanout.redis.client import Script

# How an entry gets its id, wherever one is added: add(stream, data). `number` is below 2^32 and one that other requests
# will hardly have. The second half of an id starts at it, or is that much greater than the last one, instead of
# counting from 0: a server that took over without the last writes, its clock behind, would give out their ids again,
# and a worker that still holds one of those entries would delete another one with its id. The next ones of the request
# count on in the millisecond of the first, because a Redis before 7.2 does not stop its clock while a script runs and
# would begin a new millisecond at 0. Past 2^52 Lua could not count it any more. A stream that is new may be one that
# PRUNE deleted. It begins no earlier than the ids of `wake`, what wakes the reader, which are past those of all that
# were deleted: so even then no id comes again, and none is below one that was read.
_ADD = """
local function adder(number, wake)
  local first = {}
  return function(stream, data)
    if first[stream] then return redis.call('XADD', stream, first[stream] .. '-*', 'e', data) end
    local time = redis.call('TIME')
    local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
    local id = redis.pcall('XADD', stream, 'NOMKSTREAM', now .. '-' .. number, 'e', data)
    if not id then
      local woken = redis.call('XREVRANGE', wake, '+', '-', 'COUNT', 1)[1]
      local least = woken and string.match(woken[1], '^%d+') or now
      if tonumber(least) > tonumber(now) then now = least end
      id = redis.call('XADD', stream, now .. '-' .. number, 'e', data)
    end
    if type(id) ~= 'table' then
      first[stream] = now
      return id
    end
    if not string.find(id.err, 'smaller', 1, true) then error(id) end
    local info, last = redis.call('XINFO', 'STREAM', stream), nil
    for k = 1, #info, 2 do
      if info[k] == 'last-generated-id' then last = info[k + 1] end
    end
    local head, count = string.match(last, '^(%d+)-(%d+)$')
    if tonumber(count) > 4503599627370496 then head, count = head + 1, 0 end
    first[stream] = string.format('%.0f', head)
    return redis.call('XADD', stream, string.format('%s-%.0f', first[stream], count + number + 1), 'e', data)
  end
end
"""

# How an entry lets go of a body that stands beside the stream: release(body, holder, count). A body counts the entries
# that need it, those that wait ("n") and those that are dead ("d"); `holder` is one of the two. Returns the bytes that
# these no longer take, which is none before the last of them. The body goes with the last of both.
_RELEASE_BODY = """
local function release(body, holder, count)
  if redis.call('HINCRBY', body, holder, -count) > 0 then return 0 end
  local size = redis.call('HSTRLEN', body, 'b')
  redis.call('HDEL', body, holder)
  if redis.call('HLEN', body) <= 1 then redis.call('DEL', body) end
  return size
end
"""

# KEYS[1] the set of flows, KEYS[2] what wakes the reader, KEYS[3] the bytes that wait, KEYS[4] the name that those of
# remembered ids begin with; then the streams, then the bodies that are stored beside.
# ARGV[1] the most bytes that may wait, ARGV[2] the dedup window in milliseconds, ARGV[3] the number for `add`, ARGV[4]
# how many streams there are; then groups, each for one stream:
#   stream, 0, count, then for each entry its bytes and its guard; or
#   stream, body, count, the body's bytes, the guard of the whole group, then for each entry its bytes.
# `stream` counts from 1 among the streams, `body` among all KEYS. A guard is the id that is remembered, 12 bytes, and
# the fingerprint of what it stands for, 8 bytes; or "".
# Returns the bytes that wait, then for each entry: its id; "D" and an id stored before; "C" (conflict); "F" (full).
# A duplicate writes too (the lifetime it has), so that a WAIT behind it waits for replicas to have come up to here, and
# with that to the entry stored before, instead of seeing a connection that wrote nothing.
APPEND = Script(
    _ADD
    + REMEMBERING
    + REFUSE_MOVE
    + """
refuse_move(KEYS[4])
local room = tonumber(redis.call('GET', KEYS[3]) or 0) < tonumber(ARGV[1])
local add, answers, at = adder(ARGV[3], KEYS[2]), {0}, 5
local count, size = 0, 0
local find, keep, now
local function admit(guard)
  if guard == '' then return not room and 'F' end
  if not find then find, keep, now = remembering(KEYS[4], tonumber(ARGV[2])) end
  local known, key, since = find(string.sub(guard, 1, 12))
  if not known then return not room and 'F' end
  if string.sub(known, 1, 8) ~= string.sub(guard, 13) then return 'C' end
  redis.call('PEXPIRE', key, redis.call('PTTL', key))
  return 'D' .. unpacked(string.sub(known, 9), since)
end
local function remember(guard, id)
  if guard ~= '' then keep(string.sub(guard, 1, 12), string.sub(guard, 13) .. packed(id, now)) end
end
while at <= #ARGV do
  local stream, body, n, before = KEYS[4 + ARGV[at]], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), count
  at = at + 3
  if body == 0 then
    for k = at, at + 2 * n - 2, 2 do
      local answer = admit(ARGV[k + 1])
      if not answer then
        answer = add(stream, ARGV[k])
        count, size = count + 1, size + #ARGV[k] + 64
        remember(ARGV[k + 1], answer)
      end
      answers[#answers + 1] = answer
    end
    at = at + 2 * n
  else
    local answer = admit(ARGV[at + 1])
    for k = at + 2, at + 1 + n do
      answers[#answers + 1] = answer or add(stream, ARGV[k])
      if not answer then size = size + #ARGV[k] + 64 end
    end
    if not answer then
      count = count + n
      if redis.call('HINCRBY', KEYS[body], 'n', n) == n then
        redis.call('HSET', KEYS[body], 'b', ARGV[at])
        size = size + #ARGV[at]
      end
      remember(ARGV[at + 1], answers[#answers])
    end
    at = at + 2 + n
  end
  if count > before and redis.call('SADD', KEYS[1], stream) == 1 then
    redis.call('XADD', KEYS[2], 'MAXLEN', 1, '*', 'f', stream)
  end
end
if count > 0 then answers[1] = redis.call('INCRBY', KEYS[3], size) end
return answers
"""
)

# KEYS[1] the lease, KEYS[2] the bytes that wait; then the streams, then the bodies. ARGV[1] the holder's token; then
# groups: stream (counts from 1 among the streams), body (among all KEYS, 0 for none), the bytes of these entries, their
# count, then ids. Returns how many were deleted, or -1 when the lease is not the caller's.
# Of a group that was settled in part before, the bytes are taken as a share: which of its entries were there is not
# known any more. PRUNE sets the number right whenever nothing waits.
SETTLE = Script(
    _RELEASE_BODY
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local at, total, size = 2, 0, 0
while at <= #ARGV do
  local body, bytes, n = tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3])
  local gone = redis.call('XDEL', KEYS[2 + ARGV[at]], unpack(ARGV, at + 4, at + 3 + n))
  if gone > 0 then
    size = size + math.floor(bytes * gone / n)
    if body > 0 then size = size + release(KEYS[body], 'n', gone) end
    total = total + gone
  end
  at = at + 4 + n
end
if total > 0 then redis.call('DECRBY', KEYS[2], size) end
return total
"""
)

# KEYS[1] the lease, KEYS[2] the bytes that wait, KEYS[3] the stream, KEYS[4] the body if it stands beside the stream.
# ARGV[1] the holder's token, ARGV[2] a stream id, ARGV[3] a time to live in milliseconds, ARGV[4] the bytes of the
# entry. Returns 1 when the entry is older than that by this clock, which also wrote the id, and was deleted (or was
# gone already); 0 when it is not; -1 when fenced.
EXPIRE = Script(
    _RELEASE_BODY
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now - tonumber(string.match(ARGV[2], '^%d+')) <= tonumber(ARGV[3]) then return 0 end
if redis.call('XDEL', KEYS[3], ARGV[2]) == 1 then
  local size = tonumber(ARGV[4])
  if KEYS[4] then size = size + release(KEYS[4], 'n', 1) end
  redis.call('DECRBY', KEYS[2], size)
end
return 1
"""
)

# How dead letters go. delete(letters, size, letter) deletes one of them, and with the last that needs it its body;
# returns the bytes that it took, of which `size` is the key. shed(letters, size, most, limit) has the oldest make room:
# it deletes at most `limit` of them while the bytes are more than `most`. Returns how many it deleted.
SHED = (
    _RELEASE_BODY
    + """
local function weigh(fields)
  local size, body = 0, nil
  for k = 1, #fields, 2 do
    size = size + #fields[k + 1]
    if fields[k] == 'body' then body = fields[k + 1] end
  end
  return size, body
end
local function delete(letters, size, letter)
  local bytes, body = weigh(letter[2])
  if body then bytes = bytes + release(body, 'd', 1) end
  redis.call('XDEL', letters, letter[1])
  redis.call('DECRBY', size, bytes)
  return bytes
end
local function shed(letters, size, most, limit)
  local count = 0
  while count < limit and tonumber(redis.call('GET', size) or 0) > most do
    local letter = redis.call('XRANGE', letters, '-', '+', 'COUNT', 1)[1]
    if not letter then break end
    delete(letters, size, letter)
    count = count + 1
  end
  return count
end
"""
)

# KEYS[1] the lease, KEYS[2] the bytes that wait, KEYS[3] the stream, KEYS[4] the dead letters, KEYS[5] their bytes,
# KEYS[6] the body if it stands beside the stream. ARGV[1] the holder's token, ARGV[2] the stream id, ARGV[3] the bytes
# of the entry, ARGV[4] the most bytes of dead letters, ARGV[5..] field, value, ... of the dead letter.
# Returns 0 when the entry was gone already, -1 when fenced, else 1 and how many of the oldest letters made room for it.
PARK = Script(
    "#!lua flags=allow-oom"
    + SHED
    + REFUSE_MOVE
    + """
refuse_move(KEYS[1])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
if #redis.call('XRANGE', KEYS[3], ARGV[2], ARGV[2]) == 0 then return 0 end
redis.call('XADD', KEYS[4], '*', unpack(ARGV, 5))
redis.call('XDEL', KEYS[3], ARGV[2])
local fields, freed = {}, tonumber(ARGV[3])
for k = 5, #ARGV do fields[#fields + 1] = ARGV[k] end
local size = weigh(fields)
if KEYS[6] then
  if redis.call('HINCRBY', KEYS[6], 'd', 1) == 1 then size = size + redis.call('HSTRLEN', KEYS[6], 'b') end
  freed = freed + release(KEYS[6], 'n', 1)
end
redis.call('DECRBY', KEYS[2], freed)
redis.call('INCRBY', KEYS[5], size)
return 1 + shed(KEYS[4], KEYS[5], tonumber(ARGV[4]), 100)
"""
)

# KEYS[1] the set of flows, KEYS[2] what wakes the reader, KEYS[3] the bytes that wait, KEYS[4] the dead letters,
# KEYS[5] their bytes. ARGV[1] the dead letter's id, ARGV[2] the number for `add`. The letter names its stream ("flow")
# and its body, keys of this slot. Returns the id of the new entry; nil when the letter is gone; "" when it holds no
# entry, and remains. A Redis that is out of memory refuses it like an append, and the letter remains.
REPLAY = Script(
    _ADD
    + SHED
    + REFUSE_MOVE
    + """
refuse_move(KEYS[1])
local letter = redis.call('XRANGE', KEYS[4], ARGV[1], ARGV[1])[1]
if not letter then return false end
local fields = {}
for k = 1, #letter[2], 2 do fields[letter[2][k]] = letter[2][k + 1] end
if not fields.entry or not fields.flow then return '' end
local id, size = adder(ARGV[2], KEYS[2])(fields.flow, fields.entry), #fields.entry + 64
if fields.body and redis.call('HINCRBY', fields.body, 'n', 1) == 1 then
  size = size + redis.call('HSTRLEN', fields.body, 'b')
end
delete(KEYS[4], KEYS[5], letter)
redis.call('INCRBY', KEYS[3], size)
if redis.call('SADD', KEYS[1], fields.flow) == 1 then
  redis.call('XADD', KEYS[2], 'MAXLEN', 1, '*', 'f', fields.flow)
end
return id
"""
)

# KEYS[1] the dead letters, KEYS[2] their bytes. ARGV[1..] ids. Returns how many were there.
DELETE = Script(
    "#!lua flags=allow-oom"
    + SHED
    + REFUSE_MOVE
    + """
refuse_move(KEYS[1])
local count = 0
for k = 1, #ARGV do
  local letter = redis.call('XRANGE', KEYS[1], ARGV[k], ARGV[k])[1]
  if letter then
    delete(KEYS[1], KEYS[2], letter)
    count = count + 1
  end
end
return count
"""
)

# KEYS[1] the dead letters. ARGV[1] the id to begin after, ARGV[2] the end as XRANGE takes it, ARGV[3] the most letters,
# ARGV[4] how many bytes are enough. Returns the id of the last letter kept ("" for none), then letters as XRANGE gives
# them: at least one where there is one, and no more than one past the bytes, because a letter may hold a megabyte.
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

# KEYS streams. ARGV for each stream how many ids follow, then these. Returns for each id the entry's bytes, or nil when
# it is gone.
FETCH = Script("""#!lua flags=no-writes
local answer, at = {}, 1
for _, stream in ipairs(KEYS) do
  local n = tonumber(ARGV[at])
  for k = at + 1, at + n do
    local row = redis.call('XRANGE', stream, ARGV[k], ARGV[k])[1]
    answer[#answer + 1] = row and row[2][2] or false
  end
  at = at + 1 + n
end
return answer
""")

# KEYS[1] the set of flows, KEYS[2] the dead letters, KEYS[3] the bytes that wait, KEYS[4] the bytes of dead letters,
# KEYS[5] the lease. The streams are named by the set; they are keys of this slot. Returns entries that wait, dead
# letters, both in bytes, 1 when the partition has an owner and else 0, the id of the oldest dead letter ("" for none),
# then of each flow its stream, its length and the id of its oldest entry ("" for none).
MEASURE = Script(
    "#!lua flags=no-writes"
    + REFUSE_MOVE
    + """
refuse_move(KEYS[1])
local letter = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local answer = {0, redis.call('XLEN', KEYS[2]), tonumber(redis.call('GET', KEYS[3]) or 0),
                tonumber(redis.call('GET', KEYS[4]) or 0), redis.call('EXISTS', KEYS[5]), letter and letter[1] or ''}
for _, stream in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local length = redis.call('XLEN', stream)
  local oldest = length > 0 and redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1][1] or ''
  answer[1] = answer[1] + length
  answer[#answer + 1] = stream
  answer[#answer + 1] = length
  answer[#answer + 1] = oldest
end
return answer
"""
)

# KEYS[1] what wakes the reader. A script, because a worker has to read on in a Redis that is out of memory.
WAKE = Script("""#!lua flags=allow-oom
return redis.call('XADD', KEYS[1], 'MAXLEN', 1, '*', 'f', '')
""")

# KEYS[1] the lease, KEYS[2] the set of flows, KEYS[3] what wakes the reader, KEYS[4] the bytes that wait; then streams.
# ARGV[1] the holder's token, ARGV[2] how long in milliseconds a flow must have been idle, ARGV[3] the most flows that
# are looked at for the bytes. Deletes those of the streams that are empty and were so for that long, and takes what
# wakes the reader past their ids (see `add`). Sets the bytes that wait to none when no stream holds anything. Returns
# the streams that were deleted, or -1 when fenced.
PRUNE = Script(
    "#!lua flags=allow-oom"
    + REFUSE_MOVE
    + """
refuse_move(KEYS[1])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
local time = redis.call('TIME')
local now, latest, pruned = time[1] * 1000 + math.floor(time[2] / 1000), 0, {}
for k = 5, #KEYS do
  if redis.call('XLEN', KEYS[k]) == 0 then
    local last = 0
    if redis.call('EXISTS', KEYS[k]) == 1 then
      local info = redis.call('XINFO', 'STREAM', KEYS[k])
      for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' then last = tonumber(string.match(info[i + 1], '^%d+')) end
      end
    end
    if now - last > tonumber(ARGV[2]) then
      redis.call('DEL', KEYS[k])
      redis.call('SREM', KEYS[2], KEYS[k])
      pruned[#pruned + 1] = KEYS[k]
      latest = math.max(latest, last)
    end
  end
end
if latest > 0 then  -- an error says that it is past them already
  redis.pcall('XADD', KEYS[3], 'MAXLEN', 1, string.format('%.0f-0', latest + 1), 'f', '')
end
if redis.call('SCARD', KEYS[2]) > tonumber(ARGV[3]) then return pruned end
for _, stream in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  if redis.call('XLEN', stream) > 0 then return pruned end
end
redis.call('DEL', KEYS[4])
return pruned
"""
)
