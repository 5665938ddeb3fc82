"""The figures of an overview, from made-up surveys."""

from collections.abc import Mapping

from fanout.queue.survey import FlowState, PartitionState, Survey
from service.admin.overview.figures import Figures, endpoints_of, limited, overview_of, share_of_workers


def survey(at: float, *partitions: Mapping[str, FlowState], owners: tuple[str, ...] = ()) -> Survey:
    states = [
        PartitionState(owners[number] if owners else "", 0, 0, 0, flows) for number, flows in enumerate(partitions)
    ]
    return Survey(at, 0.001, states, ("w1", "w2"), ())


def test_a_hub_has_the_figures_of_all_its_flows_in_all_partitions() -> None:
    now = survey(
        100.0, {"bchat": FlowState(2, 90.0, 2), "uchat": FlowState(0, 0.0, 9)}, {"uchat": FlowState(3, 95.0, 3)}
    )
    found = overview_of(now, None, 10)
    assert found.hubs == [("chat", Figures(5, 90.0, 0, 0))]
    assert (found.queue.entries, found.seconds, found.rest.hubs) == (5, 0.0, 0)
    assert [each.entries for each in found.partitions] == [2, 3]


def test_with_several_endpoints_a_hub_is_the_sum_and_each_endpoint_has_its_own_figures() -> None:
    found = overview_of(survey(100.0, {"bchat": FlowState(2, 90.0, 2), "bchat@east": FlowState(3, 80.0, 3)}), None, 10)
    assert found.hubs == [("chat", Figures(5, 80.0))]
    assert found.endpoints == [("", Figures(2, 90.0)), ("east", Figures(3, 80.0))]


def test_an_endpoint_is_listed_while_it_is_configured_or_something_waits_for_it() -> None:
    """The stream of a removed one remains, empty; it is listed no more once it says nothing."""
    flows = {"bchat": FlowState(2, 90.0, 2), "bchat@old": FlowState(1, 80.0, 9), "bchat@older": FlowState(0, 0.0, 9)}
    found = endpoints_of(overview_of(survey(100.0, flows), None, 10), ("", "east"))
    assert found == [("", Figures(2, 90.0)), ("east", Figures()), ("old", Figures(1, 80.0))]


def test_what_came_and_left_is_read_from_the_streams() -> None:
    before = survey(100.0, {"bchat": FlowState(10, 90.0, 50), "bold": FlowState(1, 90.0, 1)})
    now = survey(102.0, {"bchat": FlowState(4, 99.0, 70), "bnew": FlowState(1, 101.0, 3)})
    found = overview_of(now, before, 10)
    assert dict(found.hubs)["chat"] == Figures(4, 99.0, came=20, left=26)
    assert dict(found.hubs)["new"] == Figures(1, 101.0, came=3, left=2)
    assert dict(found.hubs)["old"] == Figures(left=1)
    assert (found.seconds, found.queue.came, found.queue.left) == (2.0, 23, 29)


def test_a_stream_that_was_made_anew_begins_at_nothing() -> None:
    before = survey(100.0, {"bchat": FlowState(0, 0.0, 500)})
    now = survey(101.0, {"bchat": FlowState(1, 100.5, 4)})
    assert overview_of(now, before, 10).queue == Figures(1, 100.5, came=4, left=3)


def test_of_many_hubs_those_with_the_most_are_shown_and_the_rest_is_summed() -> None:
    flows = {f"bhub{number}": FlowState(number, 50.0 + number, number) for number in range(1, 6)}
    found = overview_of(survey(100.0, flows), None, 2)
    assert [hub for hub, _figures in found.hubs] == ["hub5", "hub4"]
    assert (found.rest.hubs, found.rest.figures) == (3, Figures(6, 51.0))
    assert found.queue.entries == 15
    assert limited(overview_of(survey(100.0, flows), None, 4), 2) == found
    assert limited(found, 2) is found


def test_the_share_of_a_worker_is_what_it_holds_even_when_it_is_not_live() -> None:
    now = survey(100.0, {}, {}, {}, owners=("w1", "", "gone"))
    assert share_of_workers(now) == {"w1": 1, "w2": 0, "gone": 1}
