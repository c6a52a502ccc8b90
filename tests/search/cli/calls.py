"""What tests of commands share: the type of the fixture that runs one, and a study file."""

from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]

FILE = """\
# Which?
name: tiny
parameters:
  lr: {float: [2e-4, 3e-3], log: true}
  num_layers: {choices: [1, 2]}
baselines:
  - {lr: 1e-3, num_layers: 1}
budget: {trials: 4}
"""  # of a small study, as a user would write it
