"""The study file: what is read, what is refused, and that nothing is told one error at a time."""

from pathlib import Path

import pytest

from search.errors import SpecError
from search.studyfile.parameters import Choices, Fixed, FloatRange, IntRange
from search.studyfile.spec import StudySpec, load_spec

JOINT = """\
# Which recipe generalises best?  ~200 trials
#   lobtuna run joint.yaml
name: joint
parameters:
  architecture: {choices: [gru, gru_attention]}
  hidden_size: {int: [32, 160], step: 16}
  lr: {float: [2e-4, 3E-3], log: true}
  weight_decay: {float: [1e-6, 3e-4], log: true, or: 0}
  derived: {choices: [false, true]}
  temporal: {choices: [false, true], when: {derived: true}}
  loss: {choices: [mse, combined, pearson_combined]}
  pearson_alpha: {float: [0.4, 0.95], when: {loss: pearson_combined}}
  weighted_ratio: .62
  batch_size: 192
baselines:
  - {architecture: gru, hidden_size: 64, lr: 1e-3, weight_decay: 0, derived: false, loss: mse}
budget: {trials: 200, hours: 24, until: 2031-01-01 12:00+02:00}
"""


@pytest.fixture
def load(tmp_path: Path):
    """Writes a text to a study file and loads it."""

    def load(text: str) -> StudySpec:
        (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
        return load_spec(tmp_path / "study.yaml")

    return load


@pytest.fixture
def problems(load):
    """The problems that a text is refused for."""

    def problems(text: str) -> list[str]:
        with pytest.raises(SpecError) as caught:
            load(text)
        return caught.value.problems

    return problems


def with_parameters(lines: str) -> str:
    return "name: s\nparameters:\n" + "".join(f"  {line}\n" for line in lines.splitlines())


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
    assert spec.pruner.warmup_epochs == 10 and spec.validation.report_fraction == 0.25


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


@pytest.mark.parametrize(
    ("lines", "piece"),
    [
        ("lr: {float: [3e-3, 2e-4]}", "the range 0.003 to 0.0002 is empty"),
        ("lr: {float: [1e-3, 1e-3]}", "write the plain value"),
        ("lr: {float: [0, 1e-3], log: true}", "greater than 0"),
        ("weight_decay: {float: [0.0, 1e-3], log: true}", "must start above 0"),
        ("weight_decay: {float: [1e-5, 1e-3], log: true, step: 1e-5}", "logarithmic range has no step"),
        ("lr: {float: [1e-3]}", "is missing"),
        ("lr: {float: [1e-3, 2e-3, 3e-3]}", "at most 2"),
        ("lr: {float: 1e-3}", "should be a valid tuple"),
        ("lr: {float: [1e-3, .nan]}", "finite"),
        ("lr: {float: [1e-3, .inf]}", "finite"),
        ("lr: {int: [1, 3]}", "write float: [low, high]"),
        ("num_layers: {float: [1, 3]}", "write int: [low, high]"),
        ("num_layers: {int: [0, 3]}", "greater than or equal to 1"),
        ("num_layers: {int: [1, 99]}", "less than or equal to 8"),
        ("num_layers: {int: [1, 3], choices: [1, 2]}", "searched in one way"),
        ("num_layers: {int: [1, 3], stp: 2}", "did you mean 'step'?"),
        ("num_layers: {choices: []}", "at least 1 item"),
        ("num_layers: {choices: [1, 1]}", "given twice"),
        ("num_layers: {choices: [1, two]}", "two is no value of num_layers"),
        ("num_layers: {}", "say how to search it"),
        ("num_layers:", "nothing is no value"),
        ("num_layers: [1, 2]", "is no value"),
        ('lr: "2e-4"', "remove the quotes"),
        ("derived: yes", "write true or false"),
        ("derived: 1", "write true or false"),
        ("dropout: 1.5", "less than 1"),
        ("architecture: {int: [1, 2]}", "write choices: [gru, lstm, gru_attention]"),
        ("scheduler: plato", "did you mean 'plateau'?"),
        ("__class__: 1", "unknown parameter"),
        ("torch.nn.GRU: 1", "unknown parameter"),
        ("temporal: true", "it needs derived to be true, and derived is always false"),
        ("attention_window: 64", "attention_window is never used"),
        ("onecycle_peak: {float: [5, 20]}", "onecycle_peak is never used"),
        ("loss: {choices: [mse, huber]}\nlag: {choices: [false, true], when: {loss: combined}}", "loss is never"),
        ("lag: {choices: [false, true], when: {loss: hubber}}", "did you mean 'huber'?"),
        ("lag: {choices: [false, true], when: {lag: true}}", "cannot depend on itself"),
        ("lag: {choices: [false, true], when: {derived: []}}", "no value of derived is given"),
        ("lag: {choices: [false, true], when: [derived]}", "valid dictionary"),
        ("lag: {choices: [false, true], when: {derived: true}}", "its default: list it among the parameters"),
        (
            "lag: {choices: [false, true], when: {interaction: true}}\n"
            "interaction: {choices: [false, true], when: {lag: true}}",
            "conditions run in a circle",
        ),
        (
            "lr: {float: [1e-4, 1e-2]}\nlag: {choices: [false, true], when: {lr: 1e-3}}",
            "never exactly 0.001",
        ),
        (
            "loss: {choices: [mse, huber, combined]}\nhuber_delta: {float: [1, 2], when: {loss: combined}}",
            "huber_delta is never used",
        ),
        (
            "architecture: gru_attention\nattention_heads: 4\nhidden_size: {int: [30, 34]}",
            "must be a multiple of attention_heads=4",
        ),
        ("epochs: 10", "nothing would ever be pruned"),
    ],
)
def test_a_wrong_parameter_is_refused(problems, lines: str, piece: str) -> None:
    """Each refusal names the value and the rule, on the line of the file."""
    found = problems(with_parameters(lines))
    assert any(piece in problem for problem in found), found
    assert all(problem.startswith("line ") for problem in found)


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
        ("name: s\nparameters: {lr: 1e-3}\npruner: {name: percentile}\n", "goes with name: percentile"),
        ("name: s\nparameters: {lr: 1e-3}\nvalidation: {report_fraction: 1}\n", "less than 1"),
        ("name: s\nparameters: {lr: 1e-3}\nbaselines: {lr: 1}\n", "a list of configurations"),
        ("name: s\nparameters: {lr: 1e-3}\nbaselines: [3]\n", "a mapping of parameter names"),
    ],
)
def test_a_wrong_file_is_refused(problems, text: str, piece: str) -> None:
    """Whatever the file holds, the answer is a line of text and not a traceback."""
    found = problems(text)
    assert any(piece in problem for problem in found), found


