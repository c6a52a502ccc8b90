"""The sentences of a profile name what its figures show."""

from __future__ import annotations

import re
from dataclasses import replace

from lobmodels.profile import Profile
from lobmodels.profile.findings import findings


def test_findings_name_what_they_should(profile: Profile) -> None:
    """The simulator's shift, its clustering and its strongest columns are among the sentences."""
    text = "\n".join(findings(profile).values())
    assert "no sequence occurs twice" in text
    assert re.search(r"KS distance\): p\d", text)
    assert "A ridge on the raw columns of one row scores 0." in text
    repeated = replace(profile, shared=3, valid=replace(profile.valid, repeated=2))
    text = "\n".join(findings(repeated).values())
    assert "3 of 12 validation sequences are in train too" in text and "2 sequences repeat" in text
