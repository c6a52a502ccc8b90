"""What a worker does when a step of one of its runs hangs: such a step cannot be ended, only its process can."""

from __future__ import annotations

import threading
from collections.abc import Callable

from optuna.trial import TrialState

from search.work.context import WorkerContext
from search.work.exits import Exit
from storage.claims import Batch
from storage.optuna_internals import trial_id_of
from storage.worker.background import BackgroundStorage

HAND_BACK = 10.0  # seconds that a hung worker spends on handing its trials back: the database itself may hang


def leave(context: WorkerContext, storage: BackgroundStorage, note: Callable[[str], None], waited: float) -> None:
    """Leave the trial that `storage` holds, and end the process. Runs in the watchdog's thread.

    After a signal the trial is handed back. Otherwise it counts as the loss of a worker: others take it over after the
    grace, and one that hangs every time is given up after `max_retries`. The worker's other trials, which only wait for
    their turn, are handed back by their own threads.
    """
    running, stopping = storage.running, context.stop.urgent
    what = "hands it back at its last stored epoch" if stopping else "gives the trial up"
    note(f"no step has ended for {waited:.0f} s: this worker {what} and ends")
    if running is not None:
        running.heartbeat.stop()
    context.turns.drop("another run of this worker hangs")
    context.stop.ask("a run hangs")
    if running is not None and stopping:
        arguments = (trial_id_of(running.trial), running.claim, Batch(state=TrialState.WAITING))
        write = threading.Thread(target=storage.fleet.write, args=arguments, daemon=True)
        write.start()
        write.join(HAND_BACK)
    context.room.empty(but=1, timeout=HAND_BACK)
    context.end_process(Exit.DONE if stopping else Exit.RESTART)
