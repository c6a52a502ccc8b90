"""What a plugin declares of its parts, as data: configurations that name them are read without its source."""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import Field
from pydantic.fields import FieldInfo

from lobmodels import metric, own_features
from lobmodels.config import BUILT_IN, FEATURE_FLAG, LATER, REQUIRES, Needs, RunConfig
from lobmodels.errors import PluginError
from lobmodels.features import NAMES


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
WORDS = {"network": "architecture", "loss": "loss"}  # the parameter of a configuration whose word names such a part
FEATURES = "feature group"  # a part that a flag of its own name switches on
METRIC = "metric"  # a part that the data's schema names
KINDS = (*WORDS, FEATURES, METRIC)
BUILT_IN_WORDS = {kind: get_args(RunConfig.model_fields[field].annotation) for kind, field in WORDS.items()}


@dataclass(frozen=True)
class Declaration:
    """One part of a plugin: one of `KINDS`, the `name` that study files use, and its own parameters, which a metric has
    none of. A feature group also declares the raw columns that it `reads` and the features that it `gives`."""

    kind: str
    name: str
    parameters: Mapping[str, Parameter]
    reads: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()

    @property
    def field(self) -> str:
        """The parameter of a configuration that switches the part on."""
        return WORDS.get(self.kind, self.name)

    @property
    def value(self) -> str | bool:
        """The value of that parameter which does."""
        return self.name if self.kind in WORDS else True

    @property
    def in_words(self) -> str:
        """How a study file asks for the part, or a schema."""
        if self.kind == METRIC:
            return f"`metric: {{plugin: {self.name}}}` in the schema of the data"
        return f"`{self.field}: {'true' if self.value is True else self.value}` in the study file"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        kinds = {cls: kind for kind, cls in PARAMETERS.items()}
        found = {name: {"type": kinds[type(p)], **asdict(p)} for name, p in self.parameters.items()}
        columns = {"reads": list(self.reads), "gives": list(self.gives)} if self.kind == FEATURES else {}
        return {"kind": self.kind, "name": self.name, "parameters": found, **columns}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Declaration:
        """What `to_json` made. Raises `PluginError` for anything else."""
        try:
            found = {
                name: PARAMETERS[entry["type"]](**{key: value for key, value in entry.items() if key != "type"})
                for name, entry in document["parameters"].items()
            }
            columns = (tuple(document.get("reads", ())), tuple(document.get("gives", ())))
            declared = Declaration(document["kind"], document["name"], found, *columns)
        except (KeyError, TypeError, AttributeError) as error:
            raise PluginError(f"a stored declaration of a plugin cannot be read: {error!r}") from None
        declared.check()
        return declared

    def check(self) -> None:
        """Raise `PluginError` where the declaration contradicts itself or what lobtuna has by itself."""
        what = f"{self.kind} {self.name!r}"
        if self.kind not in KINDS:
            raise PluginError(f"{what}: a plugin has parts of kind {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        if not isinstance(self.name, str) or not self.name.isidentifier() or self.name != self.name.lower():
            raise PluginError(f"{what}: a name is lower-case letters, digits and _, and starts with a letter")
        if self.name in {**BUILT_IN_WORDS, METRIC: metric.BUILT_IN}.get(self.kind, BUILT_IN):
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
        if self.kind == FEATURES:
            self._check_columns(what)

    def _check_columns(self, what: str) -> None:
        for word, names in (("reads", self.reads), ("gives", self.gives)):
            if not names or not all(isinstance(name, str) and name.strip() == name != "" for name in names):
                raise PluginError(f'{what}: `{word}` is a list of column names, as in {word}=["bid", "ask"]')
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise PluginError(f"{what}: `{word}` names {twice[0]!r} twice; name each column once")
        both = [name for name in self.gives if name in self.reads]
        if both:
            raise PluginError(f"{what}: {both[0]!r} is read and given; give the feature a name of its own")
        taken = {name: group for group, names in NAMES.items() for name in names}
        clash = next((name for name in self.gives if name in taken), None)
        if clash is not None:
            raise PluginError(f"{what}: {clash!r} is a feature of the group {taken[clash]!r}; choose another name")


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
    _require_free(declaration)
    DECLARED[key] = declaration
    _extend(known, declaration)


def _require_free(declaration: Declaration) -> None:
    """Raise `PluginError` where a name that the declaration brings belongs to another part."""
    key, what = (declaration.kind, declaration.name), f"{declaration.kind} {declaration.name!r}"
    others = [d for k, d in DECLARED.items() if k != key]
    owners = {name: d.name for d in others for name in _fields_of(d)}
    taken = sorted(_fields_of(declaration) & owners.keys())
    if taken:
        word = "its name" if taken[0] == declaration.name else f"parameter {taken[0]!r}"
        raise PluginError(f"{what}: {word} belongs to {owners[taken[0]]!r} already; choose another name")
    features = {name: d.name for d in others for name in d.gives}
    clash = next((name for name in declaration.gives if name in features), None)
    if clash is not None:
        raise PluginError(f"{what}: {clash!r} is a feature of the group {features[clash]!r}; choose another name")


def _fields_of(declaration: Declaration) -> set[str]:
    """Parameters that a declaration adds to configurations."""
    return {*declaration.parameters, *({declaration.name} if declaration.kind == FEATURES else ())}


def is_declared(kind: str, name: str) -> bool:
    """Whether a plugin has declared this name."""
    return (kind, name) in DECLARED


def _extend(before: Declaration | None, declaration: Declaration) -> None:
    """Rebuild the typed configuration with the words, flags and parameters of every declaration."""
    fields: dict[str, FieldInfo] = RunConfig.__pydantic_fields__
    for name in () if before is None else before.parameters:
        del fields[name], REQUIRES[name]
    if declaration.kind == METRIC:
        metric.declare_metric(declaration.name)
        return
    parent = declaration.field
    if declaration.kind == FEATURES:
        described = f"{len(declaration.gives)} columns of a plugin: {', '.join(declaration.gives)}"
        fields[parent] = _field(Annotated[bool, FEATURE_FLAG, LATER], False, described)
        columns = own_features.Columns(declaration.reads, declaration.gives, tuple(declaration.parameters))
        own_features.DECLARED[declaration.name] = columns
    else:
        words = (*BUILT_IN_WORDS[declaration.kind], *(name for kind, name in DECLARED if kind == declaration.kind))
        old = fields[parent]
        fields[parent] = _field(Literal[words], old.default, old.description or "")
    for name, parameter in declaration.parameters.items():
        mark = Needs(parent, (declaration.value,))
        fields[name] = _field(Annotated[parameter.field(), mark], parameter.default, parameter.description)
        REQUIRES[name] = (mark.parent, mark.values)
    RunConfig.model_rebuild(force=True)


def _field(kind: Any, default: Any, description: str) -> FieldInfo:
    return FieldInfo.from_annotated_attribute(kind, Field(default, description=description))


def _outside(low: float, high: float, default: float) -> str | None:
    if not low < high:
        return f"low {low} is not below high {high}"
    return None if low <= default <= high else f"default {default} is not between {low} and {high}"
