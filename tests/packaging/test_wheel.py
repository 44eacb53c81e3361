"""What users get: the wheel, built through the sdist and run from outside of the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
OUTSIDE = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}


def run(*command: str | Path, cwd: Path, timeout_s: float = 120) -> str:
    """The command's standard output; a failure shows everything that it said."""
    environment = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    said = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{said}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it alone."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """The wheel."""
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new environment that holds the wheel and nothing else of the project.

    Its dependencies are those locked for users, `headwater[cli,local]`. They are installed once,
    beside the other environments of `./dev`, and only put on the path here: so this works offline.
    """
    python = run(ROOT / "dev", "env", "runtime", cwd=ROOT, timeout_s=900).strip()
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    dependencies = run(python, "-c", purelib, cwd=ROOT).strip()
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    target = folder / "bin" / "python"
    own = Path(run(target, "-c", purelib, cwd=folder).strip())
    (own / "dependencies.pth").write_text(f"{dependencies}\n")
    pip = (sys.executable, "-m", "pip", "--python", target, "--disable-pip-version-check")
    run(*pip, "install", "--no-index", f"headwater[cli,local] @ {wheel.as_uri()}", cwd=folder)
    run(*pip, "check", cwd=folder)
    return folder / "bin"


def files_below(*folders: str) -> set[str]:
    """Every source file and schema in these folders of the checkout, as relative paths."""
    paths = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts}


def test_wheel_holds_schemas_and_apps(wheel: Path) -> None:
    """The wheel has every module, and schemas, streams and consumers below `headwater/`."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {path.removeprefix("src/") for path in files_below("src")}
    forced = {f"headwater/{path}" for path in files_below("consumers", "schemas", "streams")}
    assert any(name.endswith(".avsc") for name in forced)
    assert "headwater/py.typed" in names
    assert names == modules | forced


def test_wheel_declares_commands_plugin_and_licence(wheel: Path) -> None:
    """The console script, the pytest plugin and the licence are in the wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        texts = {
            name.partition(".dist-info/")[2]: archive.read(name).decode()
            for name in archive.namelist()
            if ".dist-info/" in name
        }
    assert "headwater = headwater.cli:main" in texts["entry_points.txt"]
    assert "headwater = headwater.local.pytest_plugin" in texts["entry_points.txt"]
    assert "Requires-Python: >=3.11" in texts["METADATA"]
    assert "Apache License" in texts["licenses/LICENSE"]


def test_sdist_can_be_tested(built: Path) -> None:
    """The sdist holds the sources, the tests, the locks and the script that runs them."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = files_below("consumers", "requirements", "schemas", "src", "streams", "tests", "tools")
    assert not (wanted | {"dev", "LICENSE", "README.md", "pyproject.toml"}) - names


def test_locks_name_no_host() -> None:
    """No lock file says where its packages came from: neither an index nor a path of a machine."""
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert "--index-url" not in text
        assert "--find-links" not in text


def test_installed_package_comes_from_the_wheel(installed: Path) -> None:
    """The new environment imports the package from itself, and knows its version."""
    script = (
        "import headwater, importlib.metadata as m; "
        "print(headwater.__file__, m.version('headwater'), sep='\\n')"
    )
    where, version = run(installed / "python", "-c", script, cwd=installed.parent).splitlines()
    assert Path(where).is_relative_to(installed.parent)
    assert version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize("command", [["headwater"], ["python", "-m", "headwater"]])
def test_installed_command_shows_its_help(installed: Path, command: list[str]) -> None:
    """Both ways to call the command line work in the new environment."""
    said = run(installed / command[0], *command[1:], "--help", cwd=installed.parent)
    assert "demo" in said


def last_object(text: str) -> dict[str, Any]:
    """The JSON object that ends a command's output, on one line or on several."""
    start = text.rindex("\n{") if "\n{" in text else 0
    found = json.loads(text[start:])
    assert isinstance(found, dict)
    return found


@pytest.mark.kafka
@pytest.mark.fault
@pytest.mark.timeout(600)  # the first run downloads Kafka
def test_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """The main job runs from the wheel: through kills nothing is lost, and nothing done twice."""
    result = last_object(
        run(installed / "headwater", "demo", "--json", cwd=tmp_path, timeout_s=540)
    )
    assert result["agents"]
    assert result["lost"] == 0
    assert result["repeated"] == 0
    assert result["hash_equal"] is True
