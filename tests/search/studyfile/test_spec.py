"""The study file: what is read, what is refused, and that all problems are told at once."""

from pathlib import Path
from typing import Any

import pytest

from search.errors import SpecError
from search.studyfile.parameters import Choices, Fixed, FloatRange, IntRange
from search.studyfile.spec import StudySpec, load_spec
from search.studyfile.terms import PrunerSpec
from tests.search.studyfile.made_files import JOINT, refused


def test_the_example_of_the_design_is_read(load) -> None:
    """Kinds, types, conditions, terms and the question all arrive as written."""
    spec = load(JOINT)
    assert spec.parameters["lr"] == FloatRange(bounds=(2e-4, 3e-3), log=True)
    assert spec.parameters["hidden_size"] == IntRange(bounds=(32, 160), step=16)
    assert spec.parameters["weight_decay"].extra == (0.0,)
    assert spec.parameters["temporal"] == Choices(choices=(False, True), when={"derived": (True,)})
    assert spec.parameters["batch_size"] == Fixed(value=192)
    assert spec.question == "Which recipe generalises best?  ~200 trials"
    assert spec.budget.until is not None and spec.budget.until.utcoffset().total_seconds() == 7200
    assert spec.pruner == PrunerSpec(name="median", warmup_epochs=10, patience=2)
    assert spec.validation.report_fraction == 0.25


def test_a_spec_survives_the_database(load) -> None:
    """What a worker reads from the study is what the file said."""
    import json

    spec = load(JOINT)
    assert StudySpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_all_errors_are_told_at_once_with_their_lines(problems) -> None:
    """A file with errors in every part is mended in one go."""
    found = problems(
        """\
name: s
parameters:
  architecture: {choices: [gru, gru_atention]}
  hiden_size: 3
  hidden_size: {int: [32, 150], step: 16}
  dropout: {flaot: [0.1, 0.2]}
  loss: {choices: [mse, combined]}
  pearson_alpha: {float: [0.4, 0.95]}
  interaction: {choices: [false, true], when: {lg: true}}
baselines:
  - {lag: 3}
sampler: {name: tp}
prunr: 1
budget: {trials: many}
"""
    )
    lines = [int(problem.split(":")[0].removeprefix("line ")) for problem in found]
    assert lines == sorted(lines) and set(lines) == {3, 4, 5, 6, 8, 9, 11, 12, 13, 14}
    text = "\n".join(found)
    for piece in (
        "line 3: parameters.architecture.choices: gru_atention is no value of architecture",
        "did you mean 'gru_attention'?",
        "line 4: parameters.hiden_size: unknown parameter; did you mean 'hidden_size'?",
        "the last one is 144",
        "line 6: parameters.dropout: unknown key 'flaot'; did you mean 'float'?",
        "line 8: parameters.pearson_alpha: pearson_alpha is never used: it needs loss to be pearson_combined",
        "line 9: parameters.interaction.when.lg: 'when' names 'lg', which is no parameter; did you mean 'lag'?",
        "line 11: baselines.1.lag: 3 is no value of lag",
        "line 12: sampler.name: input should be 'tpe', 'random' or 'gp', not tp; did you mean 'tpe'?",
        "line 13: prunr: unknown key 'prunr'; did you mean 'pruner'?",
        "line 14: budget.trials: input should be a valid integer, not many",
    ):
        assert piece in text


def test_reading_a_stored_spec_probes_nothing(load, monkeypatch: pytest.MonkeyPatch) -> None:
    """The space was probed when the study was created: no configuration is drawn from it again."""
    stored = load(JOINT).to_json()
    calls: list[int] = []
    monkeypatch.setattr("search.studyfile.checks.contradictions", lambda *_: calls.append(1) or [])
    assert StudySpec.from_stored(stored) == StudySpec.from_json(stored)
    assert len(calls) == 1, "only from_json probes"


