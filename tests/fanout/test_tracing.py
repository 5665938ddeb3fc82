"""How a trace context travels: from headers to a link, and from a link to header lines."""

import pytest

from fanout.tracing import header_lines, link_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("parents", "states", "link"),
    [
        ([], [], ""),
        ([], ["a=1"], ""),
        ([PARENT], [], PARENT),
        ([f" {PARENT} "], [], PARENT),
        ([PARENT, PARENT], [], ""),
        ([PARENT], ["a=1", "b=2"], f"{PARENT} a=1,b=2"),
        ([PARENT], ["a=" + "x" * 510], f"{PARENT} a={'x' * 510}"),
        ([PARENT], ["a=" + "x" * 511], PARENT),
    ],
)
def test_headers_name_one_link_or_none(parents: list[str], states: list[str], link: str) -> None:
    assert link_of(parents, states) == link


def test_a_link_becomes_header_lines() -> None:
    assert header_lines("") == b""
    assert header_lines(PARENT) == b"traceparent: %b\r\n" % PARENT.encode()
    assert header_lines(f"{PARENT} a=1,b=2") == b"traceparent: %b\r\ntracestate: a=1,b=2\r\n" % PARENT.encode()
