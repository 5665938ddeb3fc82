"""Adds the user of a negotiation to groups, through the queue.

The service adds a connection to a group only when it exists, and a client connects after its negotiation. A user can be
added before: within the lifetime of the membership each of its connections is in the group. Rules guarded: the joins
stand in the lanes of their groups before the client gets its token, so a message that is sent to a group after the
negotiation comes after them. Where they cannot be stored there is no token.
"""

from collections.abc import Sequence

from fanout.binding.batch import Batch, ParsedItem
from fanout.binding.names import check_uri
from fanout.errors import QueueError, QueueFullError, QueueSilentError
from fanout.signalr.message import GroupAction, Scope, Verb
from service.http.request import ByteBudget, Holding
from service.ingress.intake import Intake
from service.ingress.outcome import BatchOptions, Mixed, Outcome
from service.negotiate.identity import ClientIdentity

_ERRORS = {"queueFull": QueueFullError, "queueSilent": QueueSilentError}


class Joins:
    """Stores the joins of negotiations."""

    def __init__(self, intake: Intake, budget: ByteBudget) -> None:
        self._intake = intake
        self._budget = budget

    async def store(self, hub: str, joins: Sequence[GroupAction], request_id: str) -> None:
        """Store the joins; a QueueError or an OverloadedError when not all of them are."""
        batch = Batch(tuple([ParsedItem(at, (join,)) for at, join in enumerate(joins)]))
        with Holding(self._budget) as holding:
            _check(await self._intake(hub, batch, BatchOptions(request_id), holding))


def joins_of(identity: ClientIdentity, lifetime: float) -> list[GroupAction]:
    """Return the joins that a negotiation asks for, for `lifetime` seconds where it does not say for how long."""
    ttl = int(lifetime) if identity.group_ttl is None else identity.group_ttl
    joins = [GroupAction(Verb.ADD, Scope.USER, identity.user_id or "", group, ttl) for group in identity.groups]
    for join in joins:
        check_uri(join)
    return joins


def _check(outcome: Outcome) -> None:
    failed = [item for item in outcome.items if item.status == "failed"] if isinstance(outcome, Mixed) else []
    if failed:
        raise _ERRORS.get(failed[0].code, QueueError)(failed[0].detail)
