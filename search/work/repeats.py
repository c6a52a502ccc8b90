"""Counts trials that fail one after another for one reason: then the cause is the study or the machine."""

from __future__ import annotations

import re

MOST = 5  # so many in a row end a worker: a broken GPU would use up the study's budget within minutes


class Repeats:
    """The failures in a row of one worker."""

    def __init__(self) -> None:
        self._kind = ""
        self._count = 0

    def add(self, state: str, reason: str) -> bool:
        """Take the next trial's end; whether it is the `MOST`th failure in a row for one reason, numbers aside."""
        kind = re.sub(r"[\d.]+", "#", reason) if state == "failed" else ""
        self._count = self._count + 1 if kind == self._kind else 1
        self._kind = kind
        return bool(kind) and self._count >= MOST


def too_many(reason: str) -> str:
    """The message of a worker that ends because of it."""
    return (
        f"{MOST} trials in a row failed here for the same reason: {reason}; fix that, or change the space with "
        "lobtuna create FILE --revise, then start this worker again"
    )
