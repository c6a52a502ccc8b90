"""The cost of members that are graphs: `test_onnx_export.py` measures one."""

from __future__ import annotations

from lobmodels.ensemble.bundle import Bundle
from lobmodels.ensemble.cost import graph_microseconds
from tests.lobmodels.ensemble.made_runs import run


def test_fused_members_have_none() -> None:
    """Nothing is measured where nothing runs as a graph."""
    assert graph_microseconds(Bundle.of([run("g#0", hidden_size=8)])) == {}
