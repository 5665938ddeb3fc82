"""What is remembered of refusals is bounded, and ends."""

from workers.refusals import Refusals


def test_a_destination_that_is_called_no_more_is_forgotten() -> None:
    refusals = Refusals()
    refusals.refused("chat", "chat\nudead", 0.0)
    refusals.served("chat", "chat\nualive", 599.0)
    assert refusals.by_lane
    refusals.served("chat", "chat\nualive", 601.0)
    assert not refusals.by_lane


def test_one_dead_destination_keeps_no_record_of_every_hub_there_ever_was() -> None:
    refusals = Refusals()
    refusals.refused("chat", "chat\nudead", 0.0)
    for number in range(10_100):
        refusals.served(f"hub{number}", f"hub{number}\nu", 1.0)
    assert len(refusals._served) == 10_000


def test_a_destination_that_others_are_served_beside_is_alone_all_the_same() -> None:
    refusals = Refusals()
    for second in range(6):
        refusals.served("chat", "chat\nualive", second - 0.5)
        refusals.refused("chat", "chat\nudead", float(second))
    assert refusals.is_alone("chat\nudead")
