"""What is sent: its size, its shape, and that everything measured gets the same."""

import json

import pytest

from bench.messages import MESSAGE, TOKEN, batch, batches, rest_body, rest_path


@pytest.mark.parametrize("seq", [0, 7, 123_456, 9_999_999])
def test_the_rest_body_has_one_kilobyte_whatever_its_number(seq: int) -> None:
    body = rest_body(seq)
    assert len(body) == MESSAGE
    assert json.loads(body)["arguments"][0]["seq"] == seq


def test_a_batch_is_an_array_spread_over_the_users() -> None:
    items = json.loads(batch(range(5), users=2))
    assert [item["userId"] for item in items] == ["user-000000", "user-000001"] * 2 + ["user-000000"]
    assert [item["arguments"][0]["seq"] for item in items] == [0, 1, 2, 3, 4]


def test_a_single_message_goes_without_an_array() -> None:
    assert json.loads(batch(range(3, 4)))["userId"] == "user-000003"


def test_batches_carry_each_message_once() -> None:
    sizes = [len(json.loads(body)) for body in batches(250, 100)]
    assert sizes == [100, 100, 50]


def test_the_token_of_the_floors_is_as_long_as_a_real_one() -> None:
    assert len(TOKEN) == 260


def test_the_route_is_that_of_a_send_to_a_user() -> None:
    assert rest_path(3) == "/api/hubs/bench/users/user-000003/:send"
