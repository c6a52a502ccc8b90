"""Who is working on a trial: the claim that is stored with it, and the writes that its owner sends."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.trial import TrialState

CLAIM = "lobtuna:claim"  # trial system attribute: JSON of a `Claim`
BEAT = "lobtuna:beat"  # trial system attribute of journals: [token, count]
LOSSES = "lobtuna:losses"  # trial system attribute: how many workers were lost while running this trial
FRUITLESS = "lobtuna:fruitless"  # trial system attribute: [losses since it last got further, furthest step at a loss]
REASON = "reason"  # trial user attribute: why a trial ended
DEFAULT_GRACE = 60.0
NOBODY = "a worker without a claim"  # worker's name in the claim given to a running trial that had none
UNCLAIMED_GRACE = (
    3600.0  # seconds of watching a running trial without a claim, and without a new report, to take it over
)


@dataclass(frozen=True)
class Claim:
    """One worker's hold on one trial.

    The token keeps a former owner from writing after another worker has taken the trial over.

    `grace` is the silence in seconds, by the database's clock, after which anyone may take the trial over.
    """

    worker: str
    grace: float = DEFAULT_GRACE
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    again: bool = False  # whether this claim may have been sent before, with its answer lost

    def renewed(self) -> Claim:
        """The same worker's claim for another trial, with a fresh token."""
        return replace(self, token=uuid.uuid4().hex)

    def to_json(self) -> dict[str, Any]:
        """The claim as plain JSON, as it is stored and sent."""
        return {"worker": self.worker, "grace": self.grace, "token": self.token, "again": self.again}

    @staticmethod
    def from_json(value: Any) -> Claim | None:
        """The stored claim, or None where there is none."""
        if isinstance(value, str):
            value = json.loads(value)
        if not value:
            return None
        return Claim(str(value["worker"]), float(value["grace"]), str(value["token"]), bool(value.get("again")))


@dataclass(frozen=True)
class Losses:
    """How many workers were lost while they ran one trial.

    `total` counts all of them. `fruitless` counts those since the trial last got further than at any loss before: a
    long trial on machines that are often taken away is not given up while it makes progress. `furthest` is the last
    step that was reported when a worker vanished, -1 for none.
    """

    total: int = 0
    fruitless: int = 0
    furthest: int = -1

    @staticmethod
    def of(system_attrs: Mapping[str, Any]) -> Losses:
        """The losses stored in a trial's attributes; earlier versions counted the total alone."""
        total = int(system_attrs.get(LOSSES, 0))
        fruitless, furthest = system_attrs.get(FRUITLESS, (total, -1))
        return Losses(total, int(fruitless), int(furthest))

    def one_more(self, step: int) -> Losses:
        """These losses and one more, when `step` was the last report (-1: none)."""
        fruitless = 1 if step > self.furthest else self.fruitless + 1
        return Losses(self.total + 1, fruitless, max(step, self.furthest))

    def to_attributes(self) -> dict[str, Any]:
        """The losses as system attributes of the trial."""
        return {LOSSES: self.total, FRUITLESS: [self.fruitless, self.furthest]}

    def taken_back(self, worker: str, max_retries: int) -> Batch:
        """The write that queues the trial again, or fails it after more than `max_retries` fruitless losses."""
        if self.fruitless <= max_retries:
            return Batch(system_attrs=self.to_attributes(), state=TrialState.WAITING)
        reason = {REASON: lost_reason(worker, self.fruitless)}
        return Batch(user_attrs=reason, system_attrs=self.to_attributes(), state=TrialState.FAIL)


def lost_reason(worker: str, losses: int) -> str:
    """Why a trial is given up after its workers vanished."""
    if worker == NOBODY:
        return f"given up: it ran without a claim, and without a new report for {UNCLAIMED_GRACE / 60:.0f} minutes"
    return f"given up: {losses} workers vanished while they ran it, the last was {worker}"


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
        """Add `later` writes: the result is what both would have left, written one after the other."""
        self.params.update(later.params)
        self.intermediate.update(later.intermediate)
        self.user_attrs.update(later.user_attrs)
        self.system_attrs.update(later.system_attrs)
        if later.state is not None:
            self.state, self.values = later.state, later.values

    def __bool__(self) -> bool:
        fields = (self.params, self.intermediate, self.user_attrs, self.system_attrs)
        return any(fields) or self.state is not None

    def to_json(self) -> dict[str, Any]:
        """The batch as plain JSON, for the wire."""
        return {
            "params": {name: [value, distribution_to_json(d)] for name, (value, d) in self.params.items()},
            "intermediate": {str(step): value for step, value in self.intermediate.items()},
            "user_attrs": self.user_attrs,
            "system_attrs": self.system_attrs,
            "state": None if self.state is None else self.state.name,
            "values": self.values,
        }

    @staticmethod
    def from_json(document: dict[str, Any]) -> Batch:
        """What `to_json` made."""
        return Batch(
            params={name: (value, json_to_distribution(text)) for name, (value, text) in document["params"].items()},
            intermediate={int(step): value for step, value in document["intermediate"].items()},
            user_attrs=document["user_attrs"],
            system_attrs=document["system_attrs"],
            state=None if document["state"] is None else TrialState[document["state"]],
            values=document["values"],
        )
