"""Browsers of listed origins may negotiate, all others may not."""

from collections.abc import Collection

import pytest
from starlette.datastructures import Headers

from service.http.cors import cors_headers
from service.http.cors import preflight_headers as preflight

APP = "https://app.example.com"


def preflight_headers(headers: Headers, origins: Collection[str]) -> dict[str, str]:
    return preflight(headers, origins, ("content-type", "x-signalr-user-agent"))


@pytest.mark.parametrize("give", [cors_headers, preflight_headers])
@pytest.mark.parametrize(
    "origin",
    [None, "", "null", "https://evil.example", APP + "/", APP.upper(), APP + ":443", APP + ".evil.example", "*"],
)
def test_an_origin_that_is_not_listed_to_the_letter_gets_no_cors_header(give: object, origin: str | None) -> None:
    assert callable(give)
    assert give(Headers({} if origin is None else {"origin": origin}), [APP]) == {"Vary": "Origin"}


def test_no_origin_is_listed_by_a_wildcard() -> None:
    assert cors_headers(Headers({"origin": APP}), ["*"]) == {"Vary": "Origin"}


def test_a_listed_origin_is_echoed_with_leave_for_credentials_and_the_answer_varies() -> None:
    answer = cors_headers(Headers({"origin": APP}), ["https://other.example", APP])
    assert answer["Access-Control-Allow-Origin"] == APP
    assert answer["Access-Control-Allow-Credentials"] == "true"
    assert answer["Vary"] == "Origin"
    assert "Access-Control-Allow-Methods" not in answer


def test_a_preflight_adds_what_may_be_sent_and_for_how_long() -> None:
    listed = Headers({"origin": APP})
    answer = preflight_headers(listed, [APP])
    assert answer.items() >= cors_headers(listed, [APP]).items()
    assert answer["Access-Control-Allow-Methods"] == "POST"
    assert "x-signalr-user-agent" in answer["Access-Control-Allow-Headers"].split(", ")
    assert int(answer["Access-Control-Max-Age"]) > 0
