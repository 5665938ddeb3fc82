"""Asking an ingress: what cannot be asked is one clear line, and the key stands in none."""

import pytest

from fanout.errors import ConfigurationError
from service.cli.ask import ask


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1 cannot be reached: .* Is `fanout serve` running there?"),
        ("http://127.0.0.1:port", "--url http://127.0.0.1:port is not a URL"),
    ],
)
def test_who_cannot_be_asked_is_named_without_the_key(url: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text) as failure:
        ask("GET", url, "/livez", "open-sesame")
    assert "open-sesame" not in str(failure.value)
