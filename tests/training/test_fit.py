"""Runs: what they write, that they go on exactly, and what they say when something is wrong."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from fsspec.implementations.local import LocalFileOpener
from PIL import Image
from torch import Tensor

from backend.errors import Cancelled, UsageError
from tests.training.tiny_method import Points, TinyMethod
from training import fit as fit_command
from training import settings as settings_module
from training.errors import TrainingError
from training.fit import fit
from training.methods import registry
from training.runs.metrics_file import read_rows

ROOT = Path(__file__).resolve().parents[2]
PRESET = {
    "data": {"batch_size": 3, "workers": 0},
    "optimiser": {"name": "adamw", "learning_rate": 0.01, "schedule": "cosine", "warm_up_steps": 2},
    "training": {
        "max_steps": 20,
        "log_every": 1,
        "log_pictures_every": 5,
        "validate_every": 6,
        "accelerator": "cpu",
        "devices": 1,
        "threads": 1,
        "checkpoint_every_minutes": 1000,
    },
}


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the tiny method known, with a preset "small" and one that extends it."""
    monkeypatch.setitem(registry.METHODS, "tiny", "tests.training.tiny_method:TinyMethod")
    monkeypatch.setattr(settings_module, "CONFIGS", tmp_path / "configs")
    folder = tmp_path / "configs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "small.yaml").write_text(yaml.safe_dump(PRESET))
    (folder / "smaller.yaml").write_text("extends: small\nnetwork: {width: 2}\n")


def losses_of(folder: Path, name: str = "train/total") -> dict[int, float]:
    return {step: value for step, key, value in read_rows(folder / "metrics.csv") if key == name}


def test_a_run_folder_holds_settings_commit_seed_metrics_pictures_and_a_checkpoint(tmp_path: Path):
    run = tmp_path / "run"
    measured = fit("tiny", "small", overrides={"training.seed": 7}, output=run, arguments=["fit", "tiny"])
    record = json.loads((run / "run.json").read_text())
    assert record["method"] == "tiny" and record["seed"] == 7 and record["command"] == "python3 -m training fit tiny"
    assert len(record["commit"].split("+")[0]) == 12 or record["commit"] == "unknown"
    assert yaml.safe_load((run / "settings.yaml").read_text())["training"]["seed"] == 7
    assert set(losses_of(run)) == set(range(20))
    assert set(measured) == {"total", "distance", "size", "largest_error"}
    assert json.loads((run / "metrics.json").read_text())["validation"] == measured
    assert len(losses_of(run, "validation/largest_error")) == 4  # after 6, 12, 18 steps and at the end
    assert Image.open(run / "pictures" / "train_0000010.png").size == (12, 8)
    assert (run / "pictures" / "validation_0000012.png").exists()
    assert list((run / "tensorboard").iterdir())
    kept = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert kept["state_dict"]["validated_after"] == kept["global_step"] == 20  # by the validation at the end


STOPS = [(1, {}), (7, {}), (12, {}), (14, {}), (19, {}), (12, {"data.workers": 1}), (8, {"training.accumulate": 3})]
"""7 batches are a pass; steps 6, 12, 18 validate."""


@pytest.mark.parametrize(("stop_at", "overrides"), STOPS)
def test_a_run_that_was_stopped_goes_on_with_the_losses_of_one_that_was_not(tmp_path: Path, stop_at: int, overrides):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    fit("tiny", "small", overrides=overrides, output=whole)
    stop_after(stop_at, parted, overrides)
    assert max(losses_of(parted)) == stop_at - 1
    fit("tiny", output=parted, resume=True)
    assert losses_of(parted) == losses_of(whole)
    assert losses_of(parted, "train/learning_rate") == losses_of(whole, "train/learning_rate")
    first, second = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, parted))
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name


