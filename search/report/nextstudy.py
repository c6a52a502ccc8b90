"""The next study as a file that is ready to run: the advised ranges, the best configurations as baselines."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from search.report.effects import Effects
from search.report.factors import usable
from search.report.page import PageTable, Section
from search.report.peaks import best_quarter, cut_off
from search.report.ranges import Advice, advise
from search.report.record import Study
from search.report.style import plural
from search.studyfile.checks import UNUSED_DROPOUT, contradictions
from search.studyfile.conditions import dead_parameters, get, ordered
from search.studyfile.parameters import Choices, Fixed, FloatRange, IntRange, Parameter, dump_parameter
from search.studyfile.terms import BudgetSpec
from search.studyfile.values import show

BASELINES = 3
LONGER, FEW = 1.5, 3  # factor by which an epoch limit is raised that came too early; best runs needed to show that
DIGITS = 4  # of a real value in a baseline: more would not change the next run
FILE = "next.yaml"
ORDER = ("choices", "int", "float", "step", "log", "or", "when")  # of a parameter's keys, as people write them
WIDE = 120


@dataclass(frozen=True)
class NextStudy:
    """The advice, and the text of the study file that follows it."""

    name: str
    advice: tuple[Advice, ...]
    text: str


def next_study(study: Study, found: Effects | None) -> NextStudy:
    """The study to run after `study`."""
    best = [_rounded(row.configuration, study.spec.parameters) for row in study.ranking.rows[:BASELINES]]
    advice = (*advise(study.spec.parameters, found, best), *_more_epochs(study))
    changed = {a.name: a.next for a in advice}
    parameters = _living({name: changed.get(name, p) for name, p in study.spec.parameters.items()})
    free = {name for name, p in study.spec.parameters.items() if not isinstance(p, Fixed)}
    baselines = [_baseline(configuration, parameters, free) for configuration in best]
    name = f"{re.split('[@.]', study.name)[0]}-next"
    return NextStudy(name, advice, _text(study, name, parameters, advice, [b for b in baselines if b is not None]))


def _more_epochs(study: Study) -> list[Advice]:
    """A higher epoch limit, where most of the best runs were still gaining when it came."""
    now = get(study.spec.parameters, "epochs")
    top = best_quarter(study.finished)
    late = cut_off(top)
    if not isinstance(now, Fixed) or len(top) < FEW or len(late) <= len(top) / 2:
        return []
    following = Fixed(value=math.ceil(int(now.value) * LONGER))
    why = f"{len(late)} of the best {len(top)} finished runs were still gaining at the limit of {now.value}"
    return [Advice("epochs", now, following, why)]


def _rounded(configuration: dict[str, Any], parameters: dict[str, Parameter]) -> dict[str, Any]:
    """The configuration with real numbers of `DIGITS` digits, where they still lie in the parameter's range."""
    found = dict(configuration)
    for name, value in configuration.items():
        if isinstance(value, float):
            short = float(f"{value:.{DIGITS}g}")
            found[name] = short if name not in parameters or parameters[name].contains(short) else value
    return found


def _lies_in(parameter: Parameter, value: Any) -> bool:
    """Whether a run may have this value, which in a damaged trial may be of any type."""
    return (isinstance(parameter, Fixed) or usable(parameter, value) is not None) and parameter.contains(value)


