"""Checks reach the service under names of this run, within bounds, and leave nothing behind."""

import pytest

from emulator.config import WELL_KNOWN_KEY
from fanout.environment import load
from fanout.errors import FanoutError
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.message import GroupAction, Message, Scope, Verb
from service.doctor.failure import DisprovedError
from service.doctor.target import Errand, admitted
from tests.emulator.running import running
from tests.service.doctor.examining import HUB, examined, terms


async def test_names_are_of_this_run_and_all_different() -> None:
    async with examined() as (_service, one), examined() as (_other, other):
        names = [patient.name("user") for patient in (one, other) for _ in range(2)]
    assert len(set(names)) == 4


async def test_an_answer_outside_2xx_is_told_with_what_the_service_says_of_it() -> None:
    async with examined() as (service, patient):
        with pytest.raises(DisprovedError, match=r"Answered 404: Error\.Connection\.NotExisted\."):
            await patient.send(GroupAction(Verb.ADD, Scope.CONNECTION, "nobody", "g"))
        service.emulator.faults.set([{"kind": "status", "status": 503, "retryAfter": 7}])
        with pytest.raises(DisprovedError, match="Answered 503: 7"):
            await patient.send(Message(Scope.BROADCAST, "", b'{"target":"t"}'))


async def test_a_service_that_is_silent_costs_the_time_limit() -> None:
    async with examined(timeout=0.1) as (service, patient):
        service.emulator.faults.set([{"kind": "latency", "seconds": 60}])
        with pytest.raises(DisprovedError, match=r"No answer within 0\.1 s"):
            await patient.ask(Errand("HEAD", "/api/health"))
        with pytest.raises(FanoutError, match=r"0\.1 s"):
            await patient.send(Message(Scope.BROADCAST, "", b'{"target":"t"}'))


async def test_memberships_of_users_end_with_the_block_that_made_them() -> None:
    async with examined() as (service, patient):
        async with patient.listening() as ear:
            await patient.send(GroupAction(Verb.ADD, Scope.USER, ear.user, "g"))
            assert service.emulator.hubs[HUB].is_member(ear.user, "g")
        assert not service.emulator.hubs[HUB].is_member(ear.user, "g")
        assert patient.joined == set()


async def test_memberships_that_could_not_be_ended_are_tried_again_and_named() -> None:
    async with examined() as (service, patient):
        async with patient.listening("ann") as ear:
            await patient.send(GroupAction(Verb.ADD, Scope.USER, ear.user, "g"))
            service.emulator.faults.set([{"kind": "status", "status": 503, "times": 2}])
        assert await patient.leave() == ("ann",)
        assert await patient.leave() == ()
        assert not service.emulator.hubs[HUB].is_member("ann", "g")


async def test_an_application_and_a_path_of_the_server_endpoint_are_honoured() -> None:
    async with running() as service:
        async with (
            admitted(
                ConnectionString.parse(f"Endpoint={service.base};AccessKey={WELL_KNOWN_KEY}"),
                load({}, application="MyApp"),
                terms(),
                service.clock,
            ) as patient,
            patient.listening() as ear,
        ):
            assert service.connection_ids("myapp_fanoutdoctor") == [ear.connection_id]
            assert await patient.head(f"/users/{ear.user}") == 200
        text = f"Endpoint={service.base};ServerEndpoint={service.base}/under;AccessKey={WELL_KNOWN_KEY}"
        async with admitted(ConnectionString.parse(text), load({}), terms(), service.clock) as patient:
            answer = await patient.ask(Errand("GET", "/api/health"))
            assert "/under/api/health" in answer.text


async def test_no_repr_shows_a_key() -> None:
    async with examined() as (_service, patient):
        assert WELL_KNOWN_KEY not in repr(patient) + repr(patient.client) + repr(patient.service)


async def test_a_call_that_is_refused_for_its_speed_is_made_again() -> None:
    async with examined(timeout=0.5) as (service, patient):
        service.emulator.faults.set([{"kind": "status", "status": 429, "retryAfter": 0, "times": 2}])
        assert await patient.send(Message(Scope.BROADCAST, "", b'{"target":"t"}')) == 202
        service.emulator.faults.set([{"kind": "status", "status": 429, "retryAfter": 0, "times": 2}])
        assert await patient.head("/users/nobody") == 404


async def test_a_service_that_refuses_for_speed_without_end_is_said_to_be_busy() -> None:
    async with examined(timeout=0.05) as (service, patient):
        service.emulator.faults.set([{"kind": "status", "status": 429, "retryAfter": 60}])
        with pytest.raises(DisprovedError, match="too busy to be examined"):
            await patient.send(Message(Scope.BROADCAST, "", b'{"target":"t"}'))
        with pytest.raises(DisprovedError, match="too busy to be examined"):
            await patient.head("/users/nobody")
