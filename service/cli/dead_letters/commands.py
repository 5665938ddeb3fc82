"""`fanout dead-letters`: looks at messages that could not be delivered, through the API of an ingress.

Rule guarded: `list`, `count` and `show` change nothing. Replaying and deleting are in `acting`.
"""

import sys
from collections import Counter
from typing import Any

import click

from service.cli.api import RefusedError
from service.cli.dead_letters.acting import purge, replay
from service.cli.dead_letters.client import DeadLetterClient
from service.cli.dead_letters.options import COMMON, FILTERS, given, note, print_json, print_lines, run, with_options
from service.cli.dead_letters.tables import Group, counts_of, details_of, group_of, table_of
from service.cli.groups import WholeGroup
from service.cli.running import NO, tell_refusal

_NO_SUCH_LETTER = "deadLetterUnknown"


@click.group(cls=WholeGroup, name="dead-letters")
def dead_letters() -> None:
    """List messages that could not be delivered; replay or delete them.

    A dead letter is kept, with the reason, until somebody acts on it. First remove the cause, then replay:

    \b
    fanout dead-letters count
    fanout dead-letters list --reason unauthorized
    fanout dead-letters show 3:1795388238626-0
    fanout dead-letters replay --reason unauthorized
    fanout dead-letters purge --before 2026-05-01 --yes

    The API key is read from FANOUT_API_KEY. `fanout dead-letters COMMAND --help` describes each command.

    Exit code 0: done; 1: there was nothing, or it was not confirmed; 2: it was refused, or nobody could be asked.
    """  # noqa: D301 - click reads the backspace character as "do not re-wrap"


@dead_letters.command(name="list")
@with_options(*FILTERS)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="List at most N, oldest first.")
@with_options(*COMMON)
def list_command(url: str, limit: int, *, as_json: bool, **filters: str | None) -> None:
    """List dead letters, oldest first, with time, reason and destination.

    The ID in the first column is what show, replay and purge take.
    """
    items: list[dict[str, Any]] = []

    def work(client: DeadLetterClient) -> int:
        following = None
        for page in client.pages(given(filters), limit):
            items.extend(page["items"])
            following = page["next"]
        if as_json:
            print_json({"items": items, "next": following})
        else:
            print_lines(table_of(items))
            note("There are more: narrow the list, or raise --limit." if following and items else "")
            note("" if items else "There are none.")
        return 0

    run(url, work)


@dead_letters.command(name="count")
@with_options(*FILTERS, *COMMON)
def count_command(url: str, *, as_json: bool, **filters: str | None) -> None:
    """Count dead letters by reason, hub and endpoint."""

    def work(client: DeadLetterClient) -> int:
        counts: Counter[Group] = Counter()
        for page in client.pages(given(filters), sys.maxsize):
            counts.update(group_of(item) for item in page["items"])
        if as_json:
            groups = [
                {"reason": reason, "hub": hub, "endpoint": endpoint, "count": count}
                for (reason, hub, endpoint), count in counts.most_common()
            ]
            print_json({"total": counts.total(), "groups": groups})
        else:
            print_lines(counts_of(counts))
        return 0

    run(url, work)


@dead_letters.command(name="show")
@with_options(*COMMON)
@click.argument("letter_id", metavar="ID")
def show_command(url: str, letter_id: str, *, as_json: bool) -> None:
    """Show one dead letter with its message.

    The message is JSON as a batch may contain it. To correct it, edit it, give it another messageId (the old one is
    remembered) and send it with `fanout send --file`. An entry that this version cannot read is shown in base64.
    """

    def work(client: DeadLetterClient) -> int:
        try:
            letter = client.letter(letter_id)
        except RefusedError as error:
            if error.code != _NO_SUCH_LETTER:
                raise
            tell_refusal(error)
            return NO
        if as_json:
            print_json(letter)
        else:
            print_lines(details_of(letter))
        return 0

    run(url, work)


dead_letters.add_command(replay)
dead_letters.add_command(purge)
