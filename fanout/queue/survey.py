"""A look at the whole queue for those who operate it: what waits in each flow, and which worker owns which partition.

Rules guarded: a survey changes nothing and takes nobody's place. It asks for a bounded number of partitions at a time,
and of each partition for a bounded number of flows one by one, those with the most first. The others are counted
together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fanout.clock import Clock
from fanout.queue.keys import KEYS, Keys, flow_of_stream
from fanout.queue.sharing import live_workers_of
from fanout.queue.whole_slot import REFUSE_MOVE
from fanout.redis.client import Call, RedisClient, Script, reply_or_raise

_MAX_FLOWS = 5000  # that are told apart in one survey
_AT_A_TIME = 64  # partitions that are asked about in one round trip
_HEAD = 6  # members of a reply before its flows
_ROW = 4  # members of a reply for each flow

# KEYS[1] the set of flows, KEYS[2] the dead letters, KEYS[3] the bytes that wait, KEYS[4] the bytes of dead letters,
# KEYS[5] the lease. ARGV[1] how many flows are told apart. The streams are named by the set; they are keys of this
# slot. Returns the token of the lease ("" for none), dead letters, the bytes that wait, the bytes of dead letters, how
# many flows are not told apart and what waits in these, then of each other flow its stream, its length, the unix
# millisecond of its oldest entry (0 for none) and how many entries were ever added to it.
SURVEY = Script(
    "#!lua flags=no-writes"
    + REFUSE_MOVE
    + """
refuse_move(KEYS[1])
local answer = {redis.call('GET', KEYS[5]) or '', redis.call('XLEN', KEYS[2]),
                tonumber(redis.call('GET', KEYS[3]) or 0), tonumber(redis.call('GET', KEYS[4]) or 0), 0, 0}
local streams, most, lengths = redis.call('SMEMBERS', KEYS[1]), tonumber(ARGV[1]), {}
if #streams > most then
  for _, stream in ipairs(streams) do lengths[stream] = redis.call('XLEN', stream) end
  table.sort(streams, function(one, other) return lengths[one] > lengths[other] end)
end
for k, stream in ipairs(streams) do
  if k > most then
    answer[5] = answer[5] + 1
    answer[6] = answer[6] + lengths[stream]
  elseif redis.call('EXISTS', stream) == 1 then
    local info, length, oldest, added = redis.call('XINFO', 'STREAM', stream), 0, 0, 0
    for i = 1, #info, 2 do
      if info[i] == 'length' then length = info[i + 1] end
      if info[i] == 'entries-added' then added = info[i + 1] end
      if info[i] == 'first-entry' and info[i + 1] then oldest = tonumber(string.match(info[i + 1][1], '^%d+')) end
    end
    for _, value in ipairs({stream, length, oldest, added}) do answer[#answer + 1] = value end
  end
end
return answer
"""
)


@dataclass(frozen=True, slots=True)
class FlowState:
    """One flow of one partition: what waits, when the oldest was stored (0 for none), and how many ever were."""

    entries: int
    oldest: float
    added: int


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition. `owner` is the name of a worker, "" for none; `left_out` flows are not among `flows`."""

    owner: str
    dead_letters: int
    size: int
    dead_size: int
    flows: Mapping[str, FlowState]
    left_out: int = 0
    left_out_entries: int = 0

    @property
    def entries(self) -> int:
        """How much waits in all flows."""
        return self.left_out_entries + sum(flow.entries for flow in self.flows.values())


@dataclass(frozen=True, slots=True)
class Survey:
    """The queue at one moment: `at` is unix time and `latency` seconds, both of Redis."""

    at: float
    latency: float
    partitions: Sequence[PartitionState]
    workers: Sequence[str]
    endpoints: Sequence[str]


class Surveyor:
    """Looks at the queue of one namespace."""

    def __init__(self, redis_client: RedisClient, clock: Clock, keys: Keys = KEYS, *, partitions: int) -> None:
        self._redis = redis_client
        self._clock = clock
        self._keys = keys
        self._partitions = partitions

    async def look(self) -> Survey:
        """Return how the queue is now; QueueError when Redis does not answer."""
        began = self._clock.monotonic()
        time = await self._redis.ask("TIME")
        latency = self._clock.monotonic() - began
        now = int(time[0]) + int(time[1]) / 1e6
        replies = await self._redis.call(
            ("ZRANGE", self._keys.workers, int(now * 1000), "+inf", "BYSCORE"), ("SMEMBERS", self._keys.endpoints)
        )
        workers, endpoints = map(reply_or_raise, replies)
        return Survey(
            now,
            latency,
            await self._states(),
            sorted(live_workers_of([b"0", *workers]).workers),
            sorted(name.decode(errors="replace") for name in endpoints),
        )

    async def _states(self) -> list[PartitionState]:
        states: list[PartitionState] = []
        most = max(1, _MAX_FLOWS // self._partitions)
        for start in range(0, self._partitions, _AT_A_TIME):
            numbers = range(start, min(start + _AT_A_TIME, self._partitions))
            calls: list[Call] = [(SURVEY, self._keys.measured(number), [most]) for number in numbers]
            states += [_state_of(reply_or_raise(reply)) for reply in await self._redis.run_all(calls)]
        return states


def _state_of(row: Sequence[Any]) -> PartitionState:
    token, dead_letters, size, dead_size, left_out, left_out_entries = row[:_HEAD]
    flows = {
        flow_of_stream(row[k]): FlowState(row[k + 1], row[k + 2] / 1000, row[k + 3])
        for k in range(_HEAD, len(row), _ROW)
    }
    owner = token.decode(errors="replace").rpartition(":")[0]
    return PartitionState(owner, dead_letters, size, dead_size, flows, left_out, left_out_entries)
