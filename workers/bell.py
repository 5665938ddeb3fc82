"""Wakes who waits for work: the couriers for lanes, the reader for room, the alarm for postponed lanes.

Rule guarded: nobody polls, and a ring nobody hears is not lost: it is kept until somebody listens, and whoever was
woken looks for all the work there is.
"""

import asyncio


class Bell:
    """The places where one worker's tasks sleep."""

    def __init__(self) -> None:
        self.work = asyncio.Event()  # set: a lane may have become ready
        self.room = asyncio.Event()  # set: there may be room to read
        self.room.set()
        self.hungry = asyncio.Event()  # set: a lane may have to be refilled
        self.due = asyncio.Event()  # set: the next postponed lane may have changed

    def __repr__(self) -> str:
        places = {"work": self.work, "room": self.room, "hungry": self.hungry, "due": self.due}
        return f"<Bell {', '.join(name for name, event in places.items() if event.is_set()) or 'silent'}>"
