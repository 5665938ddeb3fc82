"""What an identity token is to the service: the authorization of every call, whatever its audience.

Source: docs/sources.md, rest-tokens. Rules guarded: one token serves all destinations, so that one request to the
authority serves all calls. A token that is due to be renewed is presented as long as it is valid, because the authority
may be away. A token that the service refuses is replaced once.
"""

from typing import Final

from fanout.clock import Clock
from fanout.renewal import Renewed, Term
from fanout.signalr.credentials import Authorization

SCOPE: Final = "https://signalr.azure.com/.default"
_LOOK_AGAIN: Final = 10.0  # seconds after which a token that is due is looked at again


class EntraCredential:
    """Presents the token of an identity. It takes no part in renewing it."""

    def __init__(self, tokens: Renewed[str], clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock
        self._presented: tuple[Term[str], Authorization] | None = None

    def __repr__(self) -> str:
        return f"<EntraCredential {self._tokens!r}>"

    def immediate(self, audience: str, now: float) -> Authorization | None:
        """Return the authorization in force, None when a token has to be waited for."""
        del audience  # the token is the same for all
        term = self._tokens.current(now)
        return None if term is None else self._authorization(term, now)

    async def authorization(self, audience: str) -> Authorization:
        """Return an authorization; TokenUnavailableError when there is no token."""
        del audience
        return self._authorization(await self._tokens.get(), self._clock.wall())

    def refused(self, authorization: Authorization) -> None:
        """Do not present the token of `authorization` again, unless another one was refused a moment ago."""
        if self._presented is not None and self._presented[1].lines == authorization.lines:
            self._tokens.refuse(self._presented[0])

    def _authorization(self, term: Term[str], now: float) -> Authorization:
        if self._presented is not None and self._presented[0] is term and now < self._presented[1].renew_at:
            return self._presented[1]
        renew_at = term.renew_at if now < term.renew_at else min(now + _LOOK_AGAIN, term.ends_at)
        authorization = Authorization.bearer(term.value, renew_at=renew_at)
        self._presented = (term, authorization)
        return authorization
