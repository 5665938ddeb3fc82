"""What the service answers when it takes a request.

The members are those of its JSON, spelled as Python spells names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ItemResult:
    """What became of one item. `status` is `accepted`, `duplicate` or, with lenient handling, `rejected`.

    `message_id` is the id under which the service knows the message, "" for a rejected one. `code` and `detail` say why
    it was rejected. `warnings` say what is doubtful about an item that was taken.
    """

    index: int
    status: str
    message_id: str = ""
    code: str = ""
    detail: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SendResult:
    """The answer to a batch: counts, and a result for each item in their order."""

    accepted: int
    duplicates: int
    rejected: int
    results: tuple[ItemResult, ...]

    @classmethod
    def of(cls, document: dict[str, Any]) -> SendResult:
        """Return the result that a 202 describes."""
        return cls(
            document["accepted"],
            document["duplicates"],
            document["rejected"],
            tuple(_item_result(item) for item in document["results"]),
        )


@dataclass(frozen=True)
class Negotiation:
    """What a SignalR client needs to connect. `as_dict` is the body that it expects from its negotiate request."""

    url: str
    access_token: str = field(repr=False)

    def as_dict(self) -> dict[str, str]:
        """Return `{"url": ..., "accessToken": ...}`."""
        return {"url": self.url, "accessToken": self.access_token}


def _item_result(item: dict[str, Any]) -> ItemResult:
    return ItemResult(
        item["index"],
        item["status"],
        item.get("messageId", ""),
        item.get("code", ""),
        item.get("detail", ""),
        tuple(item.get("warnings", ())),
    )
