"""What is sent: 1 KB messages to 1,000 users, in batches, each with a number by which the sink recognises it.

Rule guarded: the product, its floors and its peers all get the same bytes. Pure.
"""

from collections.abc import Iterator

MESSAGE = 1000  # bytes of the REST body {"target":...,"arguments":[...]}
USERS = 1000
HUB = "bench"
PATH = f"/v1/hubs/{HUB}/messages"
TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + "t" * 223  # the length of a real one, 260 bytes

_HEAD, _TAIL = '{"target":"newMessage","arguments":[{"seq":', '"}]}'


def arguments(seq: int) -> str:
    """Return the arguments of message `seq` as JSON, sized so that the whole REST body has MESSAGE bytes."""
    head = f'[{{"seq":{seq},"text":"'
    return head + "x" * (MESSAGE - len('{"target":"newMessage","arguments":') - len(head) - len(_TAIL)) + '"}]'


def rest_body(seq: int) -> bytes:
    """Return the body of the REST call for message `seq`."""
    return f'{{"target":"newMessage","arguments":{arguments(seq)}}}'.encode()


def item(seq: int, user: int) -> str:
    """Return message `seq` to one user as a caller sends it."""
    return f'{{"userId":"user-{user:06}","target":"newMessage","arguments":{arguments(seq)}}}'


def batch(seqs: range, *, users: int = USERS) -> bytes:
    """Return one request body: an array of messages, spread over `users`; a single message goes without an array."""
    items = [item(seq, seq % users) for seq in seqs]
    return (items[0] if len(items) == 1 else f"[{','.join(items)}]").encode()


def batches(count: int, size: int, *, users: int = USERS, first: int = 0) -> Iterator[bytes]:
    """Cut `count` messages into requests of `size`; numbered from `first`."""
    for start in range(first, first + count, size):
        yield batch(range(start, min(start + size, first + count)), users=users)


def rest_path(user: int) -> str:
    """Name the REST route of a send to one user, without its query."""
    return f"/api/hubs/{HUB}/users/user-{user:06}/:send"
