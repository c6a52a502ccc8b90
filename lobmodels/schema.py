"""What a data set's columns, sequences and score are; the challenge's own schema is the default.

Another data set describes itself in a file (`lobmodels.schema_file`). Its schema goes with the data, the study, the
checkpoint and the submission; wherever none is stated, it is the challenge's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

BID_PRICES = tuple(f"p{i}" for i in range(6))
ASK_PRICES = tuple(f"p{i}" for i in range(6, 12))
BID_VOLUMES = tuple(f"v{i}" for i in range(6))
ASK_VOLUMES = tuple(f"v{i}" for i in range(6, 12))
TRADE_PRICES = tuple(f"dp{i}" for i in range(4))
TRADE_VOLUMES = tuple(f"dv{i}" for i in range(4))


@dataclass(frozen=True)
class Schema:
    """Columns, lengths and score of a sequence data set.

    A sequence has `sequence_length` steps, or at most so many where `variable_length`; the first `warmup_steps` of them
    are never scored. `groups` names the features that belong together, for profiles and summaries: (name, columns)
    each. `metric` is a name of `lobmodels.metric`, `clip` the size that predictions are cut to before they are scored.
    """

    features: tuple[str, ...]
    targets: tuple[str, ...]
    sequence_length: int
    warmup_steps: int
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    sequence_column: str = "seq_ix"
    step_column: str = "step_in_seq"
    scored_column: str | None = "need_prediction"  # None: the file has none, rows count from `warmup_steps` on
    variable_length: bool = False
    metric: str = "weighted_pearson"
    clip: float | None = 6.0  # None: predictions are scored as they are

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns in the order of the file."""
        scored = () if self.scored_column is None else (self.scored_column,)
        return (self.sequence_column, self.step_column, *scored, *self.features, *self.targets)

    @property
    def column_groups(self) -> dict[str, tuple[str, ...]]:
        """The features of each group; all in one group where `groups` names none."""
        return dict(self.groups) or {"features": self.features}

    @property
    def scored_steps(self) -> int:
        """Scored steps of one sequence, the most where their lengths differ."""
        return self.sequence_length - self.warmup_steps

    @property
    def places(self) -> tuple[int, ...]:
        """Where each of the challenge's columns lies among `features`; -1 for one that is not there. The feature groups
        know the challenge's columns by number."""
        where = {name: i for i, name in enumerate(self.features)}
        return tuple(where.get(name, -1) for name in LOB.features)

    @property
    def is_challenge(self) -> bool:
        """Whether this is the challenge's own schema, which files do not state."""
        return self == LOB

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "groups": {name: list(columns) for name, columns in self.groups}}

    @staticmethod
    def of(document: dict[str, Any] | None) -> Schema:
        """The schema of a `document()`; of None the challenge's. Raises TypeError or KeyError for anything else."""
        if document is None:
            return LOB
        values = {**document, "features": tuple(document["features"]), "targets": tuple(document["targets"])}
        values["groups"] = tuple((name, tuple(columns)) for name, columns in document["groups"].items())
        return Schema(**values)


LOB = Schema(
    features=BID_PRICES + ASK_PRICES + BID_VOLUMES + ASK_VOLUMES + TRADE_PRICES + TRADE_VOLUMES,
    targets=("t0", "t1"),
    sequence_length=1000,
    warmup_steps=99,
    groups=(
        ("bid prices", BID_PRICES),
        ("ask prices", ASK_PRICES),
        ("bid volumes", BID_VOLUMES),
        ("ask volumes", ASK_VOLUMES),
        ("trade prices", TRADE_PRICES),
        ("trade volumes", TRADE_VOLUMES),
    ),
)
