"""Floor of tokens: one PyJWT encode, and beside it what a call of the product pays for a cached one."""

import json
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice

import jwt

from bench.messages import USERS, rest_path
from fanout.clock import SystemClock
from fanout.signalr.credentials import AccessKeyCredential

_KEY = "k" * 44
_ENCODES, _LOOKUPS = 2_000, 100_000


def _microseconds(call: Callable[[str], object], audiences: list[str], count: int) -> float:
    chosen = list(islice(cycle(audiences), count))
    begin = time.process_time()
    for audience in chosen:
        call(audience)
    return (time.process_time() - begin) * 1e6 / count


def main() -> None:
    audiences = [f"http://127.0.0.1:8888{rest_path(user)}" for user in range(USERS)]
    tokens = AccessKeyCredential(_KEY, SystemClock(), lifetime=3600.0, size=50_000)
    expires = int(time.time()) + 3600

    def encode(audience: str) -> object:
        return jwt.encode({"aud": audience, "exp": expires}, _KEY.encode(), algorithm="HS256")

    _microseconds(tokens.token, audiences, USERS)
    _microseconds(encode, audiences, USERS)
    found = {
        "cached_us": _microseconds(tokens.token, audiences, _LOOKUPS),
        "pyjwt_us": _microseconds(encode, audiences, _ENCODES),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
