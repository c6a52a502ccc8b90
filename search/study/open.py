"""Opens studies by name, with their sampler and pruner; the error for an unknown name lists similar ones."""

from __future__ import annotations

import difflib
import re
from importlib.metadata import version
from typing import TYPE_CHECKING

import optuna

from lobmodels.schema import Schema
from search.errors import SearchError, StudyNotFoundError
from search.study.plugins import declare_stored
from search.study.pruners import build_pruner
from search.study.record import SCHEMA, SPEC, VERSION
from search.study.samplers import build_sampler
from search.studyfile.spec import StudySpec
from storage.backends.registry import PATIENCE, open_storage, parse_url
from storage.optuna_internals import study_id_of
from storage.url import redact_url

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

SEEDS = ".seeds"  # the study of a study's replicates has its name and this suffix


def open_study(url: str, name: str) -> optuna.Study:
    """The study `name` with its own sampler and pruner.

    Raises `StudyNotFoundError` with close names, and `SearchError` for a study that lobtuna did not create.
    """
    return load_study(existing_storage(url, name), name, redact_url(url))


def existing_storage(url: str, name: str | None = None, *, patience: float = PATIENCE) -> BaseStorage:
    """`open_storage(url)`, but a missing database file raises `StudyNotFoundError` and is not created.

    `name` is the study to be opened, for the message; None where it is any.
    """
    path = parse_url(url).path
    if path is not None and not path.exists():
        what = "" if name is None else f"no study {name!r}: "
        raise StudyNotFoundError(
            f"{what}there is no database {path}; create it with "
            f"lobtuna create STUDY.yaml --storage {redact_url(url)}, or name another with --storage"
        )
    return open_storage(url, patience=patience)


def load_study(storage: BaseStorage, name: str, where: str = "the database") -> optuna.Study:
    """`open_study` on an open storage, with the same errors. `where` names the storage in them."""
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        raise StudyNotFoundError(_no_study(name, study_names(storage), where)) from None
    require_not_newer(study)
    spec = spec_of(study)
    study.sampler, study.pruner = build_sampler(spec), build_pruner(spec)
    return study


def require_study(storage: BaseStorage, name: str, where: str = "the database") -> None:
    """Raise `StudyNotFoundError`, which names similar studies, where there is no study `name`, of lobtuna or not."""
    known = study_names(storage)
    if name not in known:
        raise StudyNotFoundError(_no_study(name, known, where))


def require_not_newer(study: optuna.Study) -> None:
    """Raise `SearchError` where a newer lobtuna created the study: what it stored may mean something else."""
    made, here = study.user_attrs.get(VERSION), version("lobtuna")
    if isinstance(made, str) and _release(made) > _release(here):
        raise SearchError(
            f"study {study.study_name!r} was created by lobtuna {made}, this is {here}: "
            f"use a wheel of lobtuna {made}; lobtuna wheel writes one where it is installed"
        )


def _release(text: str) -> tuple[int, ...]:
    """Major and minor number of a version; (0,) where there are none."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0,)


def study_names(storage: BaseStorage) -> list[str]:
    """Names of all studies, oldest first."""
    studies = sorted(storage.get_all_studies(), key=study_id_of)
    return [study.study_name for study in studies]


def revisions(storage: BaseStorage, name: str) -> list[str]:
    """Names of the study and its revisions, oldest first."""
    pattern = re.compile(rf"{re.escape(name)}(@[0-9]+)?")
    found = [study for study in study_names(storage) if pattern.fullmatch(study)]
    return sorted(found, key=lambda study: int(study.partition("@")[2] or 1))


def spec_of(study: optuna.Study) -> StudySpec:
    """The spec that `create` stored in the study. Raises `SearchError` where there is none."""
    attributes = study.user_attrs
    declare_stored(attributes)
    document = attributes.get(SPEC)
    if document is None:
        raise SearchError(
            f"study {study.study_name!r} was not created by lobtuna: it holds no definition; "
            "create one under another name with: lobtuna create STUDY.yaml"
        )
    return StudySpec.from_stored(document, f"the stored definition of study {study.study_name!r}")


def schema_of(study: optuna.Study) -> Schema:
    """The schema of the data that the study is bound to; the challenge's where it is bound to none yet."""
    return Schema.of(study.user_attrs.get(SCHEMA))


def _no_study(name: str, known: list[str], where: str) -> str:
    shown = [study for study in known if not study.endswith(SEEDS)]
    close = difflib.get_close_matches(name, shown, n=3, cutoff=0.5)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif shown:
        more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
        hint = f"there are: {', '.join(shown[-10:])}{more}"
    else:
        hint = "it holds no study yet: lobtuna create STUDY.yaml"
    return f"no study {name!r} in {where}; {hint}"
