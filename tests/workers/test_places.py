"""Places are taken and given back, and a tenure is quiet when it has none."""

from tests.workers.crew import a_tenure
from workers.places import Places


def test_a_place_counts_for_the_worker_and_for_its_tenure_until_it_is_given_back() -> None:
    places, one, other = Places(), a_tenure(0), a_tenure(1)
    places.take(one)
    places.take(other)
    places.take(one)
    assert (places.taken, one.in_flight, other.in_flight) == (3, 2, 1)
    told: list[str] = []
    one.when_quiet(lambda: told.append("quiet"))
    places.give_back(one)
    assert told == []
    places.give_back(one)
    assert told == ["quiet"]
    assert repr(places) == "<Places 1 taken>"
