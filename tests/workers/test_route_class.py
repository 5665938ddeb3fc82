"""The classes of calls that the service limits apart."""

import pytest

from fanout.metrics import CLASSES
from fanout.signalr.message import CloseConnections, Item, Scope
from tests.builders import a_join, a_message
from workers.route_class import RouteClass, class_of


@pytest.mark.parametrize(
    ("item", "route_class"),
    [
        (a_message("", scope=Scope.BROADCAST), RouteClass.BROADCAST),
        (a_message("alice", scope=Scope.USER), RouteClass.SEND),
        (a_message("g", scope=Scope.GROUP), RouteClass.SEND),
        (a_message("c1", scope=Scope.CONNECTION), RouteClass.SEND),
        (a_join(), RouteClass.ACTION),
        (CloseConnections(Scope.USER, "alice"), RouteClass.ACTION),
    ],
)
def test_every_item_is_of_one_class(item: Item, route_class: RouteClass) -> None:
    assert class_of(item) is route_class


def test_the_labels_are_those_of_the_metrics_in_the_same_order() -> None:
    assert tuple(route_class.label for route_class in RouteClass) == CLASSES
    assert [CLASSES[route_class] for route_class in RouteClass] == [c.label for c in RouteClass]
