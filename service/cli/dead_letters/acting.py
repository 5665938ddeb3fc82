"""`fanout dead-letters replay` and `purge`: what was given up, sent again or deleted, over the API of an ingress.

Rules guarded: nothing is sent or deleted that was not counted before and confirmed, unless --yes says so in advance;
what is parked in between is left alone; what was done is told even when the rest is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from service.cli.dead_letters.client import Caller, RefusedError
from service.cli.dead_letters.options import (
    FILTERS,
    PLACE,
    REFUSED,
    note,
    run,
    said,
    show_json,
    show_lines,
    with_options,
)
from service.cli.dead_letters.tables import letters
from service.cli.trace import plain

_ACTING = (
    click.option("--all", "everything", is_flag=True, help="Every dead letter there is."),
    click.option("--limit", type=click.IntRange(1), help="Of all that fit the oldest, at most so many."),
    click.option("--dry-run", is_flag=True, help="Count what is meant and do nothing."),
    click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
    click.argument("ids", nargs=-1, metavar="[ID]..."),
)


@dataclass(frozen=True, slots=True)
class _Words:
    action: str
    done: str
    question: str
    told: str


@dataclass(frozen=True, slots=True)
class _Sum:
    """What became of all parts of an order; `refusal` is what ended it early, "" when nothing did."""

    matched: int
    done: int
    before: str | None
    refusal: str = ""


_REPLAY = _Words("replay", "replayed", "Send {} again?", "{} sent again.")
_PURGE = _Words("purge", "purged", "Delete {} for good?", "{} deleted.")


@click.command()
@with_options(*FILTERS, *_ACTING, *PLACE)
def replay(**options: Any) -> None:
    """Send dead letters again.

    Those with these IDs, or those that fit every filter given, or --all. It counts them and asks before it does it.

    Each joins the end of its lane as if it had been accepted now: its age and its ttlSeconds begin anew. It leaves the
    dead letters in the same moment, so repeating the command sends nothing twice. What is refused again is parked
    again, under another ID. Mend the cause first.
    """
    _act(_REPLAY, **options)


@click.command()
@with_options(*FILTERS, *_ACTING, *PLACE)
def purge(**options: Any) -> None:
    """Delete dead letters for good.

    Those with these IDs, or those that fit every filter given, or --all. It counts them and asks before it does it.
    """
    _act(_PURGE, **options)


def _act(words: _Words, *, url: str, as_json: bool, yes: bool, dry_run: bool, limit: int | None, **chosen: Any) -> None:
    order = _order(limit, **chosen)

    def work(caller: Caller) -> int:
        counted = _summed(caller.reports(words.action, {**order, "dryRun": True}, limit), words)
        if dry_run:
            return _told(counted, f"{letters(counted.matched)} would be meant.", words, as_json=as_json)
        if not counted.matched:
            note("There are none.")
            return REFUSED
        if not yes:
            click.confirm(words.question.format(letters(counted.matched)), abort=True, err=True)
        done = _summed(caller.reports(words.action, _as_counted(order, counted.before), limit), words)
        return _told(done, words.told.format(letters(done.done)), words, as_json=as_json)

    run(url, work)


def _order(limit: int | None, *, ids: tuple[str, ...], everything: bool, **filters: str | None) -> dict[str, Any]:
    filtered = said(filters)
    if sum([bool(ids), bool(filtered), everything]) != 1:
        raise click.UsageError("Name IDs, or filters, or --all: one of the three.")
    if ids and limit is not None:
        raise click.UsageError("--limit goes with filters and --all; IDs are as many as they are.")
    return {"ids": list(dict.fromkeys(ids))} if ids else filtered or {"all": True}


def _as_counted(order: Mapping[str, Any], before: str | None) -> dict[str, Any]:
    bounds = {} if before is None else {"before": before}  # all that was there is all before then
    return {name: value for name, value in order.items() if name != "all" or not bounds} | bounds


def _summed(reports: Iterable[Mapping[str, Any]], words: _Words) -> _Sum:
    total = _Sum(0, 0, None)
    try:
        for report in reports:
            done = total.done + report[words.done]
            total = _Sum(total.matched + report["matched"], done, total.before or report["before"])
    except RefusedError as error:
        if not total.done:
            raise
        return _Sum(total.matched, total.done, total.before, str(error))
    return total


def _told(total: _Sum, text: str, words: _Words, *, as_json: bool) -> int:
    if as_json:
        show_json({"matched": total.matched, words.done: total.done})
    else:
        show_lines([text])
    note(f"fanout: {plain(total.refusal)} Say it again to go on." if total.refusal else "")
    return REFUSED if total.refusal else 0
