"""`fanout send`: sends one batch to an ingress and prints its answer.

Rules guarded: the exit code tells whether everything was accepted, and if not, whether the batch is the reason. The
caller's JSON is sent unchanged.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from fanout.errors import ConfigurationError
from service.cli.api import Api, api_key, url_option
from service.cli.running import NO, UNANSWERED, or_exit

_TIMEOUT = 30.0
_ACCEPTED = 202
_REFUSES_THE_BATCH = frozenset({400, 409, 413, 415})
_TARGETS = {"userId": "user", "groupName": "group", "connectionId": "connection"}


@click.command()
@url_option("url")
@click.option("--hub", required=True, help="The hub to send to.")
@click.option("--target", default="newMessage", show_default=True, help="The client method to call.")
@click.option("--user", default="", help="Send to this user.")
@click.option("--group", default="", help="Send to this group.")
@click.option("--connection", default="", help="Send to this connection.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="Send this JSON batch instead; - reads stdin.")
@click.argument("arguments", nargs=-1)
def send(url: str, hub: str, file: Path | None, arguments: Sequence[str], **message: str) -> None:
    """Send a message to everybody, a user, a group or a connection.

    ARGUMENTS are JSON values; anything that is not JSON is sent as a string. The API key is read from FANOUT_API_KEY.

    Exit code 0: everything was accepted; 1: the ingress refuses this batch; 2: it did not take it for another reason
    (the key, overload, no Redis), or nobody could be asked.

    \b
    fanout send --hub chat hello '{"n": 1}'
    fanout send --hub chat --user alice hello
    fanout send --hub chat --file batch.json
    """  # noqa: D301 - click reads the backspace character as "do not re-wrap"

    def work() -> int:
        body = _message(arguments, **message) if file is None else _content(file)
        return send_batch(Api(url, api_key()), hub, body)

    sys.exit(or_exit(work))


def send_batch(api: Api, hub: str, body: bytes) -> int:
    """Send a batch, print the answer and return the exit code: 0 accepted, 1 refused for what it is, 2 not taken."""
    path = f"/v1/hubs/{quote(hub, safe='')}/messages"
    response = api.call("POST", path, content=body, headers={"Content-Type": "application/json"}, timeout=_TIMEOUT)
    click.echo(response.text.rstrip())
    advice = api.key_advice(response)
    if advice:
        click.echo(f"fanout: {advice}", err=True)
    if response.status_code == _ACCEPTED:
        return 0
    return NO if response.status_code in _REFUSES_THE_BATCH else UNANSWERED


def _message(arguments: Sequence[str], *, target: str, **targets: str) -> bytes:
    values = b",".join(_json(argument) for argument in arguments)
    chosen = {name: targets[option] for name, option in _TARGETS.items() if targets.get(option)}
    head = msgspec.json.encode({"target": target, **chosen})
    return head[:-1] + b',"arguments":[' + values + b"]}"


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
