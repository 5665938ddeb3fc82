"""Answers the operator about dead letters: `GET /v1/admin/dead-letters`, `/{id}`, `POST .../replay`, `.../purge`.

Rules guarded: only callers with the right to administer get in; one request does a bounded share of the work and says
whether there is more. Answers are about one moment and stored nowhere (no-store). The log says how many, never whose.
"""

from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fanout.errors import BadRequestError
from fanout.log import get_logger
from fanout.queue.dead_letters import DeadLetters
from service.admin.dead_letters.batches import WITHIN, Action, Report, Work
from service.admin.dead_letters.command import listing_of, order_of
from service.admin.dead_letters.reference import place_of
from service.admin.dead_letters.rendering import line_of, time_of, whole_of
from service.admin.dead_letters.scan import Gathering, Walk
from service.door import Door
from service.http.auth import Guard, Right
from service.http.body import check_media_type, read_body
from service.http.envelope import request_id_of
from service.http.problems import Problem, response_of

_NO_STORE = {"Cache-Control": "no-store"}
_MAX_BODY = 128 * 1024  # a thousand ids take less
_WORDS = ("replay", "purge")  # no ids: these addresses take POST


class DeadLetterDesk:
    """The routes' handlers."""

    def __init__(self, door: Door, guard: Guard) -> None:
        self._door = door
        self._guard = guard
        self._log = get_logger()

    async def list(self, request: Request) -> Response:
        """Give a page of dead letters, oldest first."""
        letters = self._admitted(request)
        order = listing_of(request.query_params)
        clock = self._door.clock
        walk = Walk(letters, self._door.settings.partitions, order.start)
        gathering = Gathering(walk, order.selection, clock, clock.monotonic() + WITHIN)
        items: list[dict[str, Any]] = []
        while len(items) < order.limit and (found := await gathering.next()) is not None:
            items.append(line_of(*found))  # the letters themselves are let go
        following = None if await walk.over() else str(walk.bookmark)
        return _answer({"items": items, "next": following})

    async def show(self, request: Request) -> Response:
        """Give one dead letter with its message."""
        letters = self._admitted(request)
        name: str = request.path_params["letter_id"]
        if name in _WORDS:
            raise HTTPException(405, headers={"Allow": "POST"})
        place = place_of(name)
        if place is None:
            raise BadRequestError("An id is <partition>:<stream id>, as a list gives it.")
        [letter] = await letters.find([place.chosen])
        if letter is None:
            detail = "No dead letter has this id; it was sent again or deleted, or never was."
            return response_of(Problem("deadLetterUnknown", 404, detail, _NO_STORE), request_id_of(request.scope))
        return _answer(whole_of(place, letter))

    async def replay(self, request: Request) -> Response:
        """Send dead letters again."""
        return await self._act(request, "replayed")

    async def purge(self, request: Request) -> Response:
        """Delete dead letters."""
        return await self._act(request, "purged")

    async def _act(self, request: Request, action: Action) -> Response:
        letters = self._admitted(request)
        clock, settings = self._door.clock, self._door.settings
        body = await read_body(request, _MAX_BODY, clock=clock, within=settings.body_timeout)
        if body.strip():  # what names nothing is told so, whatever its type
            check_media_type(request.headers)
        order = order_of(body)
        report = await Work(letters, settings.partitions, clock).do(order, action)
        if not order.dry:
            (self._door.metrics.replayed if action == "replayed" else self._door.metrics.purged).inc(report.done)
            self._say(request, action, report)
        return _answer(_document(report, action))

    def _say(self, request: Request, action: Action, report: Report) -> None:
        told = {"matched": report.matched, action: report.done, "more": report.more}
        self._log.info(f"dead_letters.{action}", request_id=request_id_of(request.scope), **told)

    def _admitted(self, request: Request) -> DeadLetters:
        peer = request.client.host if request.client else None
        self._guard.caller_of(request.headers, peer).require(Right.ADMIN)
        if self._door.dead_letters is None:
            raise HTTPException(404)
        return self._door.dead_letters


def _document(report: Report, action: Action) -> dict[str, Any]:
    before = None if report.before is None else time_of(report.before)
    following = None if report.bookmark is None else str(report.bookmark)
    return {"matched": report.matched, action: report.done, "more": report.more, "next": following, "before": before}


def _answer(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), 200, _NO_STORE, "application/json")
