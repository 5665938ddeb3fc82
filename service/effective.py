"""Settings as they may be shown to whoever may read them.

Rule guarded: secrets are masked. Of a Redis URL the servers are shown, never the credentials, and one that cannot be
parsed is masked whole, because it is not known where its password ends.
"""

from typing import Any, Final

from fanout.environment import text_of
from fanout.errors import ConfigurationError
from fanout.log import MASK
from fanout.redis.address import parse

_URL: Final = "redis_url"


def shown(name: str, value: Any) -> str:
    """Return the value of a setting as it may be shown."""
    text = text_of(name, value)
    if name == _URL:
        return _servers_of(text)
    return MASK if text and hasattr(value, "get_secret_value") else text


def _servers_of(url: str) -> str:
    try:
        return str(parse(url))
    except ConfigurationError:
        return MASK
