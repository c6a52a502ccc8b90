"""The notebook of a Kaggle worker: installs what it carries, reads the secret, finds the data, works to the limit."""

from __future__ import annotations

import base64
import json
import lzma
from textwrap import dedent
from typing import Any

from search.launch.job import SECRET, Job
from search.launch.package import Package, installer

INPUT = "/kaggle/input"
PACKAGES = "/kaggle/tmp/lobtuna"  # beside the image's own packages, which stay as they are; not kept as output
OLDEST_CAPABILITY = 7.0  # compute capability that the torch of Kaggle's image is built for

INTRO = """
    # A worker of the study `{study}`
    Before the first run, by hand:

    1. Add-ons, Secrets: tick `{secret}`, the URL of the study's database.
    2. Settings, Accelerator: **GPU T4 x2**. A P100 cannot be used: Kaggle's torch has no code for it any more.

    Then Save Version, Save & Run All. When the time limit comes, the trial at hand goes back to the queue with its last
    epoch, and another worker goes on with it. What this notebook installs is lobtuna {version} from its own third cell,
    SHA-256 `{sha256}`, and the versions pinned there.
    """
SECRET_CELL = """
    import os
    from kaggle_secrets import UserSecretsClient
    os.environ["{secret}"] = UserSecretsClient().get_secret("{secret}")  # fails where it is not ticked: see above
    """
DATA_CELL = """
    found = [p.parent for p in sorted(Path("{input_folder}").rglob("train.parquet"))
             if (p.parent / "valid.parquet").is_file()]
    assert found, "no folder with train.parquet and valid.parquet under {input_folder}: add the data set"
    data = str(found[0])
    if len(found) > 1:
        print(f"{{len(found)}} data sets; this is used: {{data}}")
    data
    """
GPU_CELL = """
    import shutil
    gpus = []
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
        listed = subprocess.run(query, capture_output=True, text=True).stdout.splitlines()
        gpus = [line.rsplit(", ", 1) for line in listed if ", " in line]
    old = [name for name, capability in gpus if float(capability) < {oldest}]
    assert not old, (f"{{old[0]}}: the image's torch is built for compute capability {oldest} and newer and fails at "
                     "the first computation; choose Settings, Accelerator, GPU T4 x2")
    if len(gpus) == 1 and "T4" in gpus[0][0]:
        print("one T4: Settings, Accelerator, GPU T4 x2 gives two at the same price")
    gpus
    """
RUN_CELL = """
    arguments = {arguments}
    if not gpus:  # a session without a GPU works too, one thread a slot
        first = arguments.index("--gpus")
        arguments[first:first + 4] = ["--slots", str(os.cpu_count() or 1)]
    paths = [str(packages), *filter(None, [os.environ.get("PYTHONPATH")])]
    worker = subprocess.Popen(
        [sys.executable, "-c", "from search.cli import main; main()", *arguments],
        env={{**os.environ, "PYTHONPATH": os.pathsep.join(paths)}}, stderr=subprocess.PIPE, text=True)
    for line in worker.stderr:
        print(line, end="", flush=True)
    assert worker.wait() == 0, "the worker ended early; its last lines say why"
    """


def notebook(job: Job, input_folder: str = INPUT, packages: str = PACKAGES) -> dict[str, Any]:
    """The notebook in nbformat 4. The worker's packages go to the folder `packages`, the image stays as it is."""
    wheel = job.package.wheel
    intro = INTRO.format(study=job.study, secret=SECRET, version=wheel.version, sha256=wheel.sha256)
    arguments = json.dumps(job.arguments("DATA")).replace('"DATA"', "data")
    cells = [
        _cell("markdown", intro, 0),
        _cell("code", installer().partition("\ndef main()")[0], 1),
        _cell("code", _install_cell(job.package, packages), 2, hidden=True),
        _cell("code", SECRET_CELL.format(secret=SECRET), 3),
        _cell("code", DATA_CELL.format(input_folder=input_folder), 4),
        _cell("code", GPU_CELL.format(oldest=OLDEST_CAPABILITY), 5),
        _cell("code", RUN_CELL.format(arguments=arguments), 6),
    ]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 5}


def _install_cell(package: Package, packages: str) -> str:
    """The wheel as text, unpacked beside its requirements and installed. Without a secret: that is read afterwards."""
    text = base64.b85encode(lzma.compress(package.wheel.content, preset=9)).decode()  # a quarter longer than the bytes
    lines = "\n".join(text[i : i + 120] for i in range(0, len(text), 120))
    return (
        "import base64, lzma, tempfile\n"
        f'REQUIREMENTS = """\n{package.requirements_text}"""\n'
        f'WHEEL = """\n{lines}\n"""\n'
        f"packages = Path({packages!r})\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        f"    wheel, requirements = Path(folder, {package.wheel.name!r}), Path(folder, 'requirements.txt')\n"
        '    wheel.write_bytes(lzma.decompress(base64.b85decode("".join(WHEEL.split()))))\n'
        "    requirements.write_text(REQUIREMENTS)\n"
        f"    install(wheel, {package.wheel.sha256!r}, requirements, target=packages)\n"
    )


def _cell(kind: str, source: str, number: int, hidden: bool = False) -> dict[str, Any]:
    metadata = {"jupyter": {"source_hidden": True}, "_kg_hide-input": True} if hidden else {}
    cell: dict[str, Any] = {
        "cell_type": kind,
        "id": f"cell-{number}",
        "metadata": metadata,
        "source": dedent(source).strip("\n"),
    }
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})
