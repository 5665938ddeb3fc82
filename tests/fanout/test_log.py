"""Logs: one event a line, and never a secret."""

import io
import json
import logging
import string
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from fanout.log import MASK, configure, get_logger, masked

BASE64 = st.text(string.ascii_letters + string.digits + "+/=", min_size=12, max_size=90)
TOKEN_PART = st.text(string.ascii_letters + string.digits + "-_", min_size=12, max_size=40)
PASSWORD = st.text(string.ascii_letters + string.digits + "%.~-_!$&'()*+,;=:", min_size=8, max_size=40)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines_of(style: str = "json", level: str = "info", **fields: Any) -> tuple[io.StringIO, Any]:
    stream = io.StringIO()
    configure(level=level, style=style, stream=stream)
    return stream, get_logger(**fields)


def written(**fields: Any) -> str:
    stream, log = lines_of()
    log.info("event", **fields)
    return stream.getvalue()


@given(BASE64)
def test_an_access_key_is_masked_wherever_a_connection_string_stands(key: str) -> None:
    text = masked(f"cannot read Endpoint=https://x.service.signalr.net;AccessKey={key};Version=1.0; from there")
    assert key not in text
    assert text == f"cannot read Endpoint=https://x.service.signalr.net;AccessKey={MASK};Version=1.0; from there"
    assert key not in masked(f"CLIENTSECRET={key}")


@given(TOKEN_PART, TOKEN_PART, TOKEN_PART)
def test_a_bearer_token_and_a_bare_jwt_are_masked(head: str, payload: str, signature: str) -> None:
    token = f"eyJ{head}.eyJ{payload}.{signature}"
    assert masked(f"Authorization: Bearer {token}") == f"Authorization: Bearer {MASK}"
    assert (
        masked(f"wss://x/client/?hub=chat&access_token={token}&x=1")
        == f"wss://x/client/?hub=chat&access_token={MASK}&x=1"
    )
    assert masked(token) == MASK


@pytest.mark.parametrize(
    "text",
    [
        "the service accepts a bearer token.", "Bearer authentication is used, no bearer Token",
        "a bearer token, a key", "bearer tokens (JWT)",
    ],
)  # fmt: skip
def test_a_word_after_bearer_is_no_token(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    ("before", "token"),
    [
        ("authorization: bearer ", "swordfish"), ("'Authorization': 'Bearer ", "swordfish"), ("Bearer ", "Sw0rdfish"),
        ("(b'authorization', b'Bearer ", "swordfish"), ("bearer ", "swordfish.b"), ("Bearer ", "swordFish"),
        ("Bearer ", "swordfishswordfish"), ("BEARER  ", "sword-fish"), ("bearer ", "swordfish="), ("bearer ", "12345"),
        ("bearer ", "SWORDFISH"),
    ],
)  # fmt: skip
def test_what_could_be_a_token_is_masked_and_in_a_header_everything_is(before: str, token: str) -> None:
    assert masked(f"at {before}{token} now") == f"at {before}{MASK} now"


@given(PASSWORD, st.sampled_from(["redis", "rediss", "https", "unix"]), st.sampled_from(["", "default", "user"]))
def test_a_password_in_a_url_is_masked_and_the_rest_stays(password: str, scheme: str, user: str) -> None:
    assert (
        masked(f"at {scheme}://{user}:{password}@host:6380/0?x=1 now")
        == f"at {scheme}://{user}:{MASK}@host:6380/0?x=1 now"
    )


@pytest.mark.parametrize("password", ["p@ssw0rd", "aa/bb+cc==", "a:b@c/d", "//@@//"])
def test_a_password_that_should_have_been_escaped_is_masked_as_a_whole(password: str) -> None:
    """Keys of managed stores are base64; people paste them as they are."""
    assert masked(f"redis://:{password}@host:6379/0") == f"redis://:{MASK}@host:6379/0"


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:8080/x", "redis://host:6379/0", "to alice@example.com: hi", "a=b;c=d"]
)
def test_what_holds_no_secret_is_left_as_it_is(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize("name", ["token", "authorization", "access_key", "api_key", "password", "secret"])
def test_names_that_carry_secrets_are_masked_whatever_their_value(name: str) -> None:
    assert json.loads(written(**{name: "open sesame"}))[name] == MASK
    assert json.loads(written(**{name: 12345}))[name] == MASK


@pytest.mark.parametrize(
    "value",
    [
        {"authorization": "open sesame"},
        {"Authorization": "open sesame"},
        {"headers": {"x": ["Bearer open-sesame"]}},
        ["AccessKey=open-sesame"],
        ("AccessKey=open-sesame",),
        ValueError("AccessKey=open-sesame"),
        b"AccessKey=open-sesame",
    ],
    ids=str,
)
def test_secrets_are_masked_inside_of_values_too(value: object) -> None:
    assert "sesame" not in written(value=value)


def fail_with(text: str) -> None:
    raise ValueError(text)


def test_secrets_are_masked_in_tracebacks_bound_fields_and_events() -> None:
    stream, log = lines_of(where="AccessKey=bound-sesame")
    try:
        fail_with("redis://:open-sesame@host")
    except ValueError:
        log.exception("Bearer event-sesame")
    assert "sesame" not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


def test_logs_of_libraries_take_the_same_road() -> None:
    stream, _log = lines_of()
    try:
        fail_with("AccessKey=open-sesame")
    except ValueError:
        logging.getLogger("some.library").exception("lost %s", "redis://:open-sesame@host")
    line = json.loads(stream.getvalue())
    assert (line["logger"], line["level"], line["event"]) == ("some.library", "error", f"lost redis://:{MASK}@host")
    assert "sesame" not in stream.getvalue()


def test_libraries_are_heard_from_warnings_on_however_talkative_we_are() -> None:
    stream, _log = lines_of(level="debug")
    logging.getLogger("some.library").info("chatter")
    assert stream.getvalue() == ""


def test_a_line_is_one_json_object_with_time_level_and_event() -> None:
    stream, log = lines_of(role="worker")
    log.info("delivery.settled", id="a\nb", took=0.25, ids=(1, 2))
    [text] = stream.getvalue().splitlines()
    line = json.loads(text)
    assert (line["event"], line["level"], line["role"], line["id"]) == ("delivery.settled", "info", "worker", "a\nb")
    assert line["took"] == 0.25
    assert line["timestamp"].endswith("Z")


def test_what_is_less_severe_than_the_level_is_not_written() -> None:
    stream, log = lines_of(level="warning")
    log.info("no")
    log.warning("yes")
    assert "no" not in [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert "yes" in stream.getvalue()


def test_for_people_a_line_is_text_and_secrets_are_masked_all_the_same() -> None:
    stream, log = lines_of("console")
    log.info("hello", url="redis://:open-sesame@host", token="open sesame")
    assert "hello" in stream.getvalue()
    assert "sesame" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_values_no_json_knows_are_written_as_text() -> None:
    assert json.loads(written(path=ValueError("x")))["path"] == "x"
