"""The Lua functions of the product, each as one Python function that does what the original does.

Rule guarded: a script the product gained and the model does not know fails by name, so that the simulation never runs
beside the code; test_conformance.py holds each twin against its original.
"""

from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions as redis_errors

from tests.simulation.store_model import Id, StoreModel, id_of, text_of

Args = Sequence[bytes]
OOM = "OOM command not allowed when used memory > 'maxmemory'."


AROUND = 64  # bytes that an entry counts for beside its own


class _Memory:
    """The ids that are remembered under `base`, by spans of time as the scripts keep them; one hash is enough here."""

    def __init__(self, store: StoreModel, base: bytes, window: int) -> None:
        self.store, self.base, self.window = store, base, window
        self.now = store.milliseconds()
        self.span = self.now // window

    def find(self, mark: bytes) -> bytes | None:
        for span in (self.span, self.span - 1, self.span + 1):
            when, _dot, kept = self.store.hashes.get(b"%b:%d" % (self.base, span), {}).get(mark, b"").partition(b".")
            if when and self.now - int(when) < self.window:
                return kept
        return None

    def keep(self, mark: bytes, value: bytes) -> None:
        self.store.hash_of(b"%b:%d" % (self.base, self.span))[mark] = b"%d.%b" % (self.now, value)


class _Append:
    """One run of APPEND."""

    def __init__(self, store: StoreModel, keys: Args, args: Args) -> None:
        self.store, self.keys, self.args = store, keys, args
        self.flows, self.wake, self.size, base = keys[:4]
        self.streams = keys[4 : 4 + int(args[3])]
        self.memory = _Memory(store, base, int(args[1]))
        self.room = int(store.string(self.size) or 0) < int(args[0])
        self.fresh: dict[bytes, int | None] = dict.fromkeys(self.streams, int(args[2]))
        self.answers: list[Any] = [0]
        self.count = self.grown = 0
        self.dirty = False  # a script that has written once is not refused for want of memory any more

    def run(self) -> Any:
        at = 4
        try:
            while at < len(self.args):
                at = self._group(at)
        except redis_errors.OutOfMemoryError as error:
            return error
        if self.count:
            self.answers[0] = _grow(self.store, self.size, self.grown)
        return self.answers

    def _group(self, at: int) -> int:
        stream, body, n = self.streams[int(self.args[at]) - 1], int(self.args[at + 1]), int(self.args[at + 2])
        before, at = self.count, at + 3
        if body:
            self._listed(stream, self.keys[body - 1], *self.args[at : at + 2], legs=self.args[at + 2 : at + 2 + n])
            at += 2 + n
        else:
            for data, guard in zip(self.args[at : at + 2 * n : 2], self.args[at + 1 : at + 2 * n : 2], strict=True):
                self._single(stream, data, guard)
            at += 2 * n
        if self.count > before:
            _know_flow(self.store, self.flows, self.wake, stream)
        return at

    def _single(self, stream: bytes, data: bytes, guard: bytes) -> None:
        answer = self._admit(guard)
        if answer is None:
            answer = self._add(stream, data)
            self.count += 1
            self._remember(guard, answer)
        self.answers.append(answer)

    def _listed(self, stream: bytes, body: bytes, text: bytes, guard: bytes, *, legs: Args) -> None:
        answer = self._admit(guard)
        if answer is not None:
            self.answers += [answer] * len(legs)
            return
        self.answers += [self._add(stream, leg) for leg in legs]
        self.count += len(legs)
        held = self.store.hash_of(body)
        held[b"n"] = b"%d" % (int(held.get(b"n", b"0")) + len(legs))
        if int(held[b"n"]) == len(legs):
            held[b"b"] = text
            self.grown += len(text)
        self._remember(guard, self.answers[-1])

    def _admit(self, guard: bytes) -> bytes | None:
        known = self.memory.find(guard[:12]) if guard else None
        if known is None:
            if self.room and self.store.full and not self.dirty:
                raise redis_errors.OutOfMemoryError(OOM)
            return None if self.room else b"F"
        if known[:8] != guard[12:]:
            return b"C"
        self.dirty = True
        return b"D" + known[8:]

    def _add(self, stream: bytes, data: bytes) -> bytes:
        entry_id = _add(self.store, self.wake, stream, data, self.fresh[stream])
        self.fresh[stream] = None
        self.grown += len(data) + AROUND
        self.dirty = True
        return entry_id

    def _remember(self, guard: bytes, entry_id: bytes) -> None:
        if guard:
            self.memory.keep(guard[:12], guard[12:] + entry_id)


