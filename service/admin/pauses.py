"""The routes of pauses: `GET /v1/admin/pauses`, and `POST` to `.../set`, `.../lift` and `.../preview`.

Rules guarded: only callers with the right to read are answered, and the right to administer is needed to change
anything, for the hub that is named or for all. Nothing is paused or resumed by accident: a command names a hub, a class
of calls or `all`, and an endpoint that it names is one that is delivered to. Only to resume, one that a pause in force
names counts too: it may be configured no more. Answers describe one moment, so they must not be cached.
"""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fanout.binding.names import check_hub
from fanout.clock import Clock
from fanout.errors import BadRequestError
from fanout.log import get_logger
from fanout.queue.keys import scope_of_flow
from fanout.queue.pauses import ALL, Pause, Pauses, at_endpoint, is_lifted_by, of_class, of_hub
from fanout.settings import Settings
from fanout.signalr.endpoints import key_named
from fanout.signalr.message import UNNAMED, RouteClass, Scope, label_of
from service.admin.overview.figures import place_of_flow, waiting_in
from service.admin.overview.looks import Looks
from service.callers.caller import EVERY_HUB, Caller, Right
from service.http.json_object import enumerated, object_of
from service.http.request import ByteBudget, Guard, announced_size, check_media_type, note, read_body, request_id_of
from service.openapi.describe import HUB_PATTERN, REQUEST_ID, answer, body, busy, callers, refusal
from service.openapi.model import Absent, Count, Document

PAUSES = "/v1/admin/pauses"
SET, LIFT, PREVIEW = f"{PAUSES}/set", f"{PAUSES}/lift", f"{PAUSES}/preview"
_NO_STORE = {"Cache-Control": "no-store"}
_MAX_BODY = 16 * 1024
_MAX_SECONDS = 30 * 86_400.0
_MAX_REASON = 200
_CLASSES = tuple(each.label for each in RouteClass)
_EXPECTED = 'one of {"hub":...}, {"class":...} and {"all":true}, with an endpoint or without'
_TARGETS = ("hub", "class", "all")


class PauseDocument(Document):
    """One pause of delivery."""

    target: str = Field(
        description="`all`; `hub:NAME`; `class:CLASS`, set by hand; or `service:CLASS`, asked for by the service. "
        "`@ENDPOINT` follows where it holds back only one of several endpoints."
    )
    endpoint: str | None = Field(
        description="The endpoint that is held back, `default` for the one without a name; null for every one."
    )
    since: float = Field(description="Unix time in seconds.")
    until: float | None = Field(description="Unix time in seconds; null for a pause that lasts until it is lifted.")
    by: str = Field(description="Who set it: the address of an operator, or the worker that the service asked.")
    cause: str = Field(description="The reason given, or what the service answered.")


class PauseList(Document):
    """The pauses of delivery that are in force, those set first first."""

    items: list[PauseDocument]


class _Target(Document):
    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    hub: Annotated[str, Field(pattern=HUB_PATTERN)] | Absent = None
    route_class: Literal["broadcast", "send", "action"] | Absent = Field(
        None, alias="class", description="Sends are messages to users, groups and connections."
    )
    all: bool | Absent = Field(None, description="Everything. Not together with a hub or a class.")
    endpoint: Annotated[str, Field(min_length=1)] | Absent = Field(
        None, description="Only this endpoint, `default` for the one without a name. Without it every one."
    )


class PauseCommand(_Target):
    """What to pause, and for how long. Messages are still accepted; they wait in the queue."""

    seconds: Annotated[float, Field(gt=0, le=_MAX_SECONDS)] | Absent = Field(
        None, description="Without it the pause lasts until it is lifted."
    )
    reason: Annotated[str, Field(max_length=_MAX_REASON)] | Absent = None


class ResumeCommand(_Target):
    """What to resume. A class is resumed whether it was paused by hand or because the service asked for it.

    With an endpoint only pauses of this endpoint are lifted, and none that holds back every endpoint.
    """


class PausePreview(Document):
    """What a pause of a target would hold back, and what resuming it would lift. Nothing is changed."""

    waiting: Count = Field(description="Entries that wait now and are concerned; of a class at most so many.")
    pauses: list[PauseDocument] = Field(description="The pauses in force that resuming it would lift.")


class Resumed(Document):
    """What was resumed."""

    lifted: Count = Field(description="How many pauses were lifted.")


