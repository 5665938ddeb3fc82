"""`fanout dead-letters replay` and `purge`, through the API of an ingress.

Rules guarded: nothing is replayed or deleted that was not counted and confirmed first, unless --yes is given. Letters
that are parked meanwhile are left alone. What was done is reported even when the rest is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from service.cli.api import RefusedError
from service.cli.dead_letters.client import DeadLetterClient
from service.cli.dead_letters.options import (
    COMMON,
    FILTERS,
    given,
    note,
    print_json,
    print_lines,
    run,
    with_options,
)
from service.cli.dead_letters.tables import letters
from service.cli.render import plain
from service.cli.running import NO, UNANSWERED

_SELECTION = (
    click.option("--all", "everything", is_flag=True, help="Select every dead letter."),
    click.option("--limit", type=click.IntRange(1), help="Act on at most N matches, oldest first."),
    click.option("--dry-run", is_flag=True, help="Only count the matches."),
    click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
    click.argument("ids", nargs=-1, metavar="[ID]..."),
)


@dataclass(frozen=True, slots=True)
class _Action:
    name: str
    done: str
    question: str
    result: str


@dataclass(frozen=True, slots=True)
class _Total:
    """The sum of the reports of a command; `refusal` is what ended it early, "" when nothing did."""

    matched: int
    done: int
    before: str | None
    refusal: str = ""


_REPLAY = _Action("replay", "replayed", "Replay {}?", "{} replayed.")
_PURGE = _Action("purge", "purged", "Delete {} permanently?", "{} deleted.")


@click.command()
@with_options(*FILTERS, *_SELECTION, *COMMON)
def replay(**options: Any) -> None:
    """Put dead letters back into the queue.

    Select them by ID, by filters that must all match, or with --all. They are counted, and you are asked, before
    anything is done.

    Each goes to the end of its lane as if it had been accepted now: its age and its ttlSeconds start again. It leaves
    the dead letters in the same step, so repeating the command sends nothing twice. What is refused again is parked
    again, under another ID; remove the cause first.
    """
    _act(_REPLAY, **options)


@click.command()
@with_options(*FILTERS, *_SELECTION, *COMMON)
def purge(**options: Any) -> None:
    """Delete dead letters permanently.

    Select them by ID, by filters that must all match, or with --all. They are counted, and you are asked, before
    anything is done.
    """
    _act(_PURGE, **options)


def _act(
    action: _Action, *, url: str, as_json: bool, yes: bool, dry_run: bool, limit: int | None, **selection: Any
) -> None:
    command = _command(limit, **selection)

    def work(client: DeadLetterClient) -> int:
        counted = _total(client.run(action.name, {**command, "dryRun": True}, limit), action)
        if dry_run:
            return _report(counted, f"{letters(counted.matched)} selected.", action, as_json=as_json)
        if not counted.matched:
            note("There are none.")
            return NO
        if not yes:
            click.confirm(action.question.format(letters(counted.matched)), abort=True, err=True)
        done = _total(client.run(action.name, _as_counted(command, counted.before), limit), action)
        return _report(done, action.result.format(letters(done.done)), action, as_json=as_json)

    run(url, work)


def _command(limit: int | None, *, ids: tuple[str, ...], everything: bool, **filters: str | None) -> dict[str, Any]:
    filtered = given(filters)
    if sum([bool(ids), bool(filtered), everything]) != 1:
        raise click.UsageError("Name IDs, or filters, or --all: one of the three.")
    if ids and limit is not None:
        raise click.UsageError("--limit goes with filters and --all, not with IDs.")
    return {"ids": list(dict.fromkeys(ids))} if ids else filtered or {"all": True}


def _as_counted(command: Mapping[str, Any], before: str | None) -> dict[str, Any]:
    # The letters that were counted are those parked before that time.
    bounds = {} if before is None else {"before": before}
    return {name: value for name, value in command.items() if name != "all" or not bounds} | bounds


def _total(reports: Iterable[Mapping[str, Any]], action: _Action) -> _Total:
    total = _Total(0, 0, None)
    try:
        for report in reports:
            done = total.done + report[action.done]
            total = _Total(total.matched + report["matched"], done, total.before or report["before"])
    except RefusedError as error:
        if not total.done:
            raise
        return _Total(total.matched, total.done, total.before, str(error))
    return total


def _report(total: _Total, text: str, action: _Action, *, as_json: bool) -> int:
    if as_json:
        print_json({"matched": total.matched, action.done: total.done})
    else:
        print_lines([text])
    note(f"fanout: {plain(total.refusal)} Run the command again to continue." if total.refusal else "")
    return UNANSWERED if total.refusal else 0
