"""The packages import each other in one direction, and do nothing when imported."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backend import environment

ROOT = Path(__file__).resolve().parent.parent
MODULE_OF_PIN = {
    "pillow": "PIL",
    "pyyaml": "yaml",
    "opencv-contrib-python": "cv2",
    "opencv-python": "cv2",
    "scikit-image": "skimage",
    "face-alignment": "face_alignment",
    "setuptools": "pkg_resources",
}
OPTIONAL = {"pillow_heif", "pytorch3d"}  # used where it is there
FOR_THE_ADDON = ("backend.protocol", "backend.client", "backend.environment", "backend.face_landmarker")
PROCESS = ("protocol", "client", "child_process", "server", "environment", "errors", "output_folder")
"""What runs in Blender or stands behind its fake: the standard library and each other, nothing else, wherever it is."""
BARE = (
    "errors", "environment", "start", "options", "output_folder", "cli", "doctor", "python_version", "__main__",
    "protocol", "client", "server", "command_options", "batch", "batch_command", "batch_job", "batch_plan",
    "batch_record", "batch_report", "child_process", "downloads", "face_landmarker", "asset_catalogue", "asset_store",
    "assets_command", "licences", "gnm_file",
)  # fmt: skip


def sources(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in it; relative ones made absolute from the root."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                package = path.relative_to(ROOT).with_suffix("").parts[: -node.level]
                base = ".".join([*package, *([node.module] if node.module else [])])
            else:
                base = node.module
            found |= {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
    return found


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def modules_of(set_name: str) -> set[str]:
    pins = [line for _, lines in environment.requirement_set(set_name).steps for line in lines]
    names = [re.split(r"[=<>]", pin)[0] for pin in pins]
    return {MODULE_OF_PIN.get(name, name) for name in names}


@pytest.mark.parametrize("path", sources("backend"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_backend_imports_only_itself_and_what_its_environment_holds(path: Path):
    foreign = roots(path) - set(sys.stdlib_module_names) - {"backend"}
    assert foreign <= modules_of("runtime") | OPTIONAL


@pytest.mark.parametrize("path", sources("addon"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_addon_imports_bpy_numpy_and_four_modules_of_the_backend(path: Path):
    blender = {"bpy", "bpy_extras", "bmesh", "mathutils", "gpu", "gpu_extras", "blf", "addon_utils", "numpy"}
    assert roots(path) - set(sys.stdlib_module_names) - {"addon", "backend"} <= blender
    for name in imports(path):
        if name.startswith("backend"):
            assert name.startswith(FOR_THE_ADDON) or name == "backend", name


@pytest.mark.parametrize("path", sources("addon"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_addon_reaches_its_own_modules_by_relative_imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module.split(".")[0] not in ("addon", "backend")
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & {"addon", "backend"}


@pytest.mark.parametrize("path", sources("training"), ids=lambda p: str(p.relative_to(ROOT)))
def test_training_imports_the_backend_and_neither_blender_nor_the_addon(path: Path):
    foreign = roots(path) - set(sys.stdlib_module_names) - {"backend", "training"}
    assert foreign <= modules_of("training") | OPTIONAL


@pytest.mark.parametrize("name", BARE)
def test_what_runs_before_the_installation_needs_the_standard_library_only(name: str):
    path = ROOT / "backend" / f"{name}.py"
    tree = ast.parse(path.read_text("utf-8"))
    at_import = {node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
    for node in at_import:
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= set(sys.stdlib_module_names)
        elif node.level or node.module.split(".")[0] == "backend":
            module = (node.module or "").removeprefix("backend").lstrip(".")
            assert {module} <= set(BARE) if module else {alias.name for alias in node.names} <= set(BARE)
        else:
            assert node.module.split(".")[0] in sys.stdlib_module_names


@pytest.mark.parametrize("name", PROCESS)
def test_the_process_layer_needs_the_standard_library_only(name: str):
    for imported in imports(ROOT / "backend" / f"{name}.py"):
        first, _, rest = imported.partition(".")
        assert first in sys.stdlib_module_names or (first == "backend" and rest.split(".")[0] in PROCESS), imported


@pytest.mark.parametrize("module", ["backend.cli", "training.cli", "backend.environment"])
def test_starting_imports_no_heavy_package(module: str):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}; "
        "print([n for n in ('numpy', 'torch', 'cv2', 'mediapipe', 'bpy') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_extension_imports_nothing_until_it_is_registered():
    tree = ast.parse((ROOT / "__init__.py").read_text("utf-8"))
    assert not [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} == {"register", "unregister"}


@pytest.mark.parametrize(
    "path", sources("backend") + sources("training") + sources("addon"), ids=lambda p: str(p.relative_to(ROOT))
)
def test_no_module_reads_or_writes_files_when_it_is_imported(path: Path):
    touching = {
        "open",
        "load",
        "read_text",
        "read_bytes",
        "write_text",
        "mkdir",
        "imread",
        "run",
        "Popen",
        "basicConfig",
    }
    for node in ast.parse(path.read_text("utf-8")).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr):
            continue
        for call in (inner for inner in ast.walk(node) if isinstance(inner, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            assert name not in touching, f"line {call.lineno}"
