"""`fanout top`: the whole queue, live, from the admin API of a running service.

Rules guarded: a service that does not answer does not end it. It says what is wrong, keeps the last figures and goes on
asking. Ctrl-C leaves the terminal as it was. A screen is written in one piece over the last one, so that it does not
flicker. Without a terminal, or with --once, the figures are printed once.
"""

import asyncio
import errno
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import Any, Final

import click
import msgspec

from fanout.clock import Clock, SystemClock
from fanout.errors import ConfigurationError, FanoutError
from service.cli.api import Api, api_key, url_option
from service.cli.render import plain
from service.cli.running import or_exit, stop_on_signals
from service.cli.screen import cut, lines_of

_PATH: Final = "/v1/admin/overview"
_TIMEOUT: Final = 5.0
_WIDE: Final = 200  # columns where there is no terminal
_BETWEEN: Final = 1.1  # seconds between two readings that a rate is made of; the service looks once a second
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # another screen, without a cursor, where long lines do not wrap
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _TO_END_OF_LINE, _TO_END = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command()
@url_option("admin_url", "url")
@click.option("--once", is_flag=True, help="Print the figures once, with rates over a second, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print each answer as one line of JSON.")
@click.option("--interval", type=click.FloatRange(1, 3600), default=2.0, show_default=True, help="Seconds between two.")
@click.option("--hubs", type=click.IntRange(1, 200), default=20, show_default=True, help="Hubs shown one by one.")
def top(url: str, *, once: bool, as_json: bool, interval: float, hubs: int) -> None:
    """Show what waits in the queue, how old it is, what comes and goes, and what is paused.

    Hubs, endpoints where there are several, workers and partitions have a table each. IN/S and OUT/S are of all
    processes together: entries that were stored, and that left the queue. Ctrl-C ends it. The API key is read from
    FANOUT_API_KEY.
    """
    api = or_exit(lambda: Api(url, api_key()))
    watching = _Watching(api, hubs, SystemClock(), as_json=as_json)
    if once or not (as_json or sys.stdout.isatty()):
        sys.exit(or_exit(lambda: asyncio.run(watching.once())))
    sys.exit(or_exit(lambda: asyncio.run(watching.until_stopped(interval))))


class _Watching:
    """Asks and shows."""

    def __init__(self, api: Api, hubs: int, clock: Clock, *, as_json: bool) -> None:
        self._api = api
        self._hubs = str(hubs)
        self._clock = clock
        self._as_json = as_json
        self._shown: Mapping[str, Any] | None = None

    async def once(self) -> int:
        """Print one reading and return the exit code; RefusedError, ConfigurationError: there is none."""
        overview = await self._ask()
        if overview["queue"]["acceptedPerSecond"] is None:
            await self._clock.sleep(_BETWEEN)
            overview = await self._ask()
        self._print(overview)
        return 0

    async def until_stopped(self, interval: float) -> int:
        """Show readings until SIGINT or SIGTERM."""
        stopping = asyncio.Event()
        stop_on_signals(stopping)
        is_read = True
        try:
            with _own_screen(active=not self._as_json):
                async with asyncio.TaskGroup() as group:
                    showing = group.create_task(self._show(interval))
                    await stopping.wait()
                    showing.cancel()
        except* BrokenPipeError:
            is_read = False
        if not is_read:
            raise BrokenPipeError(errno.EPIPE, "nobody reads the output")  # click ends the process quietly
        return 0

    async def _show(self, interval: float) -> None:
        while True:
            trouble = ""
            try:
                self._shown = await self._ask()
            except FanoutError as error:
                trouble = f"{plain(error)} Trying again every {interval:g} s."
            if not self._as_json:
                self._draw(trouble)
            elif trouble:
                click.echo(f"fanout: {trouble}", err=True)
            elif self._shown is not None:
                self._print(self._shown)
            await self._clock.sleep(interval)

    async def _ask(self) -> Mapping[str, Any]:
        response = await self._api.call_async("GET", _PATH, params={"hubs": self._hubs}, timeout=_TIMEOUT)
        content = self._api.checked(response, members={"partitions"}).content
        return msgspec.json.decode(content, type=dict[str, Any])

    def _print(self, overview: Mapping[str, Any]) -> None:
        if self._as_json:
            click.echo(msgspec.json.encode(overview).decode())
        else:
            click.echo("\n".join(self._lines(overview, _WIDE)))

    def _lines(self, overview: Mapping[str, Any], width: int, height: int | None = None) -> list[str]:
        try:
            return lines_of(overview, width, height)
        except (LookupError, TypeError, ValueError):
            raise ConfigurationError(f"{self._api.url} answers figures that this version cannot read.") from None

    def _draw(self, trouble: str) -> None:
        size = get_terminal_size()
        lines = [cut(f"! {trouble}", size.columns)] if trouble else []
        if self._shown is not None:
            lines += self._lines(self._shown, size.columns, size.lines - len(lines))
        body = f"{_TO_END_OF_LINE}\r\n".join(lines)
        sys.stdout.write(f"{_HOME}{body}{_TO_END_OF_LINE}{_TO_END}")
        sys.stdout.flush()


@contextmanager
def _own_screen(*, active: bool) -> Iterator[None]:
    if not active:
        yield
        return
    sys.stdout.write(_ENTER)
    try:
        yield
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
