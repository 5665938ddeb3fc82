"""Decides which of a lane's entries go into the next call, and which need not be sent at all. Pure.

It works on what waits anyway while a call is in flight, so that it adds no latency. Rules guarded:

- A message that seems older than its `ttlSeconds` shares no call: the store is asked about it when it is the head.
- Of the messages with one `collapseKey` only the newest goes, in its own place, so that nothing overtakes anything.
- Of the changes of one member's place in a group only the last goes, as long as no message comes between them: a
  message depends on who is in the group, the changes of other members do not.
- Where the service runs `:execute`, consecutive plain messages of a user's or the broadcast lane share one call.
"""

from collections.abc import Callable, Sequence
from itertools import islice

import msgspec

from fanout.signalr.client import Bounds
from fanout.signalr.message import GroupAction, Message, Scope
from workers.partition import BufferedEntry

_PER_MESSAGE = 64  # bytes of a command around its message, in round numbers
_JOINABLE = frozenset({Scope.USER, Scope.BROADCAST})


class Plan(msgspec.Struct, frozen=True):
    """`call` is sent together; `superseded` is settled without a call, because something newer waits."""

    call: tuple[BufferedEntry, ...]
    superseded: tuple[BufferedEntry, ...] = ()


def plan(waiting: Sequence[BufferedEntry], age: Callable[[BufferedEntry], float], bounds: Bounds | None) -> Plan:
    """Return the plan for a lane that is not empty; `bounds` is None where the service has no `:execute`."""
    if len(waiting) == 1:
        return Plan((waiting[0],))
    gone = _superseded(waiting) if any(_may_supersede(buffered) for buffered in waiting) else set()
    if not gone:
        return Plan(_joined(waiting, age, bounds))
    left = [buffered for buffered in waiting if buffered.id not in gone]
    return Plan(_joined(left, age, bounds), tuple(buffered for buffered in waiting if buffered.id in gone))


def may_be_expired(buffered: BufferedEntry, age: Callable[[BufferedEntry], float]) -> bool:
    """Return whether a message's time to live may be over."""
    item = buffered.entry.item
    return isinstance(item, Message) and item.ttl is not None and age(buffered) > item.ttl


def _may_supersede(buffered: BufferedEntry) -> bool:
    item = buffered.entry.item
    return not isinstance(item, Message) or bool(item.collapse)


def _superseded(waiting: Sequence[BufferedEntry]) -> set[bytes]:
    found: set[bytes] = set()
    keys: set[str] = set()
    members: set[tuple[Scope, str, str]] = set()
    for buffered in reversed(waiting):
        item = buffered.entry.item
        if isinstance(item, GroupAction):
            member = (item.member_scope, item.member, item.group)
            if member in members:
                found.add(buffered.id)
            members.add(member)
            continue
        members.clear()  # the changes before this entry decide who receives it
        if isinstance(item, Message) and item.collapse:
            if item.collapse in keys:
                found.add(buffered.id)
            keys.add(item.collapse)
    return found


def _joined(
    left: Sequence[BufferedEntry], age: Callable[[BufferedEntry], float], bounds: Bounds | None
) -> tuple[BufferedEntry, ...]:
    head = left[0]
    if bounds is None or len(left) < bounds.least or not _is_joinable(head) or may_be_expired(head, age):
        return (head,)
    call: list[BufferedEntry] = []
    size = 0
    for buffered in islice(left, bounds.count):
        size += _size(buffered)
        fits = _is_joinable(buffered) and _same_promise(head, buffered) and not may_be_expired(buffered, age)
        if not fits or (call and size > bounds.size):
            break
        call.append(buffered)
    return tuple(call)


def _is_joinable(buffered: BufferedEntry) -> bool:
    item = buffered.entry.item
    if not isinstance(item, Message) or item.scope not in _JOINABLE or item.excluded or item.binary:
        return False
    return "/" not in buffered.entry.hub  # `:execute` takes no application


def _same_promise(one: BufferedEntry, other: BufferedEntry) -> bool:
    a, b = one.entry.item, other.entry.item
    return isinstance(a, Message) and isinstance(b, Message) and a.at_most_once == b.at_most_once


def _size(buffered: BufferedEntry) -> int:
    item = buffered.entry.item
    return (buffered.entry.body_size or len(item.body)) + _PER_MESSAGE if isinstance(item, Message) else 0
