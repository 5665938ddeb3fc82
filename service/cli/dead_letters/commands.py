"""`fanout dead-letters`: messages that were given up, looked at over the API of an ingress.

Rule guarded: looking changes nothing, and shows what others wrote without letting it write on the terminal. Sending
again and deleting are in `acting`.
"""

import sys
from collections import Counter
from typing import Any

import click

from service.cli.dead_letters.acting import purge, replay
from service.cli.dead_letters.client import Caller
from service.cli.dead_letters.options import FILTERS, PLACE, note, run, said, show_json, show_lines, with_options
from service.cli.dead_letters.tables import Group, group_of, table_of, tally_of, whole


@click.group(name="dead-letters")
def dead_letters() -> None:
    """Look at messages that were given up; send them again or delete them.

    A dead letter is kept, with the reason, until somebody acts on it. First mend the cause, then replay:

    \b
    fanout dead-letters count
    fanout dead-letters list --reason unauthorized
    fanout dead-letters show 3:1795388238626-0
    fanout dead-letters replay --reason unauthorized
    fanout dead-letters purge --before 2026-05-01 --yes

    The API key is read from FANOUT_API_KEY. `fanout dead-letters COMMAND --help` tells more.
    """  # noqa: D301 - click reads the backspace character as "do not re-wrap"


@dead_letters.command(name="list")
@with_options(*FILTERS)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many, oldest first.")
@with_options(*PLACE)
def list_command(url: str, limit: int, *, as_json: bool, **filters: str | None) -> None:
    """List dead letters, oldest first: when, why, whose.

    The ID in the first column is what show, replay and purge take.
    """
    items: list[dict[str, Any]] = []

    def work(caller: Caller) -> int:
        following = None
        for page in caller.pages(said(filters), limit):
            items.extend(page["items"])
            following = page["next"]
        if as_json:
            show_json({"items": items, "next": following})
        else:
            show_lines(table_of(items))
            note("There are more: narrow the list, or raise --limit." if following and items else "")
            note("" if items else "There are none.")
        return 0

    run(url, work)


@dead_letters.command(name="count")
@with_options(*FILTERS, *PLACE)
def count_command(url: str, *, as_json: bool, **filters: str | None) -> None:
    """Count dead letters by reason and hub."""

    def work(caller: Caller) -> int:
        counts: Counter[Group] = Counter()
        for page in caller.pages(said(filters), sys.maxsize):
            counts.update(group_of(item) for item in page["items"])
        if as_json:
            groups = [{"reason": reason, "hub": hub, "count": count} for (reason, hub), count in counts.most_common()]
            show_json({"total": counts.total(), "groups": groups})
        else:
            show_lines(tally_of(counts))
        return 0

    run(url, work)


@dead_letters.command(name="show")
@with_options(*PLACE)
@click.argument("letter_id", metavar="ID")
def show_command(url: str, letter_id: str, *, as_json: bool) -> None:
    """Show one dead letter with its message.

    The message is the JSON a batch may hold: to correct it, edit it, give it another messageId (the old one is
    remembered) and send it with `fanout send --file`. What this version cannot read is shown in base64.
    """

    def work(caller: Caller) -> int:
        letter = caller.whole(letter_id)
        if as_json:
            show_json(letter)
        else:
            show_lines(whole(letter))
        return 0

    run(url, work)


dead_letters.add_command(replay)
dead_letters.add_command(purge)
