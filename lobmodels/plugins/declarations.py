"""What a plugin declares of its parts, as data: configurations that name them are read without its source."""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import Field
from pydantic.fields import FieldInfo

from lobmodels.config import REQUIRES, Needs, RunConfig
from lobmodels.errors import PluginError


@dataclass(frozen=True)
class Int:
    """A whole number from `low` to `high`."""

    low: int
    high: int
    default: int
    description: str = ""

    def field(self) -> Any:
        """Its type for pydantic."""
        return Annotated[int, Field(ge=self.low, le=self.high)]

    def problem(self) -> str | None:
        """What is wrong with the declaration, or None."""
        whole = all(type(value) is int for value in (self.low, self.high, self.default))
        if not whole:
            return "an Int has whole numbers as low, high and default"
        return _outside(self.low, self.high, self.default)


@dataclass(frozen=True)
class Float:
    """A real number from `low` to `high`."""

    low: float
    high: float
    default: float
    description: str = ""

    def field(self) -> Any:
        """Its type for pydantic."""
        return Annotated[float, Field(ge=self.low, le=self.high, allow_inf_nan=False)]

    def problem(self) -> str | None:
        """What is wrong with the declaration, or None."""
        if not all(isinstance(value, (int, float)) for value in (self.low, self.high, self.default)):
            return "a Float has numbers as low, high and default"
        return _outside(self.low, self.high, self.default)


@dataclass(frozen=True)
class Choice:
    """One of some words, the first where nothing is said."""

    words: Sequence[str]
    description: str = ""

    @property
    def default(self) -> str:
        """The first word."""
        return self.words[0]

    def field(self) -> Any:
        """Its type for pydantic."""
        return Literal[tuple(self.words)]

    def problem(self) -> str | None:
        """What is wrong with the declaration, or None."""
        if isinstance(self.words, str) or not self.words or not all(isinstance(word, str) for word in self.words):
            return 'a Choice has a list of words, as in Choice(["mean", "last"])'
        return None


@dataclass(frozen=True)
class Flag:
    """True or false."""

    default: bool = False
    description: str = ""

    def field(self) -> Any:
        """Its type for pydantic."""
        return bool

    def problem(self) -> str | None:
        """What is wrong with the declaration, or None."""
        return None if isinstance(self.default, bool) else "a Flag has True or False as its default"


Parameter = Int | Float | Choice | Flag
PARAMETERS: dict[str, type[Parameter]] = {"int": Int, "float": Float, "choice": Choice, "flag": Flag}
FIELDS = {"network": "architecture", "loss": "loss"}  # the parameter of a configuration that names such a part
BUILT_IN = frozenset(RunConfig.model_fields)
BUILT_IN_WORDS = {kind: get_args(RunConfig.model_fields[field].annotation) for kind, field in FIELDS.items()}


@dataclass(frozen=True)
class Declaration:
    """One part of a plugin: a `kind` of `FIELDS`, the `name` that study files use, and its own parameters."""

    kind: str
    name: str
    parameters: Mapping[str, Parameter]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        kinds = {cls: kind for kind, cls in PARAMETERS.items()}
        found = {name: {"type": kinds[type(p)], **asdict(p)} for name, p in self.parameters.items()}
        return {"kind": self.kind, "name": self.name, "parameters": found}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Declaration:
        """What `to_json` made. Raises `PluginError` for anything else."""
        try:
            found = {
                name: PARAMETERS[entry["type"]](**{key: value for key, value in entry.items() if key != "type"})
                for name, entry in document["parameters"].items()
            }
            declared = Declaration(document["kind"], document["name"], found)
        except (KeyError, TypeError, AttributeError) as error:
            raise PluginError(f"a stored declaration of a plugin cannot be read: {error!r}") from None
        declared.check()
        return declared

    def check(self) -> None:
        """Raise `PluginError` where the declaration contradicts itself or what lobtuna has by itself."""
        what = f"{self.kind} {self.name!r}"
        if self.kind not in FIELDS:
            raise PluginError(f"{what}: a plugin has parts of kind {' or '.join(FIELDS)}")
        if not isinstance(self.name, str) or not self.name.isidentifier() or self.name != self.name.lower():
            raise PluginError(f"{what}: a name is lower-case letters, digits and _, and starts with a letter")
        if self.name in BUILT_IN_WORDS[self.kind]:
            raise PluginError(f"{what}: lobtuna has one of that name; choose another")
        for name, parameter in self.parameters.items():
            if keyword.iskeyword(name) or name in BUILT_IN:
                raise PluginError(f"{what}: parameter {name!r} is one of lobtuna's own; choose another name")
            if not isinstance(parameter, Parameter):
                raise PluginError(
                    f"{what}: parameter {name!r} is {parameter!r}; declare it as Int, Float, Choice or Flag"
                )
            if problem := parameter.problem():
                raise PluginError(f"{what}: parameter {name!r}: {problem}")


DECLARED: dict[tuple[str, str], Declaration] = {}  # by kind and name


def declare(declaration: Declaration, *, replace: bool = False) -> None:
    """Make configurations accept a plugin's part and its parameters, whether or not its source was run.

    Raises `PluginError` where this process knows another declaration of that name, unless it is to be replaced, or a
    parameter belongs to another part.
    """
    declaration.check()
    key = (declaration.kind, declaration.name)
    known = DECLARED.get(key)
    if known is not None and known.to_json() == declaration.to_json():
        return
    if known is not None and not replace:
        raise PluginError(
            f"{declaration.kind} {declaration.name!r} is declared twice with other parameters in one process; start a "
            "new one, or give one of them another name"
        )
    others = {name: d.name for k, d in DECLARED.items() if k != key for name in d.parameters}
    taken = sorted(set(declaration.parameters) & set(others))
    if taken:
        raise PluginError(
            f"{declaration.kind} {declaration.name!r}: parameter {taken[0]!r} belongs to {others[taken[0]]!r} already; "
            "choose another name"
        )
    DECLARED[key] = declaration
    _extend(known, declaration)


def is_declared(kind: str, name: str) -> bool:
    """Whether a plugin has declared this name."""
    return (kind, name) in DECLARED


def _extend(before: Declaration | None, declaration: Declaration) -> None:
    """Rebuild the typed configuration with the words and parameters of every declaration."""
    fields: dict[str, FieldInfo] = RunConfig.__pydantic_fields__
    for name in () if before is None else before.parameters:
        del fields[name], REQUIRES[name]
    parent = FIELDS[declaration.kind]
    words = (*BUILT_IN_WORDS[declaration.kind], *(name for kind, name in DECLARED if kind == declaration.kind))
    old = fields[parent]
    fields[parent] = _field(Literal[words], old.default, old.description or "")
    for name, parameter in declaration.parameters.items():
        mark = Needs(parent, (declaration.name,))
        fields[name] = _field(Annotated[parameter.field(), mark], parameter.default, parameter.description)
        REQUIRES[name] = (mark.parent, mark.values)
    RunConfig.model_rebuild(force=True)


def _field(kind: Any, default: Any, description: str) -> FieldInfo:
    return FieldInfo.from_annotated_attribute(kind, Field(default, description=description))


def _outside(low: float, high: float, default: float) -> str | None:
    if not low < high:
        return f"low {low} is not below high {high}"
    return None if low <= default <= high else f"default {default} is not between {low} and {high}"
