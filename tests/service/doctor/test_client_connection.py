"""The client of the doctor receives what is for it, in order, and says what is wrong otherwise."""

import pytest

from emulator.config import EmulatorConfig
from fanout.signalr.message import Message, Scope
from service.doctor.client_connection import body_of
from service.doctor.findings import CheckFailedError
from service.doctor.routes import message
from tests.service.doctor.examining import HUB, examined

pytestmark = pytest.mark.slow


def test_a_body_holds_the_marker_and_further_arguments_as_they_are() -> None:
    assert body_of("n", "m") == b'{"target":"fanoutDoctor","arguments":["n","m"]}'
    assert body_of("n", '"', b"1.10, 2") == b'{"target":"fanoutDoctor","arguments":["n","\\"",1.10, 2]}'


async def test_the_arguments_of_the_last_message_are_given_as_they_came() -> None:
    async with examined() as (_service, target), target.connected_client() as client:
        await target.send(Message(Scope.USER, client.user, body_of(target.nonce, "m", b"1.10")))
        assert await client.receive("m") == b'["%b","m",1.10]' % target.nonce.encode()


async def test_what_another_doctor_or_application_sends_is_ignored() -> None:
    async with examined() as (_service, target), target.connected_client() as client:
        for body in (body_of("other", "m"), b'{"target":"news","arguments":[]}', b'{"target":"fanoutDoctor"}'):
            await target.send(Message(Scope.BROADCAST, "", body))
        await target.send(message(target, Scope.BROADCAST, "", "mine"))
        await client.receive("mine")


async def test_a_message_out_of_place_is_named() -> None:
    async with examined() as (_service, target), target.connected_client() as client:
        await target.send(message(target, Scope.USER, client.user, "second"))
        with pytest.raises(CheckFailedError, match="'second' arrived where 'first' was expected"):
            await client.receive("first", "second")


async def test_a_message_that_does_not_come_is_named() -> None:
    async with examined(timeout=0.7) as (_service, target), target.connected_client() as client:
        with pytest.raises(CheckFailedError, match=r"'first' did not arrive in 0\.7 s"):
            await client.receive("first")
        with pytest.raises(CheckFailedError, match="0 of 2 messages arrived"):
            await client.receive_any(2)
        with pytest.raises(CheckFailedError, match="stayed open"):
            await client.wait_closed()


async def test_silence_is_broken_by_a_message() -> None:
    async with examined() as (_service, target), target.connected_client() as client:
        await client.receive_nothing(0.01)
        await target.send(message(target, Scope.USER, client.user, "noise"))
        with pytest.raises(CheckFailedError, match="'noise' arrived"):
            await client.receive_nothing(5)


async def test_a_connection_that_ends_while_listening_says_so() -> None:
    async with examined() as (service, target), target.connected_client() as client:
        service.emulator.hubs[HUB].close(service.emulator.hubs[HUB].everyone(), "")
        with pytest.raises(CheckFailedError, match=r"closed|ended"):
            await client.receive("anything")


async def test_a_refused_negotiation_says_why() -> None:
    async with examined(EmulatorConfig(keys=("x" * 44,))) as (_service, target):
        with pytest.raises(CheckFailedError, match=r"Negotiate answered 401: .*signature"):
            async with target.connected_client():
                pass


async def test_the_token_is_in_no_url_and_no_repr() -> None:
    async with examined() as (_service, target), target.connected_client() as client:
        negotiation = client._negotiation
        assert negotiation.token not in repr(negotiation) + repr(client) + negotiation.url
