"""What callers may still send, shared by all ingresses of a namespace: a bucket in Redis for each caller with a limit.

Rule guarded: requests and bytes are taken in one step, both or neither. Time is that of Redis. A bucket fills up evenly
to the amount of its quota, and goes when it is full. What is larger than a quota is let through when its bucket is
full, and paid off afterwards.
"""

from dataclasses import dataclass

from fanout.queue.keys import KEYS, Keys
from fanout.quota import Limits, Quota
from fanout.redis.client import Argument, RedisClient, Script

# KEYS[1] the bucket. ARGV, first of the requests and then of the bytes: the quota (0 for none), its window in
# milliseconds, what is needed, and what may be taken besides. Returns whether it was granted, then of each how much was
# taken and how much is left, and the milliseconds until what is needed may be there.
TAKE = Script("""
local function whole(number) return string.format('%.0f', math.floor(number)) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local passed = now - (tonumber(redis.call('HGET', KEYS[1], 'at')) or now)
if passed < 0 then passed = 0 end
local names, left, taken, wait, granted = {'n', 'b'}, {0, 0}, {0, 0}, 0, 1
for k = 1, 2 do
  local quota, window = tonumber(ARGV[4 * k - 3]), tonumber(ARGV[4 * k - 2])
  local need, more = tonumber(ARGV[4 * k - 1]), tonumber(ARGV[4 * k])
  if quota > 0 then
    local kept = tonumber(redis.call('HGET', KEYS[1], names[k])) or quota
    left[k] = math.min(quota, kept + passed * quota / window)
    local enough = math.min(need, quota)
    if need > 0 and left[k] < enough then
      granted = 0
      wait = math.max(wait, (enough - left[k]) * window / quota)
    else
      taken[k] = need + math.max(0, math.min(more, left[k] - need))
    end
  end
end
if granted == 0 then
  return {0, 0, 0, whole(left[1]), whole(left[2]), math.ceil(wait)}
end
local full = 0
redis.call('HSET', KEYS[1], 'at', string.format('%.0f', now))
for k = 1, 2 do
  local quota, window = tonumber(ARGV[4 * k - 3]), tonumber(ARGV[4 * k - 2])
  if quota > 0 then
    left[k] = left[k] - taken[k]
    redis.call('HSET', KEYS[1], names[k], string.format('%.3f', left[k]))
    full = math.max(full, (quota - left[k]) * window / quota)
  end
end
redis.call('PEXPIRE', KEYS[1], math.ceil(full) + 1000)
return {1, string.format('%.3f', taken[1]), string.format('%.3f', taken[2]),
  whole(left[1]), whole(left[2]), 0}
""")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is needed, and what may be taken besides so that the next requests need not ask."""

    need: float
    more: float = 0.0


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken and what is left; nothing was where it has to be waited for, `wait` seconds."""

    requests: float
    size: float
    requests_left: int
    size_left: int
    wait: float


class Allowances:
    """The buckets of one namespace. Each call raises QueueError when Redis does not answer."""

    def __init__(self, redis_client: RedisClient, keys: Keys = KEYS) -> None:
        self._redis = redis_client
        self._keys = keys

    async def take(self, caller: str, limits: Limits, requests: Wanted, size: Wanted) -> Taken:
        """Take what is needed from the bucket of a caller, or nothing."""
        arguments = [*_arguments(limits.requests, requests), *_arguments(limits.size, size)]
        key = self._keys.allowance(f"{caller}\n{limits.text}")
        granted, *taken, requests_left, size_left, wait = await self._redis.run(TAKE, [key], arguments)
        first, second = map(float, taken)
        waits = wait / 1000 if not granted else 0.0
        return Taken(first, second, int(requests_left), int(size_left), waits)


def _arguments(quota: Quota | None, wanted: Wanted) -> list[Argument]:
    return [0, 1, 0, 0] if quota is None else [quota.amount, quota.window * 1000, wanted.need, wanted.more]
