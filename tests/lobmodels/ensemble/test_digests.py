"""Digests change with what they are of, and with nothing else."""

from __future__ import annotations

import numpy as np

from lobmodels.ensemble.digests import SEAL, array_digests, sealed


def test_an_array_is_known_by_type_shape_and_values() -> None:
    """Order in memory does not count; a changed value, shape or type does."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    same = np.asfortranarray(array)
    others = [array.reshape(3, 2), array.astype(np.float64), array + np.float32(1e-6), array.T]
    found = list(array_digests({str(i): a for i, a in enumerate([array, same, *others])}).values())
    assert found[0] == found[1] and len(set(found)) == 5


def test_a_manifest_is_known_by_all_but_its_seal() -> None:
    """Sealing twice changes nothing; key order does not count; a value does."""
    manifest = sealed({"members": [1, 2], "format": 1})
    assert sealed(manifest) == manifest == sealed({"format": 1, "members": [1, 2]})
    assert sealed({**manifest, "members": [2, 1]})[SEAL] != manifest[SEAL]
