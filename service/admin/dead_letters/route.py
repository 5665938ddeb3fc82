"""The routes about dead letters: `GET /v1/admin/dead-letters`, `GET .../{id}`, `POST .../replay`, `POST .../purge`.

Rules guarded: only callers with the right to read are answered, and the right to administer is needed to change
anything; without the hub as a filter, for all hubs. One request does a bounded part of the work and says whether there
is more. Answers describe one moment, so they must not be cached. The log has numbers, never recipients.
"""

from typing import Any

import orjson
from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fanout.clock import Clock
from fanout.errors import BadRequestError
from fanout.log import get_logger
from fanout.metrics import Metrics
from fanout.queue.dead_letters import DeadLetters
from fanout.settings import Settings
from fanout.signalr.message import label_of
from service.admin.dead_letters.batches import SCAN_TIME, Action, CommandRunner, Report
from service.admin.dead_letters.command import parse_command, parse_query
from service.admin.dead_letters.documents import (
    DEAD_LETTER,
    DEAD_LETTERS,
    LIST,
    PURGE,
    REPLAY,
    SHOW,
    acting,
)
from service.admin.dead_letters.reference import parse_ref
from service.admin.dead_letters.rendering import details_of, summary_of, time_of
from service.admin.dead_letters.scan import FilteredScan, Scan
from service.callers.caller import EVERY_HUB, Right
from service.http.problems import Problem, response_of
from service.http.request import ByteBudget, Guard, announced_size, check_media_type, note, read_body, request_id_of

_NO_STORE = {"Cache-Control": "no-store"}
_MAX_BODY = 128 * 1024  # a thousand ids need less
_POST_ONLY = ("replay", "purge")  # not ids


class DeadLetterAdmin:
    """The handlers of the routes; `letters` is None where dead letters are not served."""

    def __init__(
        self, settings: Settings, letters: DeadLetters | None, guard: Guard, metrics: Metrics, clock: Clock,
        budget: ByteBudget,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._letters = letters
        self._guard = guard
        self._metrics = metrics
        self._clock = clock
        self._budget = budget
        self._log = get_logger()

    def router(self) -> APIRouter:
        """Return the routes with their descriptions."""
        router = APIRouter(tags=["admin"], default_response_class=Response)
        router.add_api_route(DEAD_LETTERS, self.list, response_model=None, **LIST)
        router.add_api_route(REPLAY, self.replay, methods=["POST"], response_model=None, **acting("replayed"))
        router.add_api_route(PURGE, self.purge, methods=["POST"], response_model=None, **acting("purged"))
        # Last: a GET of the two addresses above is answered by `show`, which names the method they take.
        router.add_api_route(DEAD_LETTER, self.show, response_model=None, **SHOW)
        return router

    async def list(self, request: Request) -> Response:
        """Return a page of dead letters, oldest first."""
        caller = self._guard.admit(request, Right.READ)
        letters = self._served()
        command = parse_query(request.query_params)
        caller.require(Right.READ, command.selection.hub or EVERY_HUB)
        clock = self._clock
        scan = Scan(letters, self._settings.partitions, command.start)
        matches = FilteredScan(scan, command.selection, clock, clock.monotonic() + SCAN_TIME)
        items: list[dict[str, Any]] = []
        while len(items) < command.limit and (found := await matches.next()) is not None:
            items.append(summary_of(*found))  # does not keep the letter itself
        following = None if await scan.at_end() else str(scan.cursor)
        return _answer({"items": items, "next": following})

    async def show(self, request: Request) -> Response:
        """Return one dead letter with its message."""
        self._guard.admit(request, Right.READ, EVERY_HUB)
        letters = self._served()
        letter_id: str = request.path_params["letter_id"]
        if letter_id in _POST_ONLY:
            raise HTTPException(405, headers={"Allow": "POST"})
        ref = parse_ref(letter_id)
        if ref is None:
            raise BadRequestError("An id has the form <partition>:<stream id>, as in a list.")
        [letter] = await letters.find([ref.key])
        if letter is None:
            detail = "No dead letter has this id. It may have been replayed or deleted."
            return response_of(Problem("deadLetterUnknown", 404, detail, _NO_STORE), request_id_of(request.scope))
        return _answer(details_of(ref, letter))

    async def replay(self, request: Request) -> Response:
        """Put dead letters back into the queue."""
        return await self._act(request, "replayed")

    async def purge(self, request: Request) -> Response:
        """Delete dead letters."""
        return await self._act(request, "purged")

    async def _act(self, request: Request, action: Action) -> Response:
        caller = self._guard.admit(request, Right.ADMIN)
        letters = self._served()
        clock, settings = self._clock, self._settings
        with self._budget.hold(announced_size(request.headers, _MAX_BODY)):
            body = await read_body(request, _MAX_BODY, clock=clock, within=settings.body_timeout)
        if body.strip():  # an empty body is refused for being empty, whatever its media type
            check_media_type(request.headers)
        command = parse_command(body)
        caller.require(Right.ADMIN, command.selection.hub or EVERY_HUB)
        runner = CommandRunner(letters, settings.partitions, clock, self._metrics)
        report = await runner.run(command, action)
        selection, dry = command.selection, command.dry
        endpoint = None if selection.endpoint is None else label_of(selection.endpoint)
        note(request.scope, hub=selection.hub, endpoint=endpoint, matched=report.matched, count=report.done, dry=dry)
        if not command.dry:
            (self._metrics.replayed if action == "replayed" else self._metrics.purged).inc(report.done)
            self._log_report(request, action, report)
        return _answer(_document(report, action))

    def _log_report(self, request: Request, action: Action, report: Report) -> None:
        fields = {"matched": report.matched, action: report.done, "more": report.more}
        self._log.info(f"dead_letters.{action}", request_id=request_id_of(request.scope), **fields)

    def _served(self) -> DeadLetters:
        if self._letters is None:
            raise HTTPException(404)
        return self._letters


def _document(report: Report, action: Action) -> dict[str, Any]:
    before = None if report.before is None else time_of(report.before)
    following = None if report.cursor is None else str(report.cursor)
    return {"matched": report.matched, action: report.done, "more": report.more, "next": following, "before": before}


def _answer(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), 200, _NO_STORE, "application/json")