def _append(store: StoreModel, keys: Args, args: Args) -> Any:
    return _Append(store, keys, args).run()


def _wake(store: StoreModel, keys: Args, _args: Args) -> Any:
    store.wake(keys[0], b"")
    return text_of(store.streams[keys[0]].last)


def _add(store: StoreModel, wake: bytes, stream: bytes, data: bytes, fresh: int | None) -> bytes:
    is_new = stream not in store.streams  # it may be one that was pruned
    since = store.stream(wake).last[0] if is_new else 0
    return store.add(stream, [b"e", data], fresh, since=since)


def _know_flow(store: StoreModel, flows: bytes, wake: bytes, stream: bytes) -> None:
    known = store.sorted_set(flows)
    if stream not in known:
        known[stream] = 0.0
        store.wake(wake, stream)


def _grow(store: StoreModel, size: bytes, by: int) -> int:
    grown = int(store.string(size) or 0) + by
    store.write_string(size, b"%d" % grown)
    return grown


def _release(store: StoreModel, body: bytes, holder: bytes, count: int) -> int:
    held = store.hash_of(body)
    left = int(held.get(holder, b"0")) - count
    if left > 0:
        held[holder] = b"%d" % left
        return 0
    held.pop(holder, None)
    size = len(held.get(b"b", b""))
    if len(held) <= 1:
        held.clear()
    return size


def _settle(store: StoreModel, keys: Args, args: Args) -> Any:
    if store.string(keys[0]) != args[0]:
        store.listener.fenced(keys[1], store.by)
        return -1
    at, total, size = 1, 0, 0
    while at < len(args):
        body, taken, n = int(args[at + 1]), int(args[at + 2]), int(args[at + 3])
        stream = keys[1 + int(args[at])]
        gone = sum(store.delete_entry(stream, id_of(entry_id)) for entry_id in args[at + 4 : at + 4 + n])
        if gone:
            size += taken * gone // n
            if body:
                size += _release(store, keys[body - 1], b"n", gone)
            total += gone
        at += 4 + n
    if total:
        _grow(store, keys[1], -size)
    return total


def _expire(store: StoreModel, keys: Args, args: Args) -> Any:
    if store.string(keys[0]) != args[0]:
        store.listener.fenced(keys[1], store.by)
        return -1
    if store.milliseconds() - id_of(args[1])[0] <= int(args[2]):
        store.listener.spared(keys[2], args[1])
        return 0
    if store.delete_entry(keys[2], id_of(args[1])):
        size = int(args[3]) + (_release(store, keys[3], b"n", 1) if len(keys) > 3 else 0)
        _grow(store, keys[1], -size)
    return 1


def _weight(fields: Sequence[bytes]) -> int:
    return sum(map(len, fields[1::2]))


def _delete_letter(store: StoreModel, letters: bytes, size: bytes, entry_id: Id) -> int:
    fields = store.stream(letters).entries[entry_id]
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    taken = _weight(fields) + (_release(store, named[b"body"], b"d", 1) if b"body" in named else 0)
    store.delete_entry(letters, entry_id)
    _grow(store, size, -taken)
    return taken


def _park(store: StoreModel, keys: Args, args: Args) -> Any:
    if store.string(keys[0]) != args[0]:
        store.listener.fenced(keys[1], store.by)
        return -1
    entry_id = id_of(args[1])
    if entry_id not in store.stream(keys[2]).entries:
        return 0
    fields = list(args[4:])
    store.add(keys[3], fields)
    store.delete_entry(keys[2], entry_id)
    freed, size = int(args[2]), _weight(fields)
    if len(keys) > 5:
        held = store.hash_of(keys[5])
        held[b"d"] = b"%d" % (int(held.get(b"d", b"0")) + 1)
        size += len(held.get(b"b", b"")) if held[b"d"] == b"1" else 0
        freed += _release(store, keys[5], b"n", 1)
    _grow(store, keys[1], -freed)
    _grow(store, keys[4], size)
    dropped = 0
    while dropped < 100 and int(store.string(keys[4]) or 0) > int(args[3]) and store.stream(keys[3]).entries:
        _delete_letter(store, keys[3], keys[4], next(iter(store.stream(keys[3]).entries)))
        dropped += 1
    return 1 + dropped


