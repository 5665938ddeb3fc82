"""The Lua functions of the product, each as one Python function that does what the original does.

Rule guarded: a script the product gained and the model does not know fails by name, so that the simulation never runs
beside the code; test_conformance.py holds each twin against its original.
"""

from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions as redis_errors

from tests.simulation.store_model import StoreModel, id_of, text_of

Args = Sequence[bytes]
OOM = "OOM command not allowed when used memory > 'maxmemory'."


def _append(store: StoreModel, keys: Args, args: Args) -> Any:
    room = len(store.stream(keys[0]).entries) < int(args[0])
    answers: list[Any] = [0]
    dirty = False  # a script that has written once is not refused for want of memory any more
    seen = iter(keys[1:])
    fresh: int | None = int(args[2])
    for data, fingerprint in zip(args[3::2], args[4::2], strict=True):
        name = next(seen) if fingerprint else b""
        known = store.string(name) if fingerprint else None
        if known is not None:
            dirty = dirty or known.startswith(fingerprint)
            answers.append(b"D" + known[len(fingerprint) :] if known.startswith(fingerprint) else b"C")
        elif not room:
            answers.append(b"F")
        elif store.full and not dirty:
            return redis_errors.OutOfMemoryError(OOM)
        else:
            entry_id, fresh = store.add(keys[0], [b"e", data], fresh), None
            if fingerprint:
                store.write_string(name, fingerprint + entry_id, int(args[1]))
            answers.append(entry_id)
    answers[0] = len(store.stream(keys[0]).entries)
    return answers


def _settle(store: StoreModel, keys: Args, args: Args) -> Any:
    if store.string(keys[0]) != args[0]:
        store.listener.fenced(keys[1], store.by)
        return -1
    return sum(store.delete_entry(keys[1], id_of(entry_id)) for entry_id in args[1:])


def _expire(store: StoreModel, keys: Args, args: Args) -> Any:
    if store.string(keys[0]) != args[0]:
        store.listener.fenced(keys[1], store.by)
        return -1
    if store.milliseconds() - id_of(args[1])[0] <= int(args[2]):
        store.listener.spared(keys[1], args[1])
        return 0
    store.delete_entry(keys[1], id_of(args[1]))
    return 1


def _park(store: StoreModel, keys: Args, args: Args) -> Any:
    if store.string(keys[0]) != args[0]:
        store.listener.fenced(keys[1], store.by)
        return -1
    entry_id = id_of(args[1])
    if entry_id not in store.stream(keys[1]).entries:
        return 0
    store.add(keys[2], list(args[2:]))
    store.delete_entry(keys[1], entry_id)
    return 1


def _replay(store: StoreModel, keys: Args, args: Args) -> Any:
    letter = store.stream(keys[1]).entries.get(id_of(args[0]))
    if letter is None:
        return None
    names = letter[::2]
    if b"entry" not in names:
        return b""
    if store.full:
        return redis_errors.OutOfMemoryError(OOM)
    entry_id = store.add(keys[0], [b"e", letter[names.index(b"entry") * 2 + 1]], int(args[1]))
    store.delete_entry(keys[1], id_of(args[0]))
    return entry_id


def _peek(store: StoreModel, keys: Args, args: Args) -> Any:
    letters = store.stream(keys[0]).entries
    end = (2**63, 0) if args[1] == b"+" else id_of(args[1], missing=2**63)
    answer: list[Any] = [text_of(next(reversed(letters))) if letters else b""]
    room = int(args[3])
    for entry_id, fields in letters.items():
        if id_of(args[0]) < entry_id <= end and len(answer) <= int(args[2]) and room > 0:
            answer.append([text_of(entry_id), list(fields)])
            room -= sum(map(len, fields))
    return answer


def _acquire(store: StoreModel, keys: Args, args: Args) -> Any:
    if store.string(keys[0]) is not None:
        return None
    count = b"%d" % (int(store.string(keys[1]) or b"0") + 1)
    store.write_string(keys[1], count)
    token = args[0] + b":" + count
    store.write_string(keys[0], token, int(args[1]))
    return token


def _renew(store: StoreModel, keys: Args, args: Args) -> Any:
    if store.string(keys[0]) != args[0]:
        return None
    store.write_string(keys[0], args[0], int(args[1]))
    return next((text_of(entry_id) for entry_id in store.stream(keys[1]).entries), b"")


def _release(store: StoreModel, keys: Args, args: Args) -> Any:
    if store.string(keys[0]) != args[0]:
        return 0
    store.write_string(keys[0], None)
    return 1


def _heartbeat(store: StoreModel, keys: Args, args: Args) -> Any:
    now = store.milliseconds()
    workers = store.sorted_set(keys[0])
    for worker in [worker for worker, until in workers.items() if until <= now]:
        del workers[worker]
    if int(args[1]) > 0:
        workers[args[0]] = now + int(args[1])
    else:
        workers.pop(args[0], None)
    return [b"%d" % now, *sorted(workers, key=lambda worker: (workers[worker], worker))]


def _claim(store: StoreModel, keys: Args, args: Args) -> Any:
    known = store.string(keys[0])
    if known is not None and known != args[0]:
        return 0
    if store.full:
        return redis_errors.OutOfMemoryError(OOM)
    store.write_string(keys[0], args[0], int(args[1]))
    return 1


def _exchange_demand(store: StoreModel, keys: Args, args: Args) -> Any:
    now = store.milliseconds()
    words = store.hash_of(keys[0])
    words[args[0]] = b"%d:%s" % (now + int(args[1]), args[2])
    for worker in [worker for worker, word in words.items() if int(word.partition(b":")[0]) < now]:
        del words[worker]
    return [part for pair in words.items() for part in pair]


def _join_endpoints(store: StoreModel, keys: Args, args: Args) -> Any:
    known = store.hash_of(keys[0])  # a set: only the names are used
    if known and not any(own in known for own in args):
        return [0, *known]
    known.update(dict.fromkeys(args, b""))
    return [1, *known]


SCRIPT_TWINS: dict[str, Callable[[StoreModel, Args, Args], Any]] = {
    "APPEND": _append,
    "SETTLE": _settle,
    "EXPIRE": _expire,
    "PARK": _park,
    "REPLAY": _replay,
    "PEEK": _peek,
    "ACQUIRE": _acquire,
    "RENEW": _renew,
    "RELEASE": _release,
    "HEARTBEAT": _heartbeat,
    "CLAIM": _claim,
    "EXCHANGE_DEMAND": _exchange_demand,
    "JOIN_ENDPOINTS": _join_endpoints,
}
