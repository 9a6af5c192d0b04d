"""Trains a method in a folder of its own, and goes on where it stopped: `python3 -m training fit METHOD`."""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from backend.errors import UsageError
from training.methods.base import TrainingMethod
from training.methods.registry import METHODS, method_class
from training.runs.checkpoints import load_state, read_checkpoint
from training.runs.folder import RunFolder, default_folder
from training.runs.loop import prepare_machine, train
from training.settings import RunSettings, differences, load_settings, merge, nested, presets, without_sections

logger = logging.getLogger(__name__)

FIXED = ("face_model", "expression", "network", "optimiser.name")
"""What a run that goes on cannot change: its checkpoint would not fit."""


def main(arguments: list[str]) -> int:
    chosen = make_parser().parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    overrides = nested(chosen.overrides)
    merge(overrides, _limits(chosen))
    measured = fit(
        chosen.method,
        preset=chosen.preset,
        config=chosen.config,
        overrides=without_sections(overrides),
        output=chosen.output,
        resume=chosen.resume,
        arguments=["fit", *arguments],
    )
    if rank_zero_only.rank == 0:
        for name, value in measured.items():
            print(f"{name:<32} {value:.6g}")
    return 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m training fit", description=__doc__)
    parser.add_argument("method", help=", ".join(METHODS))
    parser.add_argument("--preset", help="such as paper, open, open-small")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a YAML file that changes the preset")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as losses.photo=1.8")
    parser.add_argument("--max-steps", type=int, metavar="N", help="training.max_steps")
    parser.add_argument("--max-minutes", type=float, metavar="M", help="training.max_minutes, resumed parts included")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="of the run, runs/METHOD/PRESET by default")
    parser.add_argument("--resume", action="store_true", help="go on with the run in this folder")
    return parser


def fit(
    name: str,
    preset: str | None = None,
    config: Path | None = None,
    overrides: dict[str, Any] | None = None,
    output: Path | None = None,
    resume: bool = False,
    arguments: list[str] | None = None,
) -> dict[str, float]:
    """Trains a method.

    Args:
        name: of the method.
        preset, config, overrides: as `load_settings` takes them. When a run is resumed without preset and config, its
            own settings are taken instead.
        output: folder of the run; None for `runs/<method>/<preset>`.
        resume: go on with the run in that folder.
        arguments: words of the command line, to be written down.

    Returns:
        What the validation at the end measured, by name.

    Raises:
        UsageError: a wrong word, a folder that does not fit.
        TrainingError: a loss that is no number.
        Cancelled: Ctrl-C; the run is saved.
    """
    method_type = method_class(name)
    folder = RunFolder(output or default_folder(name, preset))
    overrides = overrides or {}
    if not resume:
        if preset is None and config is None:
            raise UsageError(
                "no-preset", f"Say --preset or --config. {name} has the presets: {', '.join(presets(name)) or 'none'}."
            )
        settings = load_settings(method_type.Settings, name, preset, config, overrides)
        method = _make(method_type, settings)
        folder.begin(name, preset, settings, arguments or [])
        return train(method, folder)

    folder.record()
    before = folder.settings(method_type.Settings, name)
    if preset is None and config is None:
        settings = load_settings(method_type.Settings, name, config=folder.settings_file, overrides=overrides)
    else:
        settings = load_settings(method_type.Settings, name, preset, config, overrides)
    changes = differences(before, settings)
    _say_what_changed(changes, folder)
    method = _make(method_type, settings)
    checkpoint = read_checkpoint(folder.checkpoint, name, method.face_model_name)
    load_state(method, checkpoint["state_dict"], folder.checkpoint)
    folder.note_resumed(settings, changes, checkpoint["global_step"])
    logger.info("Going on from step %d.", checkpoint["global_step"])
    return train(method, folder, checkpoint, data_changed=any(name.startswith("data.") for name in changes))


def _make(method_type: type[TrainingMethod], settings: RunSettings) -> TrainingMethod:
    prepare_machine(settings)
    return method_type(settings)


def _say_what_changed(changes: dict[str, tuple[Any, Any]], folder: RunFolder) -> None:
    words = [f"{name}: {before} -> {after}" for name, (before, after) in changes.items()]
    fixed = [word for word in words if word.startswith(FIXED)]
    if fixed:
        raise UsageError(
            "resume-changed",
            f"The run in {folder.path} cannot go on with another {'; '.join(fixed)}. "
            "Leave these as they were, or train anew in another folder.",
        )
    for word in words:
        logger.warning("Changed since the run began: %s", word)


def _limits(chosen: argparse.Namespace) -> dict[str, Any]:
    limits = {"max_steps": chosen.max_steps, "max_minutes": chosen.max_minutes}
    return {"training": {name: value for name, value in limits.items() if value is not None}}
