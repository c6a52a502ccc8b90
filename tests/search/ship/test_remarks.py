"""What is said of members that are not like the others."""

from dataclasses import replace

from lobmodels.data import SplitRule
from lobmodels.ensemble.bundle import Bundle
from search.ship.remarks import remarks_on
from tests.lobmodels.ensemble.made_runs import run


def test_members_like_any_other_need_no_remark() -> None:
    """Trained on the fixed split, on one scale, computed by the runtime."""
    members = [run("joint#0", 0), run("joint#1", 1)]
    assert remarks_on(members, Bundle.of(members)) == []


def test_members_without_a_scale() -> None:
    """Named, with what brings them to one; a single member needs none."""
    members = [run("joint#0", 0), replace(run("joint#1", 1), prediction_std=None)]
    (said,) = remarks_on(members, Bundle.of(members))
    assert said.startswith("joint#1: trained by an older lobtuna") and "--data brings them to one scale" in said
    assert remarks_on(members[1:], Bundle.of(members[1:])) == []


def test_refits() -> None:
    """They were not validated; with the report sequences among what they learned from, no score means much."""
    refit = SplitRule(0.25).refit()
    members = [run("joint#0", 0), replace(run("joint#1", 1), split=refit.document())]
    (said,) = remarks_on(members, Bundle.of(members))
    assert said == "1 of 2 members are refits, not validated themselves: their configurations were"
    last = SplitRule(0.25).refit(with_report=True)
    members = [replace(run("joint#1", 1), split=last.document(), report_fraction=last.report_fraction)]
    (said,) = remarks_on(members, Bundle.of(members))
    assert said.endswith("so no score of this submission on this data means much")
