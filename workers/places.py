"""Who is in flight: calls that were begun and are not settled yet, of the worker and of each tenure.

Rule guarded: what a crash can duplicate is what holds a place, so a place is given back when the store has answered and
not before. Pure.
"""

from workers.tenure import Tenure


class Places:
    """The places of one worker; how many there may be is the window's business."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = 0

    def __repr__(self) -> str:
        return f"<Places {self.taken} taken>"

    def take(self, tenure: Tenure) -> None:
        """Begin a call."""
        self.taken += 1
        tenure.began_call()

    def give_back(self, tenure: Tenure) -> None:
        """End it; whoever waits for the tenure to be quiet may be told."""
        self.taken -= 1
        tenure.ended_call()
