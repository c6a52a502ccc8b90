"""Optuna's private names: used in one file alone, and each still there in the installed Optuna and dashboard."""

import ast
from collections.abc import Iterator
from pathlib import Path

import grpc
import optuna
import pytest
from optuna.storages import GrpcStorageProxy, RDBStorage
from optuna.trial import FrozenTrial

import storage
from storage import optuna_internals as internals

ROOT = Path(storage.__file__).parents[1]
OWN_FILE = Path(internals.__file__)
SOURCES = [path for package in ("lobmodels", "search", "storage") for path in sorted((ROOT / package).rglob("*.py"))]
FOREIGN = ("optuna", "optuna_dashboard")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_imports(tree: ast.AST) -> Iterator[str]:
    """Private modules and names of Optuna and its dashboard that are imported, or named in `import_module("...")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FOREIGN:
            parts = (node.module or "").split(".") + [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] in FOREIGN]
            parts = [part for name in names for part in name.split(".")]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.split(".")[0] in FOREIGN:
            parts = node.value.split(".") if " " not in node.value else []
        else:
            continue
        yield from (part for part in parts if is_private(part))


def private_attributes(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Private attributes that are read or set, and whether on `self` or `super()`: an object's own are its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            yield node.attr, own or (isinstance(node.value, ast.Call) and ast.unparse(node.value) == "super()")


USED = {name for name, _ in private_attributes(ast.parse(OWN_FILE.read_text()))}


@pytest.mark.parametrize("path", [path for path in SOURCES if path != OWN_FILE], ids=lambda p: str(p.relative_to(ROOT)))
def test_private_names_stay_in_their_file(path: Path) -> None:
    """No other file imports a private name of Optuna's, or reads one from an object that is not its own."""
    tree = ast.parse(path.read_text())
    assert list(private_imports(tree)) == [], "move it to storage/optuna_internals.py"
    foreign = {name for name, own in private_attributes(tree) if not own}
    assert not foreign & (USED | {"_frozen", "_note"}), "use the accessor of storage/optuna_internals.py"


def test_the_search_finds_what_it_looks_for() -> None:
    """The walk over the sources is not blind: it finds the names in the file that may hold them."""
    tree = ast.parse(OWN_FILE.read_text())
    assert {"_CachedStorage", "_rdb", "_frozen", "_note"} <= set(private_imports(tree))
    assert {"_storage", "_study_id", "_trial_id"} <= USED


class TestStillThere:
    """Each private name does what the accessor says, in the versions that are installed."""

    def test_identities(self) -> None:
        """Studies, their records, trials and their records have ids; a record can be given another."""
        memory = optuna.storages.InMemoryStorage()
        study = optuna.create_study(study_name="s", storage=memory)
        assert internals.storage_of(study) is memory
        (record,) = memory.get_all_studies()
        assert isinstance(record, internals.FrozenStudy)
        assert internals.study_id_of(record) == internals.study_id_of(study) == memory.get_study_id_from_name("s")
        trial = study.ask()
        frozen: FrozenTrial = study.get_trials()[0]
        assert internals.trial_id_of(trial) == internals.trial_id_of(frozen)
        assert internals.trial_id_of(internals.identify(frozen, 7, 99)) == 99
        assert frozen.number == 7

    def test_the_database(self, tmp_path: Path) -> None:
        """The steps that `OptunaDatabase` and `OptunaCache` replace are those that Optuna takes."""
        steps: list[str] = []

        class Database(internals.OptunaDatabase):
            def store_new_trial(self, study_id: int, template: FrozenTrial | None) -> FrozenTrial:
                steps.append("stored")
                return super().store_new_trial(study_id, template)

        database = Database(f"sqlite:///{tmp_path / 'study.db'}", {})
        cache = internals.OptunaCache(database)
        study = optuna.create_study(study_name="s", storage=cache)
        trial = study.ask()
        assert steps == ["stored"]
        assert cache.get_trial_number_from_id(internals.trial_id_of(trial)) == 0
        fresh = internals.OptunaCache(database)
        assert fresh.get_trial_number_from_id(internals.trial_id_of(trial)) == 0
        with database.session() as session:
            internals.lock_study(session, internals.study_id_of(study))
            assert database.insert_trial(session, internals.study_id_of(study), None).number == 1
            assert len(session.scalars(internals.trial_rows()).all()) == 2
        assert all(hasattr(RDBStorage, name) for name in internals.OptunaDatabase.PRIVATE_TRANSACTIONS)
        assert hasattr(RDBStorage, "_create_new_trial")
        database.remove_session()

    def test_the_tables(self) -> None:
        """Values are stored as numbers with a kind, and the tables have the columns that lobtuna writes."""
        assert internals.stored_report(float("nan"))[0] is None
        assert internals.stored_outcome(0.5)[0] == 0.5
        columns = {
            internals.trials: {"trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete"},
            internals.params: {"trial_id", "param_name", "param_value", "distribution_json"},
            internals.outcomes: {"trial_id", "objective", "value", "value_type"},
            internals.reports: {"trial_id", "step", "intermediate_value", "intermediate_value_type"},
            internals.user_attrs: {"trial_id", "key", "value_json"},
            internals.system_attrs: {"trial_id", "key", "value_json"},
        }
        for table, names in columns.items():
            assert names <= set(table.columns.keys())

    def test_the_proxy(self) -> None:
        """Optuna's client takes the channel that it is given and knows its address."""
        assert hasattr(GrpcStorageProxy, "_setup")

        class Proxy(internals.OptunaProxy):
            def open_channel(self) -> grpc.Channel:
                return grpc.insecure_channel(self.address)

        proxy = Proxy(host="127.0.0.1", port=1)
        assert proxy.address == "127.0.0.1:1"
        assert proxy.channel is proxy._channel
        proxy.close()

    def test_the_dashboard(self) -> None:
        """A note and a plot that Optuna's dashboard saved are found under the keys that the accessors name."""
        from optuna_dashboard import save_note, save_plotly_graph_object
        from plotly.graph_objects import Figure

        study = optuna.create_study()
        save_note(study, "# Title")
        save_plotly_graph_object(study, Figure(), graph_object_id="curves")
        attributes = internals.storage_of(study).get_study_system_attrs(internals.study_id_of(study))
        prefix, version = internals.note_keys()
        assert internals.note_of(attributes) == "# Title"
        assert internals.note_of({}) == ""
        assert {f"{prefix}0", version, internals.plot_key("curves")} <= set(attributes)


def test_a_queued_trial_holds_its_parameters_under_this_key() -> None:
    """What lobtuna queues itself is read by Optuna as what `enqueue_trial` queues."""
    study = optuna.create_study()
    study.enqueue_trial({"x": 1.0})
    assert study.get_trials()[0].system_attrs[internals.FIXED_PARAMS] == {"x": 1.0}
