"""What to say of a submission beside its scores: members that are not like the others, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from lobmodels.checkpoint import Checkpoint
from lobmodels.ensemble.bundle import Bundle
from lobmodels.ensemble.cost import graph_microseconds


def remarks_on(members: Sequence[Checkpoint], bundle: Bundle) -> list[str]:
    """Sentences on the chosen `members`, and on the `bundle` that some of them were made into."""
    return [*_scale_remarks(members), *_refit_remarks(members), *_graph_remarks(bundle)]


def _scale_remarks(members: Sequence[Checkpoint]) -> list[str]:
    """What to say where members could not be brought to one scale."""
    unknown = [member.name for member in members if not member.prediction_std]
    if not unknown or len(members) < 2:
        return []
    return [
        f"{', '.join(unknown)}: trained by an older lobtuna, which did not store how large a run's predictions are. "
        "Members are averaged as they are; --data brings them to one scale"
    ]


def _graph_remarks(bundle: Bundle) -> list[str]:
    """What the members cost that the runtime does not compute by itself."""
    costs = graph_microseconds(bundle)
    if not costs:
        return []
    measured = ", ".join(f"{name} {cost:.1f} us a step here" for name, cost in costs.items())
    return [f"parts of plugins run as ONNX graphs beside the fused step and need onnxruntime there: {measured}"]


def _refit_remarks(members: Sequence[Checkpoint]) -> list[str]:
    """What to say where members were trained on the sequences that would have validated them."""
    refits = [member for member in members if not member.rule.validated]
    if not refits:
        return []
    said = f"{len(refits)} of {len(members)} members are refits, not validated themselves: their configurations were"
    if any(member.report_fraction == 0 for member in refits):
        said += (
            "; they were trained on the report sequences too, so no score of this submission on this data means much"
        )
    return [said]
