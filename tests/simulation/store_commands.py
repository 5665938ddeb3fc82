"""The commands of the model server, each as one Python function that does what the original does.

Rule guarded: a command the product gained and the model does not know fails here by name, so that the simulation never
runs beside the code.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis import exceptions as redis_errors

from fanout.queue import scripts, worker_scripts
from fanout.redis.client import Script
from tests.simulation.store_model import Id, StoreModel, as_bytes, id_of, text_of
from tests.simulation.store_scripts import OOM, SCRIPT_TWINS

Args = Sequence[bytes]
NAMES: dict[str, str] = {
    value.sha: name for name, value in (vars(scripts) | vars(worker_scripts)).items() if isinstance(value, Script)
}
_END = (2**63, 2**63)


def execute(store: StoreModel, command: Sequence[Any]) -> Any:
    """Run one command; an error is returned as redis-py's exception."""
    word, *args = [as_bytes(part) for part in command]
    name = word.decode()
    if name in ("EVALSHA", "EVAL"):
        return _run_script(store, name, args)
    if name not in COMMANDS:
        raise NotImplementedError(f"the model server does not know {name}")
    store.by = name
    return COMMANDS[name](store, args)


def _run_script(store: StoreModel, how: str, args: Args) -> Any:
    sha = args[0].decode() if how == "EVALSHA" else Script(args[0].decode()).sha
    if how == "EVAL":
        store.loaded.add(sha)
    elif sha not in store.loaded:
        return redis_errors.NoScriptError("No matching script. Please use EVAL.")
    store.by = NAMES[sha]
    if store.by not in SCRIPT_TWINS:
        raise NotImplementedError(f"the model server has no twin of the script {store.by}")
    count = int(args[1])
    return SCRIPT_TWINS[store.by](store, args[2 : 2 + count], args[2 + count :])


def _get(store: StoreModel, args: Args) -> Any:
    return store.string(args[0])


def _set(store: StoreModel, args: Args) -> Any:
    options = [option.upper() for option in args[2:]]
    if b"NX" in options and store.string(args[0]) is not None:
        return None
    if store.full:
        return redis_errors.OutOfMemoryError(OOM)
    lifetime = int(options[options.index(b"PX") + 1]) if b"PX" in options else None
    store.write_string(args[0], args[1], lifetime)
    return b"OK"


def _delete(store: StoreModel, args: Args) -> Any:
    count = sum(store.string(key) is not None for key in args)
    for key in args:
        if key in store.strings:
            store.write_string(key, None)
    return count


def _exists(store: StoreModel, args: Args) -> Any:
    return sum(store.string(key) is not None for key in args)


def _xadd(store: StoreModel, args: Args) -> Any:
    trimmed = args[1] == b"MAXLEN"  # with "~" a stream of a few entries is left as it is
    entry_id, *fields = args[4:] if trimmed else args[1:]
    if entry_id != b"*":
        raise NotImplementedError("XADD with an id of the caller's")
    return redis_errors.OutOfMemoryError(OOM) if store.full else store.add(args[0], fields)


def _smembers(store: StoreModel, args: Args) -> Any:
    return list(store.sorted_set(args[0]))


def _hget(store: StoreModel, args: Args) -> Any:
    return store.hash_of(args[0]).get(args[1])


def _xlen(store: StoreModel, args: Args) -> Any:
    return len(store.stream(args[0]).entries)


def _xdel(store: StoreModel, args: Args) -> Any:
    return sum(store.delete_entry(args[0], id_of(entry_id)) for entry_id in args[1:])


def _xrange(store: StoreModel, args: Args) -> Any:
    count = int(args[4]) if len(args) > 3 else None
    first, last = args[1], args[2]
    after = id_of(first[1:]) if first.startswith(b"(") else None
    low = (0, 0) if first == b"-" or after else id_of(first)
    high = _END if last == b"+" else id_of(last, missing=2**63)
    found = [
        [text_of(entry_id), list(fields)]
        for entry_id, fields in store.stream(args[0]).entries.items()
        if low <= entry_id <= high and (after is None or entry_id > after)
    ]
    return found[:count]


def _xrevrange(store: StoreModel, args: Args) -> Any:
    if args[1:3] != [b"+", b"-"]:
        raise NotImplementedError("XREVRANGE of a part")
    return _xrange(store, [args[0], b"-", b"+"])[::-1][: int(args[4])]


class Reading(NamedTuple):
    """What an XREAD asks for, parsed once: one that waits is looked at after every write."""

    after: Sequence[tuple[bytes, Id]]  # streams and the last id that was read of each
    most: int

    @classmethod
    def of(cls, args: Args) -> "Reading":
        start = list(args).index(b"STREAMS")
        options = {args[i].upper(): args[i + 1] for i in range(0, start, 2)}
        named = args[start + 1 :]
        keys, ids = named[: len(named) // 2], named[len(named) // 2 :]
        after = [(key, id_of(text)) for key, text in zip(keys, ids, strict=True)]
        return cls(after, int(options.get(b"COUNT", b"1000")))


def read(store: StoreModel, reading: Reading) -> Any:
    """XREAD without the waiting: None when there is nothing."""
    found = []
    for key, last_read in reading.after:
        stream = store.streams.get(key)
        if stream is None or next(reversed(stream.entries), last_read) <= last_read:
            continue  # ids only grow, so nothing here is new; this is so for nearly every stream that is waited for
        rows = [[text_of(i), list(fields)] for i, fields in stream.entries.items() if i > last_read]
        found.append([key, rows[: reading.most]])
    return found or None


def block_of(args: Args) -> int | None:
    """How many milliseconds an XREAD may wait."""
    return int(args[args.index(b"BLOCK") + 1]) if b"BLOCK" in args else None


def _time(store: StoreModel, _args: Args) -> Any:
    now = store.now()
    return [b"%d" % int(now), b"%d" % int(now % 1 * 1e6)]


def _ping(_store: StoreModel, _args: Args) -> Any:
    return b"PONG"


def _hset(store: StoreModel, args: Args) -> Any:
    if store.full:
        return redis_errors.OutOfMemoryError(OOM)
    values = store.hash_of(args[0])
    added = sum(name not in values for name in args[1::2])
    values.update(zip(args[1::2], args[2::2], strict=True))
    return added


def _hdel(store: StoreModel, args: Args) -> Any:
    values = store.hash_of(args[0])
    return sum(values.pop(name, None) is not None for name in args[1:])


def _hgetall(store: StoreModel, args: Args) -> Any:
    return [part for pair in store.hashes.get(args[0], {}).items() for part in pair]


def _info(store: StoreModel, _args: Args) -> Any:
    return b"# Server\r\nrun_id:%d\r\n# Replication\r\nmaster_replid:%d\r\n" % (store.history, store.history)


COMMANDS: dict[str, Callable[[StoreModel, Args], Any]] = {
    "GET": _get,
    "SET": _set,
    "DEL": _delete,
    "EXISTS": _exists,
    "XADD": _xadd,
    "SMEMBERS": _smembers,
    "HGET": _hget,
    "XLEN": _xlen,
    "XDEL": _xdel,
    "XRANGE": _xrange,
    "XREVRANGE": _xrevrange,
    "XREAD": lambda store, args: read(store, Reading.of(args)),
    "HSET": _hset,
    "HDEL": _hdel,
    "HGETALL": _hgetall,
    "TIME": _time,
    "PING": _ping,
    "INFO": _info,
}