def _replay(store: StoreModel, keys: Args, args: Args) -> Any:
    letter = store.stream(keys[3]).entries.get(id_of(args[0]))
    if letter is None:
        return None
    named = dict(zip(letter[::2], letter[1::2], strict=True))
    if b"entry" not in named or b"flow" not in named:
        return b""
    if store.full:
        return redis_errors.OutOfMemoryError(OOM)
    entry_id = _add(store, keys[1], named[b"flow"], named[b"entry"], int(args[1]))
    size = len(named[b"entry"]) + AROUND
    if b"body" in named:
        held = store.hash_of(named[b"body"])
        held[b"n"] = b"%d" % (int(held.get(b"n", b"0")) + 1)
        size += len(held.get(b"b", b"")) if held[b"n"] == b"1" else 0
    _delete_letter(store, keys[3], keys[4], id_of(args[0]))
    _grow(store, keys[2], size)
    _know_flow(store, keys[0], keys[1], named[b"flow"])
    return entry_id


def _delete(store: StoreModel, keys: Args, args: Args) -> Any:
    chosen = [id_of(entry_id) for entry_id in args if id_of(entry_id) in store.stream(keys[0]).entries]
    for entry_id in chosen:
        _delete_letter(store, keys[0], keys[1], entry_id)
    return len(chosen)


def _delete_old(store: StoreModel, keys: Args, args: Args) -> Any:
    if store.string(keys[0]) != args[0]:
        store.listener.fenced(keys[1], store.by)
        return -1
    uncounted = store.hash_of(keys[3])
    if uncounted.get(b"last") == args[4]:
        uncounted.clear()
    first, room, deleted = store.milliseconds() - int(args[1]), int(args[3]), list[Id]()
    letters = store.stream(keys[1]).entries
    while letters and (oldest := next(iter(letters)))[0] < first and len(deleted) < int(args[2]) and room > 0:
        room -= _delete_letter(store, keys[1], keys[2], oldest)
        deleted.append(oldest)
    if deleted:
        uncounted[b"n"] = b"%d" % (int(uncounted.get(b"n", b"0")) + len(deleted))
        uncounted[b"last"] = text_of(deleted[-1])
    left = max(0, next(iter(letters))[0] - first + 1) if letters else -1
    return [int(uncounted.get(b"n", b"0")), uncounted.get(b"last", b""), left]


def _fetch(store: StoreModel, keys: Args, args: Args) -> Any:
    answer: list[Any] = []
    at = 0
    for stream in keys:
        n = int(args[at])
        for entry_id in args[at + 1 : at + 1 + n]:
            fields = store.stream(stream).entries.get(id_of(entry_id))
            answer.append(None if fields is None else fields[1])
        at += 1 + n
    return answer


def _measure(store: StoreModel, keys: Args, _args: Args) -> Any:
    flows: list[Any] = []
    streams = list(store.sorted_set(keys[0]))
    for stream in streams:
        entries = store.stream(stream).entries
        flows += [stream, len(entries), next((text_of(entry_id) for entry_id in entries), b"")]
    count = sum(len(store.stream(stream).entries) for stream in streams)
    sizes = [int(store.string(key) or 0) for key in keys[2:4]]
    letters = store.stream(keys[1]).entries
    oldest = next((text_of(letter_id) for letter_id in letters), b"")
    return [count, len(letters), *sizes, int(store.string(keys[4]) is not None), oldest, *flows]


