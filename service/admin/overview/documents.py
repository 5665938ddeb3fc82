"""What the route of the overview answers, and its description.

Rules guarded: the description is true; the tests validate real answers against these models. Names come from others and
are cut, so that the document is bounded in bytes as in members.
"""

from collections.abc import Collection
from typing import Annotated, Any, Final

from pydantic import Field

from fanout.queue.survey import PartitionState, Survey
from fanout.signalr.message import label_of
from service.admin.overview.figures import Figures, endpoints_of, limited, share_of_workers
from service.admin.overview.looks import MOST_HUBS, Look
from service.admin.pauses import PauseDocument, document_of_pause
from service.callers.caller import Right
from service.openapi.describe import READ_REFUSALS, REQUEST_ID, answer, busy, callers, query_parameter, refusal
from service.openapi.model import Count, Document

OVERVIEW: Final = "/v1/admin/overview"
HUBS_SHOWN: Final = 20
_MOST_NAMES: Final = 1024  # workers, endpoints, pauses
_MAX_NAME: Final = 300  # characters; an application and a hub have at most 257

Rate = Annotated[float | None, Field(ge=0, description="A second; null until there are two readings to compare.")]
Age = Annotated[float, Field(ge=0, description="Of the oldest entry that waits; 0 when none does.")]


class QueueFigures(Document):
    """What waits, and what comes and leaves. An entry leaves when it is settled or becomes a dead letter."""

    entries: Count = Field(description="Entries that wait.")
    oldest_age_seconds: Age
    accepted_per_second: Rate
    settled_per_second: Rate


class TotalFigures(QueueFigures):
    """The figures of the whole queue."""

    bytes: Count
    dead_letters: Count
    dead_letter_bytes: Count


class HubFigures(QueueFigures):
    """The figures of one hub."""

    hub: str


class OtherHubs(QueueFigures):
    """The figures of all hubs that are not listed."""

    hubs: Count = Field(description="How many; where the queue has very many, at least so many.")


class PartitionFigures(QueueFigures):
    """The figures of one partition."""

    partition: Count
    owner: str | None = Field(description="The worker that delivers it; null when none does.")
    dead_letters: Count


class EndpointFigures(QueueFigures):
    """The figures of what goes to one endpoint."""

    endpoint: str = Field(description="Its name, `default` for the one without a name.")
    configured: bool = Field(description="Whether it is, where this was asked. What waits for another one is not sent.")


class WorkerShare(Document):
    """A worker and how much it owns."""

    worker: str
    partitions: Count


class StoreFigures(Document):
    """How Redis is."""

    latency_seconds: float
    memory_ratio: float | None = Field(description="Of its limit, or of its machine where it has none.")


class OverviewDocument(Document):
    """The whole queue at one moment."""

    at: float = Field(description="Unix time in seconds, by the clock of Redis.")
    version: str = Field(description="The version of the process that answered.")
    queue: TotalFigures
    hubs: list[HubFigures] = Field(max_length=MOST_HUBS, description="Those with the most that waits first.")
    other_hubs: OtherHubs
    partitions: list[PartitionFigures] = Field(max_length=_MOST_NAMES)
    workers: list[WorkerShare] = Field(max_length=_MOST_NAMES)
    endpoints: list[EndpointFigures] = Field(
        max_length=_MOST_NAMES, description="Those that are configured, and others as long as something waits for them."
    )
    delivers_to: list[str] = Field(max_length=_MOST_NAMES, description="The services that this queue is delivered to.")
    pauses: list[PauseDocument] = Field(max_length=_MOST_NAMES)
    redis: StoreFigures


