"""The manifest is one that Blender accepts, and the archive holds what the add-on needs and nothing else."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from backend.protocol import LIFEMASK_VERSION

ROOT = Path(__file__).resolve().parent.parent
LARGEST_ARCHIVE_MB = 100


def extension_tool(python: Path) -> Path:
    """Blender's own command for extensions, which needs no Blender to run."""
    found = list(python.parent.parent.glob("**/bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    assert len(found) == 1, f"bpy in {python} has no blender_ext.py"
    return found[0]


def run_tool(tool: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, tool, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git knows or would take, without what lies about in a working copy."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("checkout")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.mark.blender
@pytest.mark.parametrize("version", ["4.2", "4.5", "5.0"])
def test_blender_accepts_the_manifest_and_builds_the_archive(version: str, blender_python, checkout, tmp_path: Path):
    tool = extension_tool(blender_python(version))
    validated = run_tool(tool, "validate", str(checkout))
    assert validated.returncode == 0, validated.stdout + validated.stderr
    built = run_tool(tool, "build", "--source-dir", str(checkout), "--output-dir", str(tmp_path))
    assert built.returncode == 0, built.stdout + built.stderr
    (archive,) = tmp_path.glob("lifemask-*.zip")
    assert archive.stat().st_size < LARGEST_ARCHIVE_MB * 1e6
    with zipfile.ZipFile(archive) as opened:
        names = set(opened.namelist())
    needed = {"__init__.py", "blender_manifest.toml", "LICENSE", "addon/__init__.py", "backend/environment.py"}
    needed |= {"backend/requirements/runtime.txt", "backend/requirements/sets.json", "backend/assets/open_head.npz"}
    assert needed <= names
    allowed = ("addon/", "backend/", "__init__.py", "blender_manifest.toml", "LICENSE")
    assert not [name for name in names if not name.startswith(allowed)]
    assert not [name for name in names if "__pycache__" in name or "/demo/" in name]


@pytest.mark.parametrize("name, table", [("blender_manifest.toml", ()), ("pyproject.toml", ("project",))])
def test_the_version_is_the_same_wherever_it_stands(name, table):
    told = tomllib.loads((ROOT / name).read_text("utf-8"))
    for key in table:
        told = told[key]
    assert told["version"] == LIFEMASK_VERSION