def stop_after(steps: int, run: Path, overrides: dict) -> None:
    """Trains and presses Ctrl-C in the last of these steps."""
    original, pressed = TinyMethod.losses, []

    def interrupted(self: TinyMethod, batch: dict, outputs: dict) -> dict[str, Tensor]:
        if self.training and self.global_step == steps - 1 and not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, outputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TinyMethod, "losses", interrupted)
        with pytest.raises(Cancelled, match=f"Stopped after step {steps}, which is saved"):
            fit("tiny", "small", overrides=overrides, output=run)


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(self: TinyMethod, batch: dict, outputs: dict) -> dict[str, Tensor]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("went on")

    monkeypatch.setattr(TinyMethod, "losses", interrupted)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Cancelled, match="Stopped at once"):
        fit("tiny", "small", output=tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_whose_machine_was_switched_off_goes_on_from_its_last_checkpoint(tmp_path: Path):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    fit("tiny", "small", output=whole)
    fit("tiny", "small", overrides={"training.max_steps": 8}, output=parted)
    # three more steps than the checkpoint knows of were written down
    with (parted / "metrics.csv").open("a") as file:
        file.write("8,train/total,1.0\n9,train/total,1.0\n10,train/to")
    fit("tiny", overrides={"training.max_steps": 20}, output=parted, resume=True)
    rows = [(step, name) for step, name, _ in read_rows(parted / "metrics.csv") if name.startswith("train/")]
    assert len(rows) == len(set(rows)) and max(rows)[0] == 19
    assert 1.0 not in losses_of(parted).values()


TWO_PROCESSES = """
import sys
from pathlib import Path
from training import settings
from training.methods import registry
from training.fit import fit

registry.METHODS["tiny"] = "tests.training.tiny_method:TinyMethod"
settings.CONFIGS = Path(sys.argv[1])
overrides = {"training.devices": 2, "training.max_steps": int(sys.argv[3]), "optimiser.schedule": "constant"}
fit("tiny", "small", overrides=overrides, output=Path(sys.argv[2]), resume=len(sys.argv) > 4)
"""


@pytest.mark.slow
def test_two_processes_go_on_exactly_too(tmp_path: Path):
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)

    def run(folder: str, *words: str) -> None:
        command = [sys.executable, str(script), str(tmp_path / "configs"), str(tmp_path / folder), *words]
        variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-3000:]

    run("whole", "9")
    run("parted", "5")
    run("parted", "9", "resume")
    assert len(losses_of(tmp_path / "whole")) == 9
    assert losses_of(tmp_path / "whole") == losses_of(tmp_path / "parted")


def test_minutes_stop_a_run_and_count_over_its_parts(tmp_path: Path):
    run = tmp_path / "run"
    fit("tiny", "small", overrides={"training.max_minutes": 1e-6, "training.max_steps": -1}, output=run)
    figures = json.loads((run / "metrics.json").read_text())
    assert figures["step"] == 1 and "validation" in figures
    fit("tiny", overrides={"training.max_minutes": 0.02, "training.max_steps": -1}, output=run, resume=True)
    again = json.loads((run / "metrics.json").read_text())
    assert again["step"] > 5 and 0.02 <= again["minutes"] < 0.05


def test_the_learning_rate_follows_the_schedule(tmp_path: Path):
    fit("tiny", "small", output=tmp_path / "run")
    rates = losses_of(tmp_path / "run", "train/learning_rate")
    for step, rate in rates.items():
        warm = min((step + 1) / 3, 1)
        assert rate == pytest.approx(0.01 * warm * (1 + np.cos(np.pi * step / 20)) / 2, rel=1e-5)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path: Path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit("tiny", "small", overrides={"training.seed": seed, "training.max_steps": 3}, output=tmp_path / name)
    assert losses_of(tmp_path / "a") == losses_of(tmp_path / "b") != losses_of(tmp_path / "c")


