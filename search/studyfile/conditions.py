"""When a parameter means something: the study file's own conditions and those every configuration obeys."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from lobmodels.config import REQUIRES, Above, Allowed, RunConfig, in_words
from search.studyfile.parameters import Fixed, FloatRange, IntRange, Parameter, Problem
from search.studyfile.values import coerce, names, show, suggestion

Parameters = Mapping[str, Parameter]


class Condition(NamedTuple):
    """The parameter it belongs to means something only while `parent` has one of the values `allowed`."""

    parent: str
    allowed: Allowed


def conditions(parameters: Parameters, name: str) -> tuple[Condition, ...]:
    """Every condition of a parameter: what the file says in `when`, then what `REQUIRES` implies."""
    own = [Condition(*item) for item in parameters[name].when.items()] if name in parameters else []
    implied = [Condition(*REQUIRES[name])] if name in REQUIRES else []
    return (*own, *implied)


def get(parameters: Parameters, name: str) -> Parameter:
    """A parameter of the study, or its default where the study does not list it."""
    return parameters.get(name) or Fixed(value=RunConfig.model_fields[name].default)


def check_when(parameters: Parameters, broken: set[str]) -> tuple[dict[str, Parameter], list[Problem]]:
    """The parameters with their `when` values typed, and what is wrong with any of them.

    `broken` are names that the file lists but that could not be read: conditions on them are not judged.
    """
    checked: dict[str, Parameter] = {}
    problems: list[Problem] = []
    for name, parameter in parameters.items():
        typed: dict[str, tuple[Any, ...]] = {}
        for parent, allowed in parameter.when.items():
            if parent in broken and parent in names():
                continue
            place = ("parameters", name, "when", parent)
            values, found = _allowed(parameters, name, parent, allowed)
            problems += [(place, text) for text in found]
            if not found:
                typed[parent] = values
        checked[name] = parameter.model_copy(update={"when": typed})
    return checked, problems


def _allowed(
    parameters: Parameters, name: str, parent: str, allowed: tuple[Any, ...]
) -> tuple[tuple[Any, ...], list[str]]:
    if parent not in names():
        return (), [f"'when' names {parent!r}, which is no parameter{suggestion(parent, names())}"]
    if parent == name:
        return (), [f"{name} cannot depend on itself"]
    if not allowed:
        return (), [f"no value of {parent} is given: {name} would never be used"]
    values: list[Any] = []
    problems: list[str] = []
    for raw in allowed:
        value, problem = coerce(parent, raw)
        if problem is None and not get(parameters, parent).contains(value):
            unlisted = "" if parent in parameters else ", its default: list it among the parameters"
            problem = f"{parent} is never {show(value)}: it is {get(parameters, parent)}{unlisted}"
        elif problem is None and _measure_zero(get(parameters, parent), value):
            problem = f"{parent} is searched over a real range and never exactly {show(value)}"
        if problem is not None:
            problems.append(problem)
        values.append(value)
    return tuple(values), problems


def _measure_zero(parameter: Parameter, value: Any) -> bool:
    return isinstance(parameter, FloatRange) and parameter.step is None and value not in parameter.extra


def ordered(parameters: Parameters) -> tuple[tuple[str, ...], list[Problem]]:
    """Names so that each comes after those it depends on, otherwise as in the file; and circles, if any."""
    done: dict[str, None] = {}
    problems: list[Problem] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = (*above[above.index(name) :], name)
            problems.append((("parameters", name, "when"), f"conditions run in a circle: {' -> '.join(circle)}"))
            return
        for condition in conditions(parameters, name):
            if condition.parent not in done:
                visit(condition.parent, (*above, name))
        done.setdefault(name)

    for name in parameters:
        visit(name, ())
    return tuple(name for name in done if name in parameters), problems


def dead_parameters(parameters: Parameters, broken: set[str]) -> list[Problem]:
    """Parameters that no trial can ever use. A flag fixed at `false` is not one: it is switched off on purpose.

    Nothing is said about those that depend on a `broken` one, whose values are not known.
    """
    problems: list[Problem] = []
    for name, parameter in parameters.items():
        if isinstance(parameter, Fixed) and parameter.value is False:
            continue
        reason = _never(parameters, name, broken)
        if reason:
            problems.append((("parameters", name), f"{name} is never used: {reason}"))
    return problems


def _never(parameters: Parameters, name: str, broken: set[str]) -> str | None:
    """Why all conditions of a parameter, and of those it depends on, can never hold together."""
    needed: dict[str, list[Condition]] = {}
    todo = [name]
    while todo:
        current = todo.pop()
        for condition in conditions(parameters, current):
            if condition.parent not in needed:
                todo.append(condition.parent)
            needed.setdefault(condition.parent, []).append(condition)
    if name in broken or broken & needed.keys():
        return None
    for parent, found in needed.items():
        possible = get(parameters, parent)
        if not any(all(value in condition.allowed for condition in found) for value in _tried(possible, found)):
            wanted = " and ".join(in_words(condition.allowed, show) for condition in found)
            return f"it needs {parent} to be {wanted}, and {parent} is {possible}"
    return None


def _tried(possible: Parameter, found: list[Condition]) -> Iterable[Any]:
    """Values of a parameter among which one meets all its conditions, if any does."""
    values = possible.values()
    if values is not None:
        return values
    assert isinstance(possible, FloatRange | IntRange)  # conditions name only values that were checked to lie in it
    named = [value for condition in found if not isinstance(condition.allowed, Above) for value in condition.allowed]
    return (*named, *possible.extra, *possible.bounds)


def assign(parameters: Parameters, order: tuple[str, ...], choose: Callable[[str, Parameter], Any]) -> dict[str, Any]:
    """Values of the parameters that mean something, in `order`; `choose` gives those that are searched."""
    values: dict[str, Any] = {}

    def holds(condition: Condition) -> bool:
        if condition.parent in parameters:
            return condition.parent in values and values[condition.parent] in condition.allowed
        default = RunConfig.model_fields[condition.parent].default
        return default in condition.allowed and all(map(holds, conditions(parameters, condition.parent)))

    for name in order:
        if not all(map(holds, conditions(parameters, name))):
            continue
        parameter = parameters[name]
        values[name] = parameter.value if isinstance(parameter, Fixed) else choose(name, parameter)
    return values
