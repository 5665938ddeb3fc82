"""The routes about one hub: `GET /v1/admin/hubs/{hub}/exists`, `.../connections` and `POST .../close`.

With several endpoints a question goes to each of them, and a closing has a leg for each, unless one is named.

Rules guarded: only callers with the right to read the hub are answered, and the right to administer it is needed to
close it. Nothing is closed by accident: the body says `"all": true`. The closing is queued like everything that is
delivered, so that it is repeated until the service has done it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fanout.binding.batch import Batch, ParsedItem
from fanout.clock import Clock
from fanout.environment import CONNECTION_STRING
from fanout.errors import BadRequestError, NotConfiguredError, QueueFullError, QueueSilentError
from fanout.log import get_logger
from fanout.queue.pauses import at_endpoint, of_hub
from fanout.settings import Settings
from fanout.signalr.message import UNNAMED, CloseConnections, Scope, label_of
from service.admin.hubs.documents import (
    CLOSE,
    CLOSE_DESCRIPTION,
    CONNECTIONS,
    CONNECTIONS_DESCRIPTION,
    EXISTS,
    EXISTS_DESCRIPTION,
    MAX_REASON,
    Closing,
    ConnectionList,
)
from service.admin.hubs.questions import (
    chosen_of,
    cursor_after,
    existence_in,
    existence_of,
    listing_in,
    listing_of,
    place_of_cursor,
)
from service.admin.overview.figures import place_of_flow, waiting_in
from service.admin.overview.looks import Looks
from service.callers.caller import Right
from service.compat.questions import Answer, Question, Service, ServiceUnavailableError
from service.http.json_object import object_of
from service.http.request import (
    ByteBudget,
    Guard,
    Hubs,
    announced_size,
    check_media_type,
    note,
    read_body,
    request_id_of,
)
from service.ingress.intake import Intake
from service.ingress.outcome import BatchOptions, Stored
from service.openapi.model import Document

_NO_STORE: Final = {"Cache-Control": "no-store"}
_MAX_BODY: Final = 16 * 1024
_EXPECTED: Final = '{"all":true}, with a reason, an endpoint or dryRun'


class HubAdmin:
    """The handlers of the routes; `looks` is None where nothing is told of the queue.

    `endpoints` are the keys of those that are delivered to, and `asked` the ways to those that can be asked.
    """

    def __init__(
        self,
        settings: Settings,
        hubs: Hubs,
        guard: Guard,
        clock: Clock,
        budget: ByteBudget,
        *,
        intake: Intake,
        asked: Mapping[str, Service],
        endpoints: Sequence[str],
        looks: Looks | None,
    ) -> None:
        self._settings = settings
        self._hubs = hubs
        self._guard = guard
        self._clock = clock
        self._budget = budget
        self._intake = intake
        self._asked = asked
        self._endpoints = endpoints
        self._looks = looks
        self._log = get_logger()

    def router(self) -> APIRouter:
        """Return the routes with their descriptions."""
        router = APIRouter(tags=["admin"], default_response_class=Response)
        router.add_api_route(EXISTS, self.exists, response_model=None, **EXISTS_DESCRIPTION)
        router.add_api_route(CONNECTIONS, self.connections, response_model=None, **CONNECTIONS_DESCRIPTION)
        router.add_api_route(
            CLOSE, self.close, methods=["POST"], status_code=202, response_model=None, **CLOSE_DESCRIPTION
        )
        return router

    async def exists(self, request: Request) -> Response:
        """Return whether the service knows a connection, a user, a group or a membership."""
        hub = self._hub_of(request, Right.READ)
        question = existence_of(request.query_params, hub, self._settings.application)
        keys = chosen_of(request.query_params.get("endpoint"), self._endpoints)
        services = {key: self._service_of(key) for key in keys}
        async with asyncio.TaskGroup() as group:
            asking = {key: group.create_task(_try(service, question)) for key, service in services.items()}
        return _answer(existence_in({key: task.result() for key, task in asking.items()}))

    async def connections(self, request: Request) -> Response:
        """Return a page of the connections of a group."""
        hub = self._hub_of(request, Right.READ)
        query = request.query_params
        keys = chosen_of(query.get("endpoint"), self._endpoints)
        cursor: str | None = query.get("cursor", "")
        while True:  # an endpoint without any is no page: at most once for each
            key, token = place_of_cursor(cursor or "", keys)
            page = await self._page(key, listing_of(query, token, hub, self._settings.application))
            cursor = cursor_after(key, page.next, keys)
            if page.items or page.next or cursor is None:
                return _answer(ConnectionList.model_construct(items=page.items, next=cursor))

    async def close(self, request: Request) -> Response:
        """Queue the closing of every connection of a hub, or only tell what waits for it."""
        hub = self._hub_of(request, Right.ADMIN)
        command = object_of(await self._body(request), ("all", "reason", "endpoint", "dryRun"), _EXPECTED)
        reason, dry = _reason_of(command), command.get("dryRun", False)
        named = _endpoint_of(command)
        if command.get("all") is not True:
            raise BadRequestError(f"The body must be {_EXPECTED}.", pointer="/all")
        if not isinstance(dry, bool):
            raise BadRequestError("dryRun must be true or false.", pointer="/dryRun")
        keys = None if named is None else tuple(chosen_of(named, self._endpoints, pointer="/endpoint"))
        waiting = await self._waiting(hub, keys)
        target = None if keys is None else at_endpoint(of_hub(hub), keys[0])
        note(request.scope, dry=dry, target=target)
        message_id = None if dry else await self._close(hub, reason, keys, request_id_of(request.scope))
        return _answer(Closing.model_construct(waiting=waiting, message_id=message_id), 202)

    async def _waiting(self, hub: str, keys: Sequence[str] | None) -> int:
        if self._looks is None:
            return 0
        look = await self._looks.latest()

        def concerns(flow: str) -> bool:
            place, endpoint = place_of_flow(flow)
            return place == hub and (keys is None or endpoint in keys)

        return waiting_in(look.survey, concerns)

    async def _close(self, hub: str, reason: str, keys: tuple[str, ...] | None, request_id: str) -> str:
        item = CloseConnections(Scope.BROADCAST, "", reason, ())
        batch = Batch((ParsedItem(0, (item,), endpoints=keys),), is_plain=True)
        outcome = await self._intake(hub, batch, BatchOptions(request_id))
        if not isinstance(outcome, Stored):
            raise _not_stored(outcome)
        named = {} if keys is None else {"endpoint": label_of(keys[0])}
        self._log.warning("hub.closing", request_id=request_id, hub=hub, **named)
        return outcome.message_ids[0]

    def _hub_of(self, request: Request, right: Right) -> str:
        caller = self._guard.admit(request, right)
        hub = self._hubs.check(request.path_params["hub"])
        note(request.scope, hub=hub)
        caller.require(right, hub)
        return hub

    async def _page(self, key: str, question: Question) -> ConnectionList:
        try:
            return listing_in(await self._service_of(key).ask(question), key)
        except ServiceUnavailableError as error:
            if len(self._endpoints) == 1:
                raise
            raise ServiceUnavailableError(f"{label_of(key)}: {error}") from None

    def _service_of(self, key: str) -> Service:
        service = self._asked.get(key)
        if service is None:
            raise NotConfiguredError(f"{CONNECTION_STRING} is not set, so the service cannot be asked.")
        return service

    async def _body(self, request: Request) -> bytes:
        with self._budget.hold(announced_size(request.headers, _MAX_BODY)):
            content = await read_body(request, _MAX_BODY, clock=self._clock, within=self._settings.body_timeout)
        if content.strip():
            check_media_type(request.headers)
        return content


async def _try(service: Service, question: Question) -> Answer | ServiceUnavailableError:
    try:
        return await service.ask(question)
    except ServiceUnavailableError as error:
        return error


def _not_stored(outcome: object) -> QueueFullError | QueueSilentError:
    items = getattr(outcome, "items", ())
    full = any(getattr(item, "code", "") == "queueFull" for item in items)
    return QueueFullError("The queue is full.") if full else QueueSilentError("Redis did not answer.")


def _reason_of(command: dict[str, object]) -> str:
    match command.get("reason", ""):
        case str(reason) if len(reason) <= MAX_REASON:
            return reason
    raise BadRequestError(f"reason must be text of at most {MAX_REASON} characters.", pointer="/reason")


def _endpoint_of(command: dict[str, object]) -> str | None:
    if "endpoint" not in command:
        return None
    name = command["endpoint"]
    if isinstance(name, str):
        return name
    raise BadRequestError(f"endpoint must be text: a name, or {UNNAMED}.", pointer="/endpoint")


def _answer(document: Document, status: int = 200) -> Response:
    return Response(document.to_json(), status, _NO_STORE, "application/json")
