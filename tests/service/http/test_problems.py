"""How refusals look: RFC 9457."""

import json

import pytest

from fanout import errors
from fanout.binding.batch import ERROR_CODES
from service.http.problems import PROBLEM_TYPES, explanation_of, problem_of, response_of, title_of, unexpected


def test_every_error_of_ours_that_can_reach_a_caller_has_a_kind() -> None:
    reachable: list[type[errors.FanoutError]] = [
        errors.FanoutError, errors.ConfigurationError, errors.BadRequestError, errors.BodyTooLargeError,
        errors.UnsupportedMediaTypeError, errors.UnauthorizedError, errors.ForbiddenError,
        errors.IdempotencyConflictError, errors.QueueError, errors.QueueSilentError, errors.QueueFullError,
    ]  # fmt: skip
    for kind in reachable:
        assert PROBLEM_TYPES[kind.label].status == kind.status


@pytest.mark.parametrize("code", [*PROBLEM_TYPES, *ERROR_CODES])
def test_every_code_has_a_title_and_an_explanation(code: str) -> None:
    assert title_of(code)
    assert not title_of(code).endswith(".")
    assert code in (explanation_of(code) or "")


def test_a_code_nobody_knows_has_no_explanation() -> None:
    assert explanation_of("none") is None


def test_a_document_has_the_members_of_the_rfc_and_the_request_id() -> None:
    response = response_of(problem_of(errors.BadRequestError("Not so.", pointer="/a")), "req")
    assert response.media_type == "application/problem+json"
    assert json.loads(bytes(response.body)) == {
        "type": "/problems/invalidRequest",
        "title": "The request is not valid",
        "status": 400,
        "detail": "Not so.",
        "code": "invalidRequest",
        "requestId": "req",
        "errors": [{"pointer": "/a", "code": "invalidRequest", "detail": "Not so."}],
    }


def test_retry_after_is_whole_seconds_and_never_zero() -> None:
    waits = [problem_of(errors.QueueError("x", retry_after=s)).headers["Retry-After"] for s in (0, 0.2, 1, 1.2)]
    assert waits == ["1", "1", "1", "2"]


def test_an_unexpected_error_tells_nothing() -> None:
    assert unexpected().status == 500
