"""Memberships of users: which groups a later connection joins."""

from emulator.hubs import MAX_WITHOUT_TTL, YEAR, UserGroups


def test_a_membership_lasts_its_ttl_and_a_year_without_one() -> None:
    groups = UserGroups()
    groups.add("u", "short", 60, now=0)
    groups.add("u", "long", None, now=0)
    assert groups.groups_of("u", now=59.9) == ["short", "long"]
    assert groups.groups_of("u", now=60) == ["long"]
    assert groups.contains("u", "long", now=YEAR - 1)
    assert groups.groups_of("u", now=YEAR) == []


def test_each_add_overwrites_the_ttl() -> None:
    groups = UserGroups()
    groups.add("u", "g", 60, now=0)
    groups.add("u", "g", 10, now=0)
    assert not groups.contains("u", "g", now=10)
    groups.add("u", "g", 100, now=0)
    assert groups.contains("u", "g", now=99)


def test_a_ttl_of_zero_stores_nothing_and_takes_away_what_was_stored() -> None:
    groups = UserGroups()
    groups.add("u", "g", 60, now=0)
    groups.add("u", "g", 0, now=0)
    assert groups.groups_of("u", now=0) == []


def test_only_the_newest_hundred_groups_without_a_ttl_are_kept() -> None:
    groups = UserGroups()
    groups.add("u", "timed", 10_000, now=0)
    for number in range(MAX_WITHOUT_TTL + 1):
        groups.add("u", f"g{number}", None, now=number)
    groups.add("other", "g0", None, now=0)
    kept = groups.groups_of("u", now=1000)
    assert len(kept) == MAX_WITHOUT_TTL + 1
    assert "timed" in kept
    assert "g0" not in kept
    groups.add("u", "g1", None, now=1001)
    groups.add("u", "g999", None, now=1002)
    assert "g1" in groups.groups_of("u", now=1003)
    assert "g2" not in groups.groups_of("u", now=1003)


def test_removal_of_one_and_of_all() -> None:
    groups = UserGroups()
    for group in ("a", "b", "c"):
        groups.add("u", group, None, now=0)
    groups.remove("u", "b")
    groups.remove("u", "unknown")
    groups.remove("nobody", "a")
    assert groups.groups_of("u", now=0) == ["a", "c"]
    groups.remove_all("u")
    assert groups.groups_of("u", now=0) == []
    assert "0 users" in repr(groups)
