"""Values with defaults, for tests that care about one thing of them."""

from fanout.queue.entry import Entry, Submission
from fanout.signalr.message import GroupAction, Item, Message, Scope, Verb


def a_message(to: str = "alice", *, scope: Scope = Scope.USER, text: str = "hi", ttl: float | None = None) -> Message:
    body = b'{"target":"newMessage","arguments":["%s"]}' % text.encode()
    return Message(scope=scope, to=to, body=body, ttl=ttl)


def a_join(user: str = "alice", group: str = "g") -> GroupAction:
    return GroupAction(verb=Verb.ADD, member_scope=Scope.USER, member=user, group=group)


def an_entry(item: Item | None = None, *, hub: str = "chat", message_id: str = "m1") -> Entry:
    return Entry(hub=hub, message_id=message_id, item=item or a_message())


def a_submission(
    item: Item | None = None, *, hub: str = "chat", dedup_id: str | None = None, fingerprint: bytes = b"f" * 16
) -> Submission:
    return Submission(an_entry(item, hub=hub), dedup_id, fingerprint if dedup_id is not None else b"")
