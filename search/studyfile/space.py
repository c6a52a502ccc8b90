"""From a study's space to configurations and back: what a trial is asked, what a known configuration enqueues."""

from typing import Any, Protocol

from lobmodels.config import RunConfig
from search.errors import SpaceError
from search.studyfile.conditions import assign
from search.studyfile.parameters import Choices, FloatRange, IntRange, Parameter
from search.studyfile.spec import StudySpec
from search.studyfile.values import show

RANGE = "range"  # the choice of `<name>.or` that stands for the range itself


class Suggester(Protocol):
    """The three methods of an Optuna trial that a space needs."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...


def suggest(spec: StudySpec, trial: Suggester) -> RunConfig:
    """Ask `trial` for each searched parameter that means something, and build the configuration.

    `or:` values are a choice of their own: Optuna sees `<name>.or` (the values, or "range") beside `<name>`.
    Raises `lobmodels.errors.ConfigError` if the values contradict each other.
    """
    return RunConfig.parse(assign(spec.parameters, spec.order, lambda name, parameter: _ask(trial, name, parameter)))


def to_params(spec: StudySpec, config: RunConfig) -> dict[str, Any]:
    """Optuna parameters under which `suggest` returns `config`.

    Raises `SpaceError` that names every parameter in which `config` does not lie in the space.
    """
    active = config.active()
    params: dict[str, Any] = {}
    problems: list[str] = []

    def choose(name: str, parameter: Parameter) -> Any:
        value = active.get(name, RunConfig.model_fields[name].default)
        if not parameter.contains(value):
            problems.append(f"{name}={show(value)} is not {parameter}")
        params.update(optuna_params(name, parameter, value))
        return value

    values = assign(spec.parameters, spec.order, choose)
    for name, value in active.items():
        expected = values.get(name, RunConfig.model_fields[name].default)
        if value != expected:
            problems.append(f"{name}={show(value)} is not {show(expected)}, as the study has it here")
    if problems:
        raise SpaceError(f"not in the space of {spec.name}: {'; '.join(problems)}")
    return params


def optuna_params(name: str, parameter: Parameter, value: Any) -> dict[str, Any]:
    """What Optuna stores of one searched parameter with this value; an `or` value is a choice beside the range."""
    extra = getattr(parameter, "extra", ())
    found = {f"{name}.or": value if value in extra else RANGE} if extra else {}
    return found if value in extra else {**found, name: value}


def _ask(trial: Suggester, name: str, parameter: Parameter) -> Any:
    if isinstance(parameter, Choices):
        return trial.suggest_categorical(name, parameter.choices)
    assert isinstance(parameter, (IntRange, FloatRange))
    if parameter.extra:
        picked = trial.suggest_categorical(f"{name}.or", (*parameter.extra, RANGE))
        if picked != RANGE:
            return picked
    if isinstance(parameter, IntRange):
        return trial.suggest_int(name, *parameter.bounds, step=parameter.step, log=parameter.log)
    return trial.suggest_float(name, *parameter.bounds, step=parameter.step, log=parameter.log)
