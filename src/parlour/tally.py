"""What a server has counted since it began, as plain numbers. Who counts adds to one; who is asked reads it.

Nothing here locks: a reader on another thread sees whole numbers, if not all of one moment.
"""

from bisect import bisect_left
from collections import Counter


class Histogram:
    """How many values lay below each bound. `counts[i]` is the number of those above `bounds[i - 1]` and not above
    `bounds[i]`; the last one has no upper bound."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, *bounds: float) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Tally:
    """The numbers of one server; all durations are in seconds. Nothing that people choose is a key."""

    __slots__ = (
        "closes",
        "deliveries",
        "denials",
        "ended",
        "fan_out",
        "lag",
        "messages",
        "opened",
        "pairing",
        "refusals",
        "resumes",
    )

    def __init__(self) -> None:
        self.opened: Counter[str] = Counter()  # connections, by the name of their wire
        self.ended: Counter[str] = Counter()
        self.messages = 0
        self.deliveries = 0  # events, once for each member
        self.fan_out = Histogram(0.0001, 0.0005, 0.002, 0.01, 0.05, 0.25)  # of all that one turn brought to its rooms
        self.pairing = Histogram(1, 5, 15, 60, 300)  # from looking for somebody to meeting them
        self.lag = Histogram(0.005, 0.02, 0.1, 0.5, 2)  # of the event loop, looked at once a second
        self.closes: Counter[int] = Counter()  # by the server, by close code
        self.refusals: Counter[str] = Counter()  # of commands, by error code
        self.denials: Counter[int] = Counter()  # before the upgrade, by HTTP status
        self.resumes: Counter[bool] = Counter()  # of rooms, by whether nothing was missed
