"""Losses and measures of a run on its held-out data: `python3 -m training validate METHOD --run FOLDER`."""

import argparse
from pathlib import Path

from lightning.pytorch.utilities.model_helpers import is_overridden

from backend.errors import UsageError
from training.methods.registry import METHODS
from training.runs.folder import write_json
from training.runs.loading import load_run
from training.runs.loop import make_trainer, quiet_lightning, validate
from training.runs.picture_log import PictureLog
from training.settings import nested, without_sections


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m training validate", description=__doc__)
    parser.add_argument("method", help=", ".join(METHODS))
    parser.add_argument("--run", type=Path, required=True, metavar="FOLDER", help="of the run")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as data.validation_shards=FOLDER")
    chosen = parser.parse_intermixed_args(arguments)
    for name, value in validate_run(chosen.method, chosen.run, without_sections(nested(chosen.overrides))).items():
        print(f"{name:<32} {value:.6g}")
    return 0


def validate_run(name: str, path: Path, overrides: dict | None = None) -> dict[str, float]:
    """Validates a run, and writes the result into its `metrics.json` and a grid into `pictures/`.

    Args:
        name: of the method.
        path: of the run's folder.
        overrides: settings to change; with any, `metrics.json` stays as it is.

    Returns:
        The means of all losses and measures.

    Raises:
        UsageError: as `load_run`; there are no validation data.
    """
    run = load_run(name, path, overrides)
    data = run.method.data(run.method.settings)
    if not is_overridden("val_dataloader", data):
        raise UsageError("no-validation-data", f"{name} has no validation data with these settings.")
    with quiet_lightning():
        trainer = make_trainer(run.method.settings, path, callbacks=[PictureLog(run.folder.pictures, run.step)])
        measured = validate(trainer, run.method, data)
    if not overrides:
        figures = {"step": run.step, "minutes": run.minutes} | run.folder.figures()
        write_json(run.folder.figures_file, figures | {"validation": measured})
    return measured