def test_chance_in_the_preparation_of_a_batch_is_other_in_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = []

    def prepared(self, batch):
        drawn.append((self.training, float(torch.rand(()))))
        return batch

    monkeypatch.setattr(TinyMethod, "prepared", prepared)
    fit("tiny", "small", overrides={"training.max_steps": 6, "training.validate_every": 2}, output=tmp_path / "run")
    assert len({value for training, value in drawn if training}) == 6
    before = list(drawn)
    fit("tiny", "small", overrides={"training.max_steps": 6, "training.validate_every": 0}, output=tmp_path / "other")
    assert [pair for pair in before if pair[0]] == [pair for pair in drawn[len(before) :] if pair[0]]


def test_a_loss_without_weight_is_not_computed(tmp_path: Path):
    fit("tiny", "small", overrides={"losses.size": 0, "training.max_steps": 2}, output=tmp_path / "run")
    names = {name for _, name, _ in read_rows(tmp_path / "run" / "metrics.csv")}
    assert "train/distance" in names and not names & {"train/size", "train/unused"}
    with pytest.raises(TrainingError, match="No loss of tiny has a weight above 0"):
        fit("tiny", "small", overrides={"losses.size": 0, "losses.distance": 0}, output=tmp_path / "none")


def spoil(monkeypatch: pytest.MonkeyPatch, step: int, how: Callable[[dict], dict[str, Tensor]]) -> None:
    """Replaces losses in one training step."""
    original = TinyMethod.losses

    def spoiled(self: TinyMethod, batch: dict, outputs: dict) -> dict[str, Tensor]:
        losses = original(self, batch, outputs)
        return losses | how(outputs) if self.training and self.global_step == step else losses

    monkeypatch.setattr(TinyMethod, "losses", spoiled)


def test_a_loss_that_is_no_number_stops_the_run_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spoil(monkeypatch, 4, lambda outputs: {"distance": outputs["y"].sum() * float("nan")})
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match="'distance' is nan in step 4, batch 4") as caught:
        fit("tiny", "small", overrides={"training.checkpoint_every_minutes": 1e-9}, output=run)
    assert caught.value.code == "loss-not-finite"
    kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 4 and all(torch.isfinite(value).all() for value in kept["state_dict"].values())


def test_a_gradient_that_is_no_number_is_named_by_its_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # a root of 0: its value is 0, its slope 0 times infinity
    spoil(monkeypatch, 3, lambda outputs: {"distance": (0 * outputs["y"].sum()).sqrt()})
    with pytest.raises(TrainingError, match="gradient of the loss 'distance' is not finite in step 3, batch 3"):
        fit("tiny", "small", output=tmp_path / "run")


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path):
    fit("tiny", "small", overrides={"training.max_steps": 1}, output=tmp_path / "run")
    with pytest.raises(UsageError, match="holds a run already. Add --resume"):
        fit("tiny", "small", output=tmp_path / "run")


def test_a_run_that_ended_before_its_first_checkpoint_can_begin_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(Points, "train_dataloader", lambda self: [])
        with pytest.raises(UsageError):
            fit("tiny", "small", output=tmp_path / "run")
    fit("tiny", "small", overrides={"training.max_steps": 2}, output=tmp_path / "run")
    assert set(losses_of(tmp_path / "run")) == {0, 1}


