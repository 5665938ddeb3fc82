"""The instances of the service that a process delivers to, each by a name of its own.

Rules guarded: a name can stand in a key of the queue and in a label of a metric, and two never differ in case alone.
The endpoint without a name is the one of `AzureSignalRConnectionString`; where people read of it, it is `default`, and
no other may have that name. Which are online decides where clients are sent, never what is queued for whom.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fanout.errors import ConfigurationError
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.message import UNNAMED, label_of

MAX_ENDPOINTS = 16
EndpointType = Literal["Primary", "Secondary"]
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,48}[A-Za-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ServiceEndpoint:
    """One instance: `name` as it was configured, "" for none. `variable` is the setting that it comes from.

    `weight` is its part of the clients beside that of others, 0 where it is the last resort.
    """

    name: str
    service: ConnectionString
    type: EndpointType = "Primary"
    variable: str = ""
    weight: float = 1.0

    @property
    def key(self) -> str:
        """What it is called in keys of the queue, "" for the one without a name."""
        return self.name.lower()

    @property
    def label(self) -> str:
        """What it is called in metrics, logs and answers."""
        return label_of(self.key)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """All that are configured, at least one, in the order in which they are shown: the one without a name first."""

    all: tuple[ServiceEndpoint, ...]

    @classmethod
    def of(cls, endpoints: Sequence[ServiceEndpoint]) -> "Endpoints":
        """Check that they can be told apart; ConfigurationError with everything that is wrong."""
        findings = list(_findings(endpoints))
        if findings:
            raise ConfigurationError(*findings)
        return cls(tuple(sorted(endpoints, key=_order)))

    @classmethod
    def single(cls, service: ConnectionString) -> "Endpoints":
        """Return the one endpoint of a process that has no other."""
        return cls((ServiceEndpoint("", service),))

    def __iter__(self) -> Iterator[ServiceEndpoint]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    @property
    def first(self) -> ServiceEndpoint:
        """The one without a name, or else the first by name."""
        return self.all[0]

    @property
    def keys(self) -> tuple[str, ...]:
        """What they are called in keys of the queue."""
        return tuple(endpoint.key for endpoint in self.all)

    @property
    def labels(self) -> tuple[str, ...]:
        """What they are called in metrics."""
        return tuple(endpoint.label for endpoint in self.all)


def check_endpoint_name(name: str) -> str:
    """Return `name` where an endpoint may have it; ValueError where not."""
    if name.lower() == UNNAMED:
        raise ValueError(f"{name} is what the endpoint without a name is called: choose another name")
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{name!r} cannot be the name of an endpoint: it needs 1 to 50 letters, digits, dots, hyphens and "
            "underscores, and begins and ends with a letter or digit"
        )
    return name


def key_named(name: str, keys: Collection[str]) -> str:
    """Return which of these keys of endpoints people mean by `name`, in any case; ValueError where it is none."""
    known = {label_of(key): key for key in keys}
    if name.lower() not in known:
        raise ValueError(f"No endpoint {name!r:.60} is configured here; known: {', '.join(known)}.")
    return known[name.lower()]


def _order(endpoint: ServiceEndpoint) -> str:
    return endpoint.key


def _findings(endpoints: Sequence[ServiceEndpoint]) -> Iterator[str]:
    if len(endpoints) > MAX_ENDPOINTS:
        yield f"{len(endpoints)} endpoints are configured, and at most {MAX_ENDPOINTS} may be."
    names: dict[str, ServiceEndpoint] = {}
    places: dict[str, ServiceEndpoint] = {}
    for endpoint in endpoints:
        other = names.setdefault(endpoint.key, endpoint)
        if other is not endpoint:
            yield f"{endpoint.variable} and {other.variable} are one name for two endpoints: rename one of them."
            continue
        other = places.setdefault(endpoint.service.server_endpoint.lower(), endpoint)
        if other is not endpoint:
            yield (
                f"{endpoint.variable} and {other.variable} name the same instance of the service, which would get "
                "everything twice: remove one of them."
            )
