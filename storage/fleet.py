"""What workers need beyond Optuna's interface: claims with a beat, writes that commit together, recovery, a clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from storage.claims import Batch, Claim
from storage.contact import Contact


@dataclass(frozen=True)
class Recovered:
    """A trial whose worker fell silent: queued again, or given up after `losses` lost workers without progress.

    `worker` is `storage.claims.NOBODY` where the trial ran without a claim.
    """

    number: int
    worker: str
    losses: int
    given_up: bool


class Fleet(Protocol):
    """Work on the trials of one database, by any number of workers.

    A worker that runs a trial sends a beat a few times within its claim's grace. Without a beat for the whole grace
    the worker is silent, and others may take the trial over. Methods raise `DatabaseUnavailable` after an outage that
    outlasts the store's patience.
    """

    shares_clock: bool  # whether all workers share one clock, so that one reading shows which are silent

    def claim(self, trial_id: int, claim: Claim) -> bool:
        """Take a queued trial. False where another was quicker. Repeating a claim that succeeded is True."""
        ...

    def beat(self, trial_id: int, claim: Claim) -> bool:
        """Report that the worker still runs the trial. False where the trial is no longer its own."""
        ...

    def write(self, trial_id: int, claim: Claim, batch: Batch) -> None:
        """Commit `batch`, all of it or nothing; repeating it changes nothing. Raises `ClaimLost`."""
        ...

    def seize(self, trial_id: int, claim: Claim) -> None:
        """Take an unfinished trial over from any other worker, to store a result that exists already.

        Raises `ClaimLost` where the trial is finished.
        """
        ...

    def recover(self, study_id: int, max_retries: int, through: Contact | None = None) -> list[Recovered]:
        """Queue the trials of silent workers again; fail a trial that has lost more than `max_retries` workers.

        A trial is left alone while this process has not itself been in contact with the database for the whole grace:
        after an outage, missing beats do not show that a worker is gone. `through` is the contact of a remote caller,
        which must have been connected as long. A running trial without a claim is taken over once workers have watched
        it for `UNCLAIMED_GRACE` seconds, by their own stopwatches, and have seen no new report.
        """
        ...

    def unheard(self, study_id: int, since: float) -> list[int]:
        """Numbers of claimed trials whose last beat is not later than `since`, a moment of `now()`."""
        ...

    def redefine(self, study_id: int, name: str, old: Any, attributes: Mapping[str, Any]) -> bool:
        """Set user attributes of a study, all or none, as long as that of `name`, one of them, is still `old` (None:
        not set). False where another process has given it a third value; a repeat of a call that succeeded is True.
        """
        ...

    def now(self) -> float:
        """Seconds by the clock that the beats are measured with; only differences mean something."""
        ...
