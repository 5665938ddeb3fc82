"""The route of the overview: `GET /v1/admin/overview`.

Rules guarded: only callers that may read of all hubs are answered. Answers describe one moment, so they must not be
cached by others.
"""

import re
from collections.abc import Collection
from typing import Final

from fastapi import APIRouter
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fanout import __version__
from fanout.errors import BadRequestError
from service.admin.overview.documents import DESCRIPTION, HUBS_SHOWN, OVERVIEW, document_of
from service.admin.overview.looks import MOST_HUBS, Looks
from service.callers.caller import EVERY_HUB, Right
from service.http.request import Guard

_NO_STORE: Final = {"Cache-Control": "no-store"}
_NUMBER: Final = re.compile("[0-9]{1,4}")


class OverviewAdmin:
    """The handler of the route; `looks` is None where it is not served, and `endpoints` are keys."""

    def __init__(self, guard: Guard, looks: Looks | None, endpoints: Collection[str] = ("",)) -> None:
        self._guard = guard
        self._looks = looks
        self._endpoints = endpoints

    def router(self) -> APIRouter:
        """Return the route with its description."""
        router = APIRouter(tags=["admin"])
        router.add_api_route(OVERVIEW, self.overview, response_model=None, response_class=Response, **DESCRIPTION)
        return router

    async def overview(self, request: Request) -> Response:
        """Return the figures of the whole queue."""
        self._guard.admit(request, Right.READ, EVERY_HUB)
        most = _hubs_of(request.query_params)
        if self._looks is None:
            raise HTTPException(404)
        look = await self._looks.latest()
        document = document_of(look, most, self._endpoints, version=__version__)
        return Response(document.to_json(), 200, _NO_STORE, "application/json")


def _hubs_of(query: QueryParams) -> int:
    if unknown := [name for name in query if name != "hubs"]:
        raise BadRequestError(f"The query may have hubs, and not {unknown[0][:40]}.")
    text = query.get("hubs", str(HUBS_SHOWN))
    if _NUMBER.fullmatch(text) is None or not 1 <= int(text) <= MOST_HUBS:
        raise BadRequestError(f"hubs must be a whole number from 1 to {MOST_HUBS}.")
    return int(text)
