"""The tables of level c: each arm's means, and differences between arms of one pair with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

Line = dict[str, Any]

BUDGETS = ("seconds", "epochs", "half the seconds", "half the epochs")
MEASURES = ("ensemble", "configuration", "ensemble_later", "configuration_later")
OURS = "ours"
CHOSEN = {"expected": "`--best 20`", "twenty": "`--top 20`"}  # other members of the same study, beside `--top 10`
LEVEL = 0.95


def differences(lines: Sequence[Line], arm: str, other: str, budget: str, measure: str) -> np.ndarray[Any, Any]:
    """arm - other, one a pair that both have, in units of 1e-4."""

    def values(name: str) -> dict[int, float]:
        return {line["pair"]: line["at"][budget].get(measure, np.nan) for line in lines if line["arm"] == name}

    own, others = values(arm), values(other)
    return 1e4 * np.array([own[pair] - others[pair] for pair in sorted(own) if pair in others])


def cell(found: np.ndarray[Any, Any]) -> str:
    """Mean, standard error and, from three pairs on, the 95 % interval by Student's t; `-` if it was not measured."""
    if np.isnan(found).any():
        return "-"
    if len(found) < 2:
        return f"{found.mean():+.0f}" if len(found) else "-"
    error = found.std(ddof=1) / np.sqrt(len(found))
    text = f"{found.mean():+.0f} ({error:.0f})"
    if len(found) < 3:
        return text
    reach = stats.t.ppf((1 + LEVEL) / 2, len(found) - 1) * error
    return f"{text} [{found.mean() - reach:+.0f}, {found.mean() + reach:+.0f}]"


def tables(lines: Sequence[Line]) -> str:
    """Markdown: the means of each arm over the pairs that all arms have, then what `ours`, or else the last arm, has
    more than each other."""
    arms = list(dict.fromkeys(line["arm"] for line in lines))
    of = {arm: {line["pair"] for line in lines if line["arm"] == arm} for arm in arms}
    whole = [line for line in lines if all(line["pair"] in pairs for pairs in of.values())]
    parts = [_means(whole, arms, budget) for budget in BUDGETS[:2]] if whole else []
    lead = OURS if OURS in arms else arms[-1]
    if len(arms) > 1:
        parts += [_differences(lines, lead, [arm for arm in arms if arm != lead], budget) for budget in BUDGETS]
    if all("expected" in line["at"][budget] for line in lines for budget in BUDGETS):
        parts += [_members(lines, arms, budget) for budget in BUDGETS]
    return "\n\n".join(parts) + "\n"


def _means(lines: Sequence[Line], arms: Sequence[str], budget: str) -> str:
    head = "| arm | studies | trials | complete | failed | epochs | seconds | " + " | ".join(MEASURES) + " |"
    rows = [f"Means at equal {budget}", "", head, "|---" * (7 + len(MEASURES)) + "|"]
    for arm in arms:
        found = [line["at"][budget] for line in lines if line["arm"] == arm]
        counts = [np.mean([f[name] for f in found]) for name in ("trials", "complete", "failed", "epochs", "seconds")]
        scores = [f"{np.mean([f[name] for f in found]):.4f}" for name in MEASURES]
        rows.append(f"| {arm} | {len(found)} | {' | '.join([*(f'{c:.0f}' for c in counts), *scores])} |")
    return "\n".join(rows)


def _differences(lines: Sequence[Line], lead: str, others: Sequence[str], budget: str) -> str:
    rows = [f"`{lead}` minus, at {budget}, 1e-4", "", "| arm | pairs | " + " | ".join(MEASURES) + " |"]
    rows.append("|---" * (2 + len(MEASURES)) + "|")
    for arm in others:
        found = [differences(lines, lead, arm, budget, measure) for measure in MEASURES]
        rows.append(f"| {arm} | {len(found[0])} | {' | '.join(map(cell, found))} |")
    return "\n".join(rows)


def _members(lines: Sequence[Line], arms: Sequence[str], budget: str) -> str:
    """What other members of one study gain on its `--top 10`, for each arm and for the mean of a pair's arms."""
    heads = [f"{label}{part}" for label in CHOSEN.values() for part in ("", ", later")]
    rows = [
        f"Minus `--top 10` of the same study, at {budget}, 1e-4",
        "",
        "| arm | members | " + " | ".join(heads) + " |",
    ]
    rows.append("|---" * (2 + len(heads)) + "|")
    for arm in [*arms, "all"]:
        own = [line for line in lines if arm in (line["arm"], "all")]
        members = np.mean([line["at"][budget]["members"] for line in own])
        cells = [cell(gains(own, budget, name, part)) for name in CHOSEN for part in ("", "_later")]
        rows.append(f"| {arm} | {members:.1f} | {' | '.join(cells)} |")
    return "\n".join(rows)


def gains(lines: Sequence[Line], budget: str, name: str, part: str) -> np.ndarray[Any, Any]:
    """What `name` scores more than `--top 10`, the mean over the arms of each pair, in units of 1e-4."""
    by_pair: dict[int, list[float]] = {}
    for line in lines:
        at = line["at"][budget]
        by_pair.setdefault(line["pair"], []).append(at[name + part] - at["ensemble" + part])
    return 1e4 * np.array([np.mean(found) for found in by_pair.values()])
