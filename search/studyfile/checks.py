"""Judges the parts of a study file together: parameters by name, baselines against the space, contradictions."""

import random
from collections.abc import Mapping
from typing import Any

from lobmodels.config import RunConfig, in_words
from lobmodels.errors import ConfigError
from search.studyfile.conditions import assign, check_when, conditions, dead_parameters, get, ordered
from search.studyfile.parameters import Fixed, FloatRange, IntRange, Parameter, Problem, parse_parameter
from search.studyfile.values import coerce, names, show, suggestion

_PROBES = 300  # configurations drawn from a space to see whether its parts can contradict each other
_MISSING = object()
UNUSED_DROPOUT: Problem = (
    ("parameters", "dropout"),
    "no configuration of this space uses dropout: it is applied between layers (num_layers above 1), in an input_block "
    "and in an mlp head; search or fix one of these, or leave dropout out",
)


class CheckedSpace:
    """Parameters and baselines of a document as far as they could be read, and every problem found in them.

    `probe` also builds configurations drawn from the space, to find combinations that cannot be trained. It takes most
    of the time, and is left out for a document that passed it before.
    """

    def __init__(self, parameters: Any, baselines: Any, *, probe: bool = True) -> None:
        self.problems: list[Problem] = []
        self.parameters: dict[str, Parameter] = {}
        self.baselines: tuple[dict[str, Any], ...] = ()
        self._broken: set[str] = set()  # listed, but not readable: conditions on them are not checked
        self._unsure: set[str] = set()  # these, and those whose own conditions are wrong
        self._read_parameters(parameters)
        self.order, circles = ordered(self.parameters)
        self.problems += circles
        if not circles:
            self.problems += dead_parameters(self.parameters, self._unsure)
            self._read_baselines(baselines)
        if probe and not self.problems:
            self.problems += contradictions(self.parameters, self.order)

    def _read_parameters(self, raw: Any) -> None:
        if not isinstance(raw, dict) or not raw:
            text = "list them as name: value (fixed) or name: {choices: [...]} (searched)"
            self.problems.append((("parameters",), text))
            return
        for name, value in raw.items():
            if name not in names():
                hint = suggestion(name, names()) or f"; known: {', '.join(names())}"
                self.problems.append((("parameters", name), f"unknown parameter{hint}"))
                continue
            parameter, found = parse_parameter(name, value)
            self.problems += [(("parameters", name, *path), text) for path, text in found]
            if parameter is not None:
                self.parameters[name] = parameter
        self._broken = set(raw) - set(self.parameters)
        self.parameters, found = check_when(self.parameters, self._broken)
        self.problems += found
        self._unsure = self._broken | {str(path[1]) for path, _ in found}

    def _read_baselines(self, raw: Any) -> None:
        if not isinstance(raw, (list, tuple)):
            self.problems.append((("baselines",), "a list of configurations is expected: - {name: value, ...}"))
            return
        checked: list[dict[str, Any]] = []
        for i, baseline in enumerate(raw):
            if not isinstance(baseline, dict):
                self.problems.append((("baselines", i), "a mapping of parameter names to values is expected"))
                continue
            values, found = check_baseline(self.parameters, self.order, baseline, self._broken)
            if values in checked:
                found.append(((), f"the same configuration as baseline {checked.index(values) + 1}"))
            self.problems += [(("baselines", i, *path), text) for path, text in found]
            checked.append(values)
        self.baselines = tuple(checked)


def check_baseline(
    parameters: Mapping[str, Parameter],
    order: tuple[str, ...],
    baseline: Mapping[str, Any],
    broken: set[str] | None = None,
) -> tuple[dict[str, Any], list[Problem]]:
    """The active values of a baseline, fixed ones included, and every reason why it does not lie in the space."""
    broken = broken or set()
    typed, problems = _typed(parameters, baseline, broken)
    lacking: list[str] = []

    def choose(name: str, parameter: Parameter) -> Any:
        if name not in typed:
            if name not in baseline:
                lacking.append(name)
                problems.append(((), f"{name} is missing: give it a value ({parameter})"))
            return _MISSING
        if not parameter.contains(typed[name]):
            problems.append(((name,), f"{show(typed[name])} is not in the space: {name} is {parameter}"))
        return typed[name]

    values = assign(parameters, order, choose)
    for name, value in typed.items():
        fixed = parameters[name]
        if isinstance(fixed, Fixed) and fixed.value != value:
            problems.append(((name,), f"{show(value)} is not in the space: {name} is {fixed}"))
        elif name not in values and value is not False and not lacking and not broken:
            problems.append(((name,), f"{name} means nothing here: {_unmet(parameters, name, values)}"))
    if not problems and not broken:
        try:
            RunConfig.parse(values)
        except ConfigError as error:
            problems += [((), text) for text in error.problems]
    return values, problems


def _typed(
    parameters: Mapping[str, Parameter], baseline: Mapping[str, Any], broken: set[str]
) -> tuple[dict[str, Any], list[Problem]]:
    typed: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, raw in baseline.items():
        if name not in names():
            problems.append(((name,), f"unknown parameter{suggestion(name, names())}"))
            continue
        value, problem = coerce(name, raw)
        if problem:
            problems.append(((name,), problem))
        elif name in parameters:
            typed[name] = value
        elif name not in broken and value != RunConfig.model_fields[name].default:
            default = show(RunConfig.model_fields[name].default)
            problems.append(((name,), f"the study does not list {name}, so it is always {default}: list it to set it"))
    return typed, problems


def _unmet(parameters: Mapping[str, Parameter], name: str, values: Mapping[str, Any]) -> str:
    for parent, allowed in conditions(parameters, name):
        value = values.get(parent, RunConfig.model_fields[parent].default)
        if parent in parameters and parent not in values:
            return f"it needs {parent}, which is not used either"
        if value not in allowed:
            return f"it needs {parent} to be {in_words(allowed, show)}, and {parent} is {show(value)}"
    return "its conditions do not hold"


def contradictions(parameters: Mapping[str, Parameter], order: tuple[str, ...]) -> list[Problem]:
    """Refusals by `RunConfig` among configurations drawn from the space, the bounds of ranges more often; and dropout
    that is searched although none of them uses it."""
    source = random.Random(0)
    found: dict[str, None] = {}
    drops = False
    for _ in range(_PROBES):
        values = assign(parameters, order, lambda _, parameter: _draw(parameter, source))
        try:
            drops = RunConfig.parse(values).uses_dropout or drops
        except ConfigError as error:
            found.update(dict.fromkeys(error.problems))
    if not found:
        return [] if drops or isinstance(get(parameters, "dropout"), Fixed) else [UNUSED_DROPOUT]
    first = next(iter(found))
    more = f" (and {len(found) - 1} more like it)" if len(found) > 1 else ""
    return [(("parameters",), f"the space holds configurations that cannot be built: {first}{more}")]


def _draw(parameter: Parameter, source: random.Random) -> Any:
    values = parameter.values()
    if values is not None:
        return source.choice([values[0], values[-1], source.choice(values)])
    assert isinstance(parameter, (IntRange, FloatRange))
    low, high = parameter.bounds
    inside: float = source.uniform(low, high)
    if parameter.step is not None:
        inside = low + round((inside - low) / parameter.step) * parameter.step
    return source.choice([low, high, min(inside, high), *parameter.extra])
