"""Study files for the tests of their parts."""

from typing import Any

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


def with_parameters(lines: str) -> str:
    return "name: s\nparameters:\n" + "".join(f"  {line}\n" for line in lines.splitlines())


def refused(problems: Any, lines: str, piece: str) -> None:
    """Assert that parameters written so are refused with `piece`, and that each problem has its line."""
    found = problems(with_parameters(lines))
    assert any(piece in problem for problem in found), found
    assert all(problem.startswith("line ") for problem in found)
