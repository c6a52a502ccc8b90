"""The columns of the challenge's data, their groups, and the lengths of a sequence. Stated here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

BID_PRICES = tuple(f"p{i}" for i in range(6))
ASK_PRICES = tuple(f"p{i}" for i in range(6, 12))
BID_VOLUMES = tuple(f"v{i}" for i in range(6))
ASK_VOLUMES = tuple(f"v{i}" for i in range(6, 12))
TRADE_PRICES = tuple(f"dp{i}" for i in range(4))
TRADE_VOLUMES = tuple(f"dv{i}" for i in range(4))


@dataclass(frozen=True)
class Schema:
    """Columns and lengths of a sequence data set.

    A sequence has `sequence_length` steps; the first `warmup_steps` of them are never scored. `groups` names the
    features that belong together, for profiles and summaries: (name, columns) each.
    """

    features: tuple[str, ...]
    targets: tuple[str, ...]
    sequence_length: int
    warmup_steps: int
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    sequence_column: str = "seq_ix"
    step_column: str = "step_in_seq"
    scored_column: str = "need_prediction"

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns in the order of the file."""
        return (self.sequence_column, self.step_column, self.scored_column, *self.features, *self.targets)

    @property
    def column_groups(self) -> dict[str, tuple[str, ...]]:
        """The features of each group; all in one group where `groups` names none."""
        return dict(self.groups) or {"features": self.features}

    @property
    def scored_steps(self) -> int:
        """Scored steps of one sequence."""
        return self.sequence_length - self.warmup_steps


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
