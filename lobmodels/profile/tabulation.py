"""A profile as plain tables: what its CSV files hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lobmodels.profile.targets import LAGS, QUANTILES, TOP_SHARES
from lobmodels.table import Table

if TYPE_CHECKING:
    from lobmodels.profile.importance import Importance, Scores
    from lobmodels.profile.measure import Profile


def tables(profile: Profile) -> dict[str, Table]:
    """Every table of `profile` by the name of its file, without suffix."""
    makers = (_files, _columns, _targets, _lags, _concentration, _ridge, _importance)
    return {table.name: table for table in (make(profile) for make in makers)}


def _files(profile: Profile) -> Table:
    columns = ["file", "sequences", "rows", "scored_rows", "megabytes", "repeated_sequences", "fingerprint"]
    rows = [
        [str(f.path), f.sequences, f.rows, f.scored_rows, f.megabytes, f.repeated, f.fingerprint]
        for f in (profile.train, profile.valid)
    ]
    return Table("files", columns, rows)


def _columns(profile: Profile) -> Table:
    moments = ("mean", "std", "min", "max")
    kinds = ("plain_train", "plain_valid", "weighted_train", "weighted_valid")
    columns = ["column", "group"]
    columns += [f"{part}_{moment}" for part in ("train", "valid") for moment in moments]
    columns += ["ks", "ks_by_chance", "mean_shift"]
    columns += [f"{kind}_{target}" for target in profile.target_names for kind in kinds]
    rows = []
    for column in profile.columns:
        row: list[Any] = [column.name, column.group, *column.train, *column.valid]
        row += [column.ks, column.ks_chance, column.mean_shift]
        row += [getattr(column, kind)[k] for k in range(len(profile.target_names)) for kind in kinds]
        rows.append(row)
    return Table("columns", columns, rows)


def _parts(profile: Profile) -> tuple[tuple[str, Any], tuple[str, Any]]:
    return ("train", profile.train_targets), ("valid", profile.valid_targets)


def _targets(profile: Profile) -> Table:
    columns = ["file", "target", "mean", "std", *(f"quantile_{q:g}" for q in QUANTILES), "large_threshold"]
    columns += ["lag_1_autocorrelation", "lag_1_large_lift", "effective_sequences", "correlation_of_targets"]
    rows = []
    for part, found in _parts(profile):
        for k, name in enumerate(profile.target_names):
            mean, std, _, _ = profile.target_scale[f"{part} {name}"]
            row: list[Any] = [part, name, mean, std, *map(float, found.quantiles[:, k])]
            row += [float(found.large_threshold[k]), float(found.autocorrelation[1, k]), float(found.large_lift[1, k])]
            rows.append([*row, float(found.effective_sequences[k]), found.correlation])
    return Table("targets", columns, rows)


def _lags(profile: Profile) -> Table:
    columns = ["file", "lag"]
    for name in profile.target_names:
        columns += [f"autocorrelation_{name}", f"autocorrelation_of_size_{name}", f"large_move_lift_{name}"]
    if len(profile.target_names) > 1:
        first, second = profile.target_names[:2]
        columns += [f"{first}_now_with_{second}_later", f"{second}_now_with_{first}_later"]
    rows = []
    for part, found in _parts(profile):
        for lag in range(LAGS + 1):
            row: list[Any] = [part, lag]
            for k in range(len(profile.target_names)):
                row += [float(found.autocorrelation[lag, k]), float(found.size_autocorrelation[lag, k])]
                row.append(float(found.large_lift[lag, k]))
            if len(profile.target_names) > 1:
                row += [float(found.cross_correlation[LAGS + lag]), float(found.cross_correlation[LAGS - lag])]
            rows.append(row)
    return Table("lags", columns, rows)


def _concentration(profile: Profile) -> Table:
    columns = ["file", "target", "top_share", "weight_of_rows", "weight_of_sequences"]
    rows = [
        [part, name, share, float(found.top_share[i, k]), float(found.top_share_sequences[i, k])]
        for part, found in _parts(profile)
        for k, name in enumerate(profile.target_names)
        for i, share in enumerate(TOP_SHARES)
    ]
    return Table("concentration", columns, rows)


def _scored(scores: Scores) -> list[Any]:
    pairs = [(float(v), float(e)) for v, e in zip(scores.values, scores.errors, strict=True)]
    return [x for pair in (*pairs, (scores.mean, scores.mean_error)) for x in pair]


def _score_columns(profile: Profile, prefix: str) -> list[str]:
    return [f"{prefix}{name}{suffix}" for name in (*profile.target_names, "mean") for suffix in ("", "_error")]


def _ridge(profile: Profile) -> Table:
    columns = ["model", "columns", *_score_columns(profile, "train_"), *_score_columns(profile, "valid_")]
    columns += [f"penalty_{name}" for name in profile.target_names]
    rows = [
        [s.ridge.name, len(s.ridge.columns), *_scored(s.train), *_scored(s.valid), *s.ridge.penalties]
        for s in profile.ridges.scores
    ]
    return Table("ridge", columns, rows)


def _importance(profile: Profile) -> Table:
    columns = ["model", "sequences", "group", "columns", *_score_columns(profile, "drop_")]

    def lines(model: str, sequences: int, items: list[Importance]) -> list[list[Any]]:
        return [[model, sequences, item.group, item.columns, *_scored(item.drop)] for item in items]

    rows = [
        line
        for name, items in profile.ridges.importance.items()
        for line in lines(f"ridge, {name}", profile.valid.sequences, items)
    ]
    if profile.run is not None:
        rows += lines(profile.run.name, profile.run.sequences, profile.run.importance)
    return Table("importance", columns, rows)
