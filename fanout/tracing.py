"""What ingress and worker know of distributed traces, whoever makes the spans.

A trace context travels as one text, its `link`: the value of `traceparent`, and after a space that of `tracestate`
where there is one (W3C Trace Context). The ingress stores the link of its span in the entries, and the worker goes on
from there.

Rules guarded: nothing here imports a library for traces; `fanout.spans` does, and only where FANOUT_OTEL asks for it.
The parts of a process that make spans are variants of the plain ones, so that a process without traces pays nothing.
"""

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from enum import Enum, auto
from typing import Protocol

Attributes = Mapping[str, str | int | float | bool]
_TRACE_ID = 32  # hexadecimal digits
_SAMPLED = frozenset("13579bdf")  # last digits of flags that say that the trace is kept
_MAX_STATE = 512  # characters of tracestate that are passed on; the specification asks for no more


class SpanKind(Enum):
    """What a span is to the one around it: a request that came in, a call that goes out, or a step of this service."""

    SERVER = auto()
    CLIENT = auto()
    INTERNAL = auto()


class Span(Protocol):
    """A span that runs. `link` names it for the spans that come after it, "" where it cannot be named."""

    @property
    def link(self) -> str:
        """Return the trace context that names it."""

    def end(self, attributes: Attributes, error: str = "") -> None:
        """End it now; with an `error` it counts as failed."""


class Tracing(Protocol):
    """Makes spans. Nothing of it waits, and nothing of it fails."""

    def start(self, name: str, kind: SpanKind, links: Iterable[str], attributes: Attributes) -> Span:
        """Begin a span under the first sampled one of `links`, linked to the others; without any it begins a trace."""

    def record(self, name: str, link: str, start: float, end: float, attributes: Attributes, error: str = "") -> None:
        """Record a step under `link` that is over; times are unix seconds."""


calling: ContextVar[str] = ContextVar("calling", default="")  # the link of the call that is being written


def link_of(traceparents: list[str], tracestates: list[str]) -> str:
    """Return the link that the headers of a request name.

    More than one `traceparent` names none. Whether it is well formed is judged where it is read. A long `tracestate` is
    dropped, as the specification allows.
    """
    if len(traceparents) != 1:
        return ""
    parent, state = traceparents[0].strip(), ",".join(tracestates).strip()
    return f"{parent} {state}" if state and len(state) <= _MAX_STATE else parent


def sampled_trace(link: str) -> str:
    """Return the id of the trace that a link names, "" where it is not sampled."""
    _version, trace, _span, flags = (link.partition(" ")[0].split("-") + [""] * 4)[:4]
    return trace if len(trace) == _TRACE_ID and flags[-1:] in _SAMPLED else ""


def header_lines(link: str) -> bytes:
    """Return the header lines that pass a link on in a request, b"" for none."""
    parent, _, state = link.partition(" ")
    if not parent:
        return b""
    lines = f"traceparent: {parent}\r\n"
    return (lines + f"tracestate: {state}\r\n" if state else lines).encode("ascii")
