"""The names of all keys the queue uses, in one place.

Rules guarded: every key begins with the namespace, so that several services can share one Redis. All keys of a
partition carry its number as the hash tag, so that they share one Cluster slot and one script may use them together.
No other braces may appear in a key.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b

DEFAULT_NAMESPACE = "fanout"
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")  # no braces: they would be read as the hash tag
FIELD = b"e"  # the one field of a stream entry


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one namespace."""

    namespace: str = DEFAULT_NAMESPACE

    @property
    def partitions(self) -> str:
        """The number of partitions this namespace was first used with."""
        return f"{self.namespace}:partitions"

    @property
    def endpoints(self) -> str:
        """A set: the endpoints that this queue is delivered to."""
        return f"{self.namespace}:endpoints"

    @property
    def workers(self) -> str:
        """A sorted set: live workers by the millisecond at which their heartbeat expires."""
        return f"{self.namespace}:workers"

    @property
    def pace_notices(self) -> str:
        """A stream: slowdowns that workers share."""
        return f"{self.namespace}:pace-notices"

    @property
    def demand(self) -> str:
        """A hash by worker: until when its demand counts, and how many lanes of each class wait."""
        return f"{self.namespace}:demand"

    @property
    def pauses(self) -> str:
        """A hash by what is held back: pauses set by hand, and those the service asked for."""
        return f"{self.namespace}:pauses"

    @property
    def api_keys(self) -> str:
        """A hash by id: the API keys of callers, each with the digest of its secret and what it may do."""
        return f"{self.namespace}:api-keys"

    @property
    def executes(self) -> str:
        """A hash by endpoint: when it was proved that it runs `:execute`."""
        return f"{self.namespace}:executes"

    def stream(self, partition: int, flow: str) -> str:
        """Return the key of the stream of one flow's waiting entries, oldest first."""
        return f"{self.namespace}:{{{partition}}}:q:{flow}"

    def flows(self, partition: int) -> str:
        """Return the key of the set of streams that hold entries, or held some lately."""
        return f"{self.namespace}:{{{partition}}}:flows"

    def wake(self, partition: int) -> str:
        """Return the key of the stream that wakes the partition's reader: there is a new flow, or it is to look."""
        return f"{self.namespace}:{{{partition}}}:wake"

    def size(self, partition: int) -> str:
        """Return the key of the number of bytes that wait."""
        return f"{self.namespace}:{{{partition}}}:size"

    def body(self, partition: int, name: str) -> str:
        """Return the key of a body that stands beside the streams, with the number of entries that need it."""
        return f"{self.namespace}:{{{partition}}}:body:{name}"

    def dead_size(self, partition: int) -> str:
        """Return the key of the number of bytes that dead letters take."""
        return f"{self.namespace}:{{{partition}}}:dead-size"

    def dead(self, partition: int) -> str:
        """Return the key of the stream of dead letters, oldest first."""
        return f"{self.namespace}:{{{partition}}}:dead"

    def measured(self, partition: int) -> list[str]:
        """Return the keys that tell how much waits in a partition, how much is dead, and whether it has an owner."""
        sizes = (self.size(partition), self.dead_size(partition))
        return [self.flows(partition), self.dead(partition), *sizes, self.lease(partition)]

    def lease(self, partition: int) -> str:
        """Return the key of the token of the lease's holder; it expires with the lease."""
        return f"{self.namespace}:{{{partition}}}:lease"

    def fence(self, partition: int) -> str:
        """Return the key of the counter that makes each holder's token greater than its predecessor's."""
        return f"{self.namespace}:{{{partition}}}:fence"

    def seen(self, partition: int) -> str:
        """Return what the keys of remembered ids begin with."""
        return f"{self.namespace}:{{{partition}}}:seen"

    def trace(self, message_id: str) -> str:
        """Return the key of one message's trace. It holds a digest because callers choose the ids."""
        return f"{self.namespace}:trace:{_digest(message_id)}"


KEYS = Keys()


def check_namespace(text: str) -> str:
    """Return `text` if it can be a namespace; raise ValueError if not."""
    if _NAMESPACE.fullmatch(text) is None:
        raise ValueError("must be 1 to 64 of A-Z a-z 0-9 . _ : / - and begin with a letter or digit")
    return text


def flow_of_stream(stream_key: bytes) -> str:
    """Return the flow whose entries a stream holds."""
    return stream_key.decode().partition("}:q:")[2]


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
