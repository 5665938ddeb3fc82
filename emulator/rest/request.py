"""A REST call after its token has been checked: what an operation is given, and the checks of its parts.

Each check returns the value or raises a 400 that names the part. Api-versions are dates, so they compare as text; the
v1 routes have no api-version and count as `1.0`. Source: docs/sources.md, names and operations.
"""

import re
from collections.abc import Awaitable, Callable

import msgspec

from emulator.config import EmulatorConfig
from emulator.http import Request, Response, bad_request
from emulator.hubs import Hub

OLDEST = "2020-10-01"
NEWEST = "2024-12-01"
LATEST_STATUSES = "2022-06-01"  # success statuses have not changed since this version
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_HUB = re.compile(r"[A-Za-z][A-Za-z0-9_`,.\[\]]{0,127}")
_MAX_GROUP = 1024
_MAX_USER_TO_CLOSE = 1024
_MAX_STREAM = 100


class RestRequest(msgspec.Struct, frozen=True):
    """One checked REST call.

    `names` are the variable parts of the path, `hub` includes the application, `version` decides the statuses.
    """

    http: Request
    names: dict[str, str]
    hub: Hub
    version: str
    body: bytes
    config: EmulatorConfig

    @property
    def content_type(self) -> str:
        """The content-type header as sent."""
        return self.http.header(b"content-type")

    @property
    def excluded(self) -> frozenset[str]:
        """The connection ids to leave out."""
        return frozenset(self.http.parameters("excluded"))

    def whole_number(self, name: str, default: int, lowest: int, highest: int) -> int:
        """Return a numeric query parameter, or raise a 400 when it is out of range."""
        text = self.http.parameter(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and lowest <= int(text) <= highest):
            raise bad_request(f"'{name}' must be a whole number from {lowest} to {highest}.", name)
        return int(text)


Operation = Callable[[RestRequest], Awaitable[Response]]


def check_api_version(text: str, *, strict: bool) -> str:
    """Return the version whose statuses apply. Without `strict` any text is accepted."""
    if _DATE.fullmatch(text) and OLDEST <= text <= NEWEST:
        return text
    if not strict:
        return LATEST_STATUSES
    if not text:
        raise bad_request("The query parameter 'api-version' is required.", "api-version")
    raise bad_request(f"The api-version '{text}' is not supported; use {OLDEST} to {NEWEST}.", "api-version")


def full_hub_name(hub: str, application: str) -> str:
    """Return the name under which a hub is kept: lower case, with the application as prefix."""
    if not _HUB.fullmatch(hub):
        raise bad_request(f"Invalid hub name '{hub}': it must match ^{_HUB.pattern}$.", "hub")
    if not application:
        return hub.lower()
    if not _HUB.fullmatch(application):
        raise bad_request(f"Invalid application name '{application}': it must match ^{_HUB.pattern}$.", "application")
    return f"{application}_{hub}".lower()


def check_group(name: str) -> str:
    """Check the length of a group name, and that it is not white space only."""
    check_group_length(name)
    if name.isspace():
        raise bad_request("Invalid group name: it must not be white space only.", "group")
    return name


def check_group_length(name: str) -> str:
    """Check the length of a group name; sends check no more than that."""
    if not 1 <= len(name) <= _MAX_GROUP:
        raise bad_request(f"Invalid group name: it must have 1 to {_MAX_GROUP} characters.", "group")
    return name


def check_user(name: str) -> str:
    """Check that a user id is not empty; its length has no limit of its own."""
    if not name:
        raise bad_request("Invalid user id: it must not be empty.", "user")
    return name


def check_user_to_close(name: str) -> str:
    """Check a user id of `:closeConnections`, the only operation with a maximum length."""
    if not 1 <= len(name) <= _MAX_USER_TO_CLOSE:
        raise bad_request(f"Invalid user id: it must have 1 to {_MAX_USER_TO_CLOSE} characters.", "user")
    return name


def check_connection(name: str) -> str:
    """Check that a connection id is not empty."""
    if not name:
        raise bad_request("Invalid connection id: it must not be empty.", "connectionId")
    return name


def check_stream(name: str) -> str:
    """Check the length of a stream id, and that it is not white space only."""
    if not 1 <= len(name) <= _MAX_STREAM or name.isspace():
        raise bad_request(f"Invalid stream id: it must have 1 to {_MAX_STREAM} characters.", "streamId")
    return name
