"""Trains the short runs that a method's tables are made from: `python3 -m training ablate METHOD`.

`training/configs/<method>/ablations.yaml` lists them: a preset, overrides for all of them, seeds, and for each run its
name with overrides of its own; those named in `one_seed` are trained with the first seed alone. Each leaves one small
file, `training/ablations/<method>/<name>-seed<N>.json`, from which `evaluate METHOD --table ...` prints. What has such
a file is not trained again, unless its settings have changed.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from backend.errors import UsageError
from training.fit import fit
from training.methods.registry import METHODS, config_folder_name, method_class
from training.runs.folder import RunFolder, default_folder, without_places, write_json
from training.runs.loading import load_run
from training.settings import CONFIGS, RunSettings, flat, load_settings, nested, without_sections
from training.suggestions import unknown

logger = logging.getLogger(__name__)

RESULTS = Path(__file__).resolve().parent / "ablations"
IRRELEVANT = ("training.log_", "training.checkpoint_", "training.threads", "data.workers", "data.shards")
"""Settings (by how they begin) that do not make another run: how one machine is used, where its shards lie."""


@dataclass(frozen=True)
class Ablation:
    """One run.

    Attributes:
        name: as in the table.
        seed: of the run.
        preset: that it changes.
        overrides: by dotted name.
    """

    name: str
    seed: int
    preset: str
    overrides: dict[str, Any]

    @property
    def file_name(self) -> str:
        return f"{self.name}-seed{self.seed}.json"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m training ablate", description=__doc__.splitlines()[0])
    parser.add_argument("method", help=", ".join(METHODS))
    parser.add_argument("--only", metavar="NAME", help="of one run of ablations.yaml")
    parser.add_argument("--again", action="store_true", help="train what has a result already, too")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="for the run folders, runs/METHOD/ablations else")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for all of them: data.shards=FOLDER")
    chosen = parser.parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    overrides = without_sections(nested(chosen.overrides))
    for path in ablate(chosen.method, chosen.only, overrides, chosen.runs, again=chosen.again):
        figures = json.loads(path.read_text("utf-8"))["figures"]
        print(f"{path.stem:<32} " + "  ".join(f"{name} {value:.5g}" for name, value in figures.items()), flush=True)
    return 0


def ablate(
    method: str,
    only: str | None = None,
    overrides: dict[str, Any] | None = None,
    runs: Path | None = None,
    again: bool = False,
) -> Iterator[Path]:
    """Trains what is missing. A run that was stopped goes on.

    Args:
        method: its name.
        only: of one run; None for all.
        overrides: for all of them, by dotted name; stronger than those in the file.
        runs: folder for the run folders.
        again: train what has a result, too.

    Yields:
        The file of each result, made now or before.

    Raises:
        UsageError: there is no such ablation, or its settings are wrong.
    """
    method_type = method_class(method)
    place = runs or default_folder(method, "ablations")
    for ablation in ablations(method, only):
        changed = {**ablation.overrides, "training.seed": ablation.seed, **(overrides or {})}
        settings = load_settings(method_type.Settings, method, ablation.preset, overrides=changed)
        result = RESULTS / config_folder_name(method) / ablation.file_name
        if not again and _is_done(result, settings):
            yield result
            continue
        folder = place / f"{ablation.name}-seed{ablation.seed}"
        _train(method, ablation, changed, settings, folder, fresh=again)
        yield _write_result(method, ablation, folder, result, settings)


def ablations(method: str, only: str | None = None) -> list[Ablation]:
    """The runs that a method's `ablations.yaml` lists, once for each seed.

    Raises:
        UsageError: there is no such file or no run of this name.
    """
    path = CONFIGS / config_folder_name(method) / "ablations.yaml"
    if not path.is_file():
        raise UsageError("no-ablations", f"{method} has no ablations: there is no {path.name} beside its presets.")
    listed = yaml.safe_load(path.read_text("utf-8"))
    named = listed["runs"]
    if only is not None and only not in named:
        raise unknown("ablation", only, named, f"of {method}")
    shared = without_sections(nested(listed.get("overrides") or {}))
    seeds = listed.get("seeds", [0])
    return [
        Ablation(name, seed, listed["preset"], {**shared, **without_sections(nested(own or {}))})
        for name, own in named.items()
        for seed in (seeds[:1] if name in listed.get("one_seed", ()) else seeds)
        if only in (None, name)
    ]


def read_results(method: str) -> dict[str, list[dict[str, Any]]]:
    """All results of a method by the name of the ablation, one dictionary a seed, as the tables need them."""
    results: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((RESULTS / config_folder_name(method)).glob("*.json")):
        result = json.loads(path.read_text("utf-8"))
        results.setdefault(result["name"], []).append(result)
    return results


def _is_done(result: Path, settings: RunSettings) -> bool:
    if not result.is_file():
        return False
    if json.loads(result.read_text("utf-8"))["settings"] == _compared(settings):
        return True
    logger.info("%s is from other settings: training it again.", result.name)
    return False


def _train(
    method: str, ablation: Ablation, overrides: dict[str, Any], settings: RunSettings, path: Path, fresh: bool
) -> None:
    folder = RunFolder(path)
    resume = False
    if folder.checkpoint.exists() and not fresh:
        resume = _compared(folder.settings(type(settings), method)) == _compared(settings)
    if folder.record_file.exists() and not resume:
        _set_aside(path)
    logger.info("%s, seed %d:%s", ablation.name, ablation.seed, " going on" if resume else "")
    words = ["ablate", method, "--only", ablation.name]
    fit(method, ablation.preset, overrides=overrides, output=path, resume=resume, arguments=words)


def _set_aside(path: Path) -> None:
    number = 1
    while (other := path.with_name(f"{path.name}.old{number}")).exists():
        number += 1
    path.rename(other)


def _write_result(method: str, ablation: Ablation, folder: Path, result: Path, settings: RunSettings) -> Path:
    run = load_run(method, folder)
    run.method.eval()
    content = {
        "name": ablation.name,
        "preset": ablation.preset,
        "seed": ablation.seed,
        "commit": run.record["commit"],
        "machine": run.record["machine"],
        "steps": run.step,
        "minutes": round(run.minutes, 2),
        "figures": {name: float(value) for name, value in run.method.ablation_figures().items()},
        "validation": run.folder.figures().get("validation", {}),
        "settings": _compared(settings),
    }
    result.parent.mkdir(parents=True, exist_ok=True)
    write_json(result, content)
    return result


def _compared(settings: RunSettings) -> dict[str, Any]:
    relevant = {name: value for name, value in flat(settings).items() if not name.startswith(IRRELEVANT)}
    return json.loads(json.dumps(without_places(relevant)))
