"""What an operation of the REST side is handed, and what kind of function it is.

Rule guarded: by the time an operation sees a call, its token, api-version and hub name have been checked; operations
hold only their own rules.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from emulator.exchange import Call, Reply
from emulator.hubs import Hub
from emulator.refusal import invalid


class RestCall(msgspec.Struct, frozen=True):
    """One checked call: the names of its path, the hub (application prefix included) and the version to answer as."""

    call: Call
    names: dict[str, str]
    hub: Hub
    version: str
    body: bytes

    @property
    def excluded(self) -> frozenset[str]:
        """The connection ids to leave out."""
        return frozenset(self.call.parameters("excluded"))

    def whole_number(self, name: str, default: int, lowest: int, highest: int) -> int:
        """Give a numeric query parameter, or refuse it."""
        text = self.call.parameter(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
            raise invalid(f"'{name}' must be a whole number from {lowest} to {highest}.", name)
        return int(text)


Operation = Callable[[RestCall], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Offer:
    """An operation and the first api-version that has it."""

    operation: Operation
    since: str = ""
