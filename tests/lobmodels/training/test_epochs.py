"""An epoch's record is flat where it is stored, whatever the targets are called."""

from lobmodels.training.epochs import EpochRecord


def test_it_is_read_back() -> None:
    """The score of each target stands under the target's name, in the order in which histories have always had it."""
    record = EpochRecord(3, 0.5, {"t0": 0.2, "move": 0.1}, 0.15, 1e-3, 1.0, 2.0, 2.5)
    document = record.document()
    names = ["epoch", "loss", "t0", "move", "mean", "lr", "grad_norm", "train_seconds", "seconds"]
    assert list(document) == names and EpochRecord.of(document) == record
