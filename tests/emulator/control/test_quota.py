"""Quotas count calls per second of the clock, for all paths together or for each class of paths."""

from typing import Any

import pytest

from emulator.control.quota import Quota, QuotaClass, parse_quota
from tests.emulator.running import Service
from tests.fakes import FakeClock


def test_a_quota_counts_per_second_of_the_clock() -> None:
    quota = Quota()
    assert all(quota.refusal("/x", 10.0) is None for _ in range(5))
    quota.set(2, 3)
    moments = (10.0, 10.5, 10.9, 11.0, 11.1, 11.2)
    refused = [quota.refusal("/x", now) for now in moments]
    assert refused == [None, None, QuotaClass(2, "", 3), None, None, QuotaClass(2, "", 3)]
    quota.set(0)
    assert all(quota.refusal("/x", 11.2) is None for _ in range(5))


def test_a_call_counts_in_the_first_class_that_matches_and_in_no_other() -> None:
    quota = Quota()
    quota.set_classes((QuotaClass(1, "/users/"), QuotaClass(0, "/groups/"), QuotaClass(1, "", 9)))
    paths = ["/users/a", "/users/b", "/groups/g", "/groups/g", "/:send", "/:send", "/x"]
    refused = [quota.refusal(path, 5.0) for path in paths]
    assert [None if rule is None else rule.path for rule in refused] == [None, "/users/", None, None, None, "", ""]


def test_a_path_no_class_matches_has_no_quota() -> None:
    quota = Quota()
    quota.set_classes((QuotaClass(1, "/users/"),))
    assert [quota.refusal("/:send", 5.0) for _ in range(3)] == [None] * 3


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        (b'{"perSecnd":1}', "perSecnd"),
        (b'{"perSecond":-1}', "negative"),
        (b'[{"perSecond":1,"path":"("}]', "regular expression"),
        (b'[{"path":"x"}]', "perSecond"),
        (b'[{"perSecond":1,"retryAfter":"soon"}]', "retryAfter"),
        (b"7", "object"),
        (b"x", "quota"),
    ],
)
def test_an_invalid_quota_is_refused(order: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_quota(order)


async def test_classes_are_set_and_shown_over_the_control_api(timed: Service, clock: FakeClock) -> None:
    url = f"{timed.base}/emulator/quota"
    classes: list[dict[str, Any]] = [
        {"path": "/users/[^/]+/:send$", "perSecond": 2, "retryAfter": 1},
        {"path": "chat/:send$", "perSecond": 1, "retryAfter": None},
    ]
    assert (await timed.http.put(url, json=classes)).json() == classes == (await timed.http.get(url)).json()
    paths = ["users/a/:send", "users/b/:send", "users/a/:send", ":send", ":send", "groups/g/:send"]
    answers = [await timed.send(path) for path in paths]
    assert [answer.status_code for answer in answers] == [202, 202, 429, 202, 429, 202]
    assert [answers[index].headers.get("retry-after") for index in (2, 4)] == ["1", None]
    await clock.advance(1)
    assert [(await timed.send(path)).status_code for path in ("users/a/:send", ":send")] == [202, 202]
    assert (await timed.http.delete(url)).json() == {"perSecond": 0, "retryAfter": None}
    assert [(await timed.send()).status_code for _ in range(3)] == [202] * 3
