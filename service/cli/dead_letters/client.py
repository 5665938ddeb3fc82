"""The routes about dead letters of an ingress, as the commands use them.

Rules guarded: a refusal is reported in the words of the ingress. A command continues over as many requests as it needs,
because one request does a bounded part of the work.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from service.cli.api import Api

_TIMEOUT = 30.0
_MAX_IDS = 1000  # in one request
_MAX_LIST = 1000
_MAX_LETTERS = 10_000
_PATH = "/v1/admin/dead-letters"


class DeadLetterClient:
    """The dead letters behind one ingress."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def __repr__(self) -> str:
        return f"<DeadLetterClient {self._api.url}>"

    def pages(self, filters: Mapping[str, str], limit: int) -> Iterator[dict[str, Any]]:
        """Yield the pages of a list, until its end or until they have `limit` items."""
        cursor: str | None = ""
        while cursor is not None and limit > 0:
            query = {**filters, "limit": str(min(limit, _MAX_LIST))} | ({"cursor": cursor} if cursor else {})
            page = self._document(self._call("GET", "", {"items"}, params=query))
            yield page
            limit -= len(page["items"])
            cursor = page["next"]

    def letter(self, letter_id: str) -> str:
        """Return one dead letter as JSON text: numbers in its message may be larger than a program can read."""
        return self._call("GET", "/" + quote(letter_id, safe="").replace(".", "%2E"), {"message"}).text

    def run(self, action: str, command: Mapping[str, Any], limit: int | None) -> Iterator[dict[str, Any]]:
        """Run a command until it is done, or on at most `limit` letters, and yield the report of each request."""
        return self._run_named(action, command) if "ids" in command else self._run_selected(action, command, limit)

    def _run_named(self, action: str, command: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        ids = command["ids"]
        for start in range(0, len(ids), _MAX_IDS):
            more = True
            while more:
                report = self._act(action, {**command, "ids": ids[start : start + _MAX_IDS]})
                yield report
                more = report["more"]

    def _run_selected(self, action: str, command: Mapping[str, Any], limit: int | None) -> Iterator[dict[str, Any]]:
        body = dict(command)
        while limit is None or limit > 0:
            report = self._act(action, body | ({} if limit is None else {"limit": min(limit, _MAX_LETTERS)}))
            yield report
            if not report["more"]:
                return
            limit = None if limit is None else limit - report["matched"]
            body["cursor"] = report["next"]

    def _act(self, action: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._document(self._call("POST", f"/{action}", {"matched"}, json=body))

    def _call(self, method: str, path: str, members: set[str], **content: Any) -> httpx.Response:
        response = self._api.call(method, _PATH + path, timeout=_TIMEOUT, **content)
        return self._api.checked(response, members=members)

    @staticmethod
    def _document(response: httpx.Response) -> dict[str, Any]:
        return msgspec.json.decode(response.content, type=dict[str, Any])
