"""The screen of `fanout top`: an overview as lines for a terminal of some width and height. Pure.

Rules guarded: no line is longer than the terminal is wide, and there are no more lines than it is high, so that
nothing scrolls. What does not fit is counted; of a long name its end is left out, never a figure. Names come from
others and are printed without control characters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from service.cli.render import plain

Row = Mapping[str, Any]
_FIGURES: Final = ("WAITING", "OLDEST", "IN/S", "OUT/S")
_NOBODY: Final = "(nobody)"
_MIN_NAME: Final = 6  # characters of a name that are left in a narrow terminal
_MAX_NAME: Final = 60
_GAP: Final = "  "
_MIN_PART: Final = 3  # lines: a heading, a row, and how many more there are
_MAX_PAUSES: Final = 5
_MINUTE, _HOUR, _DAY = 60.0, 3_600.0, 86_400.0
_STEP: Final = 1024  # between two units of bytes
_WITH_FRACTION: Final = 10.0  # below it one decimal is worth its place


@dataclass(frozen=True, slots=True)
class _Table:
    """A heading and its rows; the first cell of each is a name, the others are figures."""

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __len__(self) -> int:
        return 2 + len(self.rows)  # with the empty line above it

    def lines(self, width: int) -> list[str]:
        """Return its lines, of which none is longer than `width`."""
        cells = [self.heading, *self.rows]
        others = [max(map(len, column)) for column in list(zip(*cells, strict=True))[1:]]
        room = width - sum(len(_GAP) + size for size in others)
        longest = max(len(row[0]) for row in cells)
        name = min(longest, max(_MIN_NAME, min(room, _MAX_NAME)))
        return ["", *(cut(_line(row, name, others), width) for row in cells)]


def lines_of(overview: Row, width: int, height: int | None = None) -> list[str]:
    """Return the lines of an overview; without a height all of them."""
    head = [*_totals(overview), *_pauses(overview["pauses"])]
    several = [_endpoints(overview)] if len(overview["endpoints"]) > 1 else []
    tables = [_hubs(overview), *several, _workers(overview), _partitions(overview["partitions"])]
    if height is not None:
        tables = _fitted(tables, height - len(head))
    return [cut(line, width) for line in head][:height] + [line for each in tables for line in each.lines(width)]


def cut(line: str, width: int) -> str:
    """Return a line that is no longer than the terminal is wide."""
    return line if len(line) <= width else f"{line[: max(0, width - 1)]}…"


def _line(row: Sequence[str], name: int, others: Sequence[int]) -> str:
    figures = (text.rjust(size) for text, size in zip(row[1:], others, strict=True))
    return _GAP.join((cut(row[0], name).ljust(name), *figures)).rstrip()


def _fitted(tables: Sequence[_Table], room: int) -> list[_Table]:
    # The shortest take what they need, and the others share the rest.
    left, sizes = room, dict.fromkeys(range(len(tables)), 0)
    for done, number in enumerate(sorted(sizes, key=lambda number: len(tables[number]))):
        sizes[number] = min(len(tables[number]), left // (len(tables) - done))
        left -= sizes[number]
    return [_shortened(table, sizes[number] - 2) for number, table in enumerate(tables) if sizes[number] >= _MIN_PART]


def _shortened(table: _Table, most: int) -> _Table:
    if len(table.rows) <= most:
        return table
    hidden = len(table.rows) - most + 1
    more = [f"{hidden} more", *[""] * (len(table.heading) - 1)]
    return replace(table, rows=[*table.rows[: most - 1], more])


def _totals(overview: Row) -> list[str]:
    queue, redis, partitions = overview["queue"], overview["redis"], overview["partitions"]
    at = datetime.fromtimestamp(overview["at"], UTC).strftime("%H:%M:%S")
    share = redis["memoryRatio"]
    memory = "" if share is None else f", {share:.0%} of its memory"
    unowned = sum(each["owner"] is None for each in partitions)
    figures = (
        f"waiting {whole(queue['entries'])}  oldest {age(queue['oldestAgeSeconds'])}",
        f"in {rate(queue['acceptedPerSecond'])}/s  out {rate(queue['settledPerSecond'])}/s",
        f"dead letters {whole(queue['deadLetters'])}",
    )
    return [
        f"fanout {plain(overview['version'])}  {at} UTC  to {', '.join(map(plain, overview['deliversTo'])) or '-'}",
        "  ".join(figures),
        f"{size(queue['bytes'])} wait  Redis {redis['latencySeconds'] * 1000:.1f} ms{memory}",
        *([f"NO OWNER for {unowned} of {len(partitions)} partitions: what is in them waits"] if unowned else []),
    ]


def _pauses(pauses: Sequence[Row]) -> list[str]:
    shown = [_pause(each) for each in pauses[:_MAX_PAUSES]]
    return [*shown, *([f"PAUSED {len(pauses) - _MAX_PAUSES} more"] if len(pauses) > _MAX_PAUSES else [])]


def _pause(pause: Row) -> str:
    cause = f": {plain(pause['cause'])}" if pause["cause"] else ""
    return f"PAUSED {plain(pause['target'])} until {_until(pause['until'])}, by {plain(pause['by'])}{cause}"


def _until(seconds: float | None) -> str:
    if seconds is None:
        return "it is resumed"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _hubs(overview: Row) -> _Table:
    rows = [[plain(each["hub"]), *_figures(each)] for each in overview["hubs"]]
    others = overview["otherHubs"]
    if others["hubs"]:
        rows.append([f"{whole(others['hubs'])} other", *_figures(others)])
    return _Table(("HUB", *_FIGURES), rows)


def _endpoints(overview: Row) -> _Table:
    rows = [[_endpoint(each), *_figures(each)] for each in overview["endpoints"]]
    return _Table(("ENDPOINT", *_FIGURES), rows)


def _endpoint(row: Row) -> str:
    return plain(row["endpoint"]) + ("" if row["configured"] else " (not configured)")


def _workers(overview: Row) -> _Table:
    owned: dict[str, list[Row]] = {each["worker"]: [] for each in overview["workers"]}
    for each in overview["partitions"]:
        owned.setdefault(each["owner"] or _NOBODY, []).append(each)
    ordered = sorted(owned.items(), key=lambda row: (row[0] != _NOBODY, row[0]))
    rows = [[plain(worker), str(len(those)), *_figures(_sum(those))] for worker, those in ordered]
    return _Table(("WORKER", "OWNS", *_FIGURES), rows)


def _sum(rows: Sequence[Row]) -> Row:
    known = all(each["acceptedPerSecond"] is not None for each in rows)
    rates = ("acceptedPerSecond", "settledPerSecond")
    return {
        "entries": sum(each["entries"] for each in rows),
        "oldestAgeSeconds": max((each["oldestAgeSeconds"] for each in rows), default=0.0),
        **{name: sum(each[name] for each in rows) if known else None for name in rates},
    }


def _partitions(partitions: Sequence[Row]) -> _Table:
    # Those that nobody delivers come first, then those with the most: of more than fit, these say most.
    ordered = sorted(partitions, key=lambda each: (each["owner"] is not None, -each["entries"], each["partition"]))
    rows = [
        [f"{each['partition']} {plain(each['owner'] or _NOBODY)}", *_figures(each), whole(each["deadLetters"])]
        for each in ordered
    ]
    return _Table(("PARTITION", *_FIGURES, "DEAD"), rows)


def _figures(row: Row) -> list[str]:
    rates = (rate(row["acceptedPerSecond"]), rate(row["settledPerSecond"]))
    return [whole(row["entries"]), age(row["oldestAgeSeconds"]), *rates]


def whole(count: int) -> str:
    """Return a number with its thousands apart."""
    return f"{count:,}"


def rate(per_second: float | None) -> str:
    """Return a number a second; `-` when it is not known."""
    if per_second is None:
        return "-"
    return f"{per_second:.1f}" if 0 < per_second < _WITH_FRACTION else f"{per_second:,.0f}"


def age(seconds: float) -> str:
    """Return a time as its largest unit says it: 0.3 s, 12 s, 5 m, 3.4 h, 2.0 d."""
    if not seconds:
        return "-"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.1f} m"
    return f"{seconds / _HOUR:.1f} h" if seconds < _DAY else f"{seconds / _DAY:.1f} d"


def size(count: float) -> str:
    """Return a number of bytes in the unit that fits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < _STEP or unit == "GiB":
            break
        count /= _STEP
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
