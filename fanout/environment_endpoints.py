"""Finds the endpoints with names among the variables of a process, as Functions apps and ASP.NET Core write them.

Source: docs/sources.md, connection-strings. Rule guarded: a name that users of the vendor's libraries have and that
would do nothing here is refused, with what to write instead. Names count in any case, and `:` is the same as `__`.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from fanout.errors import ConfigurationError
from fanout.identity_settings import OF_OTHERS, SEPARATOR, companion_of, connection_string_of
from fanout.signalr.endpoints import EndpointType, check_endpoint_name

_CONNECTION_STRING: Final = "AzureSignalRConnectionString"
LISTED: Final = "FANOUT_CONNECTION_STRING_SETTINGS"
FILE_SUFFIX: Final = "_FILE"
_ENDPOINTS: Final = "azure__signalr__endpoints"
_ASP_NET: Final = "azure__signalr__connectionstring"
_ROOT: Final = re.compile(r"azure(?:__|:)signalr(?:__|:)endpoints|azuresignalrconnectionstring", re.IGNORECASE)
_NAME_AND_TYPE: Final = 2
_VARIABLE: Final = re.compile(r"[\w.:\-]{1,100}", re.ASCII)
_TYPES: Final[Mapping[str, EndpointType]] = {"primary": "Primary", "secondary": "Secondary"}
_LOOKS_LIKE_ONE: Final = re.compile(r"\s*endpoint\s*=\s*https?://", re.IGNORECASE)
# Settings of the vendor's libraries that say how they send; here something else says it.
_INSTEAD: Final = (
    ("azuresignalrretry__", "How deliveries are repeated is set by FANOUT_RETRY_BASE, FANOUT_RETRY_CAP and the others"),
    ("azuresignalrhttpclienttimeout", "How long a call may take is set by FANOUT_ATTEMPT_TIMEOUT"),
    ("azure__signalr__hubprotocol", "Messages are delivered as their senders wrote them"),
)


@dataclass(frozen=True, slots=True)
class NamedConnection:
    """An endpoint with a name: its connection string, or the file that this is in."""

    variable: str
    name: str
    type: EndpointType
    text: SecretStr
    path: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found. `taken` are variables that need no further look, whatever they are."""

    connections: tuple[NamedConnection, ...] = ()
    findings: tuple[str, ...] = ()
    taken: frozenset[str] = frozenset()


def find_connections(environ: Mapping[str, str], listed: Collection[str]) -> Found:
    """Return the endpoints with names. `listed` are variables that FANOUT_CONNECTION_STRING_SETTINGS names."""
    search = _Search(environ, listed)
    for variable, text in environ.items():
        search.look_at(variable, text)
    search.look_for_listed()
    search.look_for_identities()
    return Found(tuple(search.connections), tuple(search.findings), frozenset(search.taken))


