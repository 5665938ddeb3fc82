"""Floor of tokens: one PyJWT encode, and beside it what a call of the product pays for a cached one.

The second is the difference between a call of the client and one whose authorization is at hand: what both make, the
request, is no part of it.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any, cast

import jwt

from bench.messages import USERS, rest_path
from fanout.clock import SystemClock
from fanout.http1.messages import HeaderLines, Request, RequestHead
from fanout.http1.pool import Pool
from fanout.secret import Secret
from fanout.signalr.client import Client, ServiceAddress
from fanout.signalr.credentials import AccessKeyCredential
from fanout.signalr.message import Message, Scope

_KEY = "k" * 44
_ENDPOINT = "http://127.0.0.1:8888"
_ENCODES, _LOOKUPS = 2_000, 100_000


class _NoPool:
    """Takes every request and writes none."""

    may_start = True

    def start(self, *_arguments: object) -> bool:
        return True


def _microseconds(call: Callable[[Any], object], arguments: Sequence[object], count: int) -> float:
    chosen = list(islice(cycle(arguments), count))
    begin = time.process_time()
    for argument in chosen:
        call(argument)
    return (time.process_time() - begin) * 1e6 / count


def main() -> None:
    clock = SystemClock()
    client = Client(
        cast("Pool", _NoPool()),
        AccessKeyCredential(Secret(_KEY), clock, lifetime=3600.0),
        ServiceAddress(prefix="", audience=_ENDPOINT),
        clock,
        cache_size=50_000,
    )
    expires = int(time.time()) + 3600

    def encode(audience: str) -> object:
        return jwt.encode({"aud": audience, "exp": expires}, _KEY.encode(), algorithm="HS256")

    def call(message: Message) -> object:
        return client.start("bench", message, lambda: None, lambda _answer: None)

    head, lines = RequestHead("POST", rest_path(0), HeaderLines(b"A: b\r\n")), HeaderLines(b"Authorization: c\r\n")
    pool = _NoPool()

    def call_without(message: Message) -> object:
        return pool.may_start and pool.start(Request(head, message.body, lines), lambda: None, lambda _answer: None)

    audiences = [_ENDPOINT + rest_path(user) for user in range(USERS)]
    messages = [Message(Scope.USER, f"user-{user}", b"{}") for user in range(USERS)]
    _microseconds(call, messages, USERS)
    _microseconds(encode, audiences, USERS)
    found = {
        "cached_us": _microseconds(call, messages, _LOOKUPS) - _microseconds(call_without, messages, _LOOKUPS),
        "pyjwt_us": _microseconds(encode, audiences, _ENCODES),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
