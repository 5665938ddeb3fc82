"""Calls the API of an ingress, for the commands.

Rules guarded: an ingress that does not answer is one clear line that names the address and says what to look at. A
refusal for a missing or wrong key names the variable that the key is read from. The key goes into a header and into
nothing that is printed.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click
import httpx
import msgspec

from fanout.environment import load_some, variable_of
from fanout.errors import ConfigurationError, FanoutError
from fanout.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])
_OK, _ACCEPTED, _UNAUTHORIZED = 200, 202, 401
_KEY = variable_of("api_key")
_NOT_FOUND = "notFound"  # no such route, which an operator meets on the port of callers


class RefusedError(FanoutError):
    """The ingress refused; the text is its own, and so is `code`, the code of the problem."""

    def __init__(self, text: str, code: str = "") -> None:
        """Store what the ingress says."""
        super().__init__(text)
        self.code = code


def url_option(*fields: str) -> Callable[[F], F]:
    """Return the option --url, whose default is the first of these settings that is set."""
    variables = [variable_of(name) for name in fields]
    default = Settings.model_fields["url"].default
    text = f"URL of the ingress [{', '.join(variables)}; default {default}]."
    return click.option("--url", default=default, envvar=variables, help=text)


def api_key() -> str:
    """Return the key that the environment holds, "" for none."""
    return load_some(("api_key",)).api_key.get_secret_value()


@dataclass(frozen=True, slots=True)
class Api:
    """The API at `url`, called with a key ("" for none)."""

    url: str
    api_key: str = field(repr=False)

    def call(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Send one request; ConfigurationError when there is no answer.

        `content` is what httpx takes: `content`, `json`, `params`, `headers`, `timeout` in seconds.
        """
        try:
            return httpx.request(method, self._address(path), headers=self._headers(content), **content)
        except (httpx.InvalidURL, httpx.HTTPError) as error:
            raise self._unreachable(error) from None

    async def call_async(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Do the same without holding up the event loop."""
        try:
            async with httpx.AsyncClient() as client:
                return await client.request(method, self._address(path), headers=self._headers(content), **content)
        except (httpx.InvalidURL, httpx.HTTPError) as error:
            raise self._unreachable(error) from None

    def _address(self, path: str) -> str:
        return self.url.rstrip("/") + path

    def _headers(self, content: dict[str, Any]) -> dict[str, str]:
        authorization = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return {**content.pop("headers", {}), **authorization}

    def _unreachable(self, error: Exception) -> ConfigurationError:
        if isinstance(error, httpx.InvalidURL):
            return ConfigurationError(f"--url {self.url} is not a URL: {error}")
        return ConfigurationError(f"{self.url} cannot be reached: {error}. Is `fanout serve` running there?")

    def checked(self, response: httpx.Response, *, members: Collection[str]) -> httpx.Response:
        """Return a successful answer that has one of `members`; RefusedError in the words of the ingress otherwise.

        Raises ConfigurationError for an answer that no ingress would give.
        """
        try:
            document = msgspec.json.decode(response.content, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError):
            document = {}
        succeeded = response.status_code in (_OK, _ACCEPTED)
        expected = set(members) if succeeded else {"detail"}
        if not expected & document.keys():
            raise ConfigurationError(f"{self.url} answered {response.status_code} and is not a fanout ingress.")
        if not succeeded:
            detail = msgspec.json.decode(document["detail"], type=str)
            code = msgspec.json.decode(document.get("code", b'""'), type=str)
            raise RefusedError(f"{detail} {self._advice(response, code)}".rstrip(), code)
        return response

    def _advice(self, response: httpx.Response, code: str) -> str:
        if code == _NOT_FOUND:
            return f"Name its address with --url or {variable_of('admin_url')}; {self.url} was asked."
        return self.key_advice(response)

    def key_advice(self, response: httpx.Response) -> str:
        """Return what to do about a refused key, "" for any other answer."""
        if response.status_code != _UNAUTHORIZED:
            return ""
        if self.api_key:
            return f"The ingress does not accept the key in {_KEY}."
        return f"The key is read from {_KEY}, which is not set."