def _living(parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    """The parameters without those that can no longer be active; conditions without values that are gone."""
    left = dict(parameters)
    if UNUSED_DROPOUT in contradictions(left, ordered(left)[0]):
        del left["dropout"]  # narrowing has left no layer that would use it
    while True:
        for name, parameter in list(left.items()):
            when = {p: _possible(left.get(p), values) for p, values in parameter.when.items()}
            if any(not values for values in when.values()):
                del left[name]
            else:
                left[name] = parameter.model_copy(update={"when": when})
        dead = {str(path[1]) for path, _ in dead_parameters(left, set())}
        if not dead:
            return left
        left = {name: parameter for name, parameter in left.items() if name not in dead}


def _possible(parent: Parameter | None, values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(values) if parent is None else tuple(value for value in values if parent.contains(value))


def _baseline(
    configuration: dict[str, Any], parameters: dict[str, Parameter], free: Collection[str]
) -> dict[str, Any] | None:
    """The searched values of a configuration, or None where it no longer lies in the space.

    `free` are the parameters that were searched: a fixed one may have been raised for all, as the epoch limit is.
    """
    values = {name: configuration[name] for name in parameters if name in configuration and name in free}
    if not all(_lies_in(parameters[name], value) for name, value in values.items()):
        return None
    return {name: value for name, value in values.items() if not isinstance(parameters[name], Fixed)}


def _text(
    study: Study,
    name: str,
    parameters: dict[str, Parameter],
    advice: Sequence[Advice],
    baselines: Sequence[dict[str, Any]],
) -> str:
    why = {a.name: a.why for a in advice}
    spec = study.spec
    budget = spec.budget
    limits = [plural(budget.trials, "trial")] if budget.trials else []
    limits += [f"{budget.hours:g} hours"] if budget.hours else []
    lines = [
        f"# What do {'the changed' if any(a.changed for a in advice) else 'the same'} ranges find"
        + (f", starting from the best of {study.name}?" if baselines else f"? {_no_start(study)}"),
        f"#   {', '.join(limits) or 'no budget: it goes on until it is stopped'}",
        f"#   lobtuna run {FILE} --data ~/lob",
        f"# Written by `lobtuna report {study.name}` from {plural(len(study.scored), 'finished or pruned run')}.",
        f"name: {name}",
        "parameters:",
        *(_line(n, p, why.get(n, "")) for n, p in parameters.items()),
    ]
    if baselines:
        lines += ["baselines:", *(f"  - {_flow(b)}" for b in _unique(baselines))]
    terms = {
        "sampler": spec.sampler,
        "pruner": spec.pruner,
        # `until` is left out: a date that ended this study would end the next one before it begins.
        "budget": BudgetSpec(trials=budget.trials, hours=budget.hours),
        "validation": spec.validation,
        "checkpoints": spec.checkpoints,
    }
    for key, model in terms.items():
        content = model.model_dump(mode="json", exclude_none=True)
        if content:
            lines.append(f"{key}: {_flow(content)}")
    lines += [f"seed: {spec.seed}", f"max_retries: {spec.max_retries}"]
    return "\n".join(lines) + "\n"


def _no_start(study: Study) -> str:
    if not study.finished:
        return "No run was complete to start from."
    return "None of the best runs lies in these ranges: no baseline."


def _unique(baselines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    return [b for b in baselines if b not in found and not found.append(b)]  # type: ignore[func-returns-value]


def _line(name: str, parameter: Parameter, why: str) -> str:
    content = dump_parameter(parameter)
    if isinstance(content, dict):
        content = {key: content[key] for key in ORDER if key in content}
        if "when" in content:
            content["when"] = {k: v[0] if len(v) == 1 else v for k, v in content["when"].items()}
    text = f"  {name}: {_flow(content)}"
    if not why or why.startswith("kept"):
        return text
    beside = f"{text:<46}  # {why}"
    return beside if len(beside) <= WIDE else f"  # {why}\n{text}"


def _flow(value: Any) -> str:
    """A value in YAML's flow style, every real number spelled so that YAML 1.1 reads it as one."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        text = f"{value:.12g}"
        mantissa, e, exponent = text.partition("e")
        return f"{mantissa}{'' if '.' in mantissa else '.0'}{e}{exponent}"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) and value not in _YAML_WORDS:
        return value
    return json.dumps(value)


_YAML_WORDS = frozenset(
    {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "Yes", "No", "On", "Off", "Y", "N"}
)


def section(study: Study, following: NextStudy) -> Section:
    """The advice as a table, and where the file is."""
    rows = [[a.name, str(a.now), str(a.next) if a.changed else "the same", a.why] for a in following.advice]
    changed = [a for a in following.advice if a.changed]
    text = (
        f"What the best runs used and the others did not, parameter by parameter. {FILE}, beside this page, is a study "
        "file with these ranges and the best configurations as baselines:\n"
        f"lobtuna run {FILE} --data ~/lob\n"
        "A range is only narrowed where enough runs beyond it were tried and hardly one was among the best, and only "
        "widened where the best crowd at its end. A range stays where there is no evidence against it."
    )
    if not study.finished:
        text = (
            "No run is complete, so there is no evidence for or against any range. "
            f"{FILE}, beside this page, repeats them as they are; look at the failures first."
        )
    table = PageTable(
        "ranges", ["parameter", "now", "next", "why"], rows, "Recommended ranges", 60, sequences="selection"
    )
    words = [f"{a.name} {_change(a)}" for a in changed[:3]]
    finding = f"For the next study: {'; '.join(words)}." if words else ""
    return Section("next", "The next study", text, tables=[table], finding=finding)


def _change(advice: Advice) -> str:
    following = advice.next
    if isinstance(following, Fixed):
        before = f" instead of {show(advice.now.value)}" if isinstance(advice.now, Fixed) else ""
        return f"{show(following.value)}{before or ' alone'}"
    if isinstance(following, Choices):
        return "from " + ", ".join(map(show, following.choices))
    assert isinstance(following, (IntRange, FloatRange))
    return f"{show(following.bounds[0])} to {show(following.bounds[1])}"