@pytest.mark.parametrize(
    ("baseline", "piece"),
    [
        ("{hidden_size: 72}", "72 is not in the space: hidden_size is 32 to 160 in steps of 16"),
        ("{lr: 0.1}", "0.1 is not in the space"),
        ("{architecture: lstm}", "lstm is not in the space"),
        ("{batch_size: 128}", "128 is not in the space: batch_size is always 192"),
        ("{pearson_alpha: 0.5}", "pearson_alpha means nothing here: it needs loss to be pearson_combined"),
        ("{temporal: true}", "temporal means nothing here"),
        ("{num_layers: 3}", "the study does not list num_layers, so it is always 2"),
        ("{hiden_size: 64}", "did you mean 'hidden_size'?"),
        ("{lr: }", "nothing is no value of lr"),
    ],
)
def test_a_baseline_outside_the_space_is_refused(problems, baseline: str, piece: str) -> None:
    """A baseline is compared with the space name by name."""
    good = "{architecture: gru, hidden_size: 64, lr: 1e-3, weight_decay: 0, derived: false, loss: mse"
    key = baseline[1:].partition(":")[0]
    kept = ", ".join(part for part in good[1:].split(", ") if not part.startswith(f"{key}:"))
    found = problems(JOINT.replace(good + "}", "{" + kept + ", " + baseline[1:]))
    assert any(piece in problem for problem in found), found


def test_an_incomplete_or_repeated_baseline_is_refused(problems) -> None:
    """A baseline is one configuration: the sampler fills nothing in."""
    good = "  - {architecture: gru, hidden_size: 64, lr: 1e-3, weight_decay: 0, derived: false, loss: mse}\n"
    assert any("the same configuration as baseline 1" in p for p in problems(JOINT.replace(good, good * 2)))
    assert any("lr is missing" in p for p in problems(JOINT.replace("lr: 1e-3, ", "")))


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


def test_numbers_are_read_as_yaml_1_2(load) -> None:
    """2e-4 is a number, 010 is ten, and a merged anchor carries its values."""
    spec = load(
        with_parameters("lr: 2e-4\nhidden_size: 010\nweight_decay: 1E-5\ndropout: .1\nhuber_delta: 1_0.5\nloss: huber")
    )
    assert {name: value.value for name, value in spec.parameters.items()} == {
        "lr": 2e-4,
        "hidden_size": 10,
        "weight_decay": 1e-5,
        "dropout": 0.1,
        "huber_delta": 10.5,
        "loss": "huber",
    }
    merged = load(JOINT.replace("  - {arch", "  - &a {arch") + "# end\n" + "seed: 3\n")
    assert merged.seed == 3
    twice = JOINT.replace("  - {arch", "  - &a {arch").replace("budget:", "  - {<<: *a, lr: 5e-4}\nbudget:")
    assert [baseline["lr"] for baseline in load(twice).baselines] == [1e-3, 5e-4]


def test_a_huge_range_of_whole_numbers_is_not_written_out(load) -> None:
    """A range is checked without listing its values."""
    spec = load(with_parameters("attention_window: {int: [1, 2000000000]}\narchitecture: gru_attention"))
    assert spec.parameters["attention_window"].contains(1_999_999_999)
