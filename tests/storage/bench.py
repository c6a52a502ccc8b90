"""A study and one worker's means to work on it, for tests of storages."""

import optuna

from storage.backends.registry import open_store
from storage.claims import Claim
from storage.worker.background import BackgroundStorage


class Bench:
    """A study and the means of one worker."""

    def __init__(self, url: str, grace: float = 60.0) -> None:
        self.store = open_store(url)
        self.inner = self.store.storage
        self.study = optuna.create_study(study_name="s", storage=self.inner, direction="maximize", load_if_exists=True)
        self.storage = BackgroundStorage(self.store, self.study._study_id, Claim("host:1", grace))
        self.mine = optuna.Study("s", self.storage, sampler=optuna.samplers.RandomSampler(seed=1))

    def fresh(self, number: int = 0) -> optuna.trial.FrozenTrial:
        """A trial as the database has it."""
        return optuna.load_study(study_name="s", storage=self.inner).trials[number]
