"""A parameter of a study file is fixed, or searched in exactly one way."""

import pytest

from tests.search.studyfile.made_files import refused, with_parameters


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
        ("num_layers: {}", "say how to search it"),
        ("architecture: {int: [1, 2]}", "write choices: [gru, lstm, gru_attention]"),
    ],
)
def test_a_wrong_parameter_is_refused(problems, lines: str, piece: str) -> None:
    """Each refusal names the value and the rule, on the line of the file."""
    refused(problems, lines, piece)


def test_a_huge_range_of_whole_numbers_is_not_written_out(load) -> None:
    """A range is checked without listing its values."""
    spec = load(with_parameters("attention_window: {int: [1, 2000000000]}\narchitecture: gru_attention"))
    assert spec.parameters["attention_window"].contains(1_999_999_999)