_SHOWN: dict[str, Any] = {
    "target": "service:send",
    "endpoint": "default",
    "since": 1800000000.25,
    "until": 1800000300.25,
    "by": "worker-0-7-5f3a1c",
    "cause": "status 429 (Retry-After: 86400 s)",
}
_REFUSALS = {
    401: refusal("The caller did not authenticate.", "unauthorized", "wrongKey", "invalidToken"),
    403: refusal("The caller lacks the right, or has it for other hubs.", "forbidden"),
    500: refusal("An unexpected error.", "internal"),
    503: busy("The queue does not answer.", "queueUnavailable", "queueSilent"),
}
_BAD = {
    400: refusal("The body names nothing that can be paused.", "invalidRequest"),
    408: refusal("The body came too slowly.", "bodyTooSlow"),
    413: refusal("The body is too large.", "bodyTooLarge"),
    415: refusal("The body is not JSON.", "unsupportedMediaType"),
    503: busy("The queue does not answer.", "queueUnavailable", "queueSilent", "overloaded"),
}


def _described(right: Right, operation: str, summary: str, answers: dict[int, Any], **extra: Any) -> dict[str, Any]:
    return {
        "operation_id": operation,
        "summary": summary,
        "responses": _REFUSALS | answers,
        "openapi_extra": {"security": callers(right), "parameters": [REQUEST_ID], **extra},
    }


class PauseAdmin:
    """The handlers of the routes; `pauses` is None where they are not served, and `endpoints` are keys."""

    def __init__(
        self,
        settings: Settings,
        pauses: Pauses | None,
        guard: Guard,
        clock: Clock,
        budget: ByteBudget,
        looks: Looks | None = None,
        endpoints: Collection[str] = ("",),
    ) -> None:
        self._settings = settings
        self._pauses = pauses
        self._guard = guard
        self._clock = clock
        self._budget = budget
        self._looks = looks
        self._endpoints = endpoints
        self._log = get_logger()

    def router(self) -> APIRouter:
        """Return the routes with their descriptions."""
        router = APIRouter(tags=["admin"], default_response_class=Response)
        answers: dict[int, Any] = {200: answer(PauseList, "Those in force.", {"items": [_SHOWN]})}
        described = _described(Right.READ, "listPauses", "List the pauses of delivery", answers)
        router.add_api_route(PAUSES, self.list, response_model=None, **described)
        answers = {200: answer(PauseDocument, "The pause that is in force now.", _SHOWN), **_BAD}
        example = {"hub": "chat", "seconds": 600, "reason": "the clients are updated"}
        described = _described(
            Right.ADMIN, "setPause", "Pause delivery to a hub, of a class of calls, or all of it", answers,
            requestBody=body(PauseCommand, example),
        )  # fmt: skip
        router.add_api_route(SET, self.set, methods=["POST"], response_model=None, **described)
        answers = {200: answer(Resumed, "Done.", {"lifted": 1}), **_BAD}
        described = _described(
            Right.ADMIN, "liftPause", "Resume delivery", answers, requestBody=body(ResumeCommand, {"class": "send"})
        )
        router.add_api_route(LIFT, self.lift, methods=["POST"], response_model=None, **described)
        answers = {200: answer(PausePreview, "What is concerned.", {"waiting": 7, "pauses": [_SHOWN]}), **_BAD}
        described = _described(
            Right.READ, "previewPause", "Tell what a pause would hold back, or what would be resumed", answers,
            requestBody=body(ResumeCommand, {"hub": "chat"}),
        )  # fmt: skip
        router.add_api_route(PREVIEW, self.preview, methods=["POST"], response_model=None, **described)
        return router

    async def list(self, request: Request) -> Response:
        """Return the pauses in force."""
        self._guard.admit(request, Right.READ, EVERY_HUB)
        pauses = self._served()
        return _answer(PauseList.model_construct(items=[document_of_pause(pause) for pause in await pauses.current()]))

    async def set(self, request: Request) -> Response:
        """Pause a hub, a class or everything, at one endpoint or at all."""
        caller = self._guard.admit(request, Right.ADMIN)
        pauses = self._served()
        command = object_of(await self._body(request), (*_TARGETS, "endpoint", "seconds", "reason"), _EXPECTED)
        target = _target_of(command, self._endpoints)
        _require(caller, Right.ADMIN, target)
        seconds, reason = _seconds_of(command), _reason_of(command)
        note(request.scope, target=target, seconds=seconds)
        by = f"operator at {request.client.host}" if request.client else "operator"
        pause = await pauses.put(target, seconds=seconds, by=by, cause=reason)
        self._log.warning("pauses.set", request_id=request_id_of(request.scope), target=target, seconds=seconds)
        return _answer(document_of_pause(pause))

    async def lift(self, request: Request) -> Response:
        """Resume a hub, a class or everything, at one endpoint or at all."""
        caller = self._guard.admit(request, Right.ADMIN)
        pauses = self._served()
        command = object_of(await self._body(request), (*_TARGETS, "endpoint"), _EXPECTED)
        target = _target_of(command, self._known_to(await pauses.current()))
        _require(caller, Right.ADMIN, target)
        lifted = await pauses.lift(target)
        note(request.scope, target=target, count=lifted)
        self._log.warning("pauses.lifted", request_id=request_id_of(request.scope), target=target, lifted=lifted)
        return _answer(Resumed.model_construct(lifted=lifted))

    async def preview(self, request: Request) -> Response:
        """Return what a pause would hold back, and what resuming would lift."""
        caller = self._guard.admit(request, Right.READ)
        pauses = self._served()
        command, running = (
            object_of(await self._body(request), (*_TARGETS, "endpoint"), _EXPECTED),
            await pauses.current(),
        )
        target = _target_of(command, self._known_to(running))
        _require(caller, Right.READ, target)
        found = [document_of_pause(pause) for pause in running if is_lifted_by(pause, target)]
        waiting = 0
        if self._looks is not None:
            survey = (await self._looks.latest()).survey
            waiting = waiting_in(survey, lambda flow: _concerns(target, flow))
        return _answer(PausePreview.model_construct(waiting=waiting, pauses=found))

    def _known_to(self, running: Collection[Pause]) -> Collection[str]:
        return [*self._endpoints, *(pause.endpoint for pause in running if pause.endpoint is not None)]

    async def _body(self, request: Request) -> bytes:
        with self._budget.hold(announced_size(request.headers, _MAX_BODY)):
            content = await read_body(request, _MAX_BODY, clock=self._clock, within=self._settings.body_timeout)
        if content.strip():
            check_media_type(request.headers)
        return content

    def _served(self) -> Pauses:
        if self._pauses is None:
            raise HTTPException(404)
        return self._pauses


