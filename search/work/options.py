"""How a worker works and what it did: plain values that travel between a supervisor and its slots."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from storage.backends.registry import PATIENCE
from storage.claims import DEFAULT_GRACE


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
    shared_device: str | None = None  # name under which slots share a device
    plugins: tuple[str, ...] = ()  # files of plugins that the user names
    trust_plugins: bool = False  # run the source of plugins that came with the study
    follow_parent: bool = False  # stop when the process that started this one has ended

    def to_json(self) -> dict[str, Any]:
        """Every field as plain JSON."""
        return {**asdict(self), "keep_folder": str(self.keep_folder)}

    @staticmethod
    def from_json(document: dict[str, Any]) -> WorkOptions:
        """What `to_json` made."""
        restored = {"keep_folder": Path(document["keep_folder"]), "plugins": tuple(document.get("plugins", ()))}
        return WorkOptions(**{**document, **restored})


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
