"""What is written for each message: counters, histograms, and a log line for each delivery. Gauges are read instead.

Rules guarded: whatever is counted per message stays on the hot path as an addition and no more. The instruments of the
client library take a lock for every increment. Here only one event loop writes, so plain numbers are enough, and the
client library still renders them. A value that is not known is not exported, so that no old value looks like a new one.

The log is cheap enough to stay on at full load: up to a fixed number of lines per second every delivery has its own
line. Above it the log is a sample, and each sampled line says how many deliveries it stands for (`sampled`). Anything
that did not go well is always written. The fields are ids and words of this service and hold no secrets, so they skip
the masking of log.py. Lines of one turn of the event loop are written together.
"""

import asyncio
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any, Literal

import orjson
from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily, Metric

from fanout.clock import Clock

_UNSAMPLED_PER_SECOND = 500
_SAMPLE_INTERVAL = 100  # above that rate one line in this many is written
Kind = Literal["counter", "gauge", "histogram"]
Reading = float | Mapping[str, float] | None
Bucket = tuple[str, float] | tuple[str, float, Exemplar]


# Metrics -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric. `labels` have all their values, or none where these are no closed set.

    `name` is that of the client library, without the `_total` of counters.
    """

    section: str
    kind: Kind
    name: str
    text: str
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def exported_name(self) -> str:
        """The name as Prometheus shows it."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    @property
    def label_names(self) -> list[str]:
        """The names of the labels."""
        return [name for name, _values in self.labels]


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add `amount`."""
        self.value += amount


class Histogram:
    """Observations counted by upper bound, and their sum. A bucket may have an example: the last one with a trace."""

    __slots__ = ("bounds", "counts", "examples", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.examples: dict[int, Exemplar] = {}
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def keep_example(self, value: float, trace: str, at: float) -> None:
        """Show this trace beside the bucket of a value that was observed; `at` is in unix seconds."""
        self.examples[bisect_left(self.bounds, value)] = Exemplar({"trace_id": trace}, value, at)

    def buckets(self) -> list[Bucket]:
        """Return the cumulative counts by upper bound, in the form Prometheus expects."""
        total, rows = 0, list[Bucket]()
        for place, (bound, count) in enumerate(zip((*self.bounds, float("inf")), self.counts, strict=True)):
            total += count
            row = ("+Inf" if bound == float("inf") else str(float(bound)), float(total))
            rows.append((*row, self.examples[place]) if place in self.examples else row)
        return rows


class Counters:
    """Counters and histograms of one section, as a collector of the client library."""

    def __init__(self, section: str) -> None:
        self._section = section
        self._counters: list[tuple[Definition, dict[str, Counter]]] = []
        self._histograms: list[tuple[Definition, dict[tuple[str, ...], Histogram]]] = []

    @property
    def definitions(self) -> list[Definition]:
        """Every metric of this section."""
        return [row[0] for row in self._counters] + [row[0] for row in self._histograms]

    def counter(self, name: str, text: str) -> Counter:
        """Add a counter without labels."""
        counter = Counter()
        self._counters.append((Definition(self._section, "counter", name, text), {"": counter}))
        return counter

    def counters(self, name: str, text: str, label: str, values: Sequence[str]) -> dict[str, Counter]:
        """Add a counter with one label and return its children by value; each exists from the start."""
        counters = {value: Counter() for value in values}
        self._counters.append((Definition(self._section, "counter", name, text, ((label, tuple(values)),)), counters))
        return counters

    def histogram(self, name: str, text: str, bounds: Sequence[float]) -> Histogram:
        """Add a histogram without labels."""
        return self.histograms(name, text, bounds)[()]

    def histograms(
        self, name: str, text: str, bounds: Sequence[float], **labels: Sequence[str]
    ) -> dict[tuple[str, ...], Histogram]:
        """Add a histogram with labels and return its children by their values; each exists from the start."""
        closed = tuple((label, tuple(values)) for label, values in labels.items())
        children = {key: Histogram(bounds) for key in product(*(values for _label, values in closed))}
        self._histograms.append((Definition(self._section, "histogram", name, text, closed), children))
        return children

    def collect(self) -> Iterator[Metric]:
        """Yield all of them; the registry calls this at each scrape."""
        for definition, counters in self._counters:
            family = CounterMetricFamily(definition.name, definition.text, labels=definition.label_names)
            for value, counter in counters.items():
                family.add_metric([value] if definition.labels else [], counter.value)
            yield family
        for definition, children in self._histograms:
            histogram = HistogramMetricFamily(definition.name, definition.text, labels=definition.label_names)
            for key, child in children.items():
                histogram.add_metric(key, child.buckets(), child.total)
            yield histogram


class Gauges:
    """Values kept elsewhere and read at each scrape, as a collector of the client library.

    A reading is a number, a number for each value of the metric's one label, or None when it is not known. Metrics that
    nobody watches in this process, and readings that are not known, are not exported.
    """

    def __init__(self, definitions: Sequence[Definition]) -> None:
        self.definitions = list(definitions)
        self._by_name = {definition.name.removeprefix("fanout_"): definition for definition in definitions}
        self._sources: dict[str, Callable[[], Reading]] = {}

    def watch(self, **sources: Callable[[], Reading]) -> None:
        """Read these metrics, named without their prefix, from these functions; ValueError for an unknown name."""
        unknown = sources.keys() - self._by_name.keys()
        if unknown:
            raise ValueError(f"no such gauges: {sorted(unknown)}")
        self._sources.update(sources)

    def collect(self) -> Iterator[Metric]:
        """Yield what is known; the registry calls this at each scrape."""
        for name, definition in self._by_name.items():
            source = self._sources.get(name)
            reading = None if source is None else source()
            if reading is not None:
                yield _family(definition, reading)


def _family(definition: Definition, reading: float | Mapping[str, float]) -> Metric:
    kind = CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily
    family = kind(definition.name, definition.text, labels=definition.label_names)
    values = reading if isinstance(reading, Mapping) else {"": reading}
    for value, number in values.items():
        family.add_metric([value] if definition.labels else [], number)
    return family


# The log of deliveries ------------------------------------------------------------------------------------------------


def open_delivery_log(event: str, clock: Clock, *, level: str, style: str) -> "DeliveryLog | None":
    """Return the log for lines of `event`, or None when logs are written for people instead of machines."""
    if style != "json":
        return None
    return DeliveryLog(event, clock, _write if level in {"debug", "info"} else None)


def _write(lines: bytes) -> None:
    sys.stderr.buffer.write(lines)
    sys.stderr.buffer.flush()


class DeliveryLog:
    """Lines of one event, and of others beside it. `output` receives the bytes; None disables it (above level info).

    A line takes a twentieth of the time that the log of other events takes. So nothing in it is masked: what is written
    here holds no secret.
    """

    def __init__(self, event: str, clock: Clock, output: Callable[[bytes], object] | None) -> None:
        self._event = event
        self._clock = clock
        self._output = output
        self._lines: list[bytes] = []
        self._second = 0
        self._count = 0

    @property
    def is_enabled(self) -> bool:
        """Whether lines are written at all."""
        return self._output is not None

    def sample(self, *, important: bool) -> int:
        """Return for how many events the next line would stand, 0 to leave it out. `important` events are all kept."""
        if self._output is None:
            return 0
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        if important or self._count <= _UNSAMPLED_PER_SECOND:
            return 1
        return _SAMPLE_INTERVAL if self._count % _SAMPLE_INTERVAL == 0 else 0

    def write(self, fields: Mapping[str, Any], stands_for: int = 1, *, event: str = "") -> None:
        """Queue one line, of another `event` where one is given; it is written before the event loop waits again."""
        line = dict(fields, event=event or self._event, level="info")
        if stands_for > 1:
            line["sampled"] = stands_for
        line["timestamp"] = datetime.fromtimestamp(self._clock.wall(), UTC)
        self._lines.append(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write the queued lines."""
        lines, self._lines = self._lines, []
        if lines and self._output is not None:
            self._output(b"".join(lines))
