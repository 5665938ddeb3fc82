"""How ids are remembered, so that a repeat is recognised: what stands for an id, and where the scripts keep it.

Rules guarded: an id takes few bytes in Redis, whatever it was made of, and is remembered for one window from when it
was kept. Looking for one and keeping it is part of the script that stores the entry, in the slot of its partition.

Why hashes: a key with a lifetime takes 150 bytes and more for each id. Hashes of at most 48 fields keep the compact
form under every server's default, and none takes long to expire. A hash belongs to a span of time that is one window
long, and expires as a whole one window after it. So an id stands in the span that runs, in the one before, or in the
next one when a server took over whose clock is behind.
"""

from hashlib import blake2b

_MARK = 12  # bytes: few, because there are many, and enough to be the only one of its kind
_FINGERPRINT = 8

# remembering(base, window) returns two functions and the time; the window is in milliseconds and ids have 12 bytes.
# find(id) returns what is kept with an id, the key of its hash and since when it is kept, or nothing when the id is new
# or older than the window. keep(id, value), right after find(id), keeps it from now on.
# `base` begins the names of the hashes, and is a hash itself: among how many hashes the ids of each of the three spans
# are divided, and about how many ids the latest has ("n", by a sample), from which the next one begins. Where a hash is
# full nevertheless, its ids go on in one of 3 times as many: with more, most of those would be nearly empty.
# packed(id, now) and unpacked(bytes, since) are the id of an entry as it is remembered: 5 bytes when it was made within
# 255 ms of the time that is kept anyway and its second half is below 2^32, as nearly always, else 13.
REMEMBERING = """
local function packed(id, now)
  local time, number = string.match(id, '^(%d+)-(%d+)$')
  local later = time - now
  if later < 0 or later > 255 or tonumber(number) >= 4294967296 then return struct.pack('>I6I7', time, number) end
  return struct.pack('>BI4', later, number)
end
local function unpacked(bytes, since)
  if #bytes > 5 then return string.format('%.0f-%.0f', struct.unpack('>I6I7', bytes)) end
  local later, number = struct.unpack('>BI4', bytes)
  return string.format('%.0f-%.0f', since + later, number)
end
local function remembering(base, window)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local span = math.floor(now / window)
  local known = redis.call('HMGET', base, span, span - 1, span + 1, 'n')
  local width, place, fresh = tonumber(known[1]), '', false
  if not width then
    width = 16
    while width < 16384 and width * 32 < tonumber(known[4] or 0) do width = width * 2 end
  end
  local function look(prefix, width, id)
    local a, b, c = string.byte(id, 1, 3)
    local hash, first = a + b * 256 + c * 65536, 0
    while true do
      local key = prefix .. (first + hash % width)
      local held = redis.call('HLEN', key)
      local value = held > 0 and redis.call('HGET', key, id)
      if value or held < 48 or width > 500000 then return value, key, held == 0 end
      first, width = first + width, width * 3
    end
  end
  local spans = {{span, width}, {span - 1, tonumber(known[2])}, {span + 1, tonumber(known[3])}}
  for k = 1, 3 do spans[k][3] = base .. ':' .. spans[k][1] .. ':' end
  local function find(id)
    for k = 1, 3 do
      local start, width, prefix = unpack(spans[k])
      if width then
        local value, key, empty = look(prefix, width, id)
        if k == 1 then place, fresh = key, empty end
        local since = value and start * window + struct.unpack('>I5', value)
        if value and now - since < window then return string.sub(value, 6), key, since end
      end
    end
  end
  local function keep(id, value)
    if not known[1] then
      redis.call('DEL', base)
      for k = 1, 3 do
        if spans[k][2] then redis.call('HSET', base, spans[k][1], spans[k][2]) end
      end
      redis.call('PEXPIRE', base, 3 * window)
      known[1] = width
    end
    redis.call('HSET', place, id, struct.pack('>I5', now - span * window) .. value)
    if fresh then redis.call('PEXPIRE', place, (span + 2) * window - now) end
    if string.byte(id, 4) < 16 then redis.call('HINCRBY', base, 'n', 16) end
  end
  return find, keep, now
end
"""


def dedup_mark(hub: str, dedup_id: str, place: str) -> bytes:
    """Return what one dedup id is remembered by. The same id for another destination has another mark."""
    return blake2b(f"{hub}\0{dedup_id}\0{place}".encode(), digest_size=_MARK).digest()


def idempotency_mark(hub: str, key: str) -> bytes:
    """Return what an Idempotency-Key is remembered by. No hub has an empty name, so it is never that of a dedup id."""
    return dedup_mark("", hub, key)


def guard_of(mark: bytes, fingerprint: bytes) -> bytes:
    """Return what an entry is stored with: its mark, and enough of its fingerprint to tell another content."""
    return mark + short(fingerprint)


def short(fingerprint: bytes) -> bytes:
    """Return the 8 bytes of a fingerprint that are remembered."""
    return fingerprint[:_FINGERPRINT].ljust(_FINGERPRINT, b"\0")
