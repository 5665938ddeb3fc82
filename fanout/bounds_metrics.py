"""What is measured of things that are bounded and seldom come near their bound.

Rule guarded: every bound has a metric that tells when it is reached.
"""

from collections.abc import Sequence

from fanout.instruments import Definition

# Which bound of the dead letters was reached: FANOUT_MAX_DEAD_BYTES or FANOUT_MAX_DEAD_AGE.
DEAD_BOUNDS = ("bytes", "age")


def bounds_gauges(queue: str, worker: str) -> Sequence[Definition]:
    """Return these metrics, in the sections of the queue and of a worker."""
    return (
        Definition(
            queue,
            "gauge",
            "fanout_oldest_dead_letter_age_seconds",
            "Time since the oldest dead letter was parked, by the clock of Redis; 0 when there is none.",
        ),
        Definition(
            queue,
            "gauge",
            "fanout_dead_letter_age_limit_seconds",
            "Age at which a dead letter is deleted: FANOUT_MAX_DEAD_AGE. Absent where it is 0.",
        ),
        Definition(
            queue,
            "gauge",
            "fanout_flows",
            "Streams of entries in Redis: one for each hub, kind of destination, priority and partition in use lately.",
        ),
        Definition(
            worker, "counter", "fanout_flows_pruned", "Streams that were empty for ten minutes and were deleted."
        ),
        Definition(
            worker,
            "gauge",
            "fanout_order_markers",
            "Marks of removeAll and closeConnection that this worker remembers; at 20000 it reads groups slowly.",
        ),
        Definition(
            worker,
            "counter",
            "fanout_order_markers_full",
            "Times that it remembered 20000 of them: what waits for groups was then read only up to the next mark.",
        ),
    )
