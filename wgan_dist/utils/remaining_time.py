"""The estimate of the time that a task still takes, from its pace in the last minutes."""

from collections import deque
from itertools import pairwise

# Long enough to hold evaluations and checkpoints, short enough to forget a slow beginning.
WINDOW_SECONDS = 300.0
# The units of a duration with their seconds, from the greatest on.
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def duration_text(seconds: float) -> str:
    """Format seconds in the two greatest units that they fill, as 1 h 2 min, 2 min 3 s or 4 s."""
    whole = round(seconds)
    for (size, name), (smaller_size, smaller_name) in pairwise(UNITS):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // smaller_size} {smaller_name}"
    return f"{whole} s"


class RemainingTime:
    """Estimates the remaining time of a task of equal steps from its pace in the last WINDOW_SECONDS."""

    def __init__(self, now: float, step: int) -> None:
        """Begin at `step` at the time `now`, in seconds of any clock that does not go back."""
        self._marks = deque([(now, step)])

    def estimate(self, now: float, step: int, total: int) -> float:
        """Return the seconds from `step`, which is reached `now`, to `total`.

        The pace is that since the latest earlier call that is at least WINDOW_SECONDS ago, or since the beginning.
        """
        while len(self._marks) > 1 and now - self._marks[1][0] >= WINDOW_SECONDS:
            self._marks.popleft()
        began, first = self._marks[0]
        self._marks.append((now, step))
        return (now - began) / max(1, step - first) * (total - step)
