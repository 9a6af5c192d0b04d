"""The extension as Blender sees it: installed from its archive, enabled, used, disabled."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.blender
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def archive(blender_python, blender_version, tmp_path_factory) -> Path:
    """The archive that this Blender's own command builds from the checkout."""
    python = blender_python(blender_version)
    (tool,) = python.parent.parent.glob("**/bpy/*/scripts/addons_core/bl_pkg/cli/blender_ext.py")
    folder = tmp_path_factory.mktemp("archive")
    command = [sys.executable, tool, "build", "--source-dir", ROOT, "--output-dir", folder]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (path,) = folder.glob("lifemask-*.zip")
    return path


def test_the_archive_installs_works_and_goes_without_a_policy_warning(
    in_blender, blender_version, archive, result_folder
):
    measured = in_blender(blender_version, "install", archive=archive, result=result_folder)
    assert measured["enabled"] and measured["has_operator"]
    assert measured["ended"] == ["FINISHED"]
    assert measured["warnings"] == {}
    assert measured["heavy"] == []
    assert measured["menu_entries"] == [2, 0]
    assert not measured["enabled_after"] and not measured["operator_after"]
    assert measured["enabled_again"]


def test_importing_a_result_builds_the_head_and_a_broken_one_says_why(
    in_blender, blender_version, result_folder, tmp_path
):
    measured = in_blender(blender_version, "operator", result=result_folder, bad=tmp_path)
    assert measured["ended"] == ["FINISHED"]
    assert measured["objects"] == ["CAMERA", "CAMERA", "MESH"]
    assert measured["active"] == "Head" and measured["has_camera"]
    assert "is not a result folder: it has no head.json" in measured["sentence"]
    assert measured["objects_after_failure"] == measured["objects"]
