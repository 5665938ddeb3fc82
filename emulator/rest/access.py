"""Tokens and keys that the service itself hands out.

Source: contract 3.3: `:generateToken` gives a client token without custom claims; `auth/accessKey` gives a temporary
key in PascalCase whose id starts with `t-` and which only counts when the token carries that id as `kid`.
"""

from emulator.audience import client_audience
from emulator.config import EmulatorConfig
from emulator.credentials import Credentials
from emulator.exchange import Reply, json_reply
from emulator.rest.call import RestCall
from fanout.clock import Clock
from fanout.signalr.credentials import ISSUER, USER_ID_CLAIM, sign

_DEFAULT_MINUTES = 60
_MOST_MINUTES = 2**31 - 1


class Access:
    """The two operations that give away access."""

    def __init__(self, config: EmulatorConfig, credentials: Credentials, clock: Clock) -> None:
        self._config = config
        self._credentials = credentials
        self._clock = clock

    async def generate_token(self, rest: RestCall) -> Reply:
        """Sign a client token with the primary key."""
        minutes = rest.whole_number("minutestoexpire", _DEFAULT_MINUTES, 1, _MOST_MINUTES)
        now = int(self._clock.wall())
        claims: dict[str, object] = {"nbf": now, "iat": now, "exp": now + minutes * 60, "iss": ISSUER}
        claims["aud"] = client_audience(rest.call, rest.hub.name)
        user = rest.call.parameter("userid")
        if user:
            claims[USER_ID_CLAIM] = user
        return json_reply({"token": sign(self._config.keys[0], claims)})

    def access_key(self) -> Reply:
        """Issue a temporary key."""
        key_id, key = self._credentials.issue_temporary_key()
        return json_reply({"AccessKey": key, "KeyId": key_id})
