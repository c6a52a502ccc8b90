"""The values a parameter may have, by its name: their types, how they are written, and what was probably meant."""

import difflib
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lobmodels.config import RunConfig
from lobmodels.plugins.declarations import WORDS

_ADAPTERS: dict[tuple[str, str], TypeAdapter[Any]] = {}


def names() -> tuple[str, ...]:
    """The allow-list of parameter names, those of plugins included."""
    return tuple(RunConfig.model_fields)


def coerce(name: str, value: Any) -> tuple[Any, str | None]:
    """`value` as the type of the parameter `name`, or what is wrong with it."""
    try:
        return _adapter(name).validate_python(value, strict=True), None
    except ValidationError as error:
        item = error.errors()[0]
        text = f"{show(value)} is no value of {name}: {item['msg'][0].lower()}{item['msg'][1:]}"
        if item["type"] == "literal_error":
            own = "; one of yours is known with --plugin FILE" if name in WORDS.values() else ""
            text += suggestion(value, allowed_words(name)) or own
        elif field_type(name) == "flag":
            text += "; write true or false"
        elif isinstance(value, str) and _is_number(value):
            text += "; remove the quotes"
        return None, text


def allowed_words(name: str) -> tuple[str, ...]:
    """The words that a parameter accepts; empty for numbers and flags."""
    words = getattr(RunConfig.model_fields[name].annotation, "__args__", ())
    return tuple(word for word in words if isinstance(word, str))


def field_type(name: str) -> str:
    """`flag`, `word`, `int` or `float`: the type of a parameter."""
    annotation = RunConfig.model_fields[name].annotation
    for kind, name_of_kind in ((bool, "flag"), (int, "int"), (float, "float")):
        if annotation is kind:
            return name_of_kind
    return "word"


def suggestion(word: Any, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing when nothing is close."""
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def show(value: Any) -> str:
    """A value as a study file would write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _adapter(name: str) -> TypeAdapter[Any]:
    field = RunConfig.model_fields[name]
    key = (name, str(field))  # a plugin may add words to a parameter, or be loaded again with other bounds
    if key not in _ADAPTERS:
        _ADAPTERS[key] = _made(field)
    return _ADAPTERS[key]


def _made(field: FieldInfo) -> TypeAdapter[Any]:
    annotation: Any = field.annotation
    for part in field.metadata:
        annotation = Annotated[annotation, part]
    return TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))
