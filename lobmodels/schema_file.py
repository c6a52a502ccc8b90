"""Reads the schema of a user's own data: `schema.yaml` beside the parquet files, or the files' own metadata."""

from __future__ import annotations

import difflib
import json
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lobmodels.errors import DataError
from lobmodels.schema import LOB, Schema

FILE = "schema.yaml"
METADATA = b"lobtuna.schema"  # key of a parquet file's metadata; the value is the schema file's content as JSON
METRICS = ("weighted_pearson", "pearson", "r2", "mse", "sign_accuracy")
RESERVED = ("mean", "epoch", "loss", "lr", "grad_norm", "train_seconds", "seconds")  # of a run's history and scores
MOST_TARGETS = 64
EXAMPLE = "features: [bid, ask]"


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is no column name: write it in quotes")
    if not value.strip() or value != value.strip() or not value.isprintable():
        raise ValueError(f"{value!r} is no column name: it is empty, or has spaces around it or line breaks")
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{_shown(value)} is not a list of column names; for example [bid, ask]")
    if not value:
        raise ValueError("the list is empty; name at least one column")
    return tuple(_name(item) for item in value)


def _groups(value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        return {"": _names(value)}
    if not value:
        raise ValueError("there is no group; name at least one column")
    found = {}
    for group, columns in value.items():
        try:
            found[_name(group)] = _names(columns)
        except ValueError as error:
            raise ValueError(f"group {_shown(group)}: {error}") from None
    return found


def _length(value: Any) -> tuple[int, bool]:
    """The number of steps, and whether sequences may be shorter."""
    variable = isinstance(value, dict)
    if variable and set(value) != {"at_most"}:
        raise ValueError("give a number, or {at_most: NUMBER} where the lengths of sequences differ")
    steps = value["at_most"] if variable else value
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= 10_000_000:
        raise ValueError(f"{_shown(steps)} is not a number of steps; give a whole number from 1 on")
    return steps, variable


def _metric(value: Any) -> str:
    if isinstance(value, dict):
        return _plugin_metric(value)
    if value not in METRICS:
        near = difflib.get_close_matches(str(value), METRICS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        known = f"(known: {', '.join(METRICS)}; a plugin's is written {{plugin: NAME}})"
        raise ValueError(f"{_shown(value)} is no metric{hint} {known}")
    return str(value)


def _plugin_metric(value: dict[Any, Any]) -> str:
    """The name in `{plugin: NAME}`. Whether a plugin defines it is known where it is first used."""
    name = value.get("plugin")
    if set(value) != {"plugin"} or not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"{_shown(value)}: name a plugin's metric as {{plugin: NAME}}")
    if name in METRICS:
        raise ValueError(f"{{plugin: {name}}}: that one is lobtuna's own; write {name}")
    return name


Name = Annotated[str, BeforeValidator(_name)]


class SchemaFile(BaseModel):
    """The keys of a schema file. `read_schema` and `parse_schema` report every problem at once."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    features: Annotated[dict[str, tuple[str, ...]], BeforeValidator(_groups)]
    targets: Annotated[tuple[str, ...], BeforeValidator(_names)]
    sequence_length: Annotated[tuple[int, bool], BeforeValidator(_length)]
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    sequence_column: Name = "seq_ix"
    step_column: Name = "step_in_seq"
    scored_column: Name | None = None
    metric: Annotated[str, BeforeValidator(_metric)] = "weighted_pearson"
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> SchemaFile:
        problems = [*_column_problems(self), *_target_problems(self.targets)]
        steps, _ = self.sequence_length
        if self.warmup_steps >= steps:
            problems.append(
                f"warmup_steps: {self.warmup_steps} leaves nothing of {steps} steps to score; make it smaller than "
                "sequence_length"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def schema(self) -> Schema:  # type: ignore[override]  # pydantic's own method of this name is deprecated
        """The schema that the file describes."""
        named = tuple((name, columns) for name, columns in self.features.items() if name)
        steps, variable = self.sequence_length
        return Schema(
            features=tuple(column for columns in self.features.values() for column in columns),
            targets=self.targets,
            sequence_length=steps,
            warmup_steps=self.warmup_steps,
            groups=named,
            sequence_column=self.sequence_column,
            step_column=self.step_column,
            scored_column=self.scored_column,
            variable_length=variable,
            metric=self.metric,
            clip=self.clip,
        )


def _column_problems(file: SchemaFile) -> list[str]:
    """Columns that are named for two purposes, or twice for one."""
    uses: dict[str, list[str]] = {}
    special = {key: getattr(file, key) for key in ("sequence_column", "step_column", "scored_column")}
    for key, column in special.items():
        if column is not None:
            uses.setdefault(column, []).append(key)
    for key, columns in (("features", [c for part in file.features.values() for c in part]), ("targets", file.targets)):
        for column in columns:
            uses.setdefault(column, []).append(key)
    return [
        f"column {column!r} is named twice, in {' and '.join(dict.fromkeys(keys))}; name it once"
        for column, keys in uses.items()
        if len(keys) > 1
    ]


def _target_problems(targets: tuple[str, ...]) -> list[str]:
    problems = [
        f"targets: {name!r} is a word of run histories; rename the column" for name in targets if name in RESERVED
    ]
    if len(targets) > MOST_TARGETS:
        problems.append(f"targets: {len(targets)} are more than the {MOST_TARGETS} that are supported")
    return problems


def parse_schema(document: Any, source: str) -> Schema:
    """The schema of plain values. Raises `DataError` that lists every problem, each with its key."""
    if not isinstance(document, dict):
        what = "empty" if document is None else f"a {type(document).__name__}"
        raise DataError(f"{source}: the schema is {what}, not a list of keys such as {EXAMPLE}")
    try:
        return SchemaFile.model_validate(document).schema()
    except ValidationError as error:
        problems = [_described(item) for item in error.errors()]
        raise DataError(f"{source}: {'; '.join(problems)}") from None


def read_schema(path: Path) -> Schema:
    """The schema in the YAML file `path`. Raises `DataError` that names the file and everything that is wrong."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; write the schema as plain text") from None
    except OSError as error:
        raise DataError(f"{path}: the schema cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not YAML{_place(error)}") from None
    return parse_schema(document, str(path))


