"""Conditions name parameters and values that can occur; what can never be used is refused."""

import pytest

from tests.search.studyfile.made_files import refused


@pytest.mark.parametrize(
    ("lines", "piece"),
    [
        ("temporal: true", "it needs derived to be true, and derived is always false"),
        ("ema_ramp: true", "it needs ema_decay to be above 0, and ema_decay is always 0"),
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
    ],
)
def test_a_condition_that_cannot_hold_is_refused(problems, lines: str, piece: str) -> None:
    """Each refusal names the parameter and what it would need, on the line of the file."""
    refused(problems, lines, piece)
