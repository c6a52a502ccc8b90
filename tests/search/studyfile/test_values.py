"""A value of a study file has the type of its parameter, or the refusal says how to write it."""

import pytest

from tests.search.studyfile.made_files import refused


@pytest.mark.parametrize(
    ("lines", "piece"),
    [
        ("num_layers: {choices: [1, two]}", "two is no value of num_layers"),
        ("num_layers:", "nothing is no value"),
        ("num_layers: [1, 2]", "is no value"),
        ('lr: "2e-4"', "remove the quotes"),
        ("derived: yes", "write true or false"),
        ("derived: 1", "write true or false"),
        ("dropout: 1.5", "less than 1"),
        ("scheduler: plato", "did you mean 'plateau'?"),
        ("__class__: 1", "unknown parameter"),
        ("torch.nn.GRU: 1", "unknown parameter"),
    ],
)
def test_a_value_of_another_type_is_refused(problems, lines: str, piece: str) -> None:
    """Each refusal names the value and how to write it, on the line of the file."""
    refused(problems, lines, piece)
