"""Asks an ingress about its dead letters, for the command line.

Rules guarded: an ingress that cannot be asked is one clear line (ConfigurationError), and one that refuses says why in
its own words (RefusedError); an order goes on over as many requests as it takes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from fanout.errors import ConfigurationError, FanoutError
from service.cli.ask import ask

_TIMEOUT = 30.0
_OK = 200
_IDS_AT_ONCE = 1000
_PATH = "/v1/admin/dead-letters"


class RefusedError(FanoutError):
    """The ingress said no; the text is its own."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom to ask, and the key that opens it."""

    url: str
    api_key: str = field(repr=False)

    def pages(self, query: Mapping[str, str], most: int) -> Iterator[dict[str, Any]]:
        """Give the pages of a list, until its end or so many items."""
        cursor: str | None = ""
        while cursor is not None and most > 0:
            asked = {**query, "limit": str(min(most, 1000))} | ({"cursor": cursor} if cursor else {})
            page = self._ask("GET", "", params=asked)
            yield page
            most -= len(page["items"])
            cursor = page["next"]

    def whole(self, letter_id: str) -> str:
        """Give one dead letter with its message, as JSON: numbers in it may be larger than any program reads."""
        response = self._call("GET", "/" + quote(letter_id, safe="").replace(".", "%2E"))
        _check(response, self.url)
        return response.text

    def reports(self, action: str, order: Mapping[str, Any], most: int | None) -> Iterator[dict[str, Any]]:
        """Have an order done, part by part, until it is done or for so many letters; gives the report of each part."""
        ids = order.get("ids", ())
        for start in range(0, len(ids), _IDS_AT_ONCE):
            named, more = {**order, "ids": ids[start : start + _IDS_AT_ONCE]}, True
            while more:
                report = self._ask("POST", f"/{action}", json=named)
                yield report
                more = report["more"]
        asked = dict(order)
        while not ids and (most is None or most > 0):
            report = self._ask(
                "POST", f"/{action}", json=asked | ({} if most is None else {"limit": min(most, 10_000)})
            )
            yield report
            if not report["more"]:
                return
            most = None if most is None else most - report["matched"]
            asked["cursor"] = report["next"]

    def _ask(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        return _document(self._call(method, path, **content), self.url)

    def _call(self, method: str, path: str, **content: Any) -> httpx.Response:
        return ask(method, self.url, _PATH + path, self.api_key, timeout=_TIMEOUT, **content)


def _document(response: httpx.Response, url: str) -> dict[str, Any]:
    _check(response, url)
    return msgspec.json.decode(response.content, type=dict[str, Any])


def _check(response: httpx.Response, url: str) -> None:
    try:
        document = msgspec.json.decode(response.content, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = {}
    wanted = {"items", "message", "matched"} if response.status_code == _OK else {"detail"}
    if not wanted & document.keys():
        raise ConfigurationError(f"{url} answered {response.status_code} and is no fanout ingress.")
    if response.status_code != _OK:
        raise RefusedError(msgspec.json.decode(document["detail"], type=str))
