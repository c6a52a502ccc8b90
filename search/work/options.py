"""How a worker works and what it did: plain values that travel between a supervisor and its slots."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.errors import SearchError
from storage.backends.registry import PATIENCE
from storage.claims import DEFAULT_GRACE

if TYPE_CHECKING:
    import torch

MOST_AT_ONCE = 8  # runs of a worker, where the number is measured


@dataclass(frozen=True)
class WorkOptions:
    """How a worker works. Durations in seconds."""

    device: str | None = None  # None: the first GPU if there is one, otherwise the CPU
    threads: int = 1  # with more than one, training stalls as soon as another process computes
    trials: int | None = None  # most trials of this worker
    time_limit: float | None = None
    wait: bool = False  # stay when there is nothing to do: replicates may be queued later
    grace: float = DEFAULT_GRACE  # silence after which others take this worker's trial over
    checkpoint_every: float = 60.0
    patience: float = PATIENCE  # with a database that cannot be reached
    background: bool = True  # send reports and states from a thread, so that training does not wait for the database
    keep_folder: Path = Path()  # where a finished run is saved while the database cannot be reached
    plugins: tuple[str, ...] = ()  # files of plugins that the user names
    trust_plugins: bool = False  # run the source of plugins that came with the study
    runs_per_device: int | None = None  # trained at once by a worker; None: as many as are measured to be fastest
    follow_parent: bool = False  # stop when the process that started this one has ended
    known_stop: str | None = None  # token of the last stop before this work began; None: the one that a worker finds
    wrote: bool = False  # an earlier process of this slot has begun a trial: the database could be written then

    def runs_at_once(self, device: torch.device) -> tuple[int, int]:
        """Most runs at once of a worker on `device`, and how many may begin before a measurement allows more.

        Nothing is measured on a CPU, which one run fills.
        """
        if self.runs_per_device is not None:
            return self.runs_per_device, self.runs_per_device
        most = MOST_AT_ONCE if device.type == "cuda" else 1
        return min(most, self.trials or most), 1

    def to_json(self) -> dict[str, Any]:
        """Every field as plain JSON."""
        return {**asdict(self), "keep_folder": str(self.keep_folder)}

    @staticmethod
    def from_json(document: dict[str, Any]) -> WorkOptions:
        """What `to_json` made."""
        restored = {"keep_folder": Path(document["keep_folder"]), "plugins": tuple(document.get("plugins", ()))}
        return WorkOptions(**{**document, **restored})


def parse_runs_per_device(text: str) -> int | None:
    """The number of runs at once that `text` gives, None for `auto`. Raises `SearchError`."""
    if text == "auto":
        return None
    if not re.fullmatch(r"[1-9]\d{0,2}", text):
        raise SearchError(f"--runs-per-device {text!r} is neither auto nor a number of runs from 1 to 999")
    return int(text)


@dataclass
class WorkSummary:
    """What a worker did: trials by how they ended, and why it stopped."""

    outcomes: dict[str, int] = field(default_factory=dict)
    stopped: str = ""

    def count(self, state: str) -> None:
        """One more trial ended in this state."""
        self.outcomes[state] = self.outcomes.get(state, 0) + 1

    @property
    def trials(self) -> int:
        """Trials that ended here."""
        return sum(self.outcomes.get(state, 0) for state in ("complete", "pruned", "failed", "kept"))
