"""Every private name of Optuna and optuna-dashboard that lobtuna needs, in one file behind public names.

An update of Optuna may rename these without notice. A test checks that each of them still exists, and that no other
file of the packages uses a private name of Optuna. What grpcio or optuna-dashboard must be installed for is imported
inside the function that needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import optuna
import sqlalchemy as sa
from alembic.migration import MigrationContext
from optuna import Study, Trial
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage, _CachedStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session, _VersionManager
from optuna.study._frozen import FrozenStudy
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES as METRIC_NAMES
from optuna.trial import FrozenTrial
from sqlalchemy import orm

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = [
    "FrozenStudy",
    "storage_of",
    "study_id_of",
    "trial_id_of",
    "identify",
    "OptunaCache",
    "OptunaDatabase",
    "OptunaProxy",
    "add_study_service",
    "FIXED_PARAMS",
    "METRIC_NAMES",
    "note_of",
    "note_keys",
    "plot_key",
]

DATABASE_LOGGER = "optuna.storages._rdb.storage"

FIXED_PARAMS = "fixed_params"  # system attribute: the parameters of a queued trial, as `enqueue_trial` stores them

# Optuna's tables.
version_info: sa.Table = models.VersionInfoModel.__table__
studies: sa.Table = models.StudyModel.__table__
trials: sa.Table = models.TrialModel.__table__
params: sa.Table = models.TrialParamModel.__table__
outcomes: sa.Table = models.TrialValueModel.__table__
reports: sa.Table = models.TrialIntermediateValueModel.__table__
user_attrs: sa.Table = models.TrialUserAttributeModel.__table__
system_attrs: sa.Table = models.TrialSystemAttributeModel.__table__
study_user_attrs: sa.Table = models.StudyUserAttributeModel.__table__
study_system_attrs: sa.Table = models.StudySystemAttributeModel.__table__

# SQLite gives out the highest id again once its row is deleted, unless the table is created so: a worker of a deleted
# study would then work on the one that was created next, under the same id.
for _table in (studies, trials):
    _table.dialect_options["sqlite"]["autoincrement"] = True


# Identities ---------------------------------------------------------------------------------------------------------


def storage_of(study: Study) -> BaseStorage:
    """The storage that a study reads and writes."""
    return study._storage


def study_id_of(study: Study | FrozenStudy) -> int:
    """The id by which a storage knows the study; its name is what people use."""
    return study._study_id


def trial_id_of(trial: Trial | FrozenTrial) -> int:
    """The id by which a storage knows the trial; `trial.number` counts within the study."""
    return trial._trial_id


def identify(trial: FrozenTrial, number: int, trial_id: int) -> FrozenTrial:
    """Give `trial`, in place, the number and the id under which it was stored."""
    trial.number, trial._trial_id = number, trial_id
    return trial


# The database storage -----------------------------------------------------------------------------------------------


class OptunaCache(_CachedStorage):
    """Optuna's cache of finished trials over a database storage."""

    def get_trial_number_from_id(self, trial_id: int) -> int:
        """The trial's number, without asking the database where this process created or read the trial."""
        known = self._trial_id_to_study_id_and_number.get(trial_id)
        return self.get_trial(trial_id).number if known is None else known[1]


class _Versions(_VersionManager):
    """Optuna's check of a database's tables, in one transaction."""

    def _init_version_info_model(self) -> None:
        """Done by `ensure_tables`."""

    def _init_alembic(self) -> None:
        """Done by `ensure_tables`."""

    def ensure_tables(self, connection: sa.Connection) -> bool:
        """Create Optuna's tables where they are missing; return whether they have the installed Optuna's version."""
        tables = models.BaseModel.metadata.tables
        if not set(tables) <= set(sa.inspect(connection).get_table_names()):
            models.BaseModel.metadata.create_all(connection)
        info = tables["version_info"]
        schema = connection.scalar(sa.select(info.c.schema_version))
        if schema is None:
            row = {"schema_version": models.SCHEMA_VERSION, "library_version": optuna.__version__}
            connection.execute(info.insert().values(version_info_id=1, **row))
        context = MigrationContext.configure(connection)
        head = self.get_head_version()
        if context.get_current_revision() is None:
            supported = schema in (None, models.SCHEMA_VERSION)
            context.stamp(self._create_alembic_script(), head if supported else self._get_base_version())
        return bool(context.get_current_revision() == head)


