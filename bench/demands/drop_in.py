"""D: what the compatible routes cost beside `/v1`, and how long many sends side by side take beside a server alone.

Source of the demand: a compatible send costs at most 1.5 times the CPU of a single message on `/v1`, and 2,000 sends
side by side over kept connections take at most 1.5 times as long as straight to a server that answers at once. A
worker delivers what comes in, as in production; the vendor's client costs about what this one does.
"""

from bench.demand import Bench, Demand, read
from bench.messages import USERS, rest_body, rest_path
from bench.probes import OURS
from bench.stacks import Sample
from fanout.signalr.credentials import rest_token

_QUERY = "?api-version=2022-06-01"
_VALID_UNTIL = 4_102_444_800  # 2100-01-01
_CONNECTIONS = 32
_SIDE_BY_SIDE = 2_000
_CLIENT = "bench.references.side_by_side"


async def single_on_v1(bench: Bench) -> Sample:
    """Send single messages to `/v1`."""
    stack = await bench.stack(OURS)
    count = bench.scale.count(6_000)
    return await stack.flow(count, 1)


async def single_compatible(bench: Bench) -> Sample:
    """Send the same messages as the calls that the vendor's SDK makes of them."""
    stack = await bench.stack(OURS)
    count = bench.scale.count(6_000)
    return await stack.flow_of_requests(iter(_requests(stack.port, stack.sink.port, count)), count, _CONNECTIONS)


async def many_through_us(bench: Bench) -> Sample:
    """Make 2,000 sends side by side to the compatible routes."""
    stack = await bench.stack(OURS)
    sample: Sample = await bench.rig.result(_CLIENT, stack.port, stack.sink.port, _SIDE_BY_SIDE)
    await stack.settled()
    return sample


async def many_straight(bench: Bench) -> Sample:
    """Make them to a server that answers at once."""
    sink = await bench.sink()
    sample: Sample = await bench.rig.result(_CLIENT, sink.port, sink.port, _SIDE_BY_SIDE)
    return sample


def _requests(port: int, service_port: int, count: int) -> list[bytes]:
    heads = [_head(port, service_port, user) for user in range(min(count, USERS))]
    bodies = ((seq, rest_body(seq)) for seq in range(count))
    return [b"%b%x\r\n%b\r\n0\r\n\r\n" % (heads[seq % len(heads)], len(body), body) for seq, body in bodies]


def _head(port: int, service_port: int, user: int) -> bytes:
    path = rest_path(user)
    token = rest_token("k" * 44, f"http://127.0.0.1:{service_port}{path}", _VALID_UNTIL)
    return (
        f"POST {path}{_QUERY} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()


DEMANDS = (
    Demand(
        "D", "ingress CPU per compatible send / per single message on /v1", 1.5, (single_compatible, single_on_v1),
        read(single_compatible, "ingress_us"), read(single_on_v1, "ingress_us"),
    ),
    Demand(
        "D", "2,000 compatible sends side by side / straight to a server", 1.5, (many_through_us, many_straight),
        read(many_through_us, "seconds"), read(many_straight, "seconds"), unit="s",
    ),
)  # fmt: skip
