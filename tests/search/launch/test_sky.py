"""The SkyPilot task is valid and requires its secret."""

from pathlib import Path

import pytest
import yaml

from search.errors import SearchError
from search.launch import Job, sky


def test_the_sky_task_is_valid(tmp_path: Path) -> None:
    """Spot, recovered, its secret required and not written down; SkyPilot's own schema agrees where it is installed."""
    job = Job("joint", workers=3)
    document = sky.task(job, "s3://bucket/lob", "T4:1")
    text = sky.to_yaml(document, job, Path("lobtuna-joint.sky.yaml"))
    assert yaml.safe_load(text) == document
    assert document["resources"]["use_spot"] is True
    assert document["secrets"] == {"LOBTUNA_STORAGE": None}
    assert document["run"].startswith("lobtuna work joint --data /data/lob --gpus all")
    with pytest.raises(SearchError, match="neither a folder nor a bucket"):
        sky.task(job, str(tmp_path / "nowhere"), "T4:1")


def test_the_sky_task_passes_skypilots_own_schema() -> None:
    """The validator that SkyPilot ships takes the task."""
    schemas = pytest.importorskip("sky.utils.schemas", reason="SkyPilot is not installed here")
    import jsonschema

    document = sky.task(Job("joint"), "s3://bucket/lob", "T4:1")
    jsonschema.validate(document, schemas.get_task_schema())
    jsonschema.validate(document["resources"], schemas.get_resources_schema())