@pytest.mark.parametrize(
    ("damage", "piece"),
    [
        ({"parameters": {"lr": {"flaot": [1, 2]}}}, "did you mean 'float'?"),
        ({"parameters": {}}, "list them as name: value"),
        ({"sampler": {"name": "cmaes"}}, "input should be 'tpe', 'random' or 'gp', not cmaes"),
        ({"budget": {"trials": -1}}, "budget.trials"),
        ({"baselines": [{"lr": 9.0}]}, "9 is not in the space"),
        ({"name": None}, "name"),
    ],
)
def test_a_damaged_stored_spec_is_refused(load, damage: dict[str, Any], piece: str) -> None:
    """A definition that somebody has edited in the database is refused with the study and the fault."""
    with pytest.raises(SpecError, match="the stored definition of study 'joint'") as caught:
        StudySpec.from_stored({**load(JOINT).to_json(), **damage}, "the stored definition of study 'joint'")
    assert piece in str(caught.value)
    with pytest.raises(SpecError, match="a study is a mapping"):
        StudySpec.from_stored("joint")


def test_pruning_that_could_never_happen_is_refused(problems) -> None:
    """A warm-up as long as the runs would switch pruning off without a word."""
    refused(problems, "epochs: 10", "10 is too long for epochs=10: nothing would ever be pruned")


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("- a\n- b\n", "a study is a mapping"),
        ("name: [\n", "not YAML"),
        ("name: s\n\tparameters: 1\n", "not YAML"),
        ("name: s\n---\nname: t\n", "one YAML document"),
        ("name: s\n", "list them as name: value"),
        ("parameters: {lr: 1e-3}\n", "'name' is missing"),
        ("name: s\nparameters: {lr: &a [*a]}\n", "contains itself"),
        ("name: s\nparameters: {lr: !!python/object:os.system x}\n", "not supported"),
        ("name: s@2\nparameters: {lr: 1e-3}\n", "added by the tool: name the study 's'"),
        ("name: s.seeds\nparameters: {lr: 1e-3}\n", "added by the tool"),
        ("name: a b\nparameters: {lr: 1e-3}\n", "letters, digits, - and _"),
        ("name: 7\nparameters: {lr: 1e-3}\n", "valid string"),
        ("name: s\nparameters: {lr: 1e-3}\nbudget: {until: 2030-01-01 10:00}\n", "timezone"),
        ("name: s\nparameters: {lr: 1e-3}\nbudget: {until: 3}\n", "a moment is written like"),
        ("name: s\nparameters: {lr: 1e-3}\nbudget: {trials: 0}\n", "greater than or equal to 1"),
        ("name: s\nparameters: {lr: 1e-3}\nbudget:\n", "nothing"),
        ("name: s\nparameters: {lr: 1e-3}\npruner: {percentile: 30}\n", "goes with name: percentile"),
        ("name: s\nparameters: {lr: 1e-3}\npruner: {name: percentile}\n", "name: percentile needs a number"),
        ("name: s\nparameters: {lr: 1e-3}\nvalidation: {report_fraction: 1}\n", "less than 1"),
        ("name: s\nparameters: {lr: 1e-3}\nbaselines: {lr: 1}\n", "a list of configurations"),
        ("name: s\nparameters: {lr: 1e-3}\nbaselines: [3]\n", "a mapping of parameter names"),
    ],
)
def test_a_wrong_file_is_refused(problems, text: str, piece: str) -> None:
    """Whatever the file holds, the answer is a line of text and not a traceback."""
    found = problems(text)
    assert any(piece in problem for problem in found), found


def test_a_file_that_is_not_there_names_its_neighbours(tmp_path: Path) -> None:
    """A typing error in the path is answered with the file that was meant."""
    (tmp_path / "joint.yaml").write_text(JOINT)
    with pytest.raises(SpecError, match=r"no such study file; did you mean .*joint\.yaml"):
        load_spec(tmp_path / "jont.yaml")
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not text in UTF-8"):
        load_spec(tmp_path / "binary.yaml")
