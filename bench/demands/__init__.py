"""What is demanded, one topic a file; each names its probes and how its figure comes out of them."""

from bench.demands import (
    backlog,
    drop_in,
    hot_lane,
    idle,
    ingress,
    latency,
    recovery,
    scaling,
    senders,
    service,
    sharing,
    store,
    tokens,
    worker,
)

_FILES = (
    worker,
    ingress,
    store,
    service,
    scaling,
    latency,
    tokens,
    idle,
    backlog,
    hot_lane,
    senders,
    sharing,
    recovery,
    drop_in,
)
ALL = tuple(
    sorted(
        (demand for file in _FILES for demand in file.DEMANDS),
        key=lambda demand: (demand.key[0], int(demand.key[1:] or 0)),
    )
)
