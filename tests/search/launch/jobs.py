"""Jobs to launch in tests."""

from typing import Any

from search.launch.job import Job
from search.launch.package import Package
from search.launch.wheel import running_wheel
from tests.machines import small_study


def job(name: str = "joint", *, requirements: tuple[str, ...] = (), **options: Any) -> Job:
    """A job of the running lobtuna with these requirements; its study is in no database."""
    spec = small_study(name.partition("@")[0]).model_copy(update={"name": name})
    return Job(spec, Package(running_wheel(), requirements, "2.13.0"), **options)
