"""One family of errors. Each carries what the service said: the problem document and the items that failed.

`RefusedError`: the request or an item is wrong, and repeating it cannot help. `UnavailableError`: the service did not
take the request within the deadline, and repeating it later can help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from signalr_fanout.items import Item


@dataclass(frozen=True)
class FailedItem:
    """One item that the service refused or could not store. `item` is the one that was passed to `send`.

    `pointer` is the JSON pointer of the wrong place in the batch, "" when none is named.
    """

    index: int
    item: Item | None
    code: str
    detail: str
    pointer: str = ""


class FanoutError(Exception):
    """Root of the family.

    `status` is the HTTP status, None when there was no answer. `problem` is the problem document (RFC 9457) of the
    answer, empty when it had none; `code` is its `code`. `items` are the items that failed. `idempotency_key` is the
    key of the request: a repeat with it stores nothing twice.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        problem: Mapping[str, Any] | None = None,
        items: tuple[FailedItem, ...] = (),
        idempotency_key: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem: Mapping[str, Any] = problem or {}
        self.items = items
        self.idempotency_key = idempotency_key

    @property
    def code(self) -> str:
        """The code of the problem, "" without one."""
        return str(self.problem.get("code", ""))

    @property
    def request_id(self) -> str:
        """The id under which the service logged the request, "" without one."""
        return str(self.problem.get("requestId", ""))


class RefusedError(FanoutError):
    """The service refused the request, and would refuse it again. `items` names the wrong ones."""


class UnauthorizedError(RefusedError):
    """The API key is missing or not known (401), or may not do this (403)."""


class UnavailableError(FanoutError):
    """The deadline passed before the service took the request: it did not answer, or answered 429, 502, 503 or 504.

    Items may have been stored. Send them again with `idempotency_key`, and those are answered `duplicate`.
    """
