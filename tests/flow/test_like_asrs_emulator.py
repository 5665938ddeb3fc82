"""The product delivers to an emulator that behaves like the vendor's own one, whose health asks for a token.

There ids with a slash reach another user and `:execute` does not exist; what applications usually send is delivered.
"""

from pathlib import Path

from tests.flow.stack import running_stack


async def test_messages_and_memberships_are_delivered_in_order(tmp_path: Path) -> None:
    items = [
        {"userId": "alice", "groupName": "red team", "action": "add"},
        {"groupName": "red team", "target": "welcome", "arguments": ["alice"]},
        {"userId": "alice", "target": "newMessage", "arguments": [{"n": 1}]},
        {"target": "newMessage", "arguments": ["all"]},
        {"userId": "alice", "groupName": "red team", "action": "remove"},
        {"userId": "alice", "action": "closeConnection"},
    ]
    async with running_stack(tmp_path, emulator_options=["--like-asrs-emulator"]) as stack:
        await stack.add_worker()
        await stack.post("chat", items)
        await stack.arrived("chat", len(items))
        await stack.drained()
        assert await stack.dead_letters() == []
        calls = await stack.journal("chat")
    assert {call.status for call in calls} <= {200, 202, 204}
    paths = [call.target.partition("?")[0].removeprefix("/api/hubs/chat") for call in calls]
    assert paths.index("/users/alice/groups/red%20team") < paths.index("/groups/red%20team/:send")
    assert paths.index("/users/alice/:send") < paths.index("/users/alice/:closeConnections")