class _Search:
    def __init__(self, environ: Mapping[str, str], listed: Collection[str]) -> None:
        self.connections: list[NamedConnection] = []
        self.findings: list[str] = []
        self.taken: set[str] = set()
        self._environ = environ
        self._listed = listed
        self._companions: dict[str, dict[str, str]] = {}  # of endpoints by identity, by the name before them

    def look_at(self, variable: str, text: str) -> None:
        """Take a variable for an endpoint, refuse it, or leave it to others."""
        known = variable.lower().replace(":", "__")
        if known == _ENDPOINTS or known.startswith(f"{_ENDPOINTS}__"):
            self._take_below(variable, text, is_unnamed=False)
        elif known.startswith(f"{_CONNECTION_STRING.lower()}__"):
            self._take_below(variable, text, is_unnamed=True)
        elif known == _ASP_NET or known.startswith(f"{_ASP_NET}__"):
            self._refuse(variable, f"does nothing here: write {_CONNECTION_STRING}, or {_example('NAME')}")
        else:
            self._look_at_other(variable, known, text)

    def look_for_listed(self) -> None:
        """Take the variables that an operator listed."""
        for name in dict.fromkeys(self._listed):
            if _VARIABLE.fullmatch(name) is None:  # it may be a connection string, and is not repeated
                self.findings.append(f"{LISTED} must list names of variables, separated by commas, and no values.")
                continue
            if self._is_listed_amiss(name):
                continue
            path = self._environ.get(name + FILE_SUFFIX, "")
            text = self._environ.get(name, "")
            if bool(text) == bool(path):
                problem = "are both set: set one of the two" if text else "is not set"
                both = f"{name} and {name}{FILE_SUFFIX} " if text else f"{name} "
                self.findings.append(f"{LISTED} names {name}, and {both}{problem}.")
                continue
            self._take(name + FILE_SUFFIX if path else name, name, "Primary", text, path)

    def _is_listed_amiss(self, name: str) -> bool:
        """Refuse a name that is listed twice, or that is an endpoint without being listed."""
        if sum(each == name for each in self._listed) > 1:
            self.findings.append(f"{LISTED} names {name} more than once: name it once.")
            return True
        if not self.taken.isdisjoint((name, name + FILE_SUFFIX)):
            self.findings.append(f"{LISTED} names {name}, which is looked at anyway: take it out of the list.")
            return True
        return False

    def look_for_identities(self) -> None:
        """Take the endpoints by identity, whose companions were found."""
        for root, given in self._companions.items():
            if not any(text.strip() for text in given.values()):
                continue
            if any(each.variable.lower() == root.lower() for each in self.connections):
                self._refuse(root, f"has a connection string and {min(given)}: set one of the two")
                continue
            parts = _parts_below(root)
            kind = _TYPES[parts[1].lower()] if len(parts) > 1 else "Primary"
            try:
                self._take(root, parts[0], kind, connection_string_of(root, given), "")
            except ConfigurationError as error:
                self.findings += error.findings

    def _take_below(self, variable: str, text: str, *, is_unnamed: bool) -> None:
        is_file = variable.upper().endswith(FILE_SUFFIX)
        parts = _parts_below(variable[: -len(FILE_SUFFIX)] if is_file else variable)
        companion = companion_of(f"{SEPARATOR}{parts[-1]}", "") if parts else ""
        if is_unnamed and companion and len(parts) == 1:
            return  # it belongs to the endpoint without a name
        if parts and parts[-1].lower() in OF_OTHERS:
            self._refuse(variable, "is not a setting of this version: serviceUri, credential, clientId and others are")
            return
        self.taken.add(variable)
        if companion and len(parts) > 1 and not _problem_of(parts[:-1]):
            root = variable[: -len(parts[-1])].rstrip("_:")
            self._companions.setdefault(root, {})[companion] = text
            return
        if companion and len(parts) == 1:
            self._refuse(variable, f"has no name of an endpoint: write {_example('NAME')}__{companion}")
            return
        if problem := _problem_of(parts):
            self._refuse(variable, problem)
            return
        kind = _TYPES[parts[1].lower()] if len(parts) > 1 else "Primary"
        self._take(variable, parts[0], kind, "" if is_file else text, text if is_file else "")

    def _take(self, variable: str, name: str, kind: EndpointType, text: str, path: str) -> None:
        self.taken.add(variable)
        try:
            check_endpoint_name(name)
        except ValueError as error:
            self.findings.append(f"{variable}: {error}.")
            return
        if not text and not path:
            self._refuse(variable, "is empty")
            return
        self.connections.append(NamedConnection(variable, name, kind, SecretStr(text), path))

    def _look_at_other(self, variable: str, known: str, text: str) -> None:
        for beginning, instead in _INSTEAD:
            if known.startswith(beginning):
                self._refuse(variable, f"does nothing here. {instead}")
                return
        if known == "azuresignalrservicetransporttype" and text.strip().lower() != "transient":
            self._refuse(variable, "can only be Transient here: deliveries are calls of the REST API")
        looks_alike = known.startswith("azuresignalr") and known != _CONNECTION_STRING.lower()
        if looks_alike and variable not in self._listed and _LOOKS_LIKE_ONE.match(text):
            self._refuse(
                variable,
                f"holds a connection string, and nothing says that it is to be used: list it in {LISTED}, or write "
                f"{_example('NAME')}",
            )

    def _refuse(self, variable: str, problem: str) -> None:
        self.taken.add(variable)
        self.findings.append(f"{variable} {problem}.")


def _parts_below(variable: str) -> list[str]:
    """Return the parts of a name below its root, whichever way they are separated."""
    matched = _ROOT.match(variable)
    return [part for part in re.split(r"__|:", variable[matched.end() :]) if part] if matched else []


def _problem_of(parts: Sequence[str]) -> str:
    """Return what is wrong with the parts of a name, "" for nothing."""
    if not parts:
        return f"has no name of an endpoint: write {_example('NAME')}"
    if len(parts) == 1 and parts[0].lower() in _TYPES:
        return f"has a type and no name: write {_example('NAME')}__{parts[0].lower()}"
    if len(parts) > _NAME_AND_TYPE or (len(parts) == _NAME_AND_TYPE and parts[1].lower() not in _TYPES):
        return f"has more than a name and primary or secondary: write {_example(parts[0])}"
    return ""


def _example(name: str) -> str:
    return f"Azure__SignalR__Endpoints__{name}"
