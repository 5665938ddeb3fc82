"""Asks an ingress something, for the command line.

Rule guarded: an ingress that cannot be asked is one clear line that names the address, and says what to look at; the
key goes into a header and into nothing that is printed.
"""

from typing import Any

import httpx

from fanout.errors import ConfigurationError


def ask(method: str, url: str, path: str, api_key: str, **content: Any) -> httpx.Response:
    """Send one request to the ingress at `url`; ConfigurationError when it gives no answer.

    `content` is what httpx takes: `content`, `json`, `params`, `headers`, `timeout` in seconds.
    """
    headers = {**content.pop("headers", {}), **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
    try:
        return httpx.request(method, url.rstrip("/") + path, headers=headers, **content)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"--url {url} is not a URL: {error}") from None
    except httpx.HTTPError as error:
        raise ConfigurationError(f"{url} cannot be reached: {error}. Is `fanout serve` running there?") from None
