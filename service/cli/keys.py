"""`fanout keys create`, `list` and `revoke`: the API keys of callers, in the Redis of the settings.

Rules guarded: a key is shown once, by the command that makes it; what is stored cannot be turned back into it. Nobody
gets a right or a hub by accident: both have to be named.
"""

import asyncio
import secrets
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import click
import msgspec

from fanout.clock import SystemClock
from fanout.environment import load
from fanout.errors import ConfigurationError, QueueError
from fanout.queue.api_keys import ApiKeys
from fanout.queue.keys import Keys
from fanout.units import parse_duration
from service.callers.caller import ApiKey, Right, check_key, digest_of, parse_key, secret_of
from service.cli.groups import WholeGroup
from service.cli.render import cell, plain, table
from service.cli.running import NO, or_exit
from service.identities import Identities
from service.outgoing import open_configured_redis

T = TypeVar("T")
_HEADING = ("ID", "NAME", "RIGHTS", "HUBS", "LIMITS", "CREATED (UTC)", "UNTIL (UTC)")


@click.group(cls=WholeGroup)
def keys() -> None:
    """Make, list and revoke the API keys of callers.

    They are kept in the Redis of FANOUT_REDIS_URL, as digests. An ingress learns of a change within a few seconds.

    \b
    fanout keys create orders --right send --hub 'orders_*'
    fanout keys create dashboard --right read --hub '*' --for 90d
    fanout keys list
    fanout keys revoke 0123456789ab
    """  # noqa: D301 - click reads the backspace character as "do not re-wrap"


@keys.command()
@click.argument("name")
@click.option(
    "--right", "rights", multiple=True, required=True, type=click.Choice([each.value for each in Right]),
    help="What its holder may do; may be given several times. admin includes read.",
)  # fmt: skip
@click.option(
    "--hub", "hubs", multiple=True, required=True, metavar="PATTERN",
    help="On which hubs: a name, or a pattern with one *; may be given several times. '*' is all of them.",
)  # fmt: skip
@click.option("--for", "duration", metavar="DURATION", help="For so long: 12h, 90d. Without it until it is revoked.")
@click.option("--rate", default="", metavar="N/s", help="How many requests it may send: 100/s, 6000/m, 50000/h.")
@click.option("--bytes", "size", default="", metavar="SIZE/s", help="How large their bodies may be together: 1MiB/s.")
@click.option(
    "--print", "only_print", is_flag=True,
    help="Store nothing: print the line for the file of FANOUT_API_KEYS_FILE, and the key on standard error.",
)  # fmt: skip
def create(
    name: str,
    rights: Sequence[str],
    hubs: Sequence[str],
    duration: str | None,
    rate: str,
    size: str,
    *,
    only_print: bool,
) -> None:
    """Make a key for the caller NAME and print it. It cannot be shown again.

    Several keys may have one name: make the new one, change the caller, revoke the old one.
    """
    key_id, now = secrets.token_hex(6), SystemClock().wall()
    secret = secret_of(key_id, secrets.token_urlsafe(32))
    expires = None if duration is None else now + _seconds(duration)
    digest = digest_of(secret.encode()).hex()
    patterns = tuple(hub.lower() for hub in hubs)
    key = ApiKey(key_id, name, digest, tuple(rights), patterns, round(now, 3), expires, rate, size)
    try:
        check_key(key)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    if only_print:
        click.echo(f"{secret}\nThis key is not shown again; it counts once the line below is in the file.", err=True)
        click.echo(key.text.decode())
        return
    _with_keys(lambda store: store.put(key_id, key.text))
    click.echo(f"The key {key_id} of {name} counts within a few seconds. It is not shown again:", err=True)
    click.echo(secret)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the keys as they are stored, one a line.")
def list_keys(*, as_json: bool) -> None:
    """List the keys in Redis: id, name, rights, hubs, and until when each counts."""
    texts = _with_keys(lambda store: store.all())
    if as_json:
        for text in texts.values():
            click.echo(msgspec.json.encode(msgspec.json.decode(text)).decode())
        return
    rows = [_row(key_id, text) for key_id, text in sorted(texts.items())]
    click.echo("\n".join(table([_HEADING, *rows])) if rows else "There are no keys in Redis.")


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def revoke(key_id: str, *, yes: bool) -> None:
    """Revoke a key by its id, as `list` shows it; it also stands in the key, between the underscores.

    Whose key it is is told first.

    Exit code 0: it counts for nothing within a few seconds; 1: there was none, or it was not confirmed; 2: Redis could
    not be asked.
    """
    text = _with_keys(lambda store: store.all()).get(key_id)
    if text is None:
        click.echo(f"There is no key {plain(key_id)} in Redis.")
        sys.exit(NO)
    click.echo("\n".join(table([_HEADING, _row(key_id, text)])), err=True)
    if not yes:
        click.confirm("Revoke it?", abort=True, err=True)
    removed = _with_keys(lambda store: store.remove(key_id))
    click.echo(f"The key {plain(key_id)} is revoked." if removed else f"There is no key {plain(key_id)} in Redis.")
    sys.exit(0 if removed else NO)


def _with_keys(work: Callable[[ApiKeys], Awaitable[T]]) -> T:
    settings, clock = or_exit(load), SystemClock()

    async def run() -> T:
        identities = Identities(clock)
        redis_client = open_configured_redis(settings, clock, identities=identities)
        try:
            await identities.prepare()
            return await work(ApiKeys(redis_client, Keys(settings.namespace)))
        except QueueError as error:
            raise ConfigurationError(f"Redis: {error}") from None
        finally:
            await redis_client.aclose()

    return or_exit(lambda: asyncio.run(run()))


def _seconds(text: str) -> float:
    try:
        return float(str(parse_duration(text)))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--for") from None


def _row(key_id: str, text: bytes) -> list[str]:
    try:
        key = parse_key(text)
    except ValueError:
        return [cell(key_id), "cannot be read", "-", "-", "-", "-", "-"]
    until = "revoked" if key.expires is None else _time(key.expires)
    limits = ",".join(filter(None, (key.rate, key.size))) or "-"
    hubs = cell(",".join(key.hubs))
    return [key.id, cell(key.name), ",".join(key.rights), hubs, limits, _time(key.created), until]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
