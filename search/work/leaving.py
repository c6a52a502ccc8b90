"""When a worker without work may leave: nothing is queued, and all trials that run elsewhere have had a new beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from optuna.trial import TrialState

from search.work.session import StudySession
from search.work.stopping import Stop
from storage.optuna_internals import study_id_of


def nothing_left(sessions: Sequence[StudySession]) -> bool:
    """Whether nothing is to be done even now, in a study and in that of its replicates, which comes second if there is
    one. Another lane may have queued a silent worker's trials again, a moment ago, so trials that were read before are
    not enough."""
    for session in sessions:
        session.storage.forget()
    study, *replicates = sessions
    queued = any(trial.state == TrialState.WAITING for session in replicates for trial in session.trials())
    return not queued and study.spent() is not None


def all_heard(sessions: Sequence[StudySession], every: float, stop: Stop, recover: Callable[[], int]) -> bool:
    """Wait for a beat of every trial that runs elsewhere, looking every so many seconds.

    False where `recover` has queued one again, or a stop is due.
    """
    since = [(session, session.storage.fleet.now()) for session in sessions]
    while any(s.storage.fleet.unheard(study_id_of(s.study), then) for s, then in since):
        stop.sleep(every)
        if stop.due() or recover():
            return False
        since = [(s, min(then, s.storage.fleet.now())) for s, then in since]  # the clock may have been set back
    return True
