"""Advises ranges for the next study: for each parameter, from what the best runs used and the others did not.

A range is only narrowed where enough runs outside it were tried and hardly one of them was among the best, and only
widened where the best runs crowd at its border. Everything else stays: that no run supports a value is no evidence
against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.report.effects import Effects
from search.report.factors import Factor, at_position, position
from search.report.numbers import Floats, interval
from search.studyfile.parameters import Choices, Fixed, FloatRange, IntRange, Parameter
from search.studyfile.values import coerce, show

LEAST = 30  # finished and pruned runs before a range is changed
TOP = 0.15  # share of runs that count as the best
MARGIN = 0.08  # of a range, left on either side of the best runs
EDGE, CROWD = 0.08, 0.3  # this share of the best within this part of a range at its border: it is too narrow
WIDEN = 0.35  # of a range, added on that side
EXPECTED = 2.0  # best runs that must be expected outside before their absence counts as evidence
SCARCE = 0.25  # share of the expected that may still lie there


@dataclass(frozen=True)
class Advice:
    """What the next study should do with one parameter, and why."""

    name: str
    now: Parameter
    next: Parameter
    why: str

    @property
    def changed(self) -> bool:
        return self.now != self.next


def advise(parameters: dict[str, Parameter], found: Effects | None, keep: Sequence[dict[str, Any]]) -> list[Advice]:
    """Advice for each searched parameter. The configurations of `keep` stay inside every range."""
    searched = {name: p for name, p in parameters.items() if not isinstance(p, Fixed)}
    if found is None or len(found.trials) < LEAST:
        why = f"kept: fewer than {LEAST} finished or pruned runs"
        return [Advice(name, p, p, why) for name, p in searched.items()]
    top = found.values >= np.quantile(found.values, 1 - TOP)
    advice = []
    for name, parameter in searched.items():
        i = found.of(name)
        if i is None:
            advice.append(Advice(name, parameter, parameter, "kept: it took one value only"))
            continue
        kept = [c[name] for c in keep if c.get(name) is not None]
        judged = _Judged(found.factors[i], found.model.samples[i], found.model.effects[i], top, kept)
        following, why = judged.choices() if isinstance(parameter, Choices) else judged.range()
        advice.append(Advice(name, parameter, following, why))
    return advice


@dataclass(frozen=True)
class _Judged:
    """One factor over the runs, of which `top` (n,) are the best."""

    factor: Factor
    samples: Floats  # (B, levels)
    effects: Floats  # (levels,)
    top: Any
    kept: Sequence[Any]

    def choices(self) -> tuple[Parameter, str]:
        """Without the choices that were tried enough and hardly ever among the best."""
        parameter = self.factor.parameter
        assert isinstance(parameter, Choices)
        levels = {option: [i] for i, option in enumerate(parameter.choices)}
        dropped = self._worse(levels)
        left = tuple(option for option in parameter.choices if option not in dropped)
        if not dropped:
            return parameter, "kept: no choice was shown to be worse"
        words = ", ".join(show(option) for option in dropped)
        following = _only(left[0], parameter) if len(left) == 1 else parameter.model_copy(update={"choices": left})
        return following, f"without {words}: tried enough and hardly ever among the best"

    def range(self) -> tuple[Parameter, str]:
        """The range around the best runs, and whether its `or` values still deserve a place."""
        parameter = self.factor.parameter
        assert isinstance(parameter, (IntRange, FloatRange))
        count = len(parameter.extra)
        if count:
            levels: dict[Any, list[int]] = {value: [i] for i, value in enumerate(parameter.extra)}
            levels["range"] = list(range(count, len(self.factor.labels)))
            dropped = self._worse(levels)
            if "range" in dropped and len(parameter.extra) - len(dropped) == 0:
                value = next(v for v in parameter.extra if v not in dropped)
                return Fixed(
                    value=value, when=parameter.when
                ), f"always {show(value)}: the range was hardly ever better"
            if dropped and "range" not in dropped:
                rest = tuple(v for v in parameter.extra if v not in dropped)
                narrowed, why = self._bounds(parameter)
                words = f"without {', '.join(map(show, dropped))}: hardly ever among the best"
                return narrowed.model_copy(update={"extra": rest}), f"{words}; {why}"
        return self._bounds(parameter)

    def _worse(self, levels: dict[Any, list[int]]) -> list[Any]:
        """Groups of levels that are surely worse than the best group, and rare among the best runs."""
        counts = self.factor.counts
        weights = {key: counts[own] / max(counts[own].sum(), 1) for key, own in levels.items() if counts[own].sum()}
        if len(weights) < 2:
            return []
        effect = {key: float(self.effects[levels[key]] @ w) for key, w in weights.items()}
        best = max(effect, key=lambda key: effect[key])
        share = float(self.top[self.factor.index >= 0].mean())
        worse = []
        for key, weight in weights.items():
            if key == best or key in self.kept or (key == "range" and self._keeps_range()):
                continue
            gap = self.samples[:, levels[best]] @ weights[best] - self.samples[:, levels[key]] @ weight
            low, _ = interval(gap, 0.9)
            inside = np.isin(self.factor.index, levels[key])
            if low > 0 and self._hardly(inside, share):
                worse.append(key)
        return worse

    def _keeps_range(self) -> bool:
        extra = getattr(self.factor.parameter, "extra", ())
        return any(value not in extra for value in self.kept)

    def _hardly(self, inside: Any, share: float) -> bool:
        """Whether fewer of the best lie inside than chance would explain."""
        expected = float(inside.sum()) * share
        return expected >= EXPECTED and float(self.top[inside].sum()) <= SCARCE * expected

    def _excluded(self, outside: Any, between: Any, share: float) -> bool:
        """Whether the runs outside were hardly ever among the best, and this parameter's own effect explains it."""
        if not self._hardly(outside, share):
            return False
        size = len(self.factor.labels)
        out, within = (np.bincount(self.factor.index[m], minlength=size) / m.sum() for m in (outside, between))
        low, _ = interval(self.samples @ within - self.samples @ out, 0.9)
        return bool(low > 0)

    def _bounds(self, parameter: IntRange | FloatRange) -> tuple[IntRange | FloatRange, str]:
        values = [v if v is not None and v not in parameter.extra else None for v in self.factor.values]
        inside = np.array([v is not None for v in values])
        places = np.array([position(parameter, v) if v is not None else np.nan for v in values])
        best = places[inside & self.top]
        if len(best) < 8:
            return parameter, "kept: it means something in too few of the best runs"
        share = float(self.top[inside].mean())
        kept = [position(parameter, v) for v in self.kept if v not in parameter.extra]
        low = max(0.0, min(float(np.quantile(best, 0.03)) - MARGIN, *(k - 0.02 for k in kept), 1.0))
        high = min(1.0, max(float(np.quantile(best, 0.97)) + MARGIN, *(k + 0.02 for k in kept), 0.0))
        between = inside & (places >= low) & (places <= high)
        if not self._excluded(inside & (places < low), between, share):
            low = 0.0
        if not self._excluded(inside & (places > high), between, share):
            high = 1.0
        wide_low = -WIDEN if low == 0.0 and float((best <= EDGE).mean()) >= CROWD else low
        wide_high = 1 + WIDEN if high == 1.0 and float((best >= 1 - EDGE).mean()) >= CROWD else high
        return _moved(self.factor.name, parameter, wide_low, wide_high)