def test_a_resumed_run_says_what_changed_and_goes_by_it(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run = tmp_path / "run"
    fit("tiny", "small", overrides={"training.max_steps": 2}, output=run)
    changes = {"training.max_steps": 4, "losses.size": 0.5, "optimiser.schedule": "constant", "data.batch_size": 5}
    with caplog.at_level("INFO"):
        fit("tiny", overrides=changes | {"optimiser.learning_rate": 0.5}, output=run, resume=True)
    assert "losses.size: 0.01 -> 0.5" in caplog.text and "optimiser.learning_rate: 0.01 -> 0.5" in caplog.text
    resumed = json.loads((run / "run.json").read_text())["resumed"]
    assert resumed[0]["step"] == 2 and resumed[0]["changed"]["losses.size"] == {"from": 0.01, "to": 0.5}
    assert losses_of(run, "train/learning_rate")[3] == 0.5
    assert yaml.safe_load((run / "settings.yaml").read_text())["losses"]["size"] == 0.5
    # the data are others now: they are read from the beginning, and go on from there
    fit("tiny", overrides={"training.max_steps": 6}, output=run, resume=True)
    position = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["lifemask_position"]
    assert (position["before"], position["batches"]) == (2, 4)


@pytest.mark.parametrize("change", [{"network.width": 9}, {"optimiser.name": "sgd"}, {"face_model": "other.mat"}])
def test_a_run_cannot_go_on_with_another_network_optimiser_or_face_model(tmp_path: Path, change: dict):
    fit("tiny", "small", overrides={"training.max_steps": 1}, output=tmp_path / "run")
    with pytest.raises(UsageError, match="cannot go on with another") as caught:
        fit("tiny", overrides=change, output=tmp_path / "run", resume=True)
    assert next(iter(change)) in caught.value.sentence


def test_a_missing_damaged_or_foreign_checkpoint_is_refused_in_words(tmp_path: Path):
    with pytest.raises(UsageError, match="no folder of a run"):
        fit("tiny", output=tmp_path / "nothing", resume=True)
    run = tmp_path / "run"
    fit("tiny", "small", overrides={"training.max_steps": 1}, output=run)
    path = run / "checkpoints" / "last.ckpt"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no checkpoint"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="last.ckpt is damaged or no checkpoint"):
            fit("tiny", output=run, resume=True)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UsageError, match="is no checkpoint of Lifemask's training"):
        fit("tiny", output=run, resume=True)
    path.unlink()
    with pytest.raises(UsageError, match="There is no checkpoint"):
        fit("tiny", output=run, resume=True)


@pytest.mark.parametrize(
    ("mark", "sentence"),
    [
        ({"method": "eye-motion"}, "is a checkpoint of eye-motion, not tiny"),
        ({"face_model": "BFM_model_front.mat"}, "face model BFM_model_front.mat, not with open_head"),
    ],
)
def test_a_checkpoint_of_another_method_or_face_model_is_refused(tmp_path: Path, mark: dict, sentence: str):
    run = tmp_path / "run"
    fit("tiny", "small", overrides={"training.max_steps": 1}, output=run)
    path = run / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["lifemask"] |= mark
    torch.save(content, path)
    with pytest.raises(UsageError, match=sentence):
        fit("tiny", output=run, resume=True)


def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = tmp_path / "run"
    fit("tiny", "small", overrides={"training.max_steps": 2}, output=run)
    before = (run / "checkpoints" / "last.ckpt").read_bytes()

    def full(self: LocalFileOpener, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalFileOpener, "write", full, raising=False)
    with pytest.raises(UsageError, match="disk of .*last.ckpt is full. The checkpoint before is untouched") as caught:
        fit("tiny", overrides={"training.max_steps": 4}, output=run, resume=True)
    assert caught.value.exit_code == 2
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == before


def test_data_without_a_batch_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Points, "train_dataloader", lambda self: [])
    with pytest.raises(UsageError, match="not one batch to train on"):
        fit("tiny", "small", output=tmp_path / "run")


def test_the_command_reads_words_in_any_order(tmp_path: Path, capsys: pytest.CaptureFixture):
    run = tmp_path / "run"
    words = [
        "tiny",
        "--preset",
        "small",
        "losses.size=0.5",
        "--max-steps",
        "2",
        "network.width=3",
        "--output",
        str(run),
    ]
    assert fit_command.main(words) == 0
    assert "largest_error" in capsys.readouterr().out
    written = yaml.safe_load((run / "settings.yaml").read_text())
    assert (written["losses"]["size"], written["training"]["max_steps"], written["network"]["width"]) == (0.5, 2, 3)
    assert fit_command.main(["tiny", "--resume", "--output", str(run), "--max-steps", "3"]) == 0
    with pytest.raises(UsageError, match="Say --preset or --config. tiny has the presets: small, smaller"):
        fit_command.main(["tiny"])
