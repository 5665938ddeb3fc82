"""The one family of errors."""

import inspect
import re

import pytest

from fanout import errors
from fanout.errors import BadRequestError, FanoutError, MaybeSentError, NotSentError, QueueError

FAMILY = [
    error
    for _name, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, FanoutError) and error.__module__ == "fanout.errors"
]


@pytest.mark.parametrize("error", FAMILY)
def test_every_error_has_a_status_a_label_and_a_description(error: type[FanoutError]) -> None:
    assert 400 <= error.status < 600
    assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", error.label)
    assert error.__doc__


def test_no_two_errors_share_a_label_unless_one_is_a_case_of_the_other() -> None:
    labels = [error.label for error in FAMILY if error is not FanoutError and "label" in vars(error)]
    assert len(labels) == len(set(labels))


def test_a_bad_request_narrows_its_label_and_points_at_the_place() -> None:
    error = BadRequestError("The hub is empty.", label="invalidHub", pointer="/0/hub")
    assert (str(error), error.label, error.pointer) == ("The hub is empty.", "invalidHub", "/0/hub")
    assert (BadRequestError("x").label, BadRequestError("x").pointer) == ("invalidRequest", "")


def test_a_queue_error_says_how_long_to_wait() -> None:
    assert QueueError("full").retry_after == 1.0
    assert QueueError("full", retry_after=7.0).retry_after == 7.0


def test_what_was_not_sent_and_what_may_have_been_are_told_apart() -> None:
    assert not issubclass(NotSentError, MaybeSentError)
    assert not issubclass(MaybeSentError, NotSentError)
