"""The weights of a run as one file that the backend loads, with a model card: `python3 -m training export METHOD`."""

import argparse
import json
from pathlib import Path
from typing import Any

from backend.errors import UsageError
from backend.output_folder import check_folder_above
from backend.weights import load_weights, save_weights
from training.methods.registry import METHODS
from training.runs.checkpoints import disk_full_in_words
from training.runs.folder import without_places
from training.runs.loading import TrainedRun, load_run


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m training export", description=__doc__)
    parser.add_argument("method", help=", ".join(METHODS))
    parser.add_argument("--run", type=Path, required=True, metavar="FOLDER", help="of the run")
    parser.add_argument("--output", type=Path, metavar="FILE", help="NAME.safetensors; METHOD-PRESET in the run else")
    chosen = parser.parse_args(arguments)
    path = export(chosen.method, chosen.run, chosen.output)
    print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    print(path.with_suffix(".md"))
    return 0


def export(name: str, run_path: Path, output: Path | None = None) -> Path:
    """Writes the weights of a run and their model card, and reads them back.

    Args:
        name: of the method.
        run_path: folder of the run.
        output: the file; None for `<run>/<method>-<preset>.safetensors`. The card lies beside it, ending in `.md`.

    Returns:
        The file.

    Raises:
        UsageError: as `load_run`; the file cannot be written.
    """
    run = load_run(name, run_path)
    path = output or run_path / f"{name}-{run.record['preset'] or 'custom'}.safetensors"
    if path.suffix != ".safetensors":
        raise UsageError("bad-output", f"{path} should end in .safetensors.")
    check_folder_above(path)
    state, facts = run.method.exported()
    facts = {**facts, "run": _about(run)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_full_in_words(path):
        save_weights(path, state, name, run.method.face_model_name, facts)
        written = load_weights(path, name, run.method.face_model_name)
        numbers = sum(value.numel() for value in written.state.values())
        path.with_suffix(".md").write_text(model_card(path, run, facts, numbers), "utf-8")
    return path


def model_card(path: Path, run: TrainedRun, facts: dict[str, Any], numbers: int) -> str:
    """Markdown: what the weights are, from what, by which command, and how good."""
    about, megabytes = facts["run"], path.stat().st_size / 1e6
    rows = {
        "Method": run.method.name,
        "Preset": about["preset"] or "none",
        "Face model": run.method.face_model_name,
        "Stored": f"{numbers:,} numbers, statistics and tables included ({megabytes:.1f} MB, half precision)",
        "Trained": f"{about['steps']:,} steps, {about['minutes']:.1f} minutes, {about['machine']}",
        "Command": f"`{about['command']}`",
        "Commit": about["commit"],
        "Seed": about["seed"],
    }
    lines = [f"# {path.stem}", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    if run.method.learns_from:
        lines += ["", "## Data", "", run.method.learns_from]
    if about["shards"]:
        lines += ["", "Shards:", "", "```json", json.dumps(about["shards"], indent=2), "```"]
    lines += ["", "## Figures", ""]
    if about["figures"]:
        lines += ["On the validation data of the run, people that were not trained on:", "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value:.4g} |" for name, value in about["figures"].items()]
    else:
        lines.append("Not validated.")
    if about["resumed"]:
        lines += ["", "## Resumed", ""]
        lines += [
            f"- at step {part['step']:,} with commit {part['commit']}"
            + "".join(f"; {name}: {change['from']} -> {change['to']}" for name, change in part["changed"].items())
            for part in about["resumed"]
        ]
    settings = json.dumps(about["settings"], indent=2)
    return "\n".join([*lines, "", "## Settings", "", "```json", settings, "```", ""])


def _about(run: TrainedRun) -> dict[str, Any]:
    """What was done to get the weights, without the names of folders on this machine."""
    settings = run.method.settings
    about = {
        "preset": run.record["preset"],
        "command": run.record["command"],
        "commit": run.record["commit"],
        "seed": run.record["seed"],
        "machine": run.record["machine"],
        "steps": run.step,
        "minutes": round(run.minutes, 2),
        "resumed": run.record["resumed"],
        "shards": _description_of_shards(settings.data.shards),
        "figures": run.folder.figures().get("validation", {}),
        "settings": settings.model_dump(mode="json"),
    }
    return without_places(about)


def _description_of_shards(folder: str | None) -> dict[str, Any]:
    path = Path(folder or "") / "shards.json"
    if folder is None or not path.is_file():
        return {}
    description = json.loads(path.read_text("utf-8"))
    return {name: value for name, value in description.items() if not isinstance(value, list | dict)}
