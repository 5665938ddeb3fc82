"""The servers of the tests get ports of their own, whoever took those that were free a moment ago."""

import socket

import pytest

from tests.redis_kinds import MAKES
from tests.redis_servers import BUS_PORT, PORT, RedisProcess

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("taken", ["port", "bus_port"])
def test_a_server_whose_port_was_taken_meanwhile_takes_another_one(taken: str) -> None:
    options = ("--port", PORT, "--cluster-enabled", "yes", "--cluster-port", BUS_PORT)
    server = RedisProcess(MAKES["valkey"], *options)
    ports = server.port, server.bus_port
    try:
        with socket.create_server(("127.0.0.1", getattr(server, taken))):
            server.start()
        assert (server.port, server.bus_port) != ports
        assert "Address already in use" in server.log
    finally:
        server.stop()


def test_a_server_that_ends_for_another_reason_is_not_started_again() -> None:
    server = RedisProcess(MAKES["valkey"], "--port", PORT, "--no-such-option", "1")
    with pytest.raises(AssertionError, match="no-such-option"):
        server.start()
    server.stop()
