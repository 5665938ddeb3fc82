"""The doctor's client hears what is for it, in order, and says what is wrong otherwise."""

import pytest

from emulator.config import EmulatorConfig
from fanout.signalr.message import Message, Scope
from service.doctor.client_connection import body_of
from service.doctor.failure import DisprovedError
from service.doctor.routes import message
from tests.service.doctor.examining import HUB, examined


def test_a_body_holds_the_marker_and_further_arguments_as_they_are() -> None:
    assert body_of("n", "m") == b'{"target":"fanoutDoctor","arguments":["n","m"]}'
    assert body_of("n", '"', b"1.10, 2") == b'{"target":"fanoutDoctor","arguments":["n","\\"",1.10, 2]}'


async def test_the_arguments_of_the_last_message_are_given_as_they_came() -> None:
    async with examined() as (_service, patient), patient.listening() as ear:
        await patient.send(Message(Scope.USER, ear.user, body_of(patient.nonce, "m", b"1.10")))
        assert await ear.hears("m") == b'["%b","m",1.10]' % patient.nonce.encode()


async def test_what_another_doctor_or_application_sends_is_not_heard() -> None:
    async with examined() as (_service, patient), patient.listening() as ear:
        for body in (body_of("other", "m"), b'{"target":"news","arguments":[]}', b'{"target":"fanoutDoctor"}'):
            await patient.send(Message(Scope.BROADCAST, "", body))
        await patient.send(message(patient, Scope.BROADCAST, "", "mine"))
        await ear.hears("mine")


async def test_a_message_out_of_place_is_named() -> None:
    async with examined() as (_service, patient), patient.listening() as ear:
        await patient.send(message(patient, Scope.USER, ear.user, "second"))
        with pytest.raises(DisprovedError, match="'second' arrived where 'first' was expected"):
            await ear.hears("first", "second")


async def test_a_message_that_does_not_come_is_named() -> None:
    async with examined(timeout=0.1) as (_service, patient), patient.listening() as ear:
        with pytest.raises(DisprovedError, match=r"'first' did not arrive in 0\.1 s"):
            await ear.hears("first")
        with pytest.raises(DisprovedError, match="0 of 2 messages arrived"):
            await ear.collects(2)
        with pytest.raises(DisprovedError, match="stayed open"):
            await ear.is_closed()


async def test_silence_is_broken_by_a_message() -> None:
    async with examined() as (_service, patient), patient.listening() as ear:
        await ear.stays_silent(0.01)
        await patient.send(message(patient, Scope.USER, ear.user, "noise"))
        with pytest.raises(DisprovedError, match="'noise' arrived"):
            await ear.stays_silent(5)


async def test_a_connection_that_ends_while_listening_says_so() -> None:
    async with examined() as (service, patient), patient.listening() as ear:
        service.emulator.hubs[HUB].close(service.emulator.hubs[HUB].everyone(), "")
        with pytest.raises(DisprovedError, match=r"closed|ended"):
            await ear.hears("anything")


async def test_a_refused_negotiation_says_why() -> None:
    async with examined(EmulatorConfig(keys=("x" * 44,))) as (_service, patient):
        with pytest.raises(DisprovedError, match=r"Negotiate answered 401: .*signature"):
            async with patient.listening():
                pass


async def test_the_token_is_in_no_url_and_no_repr() -> None:
    async with examined() as (_service, patient), patient.listening() as ear:
        invitation = ear._invitation
        assert invitation.token not in repr(invitation) + repr(ear) + invitation.url
