"""The typed study file: one search space, its baselines and terms, read with every error at once."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from lobmodels.config import RunConfig
from search.errors import SpecError
from search.studyfile.checks import CheckedSpace
from search.studyfile.conditions import ordered
from search.studyfile.parameters import Fixed, Model, Parameter, Problem, describe, dump_parameter
from search.studyfile.terms import (
    BudgetSpec,
    CheckpointSpec,
    FromSpec,
    Natural,
    PrunerSpec,
    SamplerSpec,
    SecondLookSpec,
)
from search.studyfile.validation import ValidationSpec
from search.studyfile.values import show
from search.studyfile.yaml import YamlDocument, leading_comment
from storage.url import redact_url

_STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?P<added>(@[0-9]+)?(\.seeds)?)")


def _study_name(value: str) -> str:
    if not _STUDY_NAME.fullmatch(value):
        raise ValueError("a name is letters, digits, - and _, and starts with a letter or a digit")
    return value


class StudySpec(Model):
    """One study: everything a worker must know but the data. Build it with `load_spec` or `from_json`."""

    name: Annotated[str, AfterValidator(_study_name)] = Field(
        description="name of the study in the database: letters, digits, `-` and `_`"
    )
    question: str = Field(default="", description="what the study asks; the file's first comment where it is not given")
    parameters: dict[str, Parameter] = Field(description="the search space, each parameter named once")
    baselines: tuple[dict[str, Any], ...] = Field(
        default=(), description="known good configurations, run first; each must lie in the space"
    )
    source: FromSpec | None = Field(default=None, alias="from")
    sampler: SamplerSpec = SamplerSpec()
    pruner: PrunerSpec = PrunerSpec()
    budget: BudgetSpec = BudgetSpec()
    validation: ValidationSpec = ValidationSpec()
    second_look: SecondLookSpec = SecondLookSpec()
    checkpoints: CheckpointSpec = CheckpointSpec()
    seed: Annotated[Natural, Field(le=2**31)] = Field(
        default=0, description="base of all randomness: trial n trains with seed + n"
    )
    max_retries: Natural = Field(default=3, description="how often a trial whose worker died is tried again")

    @property
    def order(self) -> tuple[str, ...]:
        """Parameter names, each after those its conditions name."""
        return ordered(self.parameters)[0]

    def searched(self) -> tuple[str, ...]:
        """Names of the parameters that differ between trials."""
        return tuple(name for name, value in self.parameters.items() if not isinstance(value, Fixed))

    def trial_seed(self, number: int) -> int:
        """Seed of the search trial with this number: the seed is no parameter, it follows from the number."""
        return self.seed + number

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON, in the form of a study file with every default written out."""
        document = self.model_dump(mode="json", by_alias=True, exclude={"name", "parameters"}, exclude_none=True)
        parameters = {name: dump_parameter(parameter) for name, parameter in self.parameters.items()}
        if self.source is not None and self.source.url is not None:
            document["from"]["url"] = redact_url(self.source.url)  # no password is stored
        return {"name": self.name, "parameters": parameters, **document}

    @classmethod
    def from_json(cls, document: Any, source: str = "the definition") -> "StudySpec":
        """Read a document of the form of `to_json`. Raises `SpecError` that lists every problem."""
        return _require(*_parse(document), source)

    @classmethod
    def from_stored(cls, document: Any, source: str = "the study's stored definition") -> "StudySpec":
        """Read what `create` stored. As `from_json`, but the space is not probed: it was when the study was created."""
        return _require(*_parse(document, probe=False), source)


def load_spec(path: Path | str) -> StudySpec:
    """Read a study file. Raises `SpecError` that lists every problem with its line."""
    text = _read(Path(path))
    document = YamlDocument(text)
    problems = list(document.problems)
    spec = None
    if document.value is None and not problems:
        problems.append(((), "the file is empty: it needs at least 'name' and 'parameters'"))
    elif document.value is not None:
        spec, found = _parse(document.value)
        problems += found + _file_name_problems(document.value)
    if spec is None or problems:
        by_line = sorted(problems, key=lambda problem: document.line(problem[0]) or 0)
        said = dict.fromkeys(_located(place, text, document.line(place)) for place, text in by_line)
        raise SpecError(str(path), said, _name(document.value))
    return spec if spec.question else spec.model_copy(update={"question": leading_comment(text)})


