"""What holds for every file of the repository."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ASSETS_MB = 8
WEIGHTS_MB = 16
"""Of one network; half precision, 8 million parameters."""
ALL_WEIGHTS_MB = 64
MACHINE_PATHS = re.compile(r"""["'\s(=](/work/|/home/\w+/|/tmp/\w|/root/|[A-Z]:\\\\Users)""")
REGISTRY_HOSTS = re.compile(r"https?://[\w.-]*(pypi|pythonhosted|anaconda|conda|test\.pypi)[\w.-]*")


def tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.splitlines()]
    return [path for path in paths if path.is_file() and path.suffix in suffixes]


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_has_nothing_to_say(command: list[str]):
    result = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_file_names_a_place_on_one_machine_or_a_package_registry():
    for path in tracked(".py", ".md", ".toml", ".txt", ".json", ".yaml"):
        if path == Path(__file__):
            continue
        text = path.read_text("utf-8")
        assert not MACHINE_PATHS.search(text), f"{path.relative_to(ROOT)}: {MACHINE_PATHS.search(text)[0]}"
        assert not REGISTRY_HOSTS.search(text), f"{path.relative_to(ROOT)}: {REGISTRY_HOSTS.search(text)[0]}"


def test_the_assets_stay_small():
    assets = [path for path in (ROOT / "backend" / "assets").rglob("*") if path.is_file() and "demo" not in path.parts]
    weights = [path for path in assets if path.suffix == ".safetensors"]
    assert sum(path.stat().st_size for path in set(assets) - set(weights)) <= ASSETS_MB * 1e6
    assert all(path.stat().st_size <= WEIGHTS_MB * 1e6 for path in weights)
    assert sum(path.stat().st_size for path in weights) <= ALL_WEIGHTS_MB * 1e6


def test_links_between_documents_lead_somewhere():
    for document in tracked(".md"):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text("utf-8")):
            if not re.match(r"\w+:", target):
                assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} -> {target}"
