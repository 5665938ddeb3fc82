"""`fanout send`: one batch to an ingress, and what it answered, for people.

Rule guarded: the exit code tells whether everything was accepted; the caller's JSON is sent as it stands.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import msgspec

from fanout.errors import ConfigurationError
from service.cli.ask import ask

_TIMEOUT = 30.0
_ACCEPTED = 202


@dataclass(frozen=True, slots=True)
class Sending:
    """What to send: `message` holds hub, target, user, group, connection; `file` replaces the message when given."""

    url: str
    api_key: str = field(repr=False)
    message: Mapping[str, str]
    arguments: Sequence[str]
    file: Path | None


def send(sending: Sending) -> int:
    """Send, print the answer, and give the exit code: 0 when everything was accepted, else 1."""
    path = f"/v1/hubs/{quote(sending.message['hub'], safe='')}/messages"
    json = {"Content-Type": "application/json"}
    response = ask("POST", sending.url, path, sending.api_key, content=_body(sending), headers=json, timeout=_TIMEOUT)
    sys.stdout.write(response.text.rstrip() + "\n")
    return 0 if response.status_code == _ACCEPTED else 1


def _body(sending: Sending) -> bytes:
    if sending.file is not None:
        return _content(sending.file)
    arguments = b",".join(_json(argument) for argument in sending.arguments)
    names = {"userId": "user", "groupName": "group", "connectionId": "connection"}
    chosen = {name: sending.message[key] for name, key in names.items() if sending.message[key]}
    head = msgspec.json.encode({"target": sending.message["target"], **chosen})
    return head[:-1] + b',"arguments":[' + arguments + b"]}"


def _content(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from None


def _json(argument: str) -> bytes:
    try:
        msgspec.json.decode(argument, type=msgspec.Raw)
    except msgspec.DecodeError:
        return msgspec.json.encode(argument)
    return argument.encode()
