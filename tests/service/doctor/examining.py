"""The doctor in front of a real emulator, which may be told to misbehave."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from emulator.config import WELL_KNOWN_KEY, EmulatorConfig, connection_string
from fanout.environment import load
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from service.doctor.check import Check, Finding
from service.doctor.examination import examine
from service.doctor.failure import DisprovedError
from service.doctor.target import Patient, Terms, admitted
from tests.emulator.running import Service, running

HUB = "fanoutdoctor"


def terms(**wanted: Any) -> Terms:
    return replace(Terms(HUB, timeout=5.0, quiet=0.02, ttl=1), **wanted)


def service_of(service: Service, key: str = WELL_KNOWN_KEY) -> ConnectionString:
    return ConnectionString.parse(connection_string(service.port, key))


@asynccontextmanager
async def examined(
    config: EmulatorConfig | None = None, settings: Settings | None = None, **wanted: Any
) -> AsyncIterator[tuple[Service, Patient]]:
    """An emulator and the patient it is to the doctor."""
    async with running(config) as service:
        where = service_of(service)
        async with admitted(where, settings or load({}), terms(**wanted), service.clock) as patient:
            yield service, patient


async def seen(patient: Patient, checks: Iterable[Check], name: str) -> str:
    """Run one check by its name; gives what it saw."""
    (check,) = [each for each in checks if each.name == name]
    return await check.run(patient)


async def disproved(patient: Patient, checks: Iterable[Check], name: str) -> str:
    """Run one check that has to say no; gives its words."""
    with pytest.raises(DisprovedError) as told:
        await seen(patient, checks, name)
    return str(told.value)


async def findings_of(
    service: Service, checks: Sequence[Check] = (), key: str = WELL_KNOWN_KEY, **wanted: Any
) -> list[Finding]:
    """Examine; gives every finding."""
    settings = load({}, **wanted.pop("settings", {}))
    where = wanted.pop("where", None) or service_of(service, key)
    return [each async for each in examine(where, settings, terms(**wanted), service.clock, checks)]