def _name(document: Any) -> str | None:
    """The study's name in a file that may be wrong in any way."""
    name = document.get("name") if isinstance(document, dict) else None
    return name if isinstance(name, str) else None


def _require(spec: StudySpec | None, problems: list[Problem], source: str) -> StudySpec:
    if spec is None:
        raise SpecError(source, [_located(path, text, None) for path, text in problems])
    return spec


def _parse(document: Any, *, probe: bool = True) -> tuple[StudySpec | None, list[Problem]]:
    """The spec, or every problem of the document."""
    if not isinstance(document, dict):
        return None, [((), f"a study is a mapping of name, parameters and so on, not {show(document)[:40]!r}")]
    space = CheckedSpace(document.get("parameters"), document.get("baselines", ()), probe=probe)
    problems = list(space.problems)
    try:
        frame = StudySpec.model_validate({**document, "parameters": {}, "baselines": ()})
    except ValidationError as error:
        return None, problems + [(item["loc"], _frame_problem(item)) for item in error.errors()]
    problems += _pruner_problems(frame, space.parameters)
    if problems:
        return None, problems
    return frame.model_copy(update={"parameters": space.parameters, "baselines": space.baselines}), []


def _frame_problem(item: Any) -> str:
    model: Any = StudySpec
    for part in item["loc"][:-1]:
        field = model.model_fields.get(part)
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, Model):
            model = field.annotation
    return describe(item, model)


def _pruner_problems(spec: StudySpec, parameters: dict[str, Parameter]) -> list[Problem]:
    """The problem of a warm-up as long as the runs themselves: it would silently switch pruning off."""
    epochs = parameters.get("epochs") or Fixed(value=RunConfig.model_fields["epochs"].default)
    longest = max(epochs.values() or (0,))
    # These two never prune after the last epoch, when nothing is left to save
    needed = spec.pruner.warmup_epochs + (2 if spec.pruner.name in ("curve", "halving") else 1)
    if spec.pruner.name == "none" or needed <= longest:
        return []
    text = f"{spec.pruner.warmup_epochs} is too long for epochs={longest}: nothing would ever be pruned; lower it, or"
    return [(("pruner", "warmup_epochs"), f"{text} write pruner: {{name: none}}")]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        folders = dict.fromkeys([path.parent, Path("studies")])
        near = [str(file) for folder in folders for file in sorted(folder.glob("*.y*ml"))]
        same = [file for file in near if Path(file).stem == path.stem]
        close = same or difflib.get_close_matches(str(path), near, n=2, cutoff=0.8)
        hint = _did_you_mean(close) or "; `lobtuna demo` writes a small one to start from, lobtuna-demo/demo.yaml"
        raise SpecError(str(path), [f"no such study file{hint}"]) from None
    except UnicodeDecodeError as error:
        raise SpecError(str(path), [f"not text in UTF-8: byte {error.start} cannot be read"]) from None
    except OSError as error:
        raise SpecError(str(path), [f"cannot be read: {error.strerror}"]) from None


def _did_you_mean(names: list[str]) -> str:
    return f"; did you mean {' or '.join(names)}?" if names else ""


def _located(path: tuple[str | int, ...], text: str, line: int | None) -> str:
    where = ".".join(f"{part + 1}" if isinstance(part, int) else part for part in path)
    return f"{f'line {line}: ' if line else ''}{f'{where}: ' if where else ''}{text}"


def _file_name_problems(document: Any) -> list[Problem]:
    match = _STUDY_NAME.fullmatch(str(document.get("name", ""))) if isinstance(document, dict) else None
    if match is None or not match["added"]:
        return []
    plain = match.string[: match.start("added")]
    return [(("name",), f"{match['added']!r} is added by the tool: name the study {plain!r}")]
