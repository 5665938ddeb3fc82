"""Checks names before anything is queued: a name that the service cannot carry would never be delivered.

Source: docs/sources.md, names and limits. Rules guarded beyond the published ones: `.` and `..` are refused as ids,
because a path cannot carry them (`/users/../:send` is normalised to the path of a broadcast), and so is NUL, which HTTP
servers refuse in a path. Lengths are counted in UTF-16 units, as the service counts them.
"""

import re
from typing import Final

from fanout.binding.refusals import refuse
from fanout.signalr.message import GroupAction, Item, Message, Scope
from fanout.signalr.routes import route_of

MAX_NAME: Final = 1024  # of a user id or a group name, in UTF-16 units
_DOTS: Final = frozenset({".", ".."})
MAX_URI: Final = 12_000  # published as "12 K", read as the smaller number
# The longest hub and application percent-escaped (384 each), scheme and host (8 + 253 + 6), and the words around them.
_URI_RESERVE: Final = 1_100
# A token of 4,096 characters has room for a URL of 2,984. The longest hub takes 383 more than the one assumed here, and
# the longest scheme, host and port take 267.
MAX_PATH: Final = 2_984 - 383 - 267
SURELY_FITS: Final = (MAX_PATH - 60) // 12  # characters; one is at most %XX four times
_HUB: Final = re.compile(r"[A-Za-z][A-Za-z0-9_`,.\[\]]{0,127}", re.ASCII)
_CODES: Final = {
    Scope.USER: "invalidUserId",
    Scope.GROUP: "invalidGroupName",
    Scope.CONNECTION: "invalidConnectionId",
}
_NOUNS: Final = {Scope.USER: "user id", Scope.GROUP: "group name", Scope.CONNECTION: "connection id"}


def check_hub(name: str) -> str:
    """Return the hub name in lower case, or raise BadRequestError `invalidHub`."""
    return _pattern_checked(name, "hub", "invalidHub")


def check_application(name: str) -> str:
    """Return the application name in lower case, or raise BadRequestError `invalidApplication`."""
    return _pattern_checked(name, "application", "invalidApplication")


def check_id(scope: Scope, name: str, pointer: str = "") -> str:
    """Return the id of a user, group or connection, or raise BadRequestError with the code of its scope."""
    problem = problem_of(scope, name)
    if problem:
        raise refuse(_CODES[scope], f"The {_NOUNS[scope]} {problem}.", pointer)
    return name


def is_plain_name(name: str) -> bool:
    """Return True for a name that surely can be the id of anything. False means that more has to be looked at."""
    return name.isprintable() and len(name) <= SURELY_FITS and name not in _DOTS and not name.isspace()


def problem_of(scope: Scope, name: str) -> str:
    """Return what is wrong with an id, as the end of a sentence, or "" when nothing is."""
    if not name:
        return "is empty"
    if name in _DOTS:
        return f"is {name!r}, which a URL path cannot carry"
    if is_plain_name(name):
        return ""
    return _uncommon_problem(scope, name)


def _uncommon_problem(scope: Scope, name: str) -> str:
    if "\0" in name:
        return "holds a NUL character, which a URL path cannot carry"
    try:
        units = len(name.encode("utf-16-le")) // 2
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is not text"
    if scope is not Scope.CONNECTION and units > MAX_NAME:
        return f"has {units} characters; the service takes {MAX_NAME}"
    return _group_problem(name) if scope is Scope.GROUP else ""


def _group_problem(name: str) -> str:
    if name.isspace():
        return "is all white space"
    return "holds a line feed, which the service refuses" if "\n" in name else ""


def check_uri(item: Item) -> None:
    """Raise BadRequestError when a call may not be deliverable with the longest hub, application and host.

    `namesTooLong`: its access token, which carries its path, may be too long. `uriTooLong`: its URI may be.
    """
    if type(item) is Message:
        if len(item.to) <= SURELY_FITS and not item.excluded:
            return
    elif type(item) is GroupAction and len(item.member) + len(item.group) <= SURELY_FITS:
        return
    route = route_of("h", item)
    if len(route.path) > MAX_PATH:
        detail = (
            f"Percent-encoded, the names take {len(route.path)} characters of the URL. {MAX_PATH} fit into a token."
        )
        raise refuse("namesTooLong", detail)
    length = len(route.target) + _URI_RESERVE
    if length > MAX_URI:
        raise refuse("uriTooLong", f"The URI of the call may take {length} characters. The service takes {MAX_URI}.")


def _pattern_checked(name: str, noun: str, code: str) -> str:
    if _HUB.fullmatch(name) is None:
        raise refuse(
            code,
            f"The {noun} name must start with a letter A-Z and have 1 to 128 letters, digits or _ ` , . [ ].",
        )
    return name.lower()
