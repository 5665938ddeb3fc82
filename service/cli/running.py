"""Runs a command: its event loop, and how it ends.

Rules guarded: exit code 0 is yes or done. 1 is an answer too: no, nothing there, or not confirmed. 2 is no answer: a
wrong option or setting, nobody to ask, or a refusal; so a script never takes for a "no" what could not be asked. What
is wrong and what is refused is reported on standard error, one line for each finding, without a traceback. An error
while running is a traceback and exit code 1. Signals are handled here and nowhere else.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn, TypeVar

import click
import uvloop

from fanout.clock import Clock, SystemClock
from fanout.errors import ConfigurationError
from fanout.log import configure
from fanout.settings import Settings
from service.cli.api import RefusedError
from service.cli.render import plain

T = TypeVar("T")
NO, UNANSWERED = 1, 2


def run_until_stopped(settings: Settings, work: Callable[[Clock, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run `work` until it ends; SIGTERM and SIGINT set the event that it is given."""
    configure(level=settings.log_level, style=settings.log_format)

    async def main_task() -> None:
        stopping = asyncio.Event()
        stop_on_signals(stopping)
        await work(SystemClock(), stopping)

    # Entries live from when they are read until they are settled, a few thousand at a time. With the default threshold
    # the garbage collector would traverse them again and again and find nothing. A pass over what is new keeps all else
    # waiting, 40 to 57 ms for 50,000 objects, so it comes after fewer; those over all are as rare as with 20 of these.
    gc.freeze()
    gc.set_threshold(10_000, 100, 50)

    def run_loop() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main_task())

    or_exit(run_loop)


def stop_on_signals(stopping: asyncio.Event) -> None:
    """Set `stopping` on SIGTERM or SIGINT; a second one ends the process at once."""

    def on_signal(number: int) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)


def or_exit(call: Callable[[], T]) -> T:
    """Return the result of `call`. A refusal, or a ConfigurationError, also inside a group, ends the process with 2."""
    try:
        return call()
    except ConfigurationError as error:
        exit_with(error)
    except RefusedError as error:
        tell_refusal(error)
        sys.exit(UNANSWERED)
    except BaseExceptionGroup as group:
        wrong, _rest = group.split(ConfigurationError)
        if wrong is None:
            raise
        exit_with(next(_leaves(wrong)))


def exit_with(error: ConfigurationError) -> NoReturn:
    """Print each finding on a line of its own and end the process with exit code 2."""
    for finding in error.findings:
        click.echo(f"fanout: {finding}", err=True)
    sys.exit(UNANSWERED)


def tell_refusal(error: RefusedError) -> None:
    """Print what the ingress says."""
    click.echo(f"fanout: {plain(error)}", err=True)


def _leaves(group: BaseExceptionGroup[ConfigurationError]) -> Iterator[ConfigurationError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
