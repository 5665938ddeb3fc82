"""Finds the address a caller meant who asked for one that is not there. Pure.

Rule guarded: a 404 for a slip (a slash too many, upper case, `message` for `messages`, `v1` left out) names the address
that was meant, so that nobody has to look for the difference.
"""

import math
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple
from urllib.parse import quote

_ALIKE = 0.75  # share of letters that two segments have in common
_SLIP = 1.0  # cost of a segment that is written otherwise
_MISSING = 2.0  # of one that is missing or superfluous
_OTHER = 3.0  # of another one
_MOST = 3.0
_MOST_NAMED = 4.0  # where the last segment is that of an address: `/v1/hubs/chat/negotiate`
_LONGEST = 64  # characters of a segment; a longer one is no slip
_DEEPEST = 16  # segments; deeper than any address of ours with a slip


class _Reading(NamedTuple):
    """One way to read a path as a template: what it costs, minus the segments that fit, and the address it gives."""

    cost: float
    unfit: int
    address: str


_NONE = _Reading(math.inf, 0, "")


def meant_address(path: str, templates: Iterable[str]) -> str:
    """Return the address nearest to `path` among those of `templates` (`/v1/hubs/{hub}/messages`), "" for none."""
    sent = [segment for segment in path.split("/") if segment][:_DEEPEST]
    known = [template.strip("/").split("/") for template in templates]
    named = [template for template in known if sent and template[-1] == sent[-1].lower()]
    readings = (_read(sent, template, _MOST_NAMED if named else _MOST) for template in named or known)
    best = min((reading for reading in readings if reading.unfit < 0), default=_NONE)
    return best.address if best.address != path else ""


def _read(sent: Sequence[str], template: Sequence[str], budget: float) -> _Reading:
    if budget < 0:
        return _NONE
    if not sent and not template:
        return _Reading(0.0, 0, "")
    ways: list[_Reading] = []
    if sent and template:
        cost, name = _segment(sent[0], template[0])
        fits = cost < _OTHER and not template[0].startswith("{")
        ways.append(_after(_read(sent[1:], template[1:], budget - cost), cost, fits, f"/{name}"))
    if sent:
        ways.append(_after(_read(sent[1:], template, budget - _MISSING), _MISSING, False, ""))
    if template and not template[0].startswith("{"):
        ways.append(_after(_read(sent, template[1:], budget - _MISSING), _MISSING, False, f"/{template[0]}"))
    return min(ways, default=_NONE)


def _after(rest: _Reading, cost: float, fits: bool, start: str) -> _Reading:
    return _Reading(rest.cost + cost, rest.unfit - fits, start + rest.address)


def _segment(sent: str, name: str) -> tuple[float, str]:
    if name.startswith("{"):
        return 0.0, quote(sent, safe="")
    if sent == name:
        return 0.0, name
    alike = len(sent) <= _LONGEST and SequenceMatcher(None, sent.lower(), name).ratio() >= _ALIKE
    return _SLIP if alike else _OTHER, name