def _require(caller: Caller, right: Right, target: str) -> None:
    kind, _colon, name = target.partition("@")[0].partition(":")
    caller.require(right, name if kind == "hub" else EVERY_HUB)


def _concerns(target: str, flow: str) -> bool:
    what, is_one, endpoint = target.partition("@")
    kind, _colon, name = what.partition(":")
    hub, place = place_of_flow(flow)
    if is_one and label_of(place) != endpoint:
        return False
    if kind == "hub":
        return hub == name
    is_broadcast = scope_of_flow(flow) is Scope.BROADCAST
    return what == ALL or is_broadcast == (name == RouteClass.BROADCAST.label)


def _target_of(command: dict[str, object], endpoints: Collection[str]) -> str:
    """Return the target that a command names, of these endpoints."""
    target = _what_in(command)
    if "endpoint" not in command:
        return target
    name = command["endpoint"]
    if isinstance(name, str):
        try:
            return at_endpoint(target, key_named(name, endpoints))
        except ValueError as error:
            raise BadRequestError(str(error), pointer="/endpoint") from None
    raise BadRequestError(f"endpoint must be text: a name, or {UNNAMED}.", pointer="/endpoint")


def _what_in(command: dict[str, object]) -> str:
    named = [name for name in _TARGETS if name in command]
    if len(named) != 1:
        raise BadRequestError(f"The body must be {_EXPECTED}.")
    match named[0], command[named[0]]:
        case "hub", str(name):
            return of_hub(check_hub(name))
        case "class", str(name) if name in _CLASSES:
            return of_class(RouteClass[name.upper()])
        case "all", True:
            return ALL
        case "class", _:
            raise BadRequestError(f"A class is one of {enumerated(_CLASSES)}.", pointer="/class")
        case name, _:
            raise BadRequestError(f"{name} must be {'true' if name == 'all' else 'text'}.", pointer=f"/{name}")


def _seconds_of(command: dict[str, object]) -> float | None:
    match command.get("seconds"):
        case None:
            return None
        case bool():
            pass
        case (int() | float()) as seconds if 0 < seconds <= _MAX_SECONDS:
            return float(seconds)
    raise BadRequestError(f"seconds must be a number above 0, at most {_MAX_SECONDS:.0f}.", pointer="/seconds")


def _reason_of(command: dict[str, object]) -> str:
    match command.get("reason", ""):
        case str(reason) if len(reason) <= _MAX_REASON:
            return reason
    raise BadRequestError(f"reason must be text of at most {_MAX_REASON} characters.", pointer="/reason")


def document_of_pause(pause: Pause) -> PauseDocument:
    """Return a pause as it is answered."""
    return PauseDocument.model_construct(
        target=pause.target,
        endpoint=None if pause.endpoint is None else label_of(pause.endpoint),
        since=pause.since,
        until=pause.until,
        by=pause.by,
        cause=pause.cause,
    )


def _answer(document: Document) -> Response:
    return Response(document.to_json(), 200, _NO_STORE, "application/json")
