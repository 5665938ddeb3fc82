"""Checks reach the service under names of this run, within bounds, and leave nothing behind."""

import pytest

from emulator.config import WELL_KNOWN_KEY
from fanout.environment import load
from fanout.errors import FanoutError
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.message import GroupAction, Message, Scope, Verb
from service.doctor.findings import CheckFailedError
from service.doctor.target import SignedRequest, open_target
from tests.emulator.running import running
from tests.service.doctor.examining import HUB, examined, options

pytestmark = pytest.mark.slow


async def test_names_are_of_this_run_and_all_different() -> None:
    async with examined() as (_service, one), examined() as (_other, other):
        names = [target.unique_name("user") for target in (one, other) for _ in range(2)]
    assert len(set(names)) == 4


async def test_an_answer_outside_2xx_is_told_with_what_the_service_says_of_it() -> None:
    async with examined() as (service, target):
        with pytest.raises(CheckFailedError, match=r"Answered 404: Error\.Connection\.NotExisted\."):
            await target.send(GroupAction(Verb.ADD, Scope.CONNECTION, "nobody", "g"))
        service.emulator.faults.set([{"kind": "status", "status": 503, "retryAfter": 7}])
        with pytest.raises(CheckFailedError, match="Answered 503: 7"):
            await target.send(Message(Scope.BROADCAST, "", b'{"target":"t"}'))


async def test_a_service_that_is_silent_costs_the_time_limit() -> None:
    async with examined(timeout=0.1) as (service, target):
        service.emulator.faults.set([{"kind": "latency", "seconds": 60}])
        with pytest.raises(CheckFailedError, match=r"No answer within 0\.1 s"):
            await target.request(SignedRequest("HEAD", "/api/health"))
        with pytest.raises(FanoutError, match=r"0\.1 s"):
            await target.send(Message(Scope.BROADCAST, "", b'{"target":"t"}'))


async def test_memberships_of_users_end_with_the_block_that_made_them() -> None:
    async with examined() as (service, target):
        async with target.connected_client() as client:
            await target.send(GroupAction(Verb.ADD, Scope.USER, client.user, "g"))
            assert service.emulator.hubs[HUB].is_member(client.user, "g")
        assert not service.emulator.hubs[HUB].is_member(client.user, "g")
        assert target.joined == set()


async def test_memberships_that_could_not_be_ended_are_tried_again_and_named() -> None:
    async with examined() as (service, target):
        async with target.connected_client("ann") as client:
            await target.send(GroupAction(Verb.ADD, Scope.USER, client.user, "g"))
            service.emulator.faults.set([{"kind": "status", "status": 503, "times": 2}])
        assert await target.clean_up() == ("ann",)
        assert await target.clean_up() == ()
        assert not service.emulator.hubs[HUB].is_member("ann", "g")


async def test_an_application_and_a_path_of_the_server_endpoint_are_honoured() -> None:
    async with running() as service:
        async with (
            open_target(
                ConnectionString.parse(f"Endpoint={service.base};AccessKey={WELL_KNOWN_KEY}"),
                load({}, application="MyApp"),
                options(),
                service.clock,
            ) as target,
            target.connected_client() as client,
        ):
            assert service.connection_ids("myapp_fanoutdoctor") == [client.connection_id]
            assert await target.status_of(f"/users/{client.user}") == 200
        text = f"Endpoint={service.base};ServerEndpoint={service.base}/under;AccessKey={WELL_KNOWN_KEY}"
        async with open_target(ConnectionString.parse(text), load({}), options(), service.clock) as target:
            answer = await target.request(SignedRequest("GET", "/api/health"))
            assert "/under/api/health" in answer.text


async def test_no_repr_shows_a_key() -> None:
    async with examined() as (_service, target):
        assert WELL_KNOWN_KEY not in repr(target) + repr(target.delivery) + repr(target.service)


async def test_a_call_that_is_refused_for_its_speed_is_made_again() -> None:
    async with examined() as (service, target):
        service.emulator.faults.set([{"kind": "status", "status": 429, "retryAfter": 0, "times": 2}])
        assert await target.send(Message(Scope.BROADCAST, "", b'{"target":"t"}')) == 202
        service.emulator.faults.set([{"kind": "status", "status": 429, "retryAfter": 0, "times": 2}])
        assert await target.status_of("/users/nobody") == 404


async def test_a_service_that_refuses_for_speed_without_end_is_said_to_be_busy() -> None:
    async with examined() as (service, target):
        service.emulator.faults.set([{"kind": "status", "status": 429, "retryAfter": 0}])
        with pytest.raises(CheckFailedError, match="too busy to be examined"):
            await target.send(Message(Scope.BROADCAST, "", b'{"target":"t"}'))
        with pytest.raises(CheckFailedError, match="too busy to be examined"):
            await target.status_of("/users/nobody")
