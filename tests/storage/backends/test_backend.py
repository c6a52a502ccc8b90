"""The promise of a backend: whatever the kind, a URL is read and opened with the same arguments."""

import inspect

import pytest

from storage.backends.backend import Backend, Opener
from storage.backends.registry import KINDS, Kind, backend_of


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.module)
def test_every_kind_is_opened_alike(kind: Kind) -> None:
    """`open_store` needs to know nothing of the kind that it opens."""
    backend = backend_of(kind.form.replace("PORT", "1"))
    assert isinstance(backend, Backend)
    expected = list(inspect.signature(Opener.__call__).parameters)[1:]
    assert list(inspect.signature(backend.open).parameters) == expected
    assert inspect.getdoc(backend.open)
    assert inspect.getdoc(backend.parse)


def test_a_proxy_serves_databases_that_speak_sql() -> None:
    """A journal and another proxy are not served."""
    served = {kind.module for kind in KINDS if backend_of(kind.form.replace("PORT", "1")).sql}
    assert served == {"sqlite", "postgresql"}
