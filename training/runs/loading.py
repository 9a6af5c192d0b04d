"""A trained method out of the folder of its run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import UsageError
from training.methods.base import MARK, TrainingMethod
from training.methods.registry import method_class
from training.runs.checkpoints import load_state, read_checkpoint
from training.runs.folder import RunFolder
from training.runs.loop import prepare_machine
from training.settings import load_settings


@dataclass(frozen=True)
class TrainedRun:
    """A run as it stands.

    Attributes:
        method: with the parameters of the last checkpoint, on the CPU.
        folder: of the run.
        record: what `run.json` says.
        step, minutes: that it was trained for.
    """

    method: TrainingMethod
    folder: RunFolder
    record: dict[str, Any]
    step: int
    minutes: float


def load_run(name: str, path: Path, overrides: dict[str, Any] | None = None) -> TrainedRun:
    """Reads a run.

    Args:
        name: of the method.
        path: of the run's folder.
        overrides: settings to change, such as {"data.validation_shards": ...}.

    Raises:
        UsageError: there is no run, its checkpoint is missing or damaged, or it is of another method.
    """
    method_type = method_class(name)
    folder = RunFolder(path)
    record = folder.record()
    if record["method"] != name:
        raise UsageError("run-of-another-method", f"{path} is a run of {record['method']}, not of {name}.")
    settings = load_settings(method_type.Settings, name, config=folder.settings_file, overrides=overrides or {})
    prepare_machine(settings)
    method = method_type(settings)
    checkpoint = read_checkpoint(folder.checkpoint, name, method.face_model_name)
    load_state(method, checkpoint["state_dict"], folder.checkpoint)
    return TrainedRun(method, folder, record, checkpoint["global_step"], checkpoint[MARK]["minutes"])
