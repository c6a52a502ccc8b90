"""The expected failures of the learning core; each message names the value, the rule and the next step."""


class LobModelsError(Exception):
    """Base of every expected failure raised by `lobmodels`."""


class DataError(LobModelsError):
    """A data file or folder does not hold what the challenge's format promises."""


class ConfigError(LobModelsError):
    """A configuration contradicts itself or the data it meets. `problems` lists every one of them."""

    def __init__(self, problems: list[str] | str) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("; ".join(self.problems))


class TrainingError(LobModelsError):
    """A run cannot go on: its loss or metric is not finite, or the device is out of memory."""


class DeviceError(LobModelsError):
    """A device that was asked for does not exist here, or torch cannot compute on it."""


class DeviceMemoryError(TrainingError):
    """The accelerator has too little free memory for this run; another moment or a smaller run may do."""


class CheckpointError(LobModelsError):
    """A checkpoint is incomplete, damaged, or of a format this version does not read."""


class BundleError(LobModelsError):
    """Members, weights or files do not make a valid submission."""


class ScoringError(LobModelsError):
    """A submission broke a rule of the challenge while it was scored."""
