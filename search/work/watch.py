"""Reads from the study, while its workers work, whether its terms have changed and whether they should stop."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from optuna.storages import BaseStorage

from search.errors import SearchError
from search.study.halt import stop_of, token_of
from search.work.stopping import Stop
from storage.errors import StorageError

log = logging.getLogger(__name__)

EVERY = 15.0  # seconds between two reads while a trial runs; up to a third more, so that a fleet is spread
IDLE_FACTOR = 2.0  # times as long between two reads of a worker that waits


class Watch:
    """Reads the attributes of one study from time to time, in a thread of its own, inside its `with` block.

    `changed(attributes)` is called after every read, the first of which is at the block's beginning. `known` is the
    token of a stop that does not concern this worker; None: the one that the study has when this object is made.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study_id: int,
        stop: Stop,
        changed: Callable[[Mapping[str, Any]], None],
        *,
        known: str | None = None,
        every: float = EVERY,
    ) -> None:
        self.storage, self.study_id, self.stop, self.changed = storage, study_id, stop, changed
        self.every = every * random.uniform(1.0, 4 / 3)
        self.idle = False  # set by a worker that waits
        self.attributes: Mapping[str, Any] = storage.get_study_user_attrs(study_id)
        self._known = token_of(self.attributes) if known is None else known
        self._heed()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lobtuna-watch", daemon=True)

    def __enter__(self) -> Watch:
        self._look_if_possible()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def look(self) -> None:
        """Read the attributes once. Raises `StorageError` where that cannot be done, `KeyError` for a deleted study."""
        self.attributes = self.storage.get_study_user_attrs(self.study_id)
        self._heed()
        self.changed(self.attributes)

    def _heed(self) -> None:
        """Ask this worker to stop where the attributes have a request that is not known."""
        request = stop_of(self.attributes)
        if request is not None and request.token != self._known:
            self._known = request.token
            self.stop.ask(request.words())
            self.stop.at_once = request.now

    def _run(self) -> None:
        while not self._ended.wait(self.every * (IDLE_FACTOR if self.idle else 1.0)):
            self._look_if_possible()

    def _look_if_possible(self) -> None:
        try:
            self.look()
        except (StorageError, SearchError, KeyError) as error:  # the worker's own calls fail as well, and report it
            log.debug("the study's attributes were not read: %s", error)
