"""What may be set, what is normalised, and what is refused with the value that was meant."""

import pytest

from fanout.settings_rules import check_header_name, check_key, check_prefix, normalize_origin, weights_of


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.Example.COM/", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        (" http://a:80 ", "http://a"),
    ],
)
def test_an_origin_is_written_as_browsers_send_it(text: str, origin: str) -> None:
    assert normalize_origin(text) == origin
    assert normalize_origin(origin) == origin


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "NULL",
        "app.example.com",
        "https://",
        "https://a/path",
        "https://a?b",
        "ftp://a",
        "https://u@a",
        "http://[",
    ],
)
def test_what_can_never_match_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        normalize_origin(text)


@pytest.mark.parametrize("key", ["a", " ", "' '", "fifteen-letters", "sixteen-letters\tx y z", '"short"'])
def test_a_key_is_long_and_can_be_sent(key: str) -> None:
    if key.strip(" '"):
        with pytest.raises(ValueError, match=r"16 characters|control"):
            check_key(key)
    else:
        assert check_key(key) == ""


def test_a_prefix_is_a_path_without_a_slash_at_the_end() -> None:
    assert [check_prefix(text) for text in ("", "/", "/signalr/", "/a/b-c_d.e~f")] == [
        "",
        "",
        "/signalr",
        "/a/b-c_d.e~f",
    ]
    for text in ("a", "//a", "/a b", "/a?b", "/%41"):
        with pytest.raises(ValueError, match="path"):
            check_prefix(text)


def test_the_name_of_a_header_is_in_lower_case() -> None:
    assert check_header_name("X-Trace") == "x-trace"
    with pytest.raises(ValueError, match="header"):
        check_header_name("x:")


def test_weights_are_taken_by_name_in_any_case() -> None:
    assert weights_of([]) == {}
    texts = ["East=3", " default = 0.5", "w-1=0", "x=1000"]
    assert weights_of(texts) == {"east": 3.0, "default": 0.5, "w-1": 0.0, "x": 1000.0}


@pytest.mark.parametrize(
    "text",
    [
        "east",
        "east=",
        "=1",
        "east=-1",
        "east=1001",
        "east=nan",
        "east=inf",
        "east=1e3",
        "east=1=2",
        "Endpoint=https://x;AccessKey=k;",
        "east=\u0663",
    ],
)
def test_what_is_no_weight_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^number 2 is not a name and a weight from 0 to 1000 like east=3$"):
        weights_of(["west=1", text])


def test_two_weights_of_one_endpoint_are_refused() -> None:
    with pytest.raises(ValueError, match="number 2 is a second weight of one endpoint"):
        weights_of(["east=1", "EAST=2"])