def find_schema(path: Path) -> Schema:
    """The schema of the parquet file or data folder `path`: of schema.yaml beside it, else of the metadata of the file,
    or of the folder's train.parquet, else the challenge's. Raises `DataError` for a schema that is wrong."""
    folder = path if path.is_dir() else path.parent
    if (folder / FILE).exists():
        return read_schema(folder / FILE)
    file = path / "train.parquet" if path.is_dir() else path
    return _schema_within(file) if file.is_file() else LOB


def _schema_within(file: Path) -> Schema:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(file).metadata or {}
    except (pa.ArrowException, OSError):
        return LOB  # whoever opens it says what is wrong
    if METADATA not in metadata:
        return LOB
    try:
        document = json.loads(metadata[METADATA])
    except ValueError:
        raise DataError(f"{file}: its metadata {METADATA.decode()!r} is not JSON; write a {FILE} beside it") from None
    return parse_schema(document, f"{file}, its metadata")


def schema_yaml(schema: Schema) -> str:
    """A schema file that `read_schema` reads as `schema`."""
    length: Any = {"at_most": schema.sequence_length} if schema.variable_length else schema.sequence_length
    document = {
        "features": {name: list(columns) for name, columns in schema.groups} or list(schema.features),
        "targets": list(schema.targets),
        "sequence_length": length,
        "warmup_steps": schema.warmup_steps,
        "sequence_column": schema.sequence_column,
        "step_column": schema.step_column,
        "scored_column": schema.scored_column,
        "metric": schema.metric if schema.metric in METRICS else {"plugin": schema.metric},
        "clip": schema.clip,
    }
    return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=110)


class _Loader(yaml.SafeLoader):
    """Refuses a key that occurs twice: YAML would drop the first one without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} occurs twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _place(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f" in line {mark.line + 1}: {problem}" if mark is not None else f": {error}"


def _described(item: Any) -> str:
    """One problem in one line, beginning with its key."""
    key = ".".join(
        str(part) for part in item["loc"] if part not in ("constrained-float", "function-before[_name(), str]")
    )
    if item["type"] == "missing":
        return f"{key} is missing"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, SchemaFile.model_fields, 1)
        return f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else "")
    message = item["msg"].removeprefix("Value error, ")
    if not key:
        return message
    message = (
        message if item["type"] == "value_error" else f"{_shown(item['input'])}: {message[0].lower()}{message[1:]}"
    )
    return f"{key}: {message}"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str) if isinstance(value, (bool, list, dict, type(None))) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
