"""A stored source is the one of its digest, or it is not read."""

from __future__ import annotations

import pytest

from lobmodels.errors import PluginError
from lobmodels.plugins.declarations import Declaration, Int
from lobmodels.plugins.source import Source, digest_of

SOURCE = Source("mine.py", "x = 1\n", (Declaration("network", "n", {"taps": Int(1, 4, 2)}),))


def test_it_travels_with_its_digest() -> None:
    """The digest is the SHA-256 of the text; what was changed is refused, and so is a path in the place of a name."""
    document = SOURCE.to_json()
    assert Source.from_json(document).to_json() == document and document["sha256"] == digest_of("x = 1\n")
    with pytest.raises(PluginError, match="it was changed in the database; do not run it"):
        Source.from_json({**document, "source": "import os\n"})
    with pytest.raises(PluginError, match="only a plain name is accepted"):
        Source.from_json({**document, "file": "../../mine.py"})
    with pytest.raises(PluginError, match="a stored plugin cannot be read"):
        Source.from_json({"file": "mine.py"})
