"""Logs in to Redis with what runs out, such as an identity token as the password.

Rules guarded: a connection that is opened logs in with what is in force then, and waits for it if need be. Connections
that are open log in again as soon as there is another one, so that none of them is closed when the former one ends.
"""

from collections.abc import Callable
from typing import Protocol

from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as RedisConnectionError

from fanout.errors import FanoutError
from fanout.redis.address import Login


class Logins(Protocol):
    """Where logins come from."""

    async def login(self) -> Login:
        """Return the login in force, or raise a FanoutError when there is none."""

    def when_renewed(self, callback: Callable[[Login], None]) -> None:
        """Run `callback` with each login that comes into force."""


class LoginProvider(CredentialProvider):
    """The same as redis-py asks for it."""

    def __init__(self, logins: Logins) -> None:
        self._logins = logins

    def __repr__(self) -> str:
        return "<LoginProvider>"

    async def get_credentials_async(self) -> tuple[str, str]:
        """Return user name and password; redis-py's ConnectionError when there are none now."""
        try:
            login = await self._logins.login()
        except FanoutError as error:
            raise RedisConnectionError(str(error)) from None
        return login.username, login.password
