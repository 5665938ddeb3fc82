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
from service.doctor.examination import examine
from service.doctor.findings import CheckFailedError, Finding
from service.doctor.target import Check, Options, Target, open_target
from tests.emulator.running import Service, running

HUB = "fanoutdoctor"


def options(**wanted: Any) -> Options:
    return replace(Options(HUB, timeout=5.0, quiet=0.02, ttl=1), **wanted)


def service_of(service: Service, key: str = WELL_KNOWN_KEY) -> ConnectionString:
    return ConnectionString.parse(connection_string(service.port, key))


@asynccontextmanager
async def examined(
    config: EmulatorConfig | None = None, settings: Settings | None = None, **wanted: Any
) -> AsyncIterator[tuple[Service, Target]]:
    """An emulator, and the target that it is to the doctor."""
    async with running(config) as service:
        where = service_of(service)
        async with open_target(where, settings or load({}), options(**wanted), service.clock) as target:
            yield service, target


async def run_check(target: Target, checks: Iterable[Check], name: str) -> str:
    """Run one check by its name; gives what it saw."""
    (check,) = [each for each in checks if each.name == name]
    return await check.run(target)


async def failed(target: Target, checks: Iterable[Check], name: str) -> str:
    """Run one check that has to say no; gives its words."""
    with pytest.raises(CheckFailedError) as answered:
        await run_check(target, checks, name)
    return str(answered.value)


async def findings_of(
    service: Service, checks: Sequence[Check] = (), key: str = WELL_KNOWN_KEY, **wanted: Any
) -> list[Finding]:
    """Examine; gives every finding."""
    settings = load({}, **wanted.pop("settings", {}))
    where = wanted.pop("where", None) or service_of(service, key)
    return [each async for each in examine(where, settings, options(**wanted), service.clock, checks)]
