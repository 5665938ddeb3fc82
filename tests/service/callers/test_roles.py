"""What the roles of a token allow, and on which hubs."""

import pytest

from fanout.errors import ForbiddenError
from service.callers.caller import ALL_HUBS, EVERY_HUB, Caller, Right
from service.callers.roles import caller_with, parse_grant, parse_roles, roles_in

NONE = parse_roles(())


def allows(caller: Caller, right: Right, hub: str) -> bool:
    try:
        caller.require(right, hub)
    except ForbiddenError:
        return False
    return True


def test_each_right_holds_on_the_hubs_of_its_own_grants() -> None:
    roles = ["fanout.send:orders_*", "fanout.send:News", "fanout.read:*", "fanout.admin:news"]
    caller = caller_with("jwt:app", roles, NONE)
    assert [allows(caller, Right.SEND, hub) for hub in ("orders_eu", "NEWS", "chat", EVERY_HUB)] == [
        True,
        True,
        False,
        False,
    ]
    assert [allows(caller, Right.READ, hub) for hub in ("chat", EVERY_HUB)] == [True, True]
    assert [allows(caller, Right.ADMIN, hub) for hub in ("news", "chat", EVERY_HUB, "")] == [True, False, False, True]
    assert not allows(caller, Right.NEGOTIATE, "")


def test_admin_includes_read_on_its_hubs_alone() -> None:
    caller = caller_with("jwt:app", ["fanout.admin:news"], NONE)
    assert [allows(caller, Right.READ, hub) for hub in ("news", "chat")] == [True, False]


def test_rights_on_all_hubs_are_judged_as_quickly_as_those_of_a_key() -> None:
    caller = caller_with("jwt:app", ["fanout.send:*", "fanout.send:orders"], NONE)
    assert caller.hubs is ALL_HUBS
    assert caller.grants is None


@pytest.mark.parametrize(
    "role",
    ["fanout.send", "fanout.send:", "fanout.write:*", "fanout.:*", "send:*", "Fanout.send:*", "fanout.send:a*b*c", ""],
)
def test_a_role_that_names_no_right_or_no_hub_gives_nothing(role: str) -> None:
    assert caller_with("jwt:app", [role, "fanout.read:news"], NONE).rights == {Right.READ}


def test_a_setting_gives_roles_of_any_name_a_meaning() -> None:
    meanings = parse_roles(("Orders.Writer=send:orders_* negotiate:orders_*", "5f3a-app-id = admin:*"))
    writer, operator = (caller_with("jwt:app", [role], meanings) for role in ("Orders.Writer", "5f3a-app-id"))
    assert writer.rights == {Right.SEND, Right.NEGOTIATE}
    assert allows(writer, Right.NEGOTIATE, "orders_eu")
    assert operator.rights == {Right.ADMIN, Right.READ}
    assert caller_with("jwt:app", ["Reader"], meanings).rights == frozenset()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("Writer", "is not ROLE=GRANT"),
        ("Writer=send:orders-*", "No hub can be called 'orders-"),
        ("=send:*", "is not ROLE=GRANT"),
        ("Writer=", "is not ROLE=GRANT"),
        ("Writer=send", "a grant is a right and a hub"),
        ("Writer=write:*", "rights are send, negotiate, read, admin"),
        ("Writer=send:*a*", "not a hub"),
    ],
)
def test_a_meaning_that_cannot_be_read_is_refused(entry: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_roles((entry,))
    with pytest.raises(ValueError, match="stands twice"):
        parse_roles(("A=send:*", "A=read:*"))


def test_roles_are_found_in_lists_and_texts_and_what_is_neither_is_none() -> None:
    claims = {"roles": ["a", 1, None, "b"], "scp": "c d", "azp": "app", "sub": 5}
    assert roles_in(claims, ("roles", "scp", "azp", "sub", "other")) == ["a", "b", "c", "d", "app"]
    assert len(roles_in({"roles": ["x"] * 5000}, ("roles",))) == 256


def test_who_may_not_negotiate_is_a_client_whom_the_settings_may_find() -> None:
    assert caller_with("jwt:app", ["fanout.send:*"], NONE).is_client
    assert not caller_with("jwt:app", ["fanout.negotiate:*"], NONE).is_client
    assert parse_grant("send:Chat") == (Right.SEND, "chat")
