"""What a study file may say about one parameter: a fixed value, choices, or a range; each checked by its name."""

import math
import re
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
)

from search.studyfile.values import allowed_words, coerce, field_type, show, suggestion

Scalar = StrictBool | StrictInt | StrictFloat | StrictStr
Path_ = tuple[str | int, ...]
MOST_COUNTED = 10_000  # a longer range of whole numbers is treated as one of real numbers
Problem = tuple[Path_, str]  # where in the file, and what is wrong there


class Model(BaseModel):
    """Base of every part of a study file: immutable, unknown keys refused, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Fixed(Model):
    """A parameter that is the same in every trial."""

    value: Scalar
    when: dict[str, tuple[Scalar, ...]] = {}

    def contains(self, value: Any) -> bool:
        """Whether a trial can have this value."""
        return bool(value == self.value)

    def values(self) -> tuple[Any, ...] | None:
        """Every possible value, or None where they cannot be counted."""
        return (self.value,)

    def __str__(self) -> str:
        return f"always {show(self.value)}"


class _Searched(Model):
    when: dict[str, tuple[Scalar, ...]] = {}

    @field_validator("when", mode="before")
    @classmethod
    def _one_or_many(cls, when: Any) -> Any:
        if not isinstance(when, dict):
            return when
        return {parent: value if isinstance(value, (list, tuple)) else (value,) for parent, value in when.items()}


class Choices(_Searched):
    """One of a list of values: `{choices: [a, b]}`."""

    choices: Annotated[tuple[Scalar, ...], Field(min_length=1)]

    def contains(self, value: Any) -> bool:
        return value in self.choices

    def values(self) -> tuple[Any, ...] | None:
        return self.choices

    def __str__(self) -> str:
        return f"one of {', '.join(map(show, self.choices))}"


class _Range(_Searched):
    log: StrictBool = False
    extra: tuple[Scalar, ...] = Field(default=(), alias="or")

    @field_validator("extra", mode="before")
    @classmethod
    def _one_or_many_extra(cls, extra: Any) -> Any:
        return extra if isinstance(extra, (list, tuple)) else (extra,)


class IntRange(_Range):
    """A whole number between two bounds, both included: `{int: [32, 160], step: 16}`."""

    bounds: tuple[StrictInt, StrictInt] = Field(alias="int")
    step: Annotated[StrictInt, Field(ge=1)] = 1

    def contains(self, value: Any) -> bool:
        low, high = self.bounds
        return value in self.extra or (low <= value <= high and (value - low) % self.step == 0)

    def values(self) -> tuple[Any, ...] | None:
        low, high = self.bounds
        inside = range(low, high + 1, self.step)
        return (*self.extra, *inside) if len(inside) <= MOST_COUNTED else None

    def __str__(self) -> str:
        return _range_text(self, "" if self.step == 1 else f" in steps of {self.step}")


class FloatRange(_Range):
    """A real number between two bounds, both included: `{float: [2e-4, 3e-3], log: true}`."""

    bounds: tuple[StrictFloat, StrictFloat] = Field(alias="float")
    step: Annotated[StrictFloat, Field(gt=0)] | None = None

    @field_validator("bounds", "step", mode="before")
    @classmethod
    def _whole_is_real(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [cls._whole_is_real(item) for item in value]
        return float(value) if isinstance(value, int) and not isinstance(value, bool) else value

    def contains(self, value: Any) -> bool:
        low, high = self.bounds
        if value in self.extra:
            return True
        if not low <= value <= high:
            return False
        return self.step is None or _on_step(value - low, self.step)

    def values(self) -> tuple[Any, ...] | None:
        return None

    def __str__(self) -> str:
        return _range_text(self, "" if self.step is None else f" in steps of {self.step:g}")


Parameter = Fixed | Choices | IntRange | FloatRange
_KINDS: dict[str, type[Choices] | type[IntRange] | type[FloatRange]] = {
    "choices": Choices,
    "int": IntRange,
    "float": FloatRange,
}


def parse_parameter(name: str, raw: Any) -> tuple[Parameter | None, list[Problem]]:
    """Read what a study file says about the parameter `name`; problems carry paths relative to it."""
    if not isinstance(raw, dict):
        value, problem = coerce(name, raw)
        return (None, [((), problem)]) if problem else (Fixed(value=value), [])
    kinds = [kind for kind in _KINDS if kind in raw]
    if len(kinds) != 1:
        return None, [((), _kind_problem(raw, kinds))]
    try:
        parameter: Parameter = _KINDS[kinds[0]].model_validate(raw)
    except ValidationError as error:
        return None, [(_place(item), describe(item, _KINDS[kinds[0]])) for item in error.errors()]
    return _check(name, parameter)


def dump_parameter(parameter: Parameter) -> Any:
    """The parameter as a study file would write it."""
    if isinstance(parameter, Fixed):
        return parameter.value
    return parameter.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def describe(item: Any, model: type[BaseModel]) -> str:
    """One pydantic error in the words of a study file."""
    known = [field.alias or name for name, field in model.model_fields.items()]
    if item["type"] == "extra_forbidden":
        key = item["loc"][-1]
        return f"unknown key {key!r}{suggestion(key, known) or '; known keys: ' + ', '.join(known)}"
    if item["type"] == "missing":
        return f"{str(item['loc'][-1])!r} is missing"
    message = item["msg"].removeprefix("Value error, ")
    hint = ""
    if item["type"] == "literal_error":
        hint = suggestion(item["input"], re.findall(r"'([^']*)'", item["ctx"]["expected"]))
    return f"{message[0].lower()}{message[1:]}, not {show(item['input'])}{hint}"


def _place(item: Any) -> Path_:
    # Members of a union add their type's name to the place; the file has no such level.
    return tuple(part for part in item["loc"] if part not in ("bool", "str") and part != "function-before")


def _kind_problem(raw: dict[str, Any], kinds: list[str]) -> str:
    if kinds:
        return f"{' and '.join(map(repr, kinds))} at once: a parameter is searched in one way"
    for key in raw:
        hint = suggestion(key, _KINDS)
        if hint:
            return f"unknown key {key!r}{hint}"
    return "say how to search it: choices: [...], int: [low, high] or float: [low, high]; a plain value is fixed"


def _check(name: str, parameter: Parameter) -> tuple[Parameter | None, list[Problem]]:
    """Convert every value to the parameter's type, then check that they fit together."""
    problems: list[Problem] = []
    updates: dict[str, Any] = {}
    for field, key in (("choices", "choices"), ("bounds", ""), ("extra", "or")):
        raw = getattr(parameter, field, None)
        if raw is None:
            continue
        pairs = [coerce(name, value) for value in raw]
        place = key or ("int" if isinstance(parameter, IntRange) else "float")
        problems += [((place,), problem) for _, problem in pairs if problem]
        updates[field] = tuple(value for value, _ in pairs)
    problems = _wrong_kind(name, parameter) or problems
    if problems:
        return None, problems
    checked = parameter.model_copy(update=updates)
    problems = _choice_problems(checked) if isinstance(checked, Choices) else _range_problems(checked)
    return (None, problems) if problems else (checked, [])


