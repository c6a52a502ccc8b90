"""Which reports a worker reads of other workers' trials: its pruner says what it compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

EVERY_STEP = 2**31 - 1  # as a bound, below: all reports


@dataclass(frozen=True)
class WantedReports:
    """Reports of steps before a bound, and the last one, whose step says how many epochs a trial has been trained."""

    running: int = 0  # the bound for running trials; 0: no report of them, not the last one either
    ended: int = EVERY_STEP  # the bound for trials that have ended

    def to_json(self) -> dict[str, Any]:
        """For a request to `lobtuna proxy`. A proxy of an earlier version knows `live` alone: it is asked for all."""
        return {"live": EVERY_STEP if self.running else 0, "reports": asdict(self)}

    @staticmethod
    def from_json(request: Mapping[str, Any]) -> WantedReports:
        """What a request asks for; that of a worker of an earlier version has `live`: a bound, or whether it wants all
        reports of running trials."""
        if "reports" in request:
            return WantedReports(**request["reports"])
        return WantedReports(running=EVERY_STEP if request["live"] is True else int(request["live"]))


ENDED_ALONE = WantedReports()