def _only(value: Any, parameter: Parameter) -> Parameter:
    """The parameter with this value alone: fixed, or a choice of one where it has conditions (`Fixed` has none)."""
    return Choices(choices=(value,), when=parameter.when) if parameter.when else Fixed(value=value)


def _moved(name: str, parameter: IntRange | FloatRange, low: float, high: float) -> tuple[IntRange | FloatRange, str]:
    """The range with its borders at these places of the old one, as far as the parameter allows."""
    old_low, old_high = parameter.bounds
    words = []
    new_low, new_high = float(old_low), float(old_high)
    if low != 0.0:
        new_low, word = _border(name, parameter, low, "low")
        words.append(word)
    if high != 1.0:
        new_high, word = _border(name, parameter, high, "high")
        words.append(word)
    if len(words) == 2 and all(word.startswith("cut") for word in words):
        words = [
            f"cut below {show(new_low)} and above {show(new_high)}: tried enough there, hardly ever among the best"
        ]
    words = sorted(words, key=lambda word: word.startswith("kept"))[:1] if any("kept" in w for w in words) else words
    bounds: tuple[Any, Any] = (new_low, new_high)
    if isinstance(parameter, IntRange):
        bounds = (round(new_low), round(new_high))
    if bounds == (old_low, old_high) or bounds[0] >= bounds[1]:
        return parameter, words[0] if any("limit" in w for w in words) else "kept: the best runs lie all over it"
    return parameter.model_copy(update={"bounds": bounds}), "; ".join(words)


def _border(name: str, parameter: IntRange | FloatRange, place: float, side: str) -> tuple[float, str]:
    old = float(parameter.bounds[0 if side == "low" else 1])
    outward = place < 0 or place > 1
    value = _rounded(parameter, at_position(parameter, place), side)
    if outward and not _allowed(name, parameter, value):
        return old, f"kept: the best runs lie at its {side} end, which is the parameter's own limit"
    if outward:
        return value, f"widened: {CROWD:.0%} or more of the best runs crowd at its {side} end"
    return (
        value,
        f"cut {'below' if side == 'low' else 'above'} {show(value)}: tried enough there, hardly ever among the best",
    )


def _allowed(name: str, parameter: IntRange | FloatRange, value: float) -> bool:
    """Whether a border of the parameter's range can lie there at all."""
    if parameter.log and value <= 0:
        return False
    return coerce(name, round(value) if isinstance(parameter, IntRange) else value)[1] is None


def _rounded(parameter: IntRange | FloatRange, value: float, side: str) -> float:
    """Outward to two digits, or to the parameter's own steps."""
    low = float(parameter.bounds[0])
    up = side == "high"
    if parameter.step:
        count = (value - low) / parameter.step
        return float(low + parameter.step * (np.ceil(count - 1e-9) if up else np.floor(count + 1e-9)))
    if value == 0:
        return 0.0
    digit = 10 ** (np.floor(np.log10(abs(value))) - 1)
    return float(f"{(np.ceil(value / digit - 1e-9) if up else np.floor(value / digit + 1e-9)) * digit:.6g}")
