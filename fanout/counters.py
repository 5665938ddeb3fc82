"""Counters and histograms that cost one addition to write, rendered when metrics are scraped.

Rule guarded: whatever is counted per message stays on the hot path as an addition and no more. The instruments of the
client library take a lock for every increment. Here only one event loop writes, so plain numbers are enough, and the
client library still renders them.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add `amount`."""
        self.value += amount


class Histogram:
    """Observations counted by upper bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative counts by upper bound, in the form Prometheus expects."""
        total, rows = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            total += count
            rows.append(("+Inf" if bound == float("inf") else str(float(bound)), float(total)))
        return rows


class Counters:
    """All counters and histograms of one process, as a collector of the client library."""

    def __init__(self) -> None:
        self._counters: list[tuple[str, str, str, dict[str, Counter]]] = []
        self._histograms: list[tuple[str, str, Histogram]] = []

    def counter(self, name: str, text: str) -> Counter:
        """Add a counter without labels."""
        counter = Counter()
        self._counters.append((name, text, "", {"": counter}))
        return counter

    def counters(self, name: str, text: str, label: str, values: Sequence[str]) -> dict[str, Counter]:
        """Add a counter with one label and return its children by value; each exists from the start."""
        counters = {value: Counter() for value in values}
        self._counters.append((name, text, label, counters))
        return counters

    def histogram(self, name: str, text: str, bounds: Sequence[float]) -> Histogram:
        """Add a histogram."""
        histogram = Histogram(bounds)
        self._histograms.append((name, text, histogram))
        return histogram

    def collect(self) -> Iterator[Metric]:
        """Yield all of them; the registry calls this at each scrape."""
        for name, text, label, counters in self._counters:
            family = CounterMetricFamily(name, text, labels=[label] if label else [])
            for value, counter in counters.items():
                family.add_metric([value] if label else [], counter.value)
            yield family
        for name, text, histogram in self._histograms:
            yield HistogramMetricFamily(name, text, buckets=histogram.buckets(), sum_value=histogram.total)
