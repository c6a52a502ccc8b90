"""The sentences that sum up a profile, each with its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lobmodels.profile.ridge import ALL, RAW
from lobmodels.profile.targets import TOP_SHARES

if TYPE_CHECKING:
    from lobmodels.profile.importance import Importance, RunProfile
    from lobmodels.profile.measure import ColumnProfile, Profile

FEW = 20  # with fewer sequences, a classifier's score on them is mostly chance


def findings(profile: Profile) -> dict[str, str]:
    """What stands out, by topic: integrity, shift, memory, concentration, clustering, columns, dead (where
    something is), ridge, run."""
    found = {
        "integrity": _integrity(profile),
        "shift": f"{_shift(profile)} {_adversarial(profile)}",
        "memory": _memory(profile),
        "concentration": f"{_concentration(profile)} {_resolution(profile)}",
        "clustering": _clustering(profile),
        "columns": _sign_changes(profile),
        **({"dead": _dead(profile)} if profile.dead.lines() else {}),
        "ridge": f"{_signal(profile)} {_derived(profile)}",
    }
    if profile.run is not None:
        found["run"] = _run(profile.run)
    return found


def _integrity(profile: Profile) -> str:
    found = []
    if profile.shared:
        found.append(
            f"{profile.shared:,} of {profile.valid.sequences:,} validation sequences are in train too: every score on "
            "them is too high."
        )
    for facts in (profile.train, profile.valid):
        if facts.repeated:
            found.append(f"{facts.path.name}: {facts.repeated:,} sequences repeat an earlier one.")
    return " ".join(found) or "Both files keep the format, without NaN or inf; no sequence occurs twice."


def _dead(profile: Profile) -> str:
    return (
        "; ".join(f"{line[0].upper() if i == 0 else line[0]}{line[1:]}" for i, line in enumerate(profile.dead.lines()))
        + "."
    )


def shifted_columns(profile: Profile) -> list[ColumnProfile]:
    """Columns by KS distance, largest first."""
    return sorted(profile.columns, key=lambda column: -column.ks)


def _shift(profile: Profile) -> str:
    top = [column for column in shifted_columns(profile) if column.is_raw][:5]
    named = ", ".join(f"{column.name} {column.ks:.2f}" for column in top)
    chance = max(column.ks_chance for column in top)
    verdict = "" if top[0].ks > chance else ", so no shift is shown"
    return (
        f"Most shifted raw columns from train to valid (KS distance): {named}; as many sequences drawn from train "
        f"itself would show up to {chance:.2f}{verdict}."
    )


def _adversarial(profile: Profile) -> str:
    auc = profile.adversarial
    if profile.valid.sequences < FEW:
        return f"Fewer than {FEW} validation sequences: too few to ask a classifier which file a sequence comes from."
    verdict = "hardly" if auc.sequences < 0.6 else "in part" if auc.sequences < 0.75 else "well"
    return (
        f"A linear classifier can tell {verdict} which file a sequence comes from (AUC {auc.sequences:.2f} by "
        f"sequence, {auc.rows:.2f} by row; 0.5 is chance)."
    )


def _concentration(profile: Profile) -> str:
    at = TOP_SHARES.index(0.2)
    shares = [f"{name} {profile.train_targets.top_share[at, k]:.0%}" for k, name in enumerate(profile.target_names)]
    return f"A fifth of the scored rows of train carries most of the metric's weight: {', '.join(shares)}."


def _clustering(profile: Profile) -> str:
    lifts = [f"{name} {profile.train_targets.large_lift[1, k]:.1f}" for k, name in enumerate(profile.target_names)]
    return f"After a large move the next step is large more often than usual, by a factor of: {', '.join(lifts)}."


def _memory(profile: Profile) -> str:
    values = [
        f"{name} {profile.train_targets.autocorrelation[1, k]:.3f}" for k, name in enumerate(profile.target_names)
    ]
    found = f"Lag-1 autocorrelation of the targets in train: {', '.join(values)}"
    if len(profile.target_names) == 1:
        return f"{found}."
    which = "their correlation with each other" if len(values) == 2 else "the correlation of the first two"
    return (
        f"{found}; {which} is {profile.train_targets.correlation:.2f} in train and "
        f"{profile.valid_targets.correlation:.2f} in valid."
    )


def _signal(profile: Profile) -> str:
    best = max(profile.ridges.scores, key=lambda item: item.valid.mean)
    raw = next(item for item in profile.ridges.scores if item.ridge.name == RAW)
    parts = ", ".join(f"{name} {value:.3f}" for name, value in zip(profile.target_names, raw.valid.values, strict=True))
    return (
        f"A ridge on the raw columns of one row scores {raw.valid.mean:.3f} ± {raw.valid.mean_error:.3f} on all "
        f"validation sequences ({parts}); the best set of columns, {best.ridge.name}, {best.valid.mean:.3f}."
    )


def _sign_changes(profile: Profile) -> str:
    changed = [
        f"{column.name} ({name})"
        for column in profile.columns
        for k, name in enumerate(profile.target_names)
        if column.weighted_train[k] * column.weighted_valid[k] < 0
        and min(abs(column.weighted_train[k]), abs(column.weighted_valid[k])) > 0.05
    ]
    if not changed:
        return "No column whose weighted correlation with a target exceeds .05 in both files changes its sign."
    more = f" and {len(changed) - 6} more" if len(changed) > 6 else ""
    return f"Weighted correlations that change sign from train to valid: {', '.join(changed[:6])}{more}."


def _derived(profile: Profile) -> str:
    scores = {item.ridge.name: item.valid for item in profile.ridges.scores}
    base = scores[RAW].mean
    gains = [(score.mean - base, name) for name, score in scores.items() if name not in (RAW, ALL)]
    gain, name = max(gains, default=(0.0, ""))
    if gain < 0.001:
        return "No group of derived features lifts the ridge's validation score by .001 or more."
    return f"The group of derived features that lifts the ridge most is {name.removeprefix('raw + ')}: {gain:+.3f}."


def _run(run: RunProfile) -> str:
    first, last = run.importance[0], run.importance[-1]
    return (
        f"The run {run.name} depends most on {first.group} (its score drops by {_drop(first)} when they are permuted) "
        f"and least on {last.group} ({_drop(last)})."
    )


def _drop(item: Importance) -> str:
    return f"{item.drop.mean:.3f} ± {item.drop.mean_error:.3f}"


def _resolution(profile: Profile) -> str:
    raw = next(item for item in profile.ridges.scores if item.ridge.name == RAW)
    effective = ", ".join(
        f"{name} {profile.valid_targets.effective_sequences[k]:,.0f}" for k, name in enumerate(profile.target_names)
    )
    return (
        f"The validation file weighs as much as this many equally weighted sequences: {effective} of "
        f"{profile.valid.sequences:,}. A single model's score on it is uncertain by about "
        f"± {raw.valid.mean_error:.3f} (one standard error); differences between models on the same sequences by less."
    )
