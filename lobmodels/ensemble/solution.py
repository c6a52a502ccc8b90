"""The entry point that a submission carries: what the challenge imports and calls."""

SOLUTION_SOURCE = '''\
"""Entry point of the submission: the ensemble beside this file, fed one row at a time."""

import os
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # products this small lose time to a second thread

import features  # noqa: E402
import runtime  # noqa: E402


class PredictionModel:
    """What the challenge instantiates once and calls for every row."""

    def __init__(self):
        self.ensemble = runtime.load(FOLDER, features, strict=False)

    def predict(self, data_point):
        """The prediction, an array of shape (2,), or None where none is needed."""
        return self.ensemble.predict(
            data_point.seq_ix, data_point.step_in_seq, data_point.need_prediction, data_point.state
        )
'''
