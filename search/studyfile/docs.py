"""Writes `docs/study-file.md` from the typed spec, so that the page always agrees with the code.

python -m search.studyfile.docs docs/study-file.md
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from lobmodels.config import REQUIRES, RunConfig, in_words
from search.studyfile.spec import StudySpec
from search.studyfile.terms import (
    BudgetSpec,
    CheckpointSpec,
    FromSpec,
    PrunerSpec,
    SamplerSpec,
    SecondLookSpec,
    StalledSpec,
)
from search.studyfile.validation import ValidationSpec
from search.studyfile.values import allowed_words, field_type, names, show

SECTIONS: tuple[tuple[str, type[Any]], ...] = (
    ("from", FromSpec),
    ("sampler", SamplerSpec),
    ("pruner", PrunerSpec),
    ("budget", BudgetSpec),
    ("budget.stalled", StalledSpec),
    ("second_look", SecondLookSpec),
    ("validation", ValidationSpec),
    ("checkpoints", CheckpointSpec),
)

INTRODUCTION = """\
# The study file

One YAML file is one question. It names each parameter once: a plain value is fixed, a mapping is searched. `lobtuna
create` stores the whole of it in the study, so a worker needs the database's URL and the study's name, and no file.

```yaml
# Does a little dropout help the plain recipe?  40 trials, 1 GPU hour
#   lobtuna run studies/dropout.yaml --data ~/lob
name: dropout
parameters:
  hidden_size: {int: [32, 128], step: 16}
  dropout: {float: [0.02, 0.3], or: 0.0}
  loss: {choices: [mse, combined]}
  weighted_ratio: {float: [0.3, 0.8], when: {loss: combined}}
  lr: {float: [2e-4, 3e-3], log: true}
  batch_size: 192
baselines:
  - {hidden_size: 64, dropout: 0.0, loss: mse, lr: 1e-3}
pruner: {warmup_epochs: 3}
budget: {trials: 40, hours: 1}
```

The first comment is the study's question; reports and `lobtuna status` show it. Numbers are read as YAML 1.2 reads
them: `2e-4` is a number, `010` is ten, `yes` is a word.

All errors of a file are told at once, each with its line, and with what was probably meant.

## Searching a parameter

| written | means |
|---|---|
| `64` | the same in every trial |
| `{choices: [mse, huber]}` | one of these |
| `{int: [32, 160], step: 16}` | a whole number from 32 to 160, both included; `log: true` instead of a step |
| `{float: [2e-4, 3e-3], log: true}` | a real number, by its logarithm; `step: 0.05` for a grid |
| `or: 0.0` beside a range | zero (or several values: `or: [0, 1]`) as a choice of its own: the range, or this |
| `when: {derived: true}` | asked only while `derived` is true; `when: {loss: [huber, mse]}`: while it is one of these |

- Conditions that every configuration obeys (the column *only with* below) need not be written.
- A parameter whose condition does not hold has its default. A fixed value that a trial has no use for is dropped.
- What can never be used is an error: a `when` on a value that is never chosen, a `huber_delta` without `huber`.
- With `or`, Optuna's pages show two parameters: `weight_decay.or` (the value, or `range`) and `weight_decay`.
- The seed is not a parameter. Trial n trains with `seed` + n; the same configuration under other seeds is what
  `lobtuna replicate` is for.

## Baselines

Known good configurations, run before anything else. Each gives every searched parameter that it has a use for; fixed
ones may be left out. One that does not lie in the space is an error.
"""

CLOSING = """\
## Changing a study

`lobtuna create` with a changed file says what changed and offers `--revise`:

- `budget`, `max_retries`, `second_look`, `checkpoints` and the question change in place;
- anything else opens `NAME@2`, a new study that imports the finished trials whose configuration lies in the changed
  space, with their scores, histories and checkpoints, and the replicates of these. What does not fit is counted, with
  the reason. Trials of the first study stay where they are. Imported trials do not use up the new budget.
- `validation` cannot change: scores on different sequences cannot be compared.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, _top_level(), *(_section(name, model) for name, model in SECTIONS), _parameters(), CLOSING]
    note = "<!-- Written by `python -m search.studyfile.docs docs/study-file.md`: change the spec or that module. -->\n"
    return note + "\n".join(parts)


def _top_level() -> str:
    fields = StudySpec.model_fields
    names = [name for name, field in fields.items() if (field.alias or name) not in dict(SECTIONS)]
    rows = [(f"`{name}`", _kind(fields[name]), _default(fields[name]), fields[name].description) for name in names]
    return "## Keys of the file\n\n" + _table(("key", "value", "default", "meaning"), rows)


def _section(name: str, model: type[Any]) -> str:
    rows = [(f"`{key}`", _kind(field), _default(field), field.description) for key, field in model.model_fields.items()]
    meaning = inspect.cleandoc(model.__doc__ or "")
    return f"### `{name}`\n\n{meaning}\n\n" + _table(("key", "value", "default", "meaning"), rows)


def _parameters() -> str:
    fields = RunConfig.model_fields
    rows = [(f"`{n}`", _values(n), f"`{show(fields[n].default)}`", _needs(n), fields[n].description) for n in names()]
    return "## Parameters\n\n" + _table(("name", "values", "default", "only with", "meaning"), rows)


def _values(name: str) -> str:
    kind = field_type(name)
    if kind == "word":
        return ", ".join(f"`{word}`" for word in allowed_words(name))
    if kind == "flag":
        return "`true`, `false`"
    return ("whole number" if kind == "int" else "real number") + _bounds(RunConfig.model_fields[name])


def _needs(name: str) -> str:
    if name not in REQUIRES:
        return ""
    parent, allowed = REQUIRES[name]
    return f"`{parent}`: {in_words(allowed, lambda value: f'`{show(value)}`')}"


def _bounds(field: FieldInfo) -> str:
    words = {Ge: "at least", Gt: "above", Le: "at most", Lt: "below"}
    found = [f"{words[type(part)]} {_limit(part)}" for part in _metadata(field) if type(part) in words]
    return f", {', '.join(found)}" if found else ""


def _limit(part: Any) -> str:
    value = next(getattr(part, name) for name in ("ge", "gt", "le", "lt") if hasattr(part, name))
    return show(value)


def _metadata(field: Any) -> list[Any]:
    """Constraints of a field, also those inside `X | None` and nested annotations."""
    found = list(getattr(field, "metadata", ()))
    for nested in [*found]:
        found += _metadata(nested) if isinstance(nested, FieldInfo) else []
    for argument in getattr(getattr(field, "annotation", None), "__args__", ()):
        for part in getattr(argument, "__metadata__", ()):
            found += _metadata(part) if isinstance(part, FieldInfo) else [part]
    return found


def _kind(field: FieldInfo) -> str:
    text = str(field.annotation)
    if "Datetime" in text:
        return "moment"
    if "Literal[" in text:
        return ", ".join(f"`{word}`" for word in field.annotation.__args__)  # type: ignore[union-attr]
    for piece, words in (("tuple[dict", "list of mappings"), ("dict[", "mapping")):
        if piece in text:
            return words
    for piece, words in (("float", "real number"), ("int", "whole number")):
        if piece in text:
            return words + _bounds(field)
    return "text"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "none" if field.default in (None, (), "") else f"`{show(field.default)}`"


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
