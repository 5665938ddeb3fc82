"""Every key the queue uses, in one place.

Rule guarded: all keys of a partition carry its number as the hash tag, so that they share one Cluster slot and one
script may use them together.
"""

from hashlib import blake2b

PARTITIONS = "fanout:partitions"  # how many partitions this Redis was first used with
WORKERS = "fanout:workers"  # sorted set: live workers by the millisecond at which their heartbeat expires
PACE_NOTICES = "fanout:pace-notices"  # stream: slowdowns that workers share
DEMAND = "fanout:demand"  # hash by worker: until when its demand counts, and how many lanes of each class wait
FIELD = b"e"  # the one field of a stream entry


def stream(partition: int) -> str:
    """Return the key of the stream of waiting entries, oldest first."""
    return f"fanout:{{{partition}}}:stream"


def dead(partition: int) -> str:
    """Return the key of the stream of dead letters, oldest first."""
    return f"fanout:{{{partition}}}:dead"


def lease(partition: int) -> str:
    """Return the key of the token of the lease's holder; it expires with the lease."""
    return f"fanout:{{{partition}}}:lease"


def fence(partition: int) -> str:
    """Return the key of the counter that makes each holder's token greater than its predecessor's."""
    return f"fanout:{{{partition}}}:fence"


def seen(partition: int, hub: str, dedup_id: str, lane: str) -> str:
    """Return the key that remembers one dedup id. The same id for another destination is another key."""
    return f"fanout:{{{partition}}}:seen:{_digest(hub, dedup_id, lane)}"


def idempotency(partition: int, hub: str, key: str) -> str:
    """Return the key that remembers which body an Idempotency-Key was used with."""
    return f"fanout:{{{partition}}}:key:{_digest(hub, key)}"


def trace(message_id: str) -> str:
    """Return the key of one message's trace. It holds a digest because callers choose the ids."""
    return f"fanout:trace:{_digest(message_id)}"


def _digest(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
