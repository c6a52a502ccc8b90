"""A study file is read as YAML 1.2, and what YAML cannot say is refused in words."""

import pytest

from search.studyfile.yaml import YamlDocument
from tests.search.studyfile.made_files import JOINT, with_parameters


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)), "values"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested"),
        ("a: " + "{b: " * 60 + "1" + "}" * 60, "nested"),
        ("a: " + "9" * 5000, "number of 5000 characters"),
        ("a: " + "9" * 40, "larger than any number"),
        ("# " + "x" * 1_000_001, "too many"),
        ("a: &a [*a]", "contains itself"),
    ],
    ids=["laughs", "lists", "mappings", "digits", "large", "long", "itself"],
)
def test_a_file_made_to_exhaust_its_reader_ends_in_a_line(text: str, said: str) -> None:
    """Aliases of aliases, deep nesting, endless numbers: one problem, within a moment, and no traceback."""
    document = YamlDocument(text)
    assert len(document.problems) == 1 and said in document.problems[0][1]