class OptunaDatabase(RDBStorage):
    """`RDBStorage` that needs one connection to start, and whose step of creating a trial can be replaced.

    `OptunaCache` calls a private method for that step. Raises `RuntimeError` for tables of another version.
    """

    # Further transactions that `OptunaCache` calls by private names. Each may be repeated.
    PRIVATE_TRANSACTIONS = ("_set_trial_param", "_get_trials", "_get_best_trial_id")

    def __init__(self, url: str, engine_kwargs: dict[str, Any]) -> None:
        # Not Optuna's constructor: it holds one connection and waits for a second. A few processes that start at once
        # on a small pool then hold all connections and wait for one another until they time out.
        self.url, self.engine_kwargs = url, engine_kwargs
        self.skip_compatibility_check = False
        self.heartbeat_interval = self.grace_period = None
        self.heartbeat_stale_trial_callback = self.failed_trial_callback = None
        self.engine = sa.create_engine(url, **engine_kwargs)
        self.scoped_session = orm.scoped_session(orm.sessionmaker(bind=self.engine))
        self._version_manager = _Versions(url, self.engine, self.scoped_session)
        with self.engine.begin() as connection:
            current = self._version_manager.ensure_tables(connection)
        if not current:
            self._version_manager.check_table_schema_compatibility()

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        return self.store_new_trial(study_id, template_trial)

    def store_new_trial(self, study_id: int, template: FrozenTrial | None) -> FrozenTrial:
        """Store a new trial, a copy of `template` if there is one, and return it with its number and id."""
        return super()._create_new_trial(study_id, template)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction, committed at the end, rolled back after an error."""
        with _create_scoped_session(self.scoped_session) as session:
            yield session

    def insert_trial(self, session: Session, study_id: int, template: FrozenTrial | None) -> Any:
        """Add the rows of a new trial within `session`, number included; returns its `TrialModel`.

        The study's row must be locked: the number is counted.
        """
        return self._get_prepared_new_trial(study_id, template, session)


def lock_study(session: Session, study_id: int, also: sa.ColumnElement[Any] | None = None) -> None:
    """Lock the study's row until the transaction ends, and read `also`. Raises `KeyError` where there is none."""
    query = sa.select(models.StudyModel, *([] if also is None else [also]))
    if session.execute(query.where(models.StudyModel.study_id == study_id).with_for_update()).one_or_none() is None:
        raise KeyError(f"study {study_id} is not in the database")


def delete_study_rows(session: Session, study_id: int) -> None:
    """Delete a study and all that belongs to it, whose trials are locked meanwhile. The study's row must be locked."""
    own = sa.select(trials.c.trial_id).where(trials.c.study_id == study_id)
    session.execute(own.order_by(trials.c.trial_id).with_for_update())
    for table in reversed(models.BaseModel.metadata.sorted_tables):
        if "study_id" in table.c:
            session.execute(table.delete().where(table.c.study_id == study_id))
        elif "trial_id" in table.c:
            session.execute(table.delete().where(table.c.trial_id.in_(own)))


def trial_rows() -> sa.Select[Any]:
    """A query of trials as Optuna's own `TrialModel` objects."""
    return sa.select(models.TrialModel)


def stored_report(value: float) -> tuple[float | None, Any]:
    """How Optuna's tables hold a reported value: a number or NULL, and the kind (finite, infinite, NaN)."""
    return models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)


def stored_outcome(value: float) -> tuple[float | None, Any]:
    """How Optuna's tables hold a trial's final value: a number or NULL, and the kind (finite or infinite)."""
    return models.TrialValueModel.value_to_stored_repr(value)


def loaded_report(value: float | None, kind: str) -> float:
    """The reported value that `stored_report` made; `kind` is the kind's name."""
    model = models.TrialIntermediateValueModel
    return float(model.stored_repr_to_intermediate_value(value, model.TrialIntermediateValueType[kind]))


def loaded_outcome(value: float | None, kind: str) -> float:
    """The final value that `stored_outcome` made; `kind` is the kind's name."""
    model = models.TrialValueModel
    return float(model.stored_repr_to_value(value, model.TrialValueType[kind]))


# The gRPC proxy -----------------------------------------------------------------------------------------------------


class OptunaProxy(GrpcStorageProxy):
    """Optuna's gRPC client over a channel that `open_channel` makes."""

    channel: Any

    @property
    def address(self) -> str:
        """HOST:PORT of the proxy."""
        return f"{self._host}:{self._port}"

    def open_channel(self) -> Any:
        """The channel that all calls go through."""
        raise NotImplementedError

    def _setup(self) -> None:
        from optuna.storages._grpc.auto_generated import api_pb2_grpc
        from optuna.storages._grpc.client import GrpcClientCache

        self._channel = self.channel = self.open_channel()
        self._stub = api_pb2_grpc.StorageServiceStub(self.channel)
        self._cache = GrpcClientCache(self._stub)


def add_study_service(server: Any, storage: BaseStorage, wrap: Callable[[Any], Any]) -> None:
    """Register Optuna's service for `storage` with the gRPC `server`, each method replaced by `wrap(method)`."""
    from optuna.storages._grpc.auto_generated import api_pb2_grpc
    from optuna.storages._grpc.servicer import OptunaStorageProxyService

    service = OptunaStorageProxyService(storage)
    for name in dir(service):
        if name[0].isupper():  # remote methods alone begin with a capital
            setattr(service, name, wrap(getattr(service, name)))
    api_pb2_grpc.add_StorageServiceServicer_to_server(service, server)


# optuna-dashboard ---------------------------------------------------------------------------------------------------


def note_of(system_attrs: Mapping[str, Any]) -> str:
    """The text of a study's note in the dashboard, from the study's system attributes; empty where there is none."""
    from optuna_dashboard._note import get_note_from_system_attrs

    body: str = get_note_from_system_attrs(dict(system_attrs), None)["body"]
    return body


def note_keys() -> tuple[str, str]:
    """System attributes of a study's note: the prefix of its numbered pieces, and the key of its version."""
    from optuna_dashboard._note import note_str_key_prefix, note_ver_key

    return note_str_key_prefix(None), note_ver_key(None)


def plot_key(name: str) -> str:
    """The system attribute that holds the study's plot `name` for the dashboard."""
    from optuna_dashboard._custom_plot_data import SYSTEM_ATTR_PLOT_DATA

    return f"{SYSTEM_ATTR_PLOT_DATA}{name}:0"
