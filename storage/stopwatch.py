"""What a process's own stopwatch says about the database's clock, which may be set, and about the workers' beats."""

from __future__ import annotations

import time
from collections.abc import Mapping

Beat = tuple[str, float]  # the token of a claim and its last beat, by the database's clock


class ServerClock:
    """Notices that the database's clock was set: it has moved against the stopwatch of this process."""

    def __init__(self) -> None:
        self._ahead: tuple[float, float] | None = None  # how far it was ahead of the stopwatch: at least, at most

    def moved(self, before: float, now: float, after: float) -> float:
        """By how many seconds, at least, the clock was set since the last call.

        `now` is the database's clock, read between `before` and `after` by time.monotonic().
        """
        known, self._ahead = self._ahead, (now - after, now - before)
        if known is None:
            return 0.0
        return max(0.0, self._ahead[0] - known[1], known[0] - self._ahead[1])


class SeenBeats:
    """For how long this process has seen each claim with the same beat."""

    def __init__(self) -> None:
        self._since: dict[int, dict[int, tuple[Beat, float]]] = {}  # by study and trial: beat, time.monotonic()

    def unchanged(self, study_id: int, beats: Mapping[int, Beat]) -> dict[int, float]:
        """Seconds by trial since the beat that it has now was first seen; 0 at the first look."""
        now, known = time.monotonic(), self._since.get(study_id, {})
        seen = {}
        for trial_id, beat in beats.items():
            earlier = known.get(trial_id)
            seen[trial_id] = earlier if earlier is not None and earlier[0] == beat else (beat, now)
        self._since[study_id] = seen
        return {trial_id: now - since for trial_id, (_, since) in seen.items()}