def _wrong_kind(name: str, parameter: Parameter) -> list[Problem]:
    kind = field_type(name)
    if isinstance(parameter, (IntRange, FloatRange)) and kind in ("flag", "word"):
        values = "[false, true]" if kind == "flag" else f"[{', '.join(allowed_words(name))}]"
        return [((), f"{name} has no range: write choices: {values}")]
    if isinstance(parameter, IntRange) and kind == "float":
        return [(("int",), f"{name} is a real number: write float: [low, high], with step: 1 for whole ones")]
    if isinstance(parameter, FloatRange) and kind == "int":
        return [(("float",), f"{name} is a whole number: write int: [low, high]")]
    return []


def _choice_problems(parameter: Choices) -> list[Problem]:
    twice = {show(value) for value in parameter.choices if parameter.choices.count(value) > 1}
    return [(("choices",), f"{word} is given twice") for word in sorted(twice)]


def _range_problems(parameter: Any) -> list[Problem]:
    low, high = parameter.bounds
    key = "int" if isinstance(parameter, IntRange) else "float"
    if low >= high:
        hint = "write the plain value" if low == high else "write the lower bound first"
        return [((key,), f"the range {show(low)} to {show(high)} is empty: {hint}")]
    problems: list[Problem] = []
    stepped = parameter.step not in (None, 1) or (key == "float" and parameter.step is not None)
    if parameter.log and low <= 0:
        problems.append((("log",), f"a logarithmic range must start above 0, not at {show(low)}"))
    if parameter.log and stepped:
        problems.append((("step",), "a logarithmic range has no step: remove one of the two"))
    elif stepped and not _on_step(high - low, parameter.step):
        last = low + math.floor((high - low) / parameter.step + 1e-9) * parameter.step
        problems.append((("step",), f"steps of {show(parameter.step)} from {show(low)} never reach {show(high)}: "
                         f"the last one is {show(last)}"))  # fmt: skip
    if len(set(parameter.extra)) < len(parameter.extra):
        problems.append((("or",), "a value is given twice"))
    return problems


def _on_step(distance: float, step: float) -> bool:
    steps = distance / step
    return abs(steps - round(steps)) < 1e-8  # the tolerance that optuna's own distributions use


def _range_text(parameter: Any, step: str) -> str:
    low, high = parameter.bounds
    extra = f", or {' or '.join(map(show, parameter.extra))}" if parameter.extra else ""
    return f"{show(low)} to {show(high)}{step}{', logarithmic' if parameter.log else ''}{extra}"
