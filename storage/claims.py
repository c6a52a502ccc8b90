"""Who is working on a trial: the claim that is stored with it, and the writes that a claim entitles to."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

CLAIM = "lobtuna:claim"  # trial system attribute: JSON of a `Claim`
ATTEMPT = "attempt"  # trial user attribute: which attempt at this trial the claim is, from 1
REASON = "reason"  # trial user attribute: why a trial ended
DEFAULT_GRACE = 60.0


@dataclass(frozen=True)
class Claim:
    """One worker's hold on one trial. The token fences off a former owner that wakes up late.

    `grace` is the silence in seconds, by the database's clock, after which anyone may take the trial over.
    """

    worker: str
    grace: float = DEFAULT_GRACE
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def renewed(self) -> Claim:
        """The same worker's claim on another trial."""
        return replace(self, token=uuid.uuid4().hex)

    def to_json(self) -> dict[str, Any]:
        return {"worker": self.worker, "grace": self.grace, "token": self.token}

    @staticmethod
    def from_json(value: Any) -> Claim | None:
        """The stored claim, or None where there is none."""
        if isinstance(value, str):
            value = json.loads(value)
        if not value:
            return None
        return Claim(str(value["worker"]), float(value["grace"]), str(value["token"]))


@dataclass
class Batch:
    """Writes to one running trial that are committed together: all of them or none.

    A `state` ends the claim: COMPLETE, PRUNED or FAIL finish the trial, WAITING hands it back to the queue.
    """

    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)  # internal representation
    intermediate: dict[int, float] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    system_attrs: dict[str, Any] = field(default_factory=dict)
    state: TrialState | None = None
    values: list[float] | None = None

    def merge(self, later: Batch) -> None:
        """Take `later` writes over these: the result is what both in turn would have left."""
        self.params.update(later.params)
        self.intermediate.update(later.intermediate)
        self.user_attrs.update(later.user_attrs)
        self.system_attrs.update(later.system_attrs)
        if later.state is not None:
            self.state, self.values = later.state, later.values

    def __bool__(self) -> bool:
        fields = (self.params, self.intermediate, self.user_attrs, self.system_attrs)
        return any(fields) or self.state is not None