_FIGURES: Final = {"entries": 7, "oldestAgeSeconds": 1.5, "acceptedPerSecond": 120.0, "settledPerSecond": 118.5}
_NONE: Final = {"entries": 0, "oldestAgeSeconds": 0.0, "acceptedPerSecond": 0.0, "settledPerSecond": 0.0}
_SHOWN: Final[dict[str, Any]] = {
    "at": 1800000000.25,
    "version": "0.2.0",
    "queue": _FIGURES | {"bytes": 4096, "deadLetters": 3, "deadLetterBytes": 512},
    "hubs": [{"hub": "chat"} | _FIGURES],
    "otherHubs": {"hubs": 0} | _NONE,
    "partitions": [{"partition": 0, "owner": "worker-0-7-5f3a1c", "deadLetters": 3} | _FIGURES],
    "workers": [{"worker": "worker-0-7-5f3a1c", "partitions": 1}],
    "endpoints": [{"endpoint": "default", "configured": True} | _FIGURES],
    "deliversTo": ["example.service.signalr.net"],
    "pauses": [],
    "redis": {"latencySeconds": 0.0004, "memoryRatio": 0.12},
}
DESCRIPTION: Final[dict[str, Any]] = {
    "operation_id": "getOverview",
    "summary": "Return hubs, partitions with their owners, rates and pauses of the whole queue",
    "description": "Looked at once a second at most, whoever asks.",
    "responses": {
        200: answer(OverviewDocument, "The queue now.", _SHOWN),
        400: refusal("The query asks for something else.", "invalidRequest"),
        **READ_REFUSALS,
        500: refusal("An unexpected error.", "internal"),
        503: busy("The queue does not answer.", "queueUnavailable", "queueSilent", "callersUnavailable"),
    },
    "openapi_extra": {
        "security": callers(Right.READ),
        "parameters": [
            query_parameter("hubs", {"type": "integer", "minimum": 1, "maximum": MOST_HUBS, "default": HUBS_SHOWN}),
            REQUEST_ID,
        ],
    },
}


def document_of(look: Look, most_hubs: int, configured: Collection[str], *, version: str) -> OverviewDocument:
    """Return the document of a look; `configured` are the keys of the endpoints of this process."""
    survey = look.survey
    overview = limited(look.overview, most_hubs)
    at, seconds, rest = survey.at, overview.seconds, overview.rest
    states = zip(survey.partitions, overview.partitions, strict=True)
    shares = sorted(share_of_workers(survey).items())
    return OverviewDocument.model_construct(
        at=round(at, 3),
        version=version,
        queue=_queue(survey, overview.queue, seconds),
        hubs=[
            HubFigures.model_construct(hub=hub[:_MAX_NAME], **_members(figures, at, seconds))
            for hub, figures in overview.hubs
        ],
        other_hubs=OtherHubs.model_construct(hubs=rest.hubs, **_members(rest.figures, at, seconds)),
        partitions=[_partition(number, *both, at, seconds) for number, both in enumerate(states)],
        workers=[
            WorkerShare.model_construct(worker=worker[:_MAX_NAME], partitions=count)
            for worker, count in shares[:_MOST_NAMES]
        ],
        endpoints=[
            EndpointFigures.model_construct(
                endpoint=label_of(key)[:_MAX_NAME], configured=key in configured, **_members(figures, at, seconds)
            )
            for key, figures in endpoints_of(overview, configured)[:_MOST_NAMES]
        ],
        delivers_to=[name[:_MAX_NAME] for name in survey.endpoints[:_MOST_NAMES]],
        pauses=[document_of_pause(pause) for pause in look.pauses[:_MOST_NAMES]],
        redis=_store(look),
    )


def _store(look: Look) -> StoreFigures:
    ratio = look.memory_ratio
    return StoreFigures.model_construct(
        latency_seconds=round(look.survey.latency, 6), memory_ratio=None if ratio is None else round(ratio, 4)
    )


def _queue(survey: Survey, figures: Figures, seconds: float) -> TotalFigures:
    states = survey.partitions
    return TotalFigures.model_construct(
        **_members(figures, survey.at, seconds),
        bytes=sum(state.size for state in states),
        dead_letters=sum(state.dead_letters for state in states),
        dead_letter_bytes=sum(state.dead_size for state in states),
    )


def _partition(number: int, state: PartitionState, figures: Figures, at: float, seconds: float) -> PartitionFigures:
    return PartitionFigures.model_construct(
        partition=number,
        owner=state.owner[:_MAX_NAME] or None,
        dead_letters=state.dead_letters,
        **_members(figures, at, seconds),
    )


def _members(figures: Figures, at: float, seconds: float) -> dict[str, Any]:
    return {
        "entries": figures.entries,
        "oldest_age_seconds": round(max(0.0, at - figures.oldest), 3) if figures.oldest else 0.0,
        "accepted_per_second": round(figures.came / seconds, 2) if seconds else None,
        "settled_per_second": round(figures.left / seconds, 2) if seconds else None,
    }
