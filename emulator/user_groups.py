"""Which users belong to which groups, and until when. Pure: every question brings its own `now`.

Source: contract 8.1 point 7 and 4.3. A membership decides whether FUTURE connections of the user join; its end does not
throw out live ones. `ttl=0` stores nothing; each add overwrites the TTL before; without a TTL it lasts one year, and
only the newest 100 groups of a user without a TTL are kept.
"""

from dataclasses import dataclass

YEAR = 365 * 24 * 3600.0
MOST_WITHOUT_TTL = 100


@dataclass(frozen=True, slots=True)
class Membership:
    """`expires` is on the clock that `now` is read from."""

    expires: float
    has_ttl: bool


class UserGroups:
    """Memberships of one hub's users."""

    def __init__(self) -> None:
        self._by_user: dict[str, dict[str, Membership]] = {}

    def __repr__(self) -> str:
        return f"<UserGroups of {len(self._by_user)} users>"

    def add(self, user: str, group: str, ttl: int | None, now: float) -> None:
        """Store or refresh a membership; `ttl` is in seconds, None for the default, 0 for "nobody who comes later"."""
        groups = self._by_user.setdefault(user, {})
        groups.pop(group, None)
        if ttl != 0:
            groups[group] = Membership(now + (YEAR if ttl is None else ttl), has_ttl=ttl is not None)
        if ttl is None:
            _keep_newest(groups)
        if not groups:
            del self._by_user[user]

    def remove(self, user: str, group: str) -> None:
        """Forget one membership."""
        groups = self._by_user.get(user)
        if groups is None:
            return
        groups.pop(group, None)
        if not groups:
            del self._by_user[user]

    def remove_all(self, user: str) -> None:
        """Forget all memberships of a user."""
        self._by_user.pop(user, None)

    def contains(self, user: str, group: str, now: float) -> bool:
        """Tell whether a connection that opens at `now` would join."""
        membership = self._by_user.get(user, {}).get(group)
        return membership is not None and now < membership.expires

    def groups_of(self, user: str, now: float) -> list[str]:
        """List the groups a connection that opens at `now` joins, and forget the ones that are over."""
        groups = self._by_user.get(user)
        if groups is None:
            return []
        for group in [name for name, membership in groups.items() if membership.expires <= now]:
            del groups[group]
        if not groups:
            del self._by_user[user]
        return list(groups)


def _keep_newest(groups: dict[str, Membership]) -> None:
    without_ttl = [name for name, membership in groups.items() if not membership.has_ttl]
    for name in without_ttl[:-MOST_WITHOUT_TTL]:
        del groups[name]
