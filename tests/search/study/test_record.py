"""What others left in a trial is read without an error, and attributes are named in one place."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from search.study import record
from search.study.record import STATES, is_duplicate, read_trial, seconds_of
from search.study.runs import run_of
from search.study.writers import write_start
from storage.claims import Batch
from storage.dashboard.compact import LONG
from tests.search.study.frozen_trials import CONFIG, frozen

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.none(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
KEYS = [value for name, value in vars(record).items() if name.isupper() and isinstance(value, str)]


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*KEYS, "select_mean", "report_t0"]), JUNK),
    JUNK,
    st.sampled_from(sorted(STATES, key=lambda state: state.value)),
)
def test_damaged_attributes_count_as_missing(attrs: dict[str, Any], stored: Any, state: TrialState) -> None:
    """Whatever stands in a trial, its record is readable, and nothing of it becomes a run by accident."""
    batch = Batch(user_attrs=attrs, system_attrs={record.RESUME: stored}, state=state)
    batch.values = [0.25] if state == TrialState.COMPLETE else None
    trial = frozen(batch)
    read = read_trial("s", trial)
    assert read.seconds == seconds_of(trial) >= 0
    assert read.value is None or math.isfinite(read.value)
    assert len(read.means) == len(read.best_so_far) == read.epochs
    assert is_duplicate(trial) == (attrs.get("reason") == "queued twice")
    run = run_of(read)
    if run is not None:
        assert isinstance(attrs["configuration"], dict) and isinstance(attrs["key"], str)
        assert isinstance(attrs["seed"], int)


def test_the_first_versions_stored_no_key() -> None:
    """The key follows from the configuration, where there is a valid one."""
    batch = write_start(CONFIG, 0, "host:1", "cpu", 1)
    del batch.user_attrs["key"]
    assert read_trial("s", frozen(batch)).key == CONFIG.key()
    batch.user_attrs["configuration"] = {"architecture": "elman"}
    assert read_trial("s", frozen(batch)).key is None


def test_the_dashboard_shortens_attributes_that_exist() -> None:
    """Its list of long attributes names keys of the record and no others: it would shorten nothing."""
    assert set(LONG) <= set(KEYS)


def literal_keys(path: Path) -> list[str]:
    """Attribute keys that a module writes as literals where it reads or sets attributes."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        arguments: list[ast.expr] = []
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith(("user_attrs", "system_attrs")):
            arguments = [node.slice]
        elif isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            if function.endswith(("_attrs.get", "_attrs.pop", "set_user_attr")):
                arguments = node.args[:1]
            elif function.endswith(("_user_attr", "_system_attr")):  # a storage's: the id comes first
                arguments = node.args[1:2]
        found += [
            f"{path}:{a.lineno} {a.value!r}"
            for a in arguments
            if isinstance(a, ast.Constant) and isinstance(a.value, str)
        ]
    return found


def test_no_other_module_names_an_attribute() -> None:
    """Keys are written once, in the record (or in `storage`, which needs some itself)."""
    root = Path(__file__).parents[3] / "search"
    assert [key for path in sorted(root.rglob("*.py")) for key in literal_keys(path)] == []