def _prune(store: StoreModel, keys: Args, args: Args) -> Any:
    if store.string(keys[0]) != args[0]:
        return -1
    now, pruned, latest = store.milliseconds(), [], 0
    flows = store.sorted_set(keys[1])
    for stream in keys[4:]:
        state = store.stream(stream)
        if not state.entries and now - state.last[0] > int(args[1]):
            store.forget_stream(stream)
            flows.pop(stream, None)
            pruned.append(stream)
            latest = max(latest, state.last[0])
    if latest:
        store.wake(keys[2], b"", since=latest + 1)
    if len(flows) <= int(args[2]) and not any(store.stream(stream).entries for stream in flows):
        store.write_string(keys[3], None)
    return pruned


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
    return [next((text_of(entry_id) for entry_id in store.stream(key).entries), b"") for key in keys[1:]]


def _release_lease(store: StoreModel, keys: Args, args: Args) -> Any:
    own = [key for key, token in zip(keys, args, strict=True) if store.string(key) == token]
    for key in own:
        store.write_string(key, None)
    return len(own)


def _hand_over(store: StoreModel, keys: Args, args: Args) -> Any:
    if store.string(keys[1]) == args[1]:
        store.write_string(keys[1], args[1], int(args[2]))
        return 1
    if store.string(keys[0]) != args[0]:
        return -1
    left = store.hash_of(keys[2])
    if len(left) + len(args) - 4 > int(args[3]):
        return 0
    left.update(dict.fromkeys(args[4:], args[1]))
    store.write_string(keys[1], args[1], int(args[2]))
    store.write_string(keys[0], None)
    return 1


def _left(store: StoreModel, keys: Args, args: Args) -> Any:
    left = store.hash_of(keys[0])
    for lane in [lane for lane, token in left.items() if store.string(args[0] + token) != token]:
        del left[lane]
    return list(left)


def _free(store: StoreModel, keys: Args, args: Args) -> Any:
    left = store.hash_of(keys[0])
    own = [lane for lane in args[1:] if left.get(lane) == args[0]]
    for lane in own:
        left.pop(lane, None)
    if own:
        store.wake(keys[1], b"")
    return len(own)


def _heartbeat(store: StoreModel, keys: Args, args: Args) -> Any:
    now = store.milliseconds()
    workers = store.sorted_set(keys[0])
    for worker in [worker for worker, until in workers.items() if until <= now]:
        del workers[worker]
    if int(args[1]) > 0:
        workers.update(dict.fromkeys((args[0], *args[2:]), now + int(args[1])))
    else:
        workers.pop(args[0], None)
    return [b"%d" % now, *sorted(workers, key=lambda worker: (workers[worker], worker))]


def _claim(store: StoreModel, keys: Args, args: Args) -> Any:
    memory = _Memory(store, keys[0], int(args[2]))
    known = memory.find(args[0])
    if known is not None and known != args[1]:
        return 0
    if store.full:
        return redis_errors.OutOfMemoryError(OOM)
    memory.keep(args[0], args[1])
    return 1


def _put_pause(store: StoreModel, keys: Args, args: Args) -> Any:
    now = store.milliseconds()
    pauses = store.hash_of(keys[0])
    began, ends = b"%d" % now, b"%d" % (now + int(args[1])) if args[1] else b""
    known = pauses.get(args[0])
    if args[3] == b"1" and known is not None and int(known.split(b" ")[1]) >= int(ends):
        return []
    for target in [target for target, pause in pauses.items() if 0 < int(pause.split(b" ")[1] or 0) <= now]:
        del pauses[target]
    pauses[args[0]] = b"%b %b %b" % (began, ends, args[2])
    return [began, ends]


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
    "DELETE": _delete,
    "DELETE_OLD": _delete_old,
    "FETCH": _fetch,
    "MEASURE": _measure,
    "PRUNE": _prune,
    "WAKE": _wake,
    "ACQUIRE": _acquire,
    "RENEW": _renew,
    "RELEASE": _release_lease,
    "HAND_OVER": _hand_over,
    "LEFT": _left,
    "FREE": _free,
    "HEARTBEAT": _heartbeat,
    "CLAIM": _claim,
    "EXCHANGE_DEMAND": _exchange_demand,
    "PUT_PAUSE": _put_pause,
    "JOIN_ENDPOINTS": _join_endpoints,
}
