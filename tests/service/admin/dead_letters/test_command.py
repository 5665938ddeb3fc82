"""What a query and a body mean; what they may not say is tested through the routes."""

import pytest
from starlette.datastructures import QueryParams

from fanout.errors import BadRequestError
from service.admin.dead_letters.command import LIST_LIMIT, MAX_LETTERS, Order, listing_of, order_of
from service.admin.dead_letters.reference import Bookmark, Place
from service.admin.dead_letters.selection import Selection


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ("", Order(Selection(), LIST_LIMIT, Bookmark())),
        ("hub=chat&limit=7", Order(Selection(hub="chat"), 7, Bookmark())),
        ("before=2", Order(Selection(before=2000), LIST_LIMIT, Bookmark(before=2000))),
        ("cursor=5-1.3.900", Order(Selection(), LIST_LIMIT, Bookmark(Place(5, 1, 3), 900))),
        ("cursor=5-1.3.900&before=0.1", Order(Selection(before=100), LIST_LIMIT, Bookmark(Place(5, 1, 3), 100))),
        ("cursor=5-1.3.900&before=1", Order(Selection(before=1000), LIST_LIMIT, Bookmark(Place(5, 1, 3), 900))),
    ],
)
def test_a_query(query: str, order: Order) -> None:
    assert listing_of(QueryParams(query)) == order


@pytest.mark.parametrize(
    ("body", "order"),
    [
        (b'{"all":true}', Order(Selection(), MAX_LETTERS, Bookmark())),
        (b' {"reason":"tooOld","limit":3}', Order(Selection(reason="tooOld"), 3, Bookmark())),
        (b'{"before":1,"dryRun":true}', Order(Selection(before=1000), MAX_LETTERS, Bookmark(before=1000), dry=True)),
        (b'{"all":false,"hub":"h"}', Order(Selection(hub="h"), MAX_LETTERS, Bookmark())),
        (
            b'{"ids":["1:9-0","0:9-0","1:3-0","1:9-0"]}',
            Order(Selection(), MAX_LETTERS, Bookmark(), (Place(3, 0, 1), Place(9, 0, 0), Place(9, 0, 1))),
        ),
    ],
)
def test_a_body(body: bytes, order: Order) -> None:
    """Ids are taken once each, in the order in which they were parked."""
    assert order_of(body) == order


def test_an_empty_body_is_told_what_it_may_say() -> None:
    for body in (b"", b"{}", b'{"dryRun":true}'):
        with pytest.raises(BadRequestError, match=r'Send \{"ids":\[\.\.\.\]\}, or some of hub'):
            order_of(body)
