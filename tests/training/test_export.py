"""What is made of finished runs: validations, files of weights with their cards, results of ablations."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from backend.errors import UsageError
from backend.licences import of_weights
from backend.weights import load_weights
from tests.face_model_files import write_flame
from tests.training.test_fit import PRESET
from tests.training.tiny_method import TinyMethod
from training import ablate as ablate_module
from training import export as export_command
from training import settings as settings_module
from training import validate as validate_command
from training.ablate import ablate, ablations, read_results
from training.export import export
from training.fit import fit
from training.methods import registry
from training.runs.folder import without_places
from training.runs.loading import load_run
from training.validate import validate_run

ABLATIONS = {
    "preset": "small",
    "seeds": [0, 3],
    "overrides": {"training.max_steps": 3, "network": {"width": 2}},
    "runs": {"none": {"losses.size": 0}, "with-size": None},
}


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.METHODS, "tiny", "tests.training.tiny_method:TinyMethod")
    for module in (settings_module, ablate_module):
        monkeypatch.setattr(module, "CONFIGS", tmp_path / "configs")
    monkeypatch.setattr(ablate_module, "RESULTS", tmp_path / "results")
    folder = tmp_path / "configs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "small.yaml").write_text(yaml.safe_dump(PRESET))
    (folder / "ablations.yaml").write_text(yaml.safe_dump(ABLATIONS))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "some place" / "run"
    overrides = {"training.max_steps": 4, "training.seed": 5, "data.shards": str(tmp_path / "shards")}
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "shards.json").write_text('{"seed": 8, "count": 100, "persons": [1, 2]}')
    words = ["fit", "tiny", "--preset", "small", "--output", str(path)]
    fit("tiny", "small", overrides=overrides, output=path, arguments=words)
    return path


def test_validate_measures_the_run_as_its_end_did(run: Path, capsys: pytest.CaptureFixture):
    at_the_end = json.loads((run / "metrics.json").read_text())
    torch.manual_seed(99)
    assert validate_command.main(["tiny", "--run", str(run)]) == 0
    assert "largest_error" in capsys.readouterr().out
    now = json.loads((run / "metrics.json").read_text())
    assert now["train"] == at_the_end["train"] and now["step"] == 4
    # the points of the tiny method are noisy, so that the losses on them are not; the size of the parameters is exact
    assert now["validation"]["size"] == pytest.approx(at_the_end["validation"]["size"], rel=1e-6)


def test_validate_with_other_settings_leaves_the_record_as_it_is(run: Path):
    before = (run / "metrics.json").read_bytes()
    assert validate_run("tiny", run, {"losses.size": 0}).keys() == {"total", "distance", "largest_error"}
    assert (run / "metrics.json").read_bytes() == before


def test_an_exported_file_holds_the_network_of_the_run(run: Path, capsys: pytest.CaptureFixture):
    assert export_command.main(["tiny", "--run", str(run)]) == 0
    path = run / "tiny-small.safetensors"
    assert str(path) in capsys.readouterr().out
    weights = load_weights(path, "tiny", "open_head")
    assert weights.facts["width"] == 4 and weights.facts["run"]["seed"] == 5
    trained = load_run("tiny", run).method.network.state_dict()
    for name, value in weights.state.items():
        torch.testing.assert_close(value, trained[name], rtol=1e-3, atol=1e-6)


def test_weights_of_a_models_file_have_the_licence_of_what_is_in_it(tmp_path: Path, monkeypatch):
    """A file's name decides nothing: research-only FLAME called like the free edition stays what it is."""
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path / "home"))
    model = write_flame(tmp_path / "flame2023_Open.pkl")
    fit("tiny", "small", overrides={"training.max_steps": 1, "face_model": str(model)}, output=tmp_path / "run")
    path = export("tiny", tmp_path / "run", tmp_path / "tiny.safetensors")
    assert load_weights(path, "tiny").face_model == "flame2023"
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["lifemask"]["face_model"] == "flame2023"
    assert not of_weights(path, "open_head").commercial


def test_the_model_card_tells_how_the_weights_were_made_and_nothing_of_the_machine(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(TinyMethod, "learns_from", "Points on a line, made up here.")
    path = export("tiny", run, tmp_path / "weights" / "tiny-open.safetensors")
    card = path.with_suffix(".md").read_text()
    record = json.loads((run / "run.json").read_text())
    figures = json.loads((run / "metrics.json").read_text())["validation"]
    for told in (
        "# tiny-open",
        "Points on a line",
        record["commit"],
        "4 steps",
        '"count": 100',
        f"| largest_error | {figures['largest_error']:.4g} |",
        '"learning_rate": 0.01',
        "fit tiny --preset small --output",
    ):
        assert told in card, told
    assert str(tmp_path) not in card and "persons" not in card
    assert str(tmp_path) not in json.dumps(load_weights(path, "tiny").facts)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("--output /data/runs/a --preset open", "--output a --preset open"),
        ("data.shards=/data/my-shards", "data.shards=my-shards"),
        ("--output '/my runs/a'", "--output 'a'"),
        ("C:\\people\\BFM_model_front.mat", "BFM_model_front.mat"),
        ("~/runs/a", "a"),
        ("runs/eye-motion/open-small and 3/4 of https://example.org/x", None),
    ],
)
def test_places_on_a_machine_are_left_out_of_what_is_published(text: str, shown: str | None):
    assert without_places({"a": [text, 3, None]}) == {"a": [shown or text, 3, None]}


def test_a_run_of_another_method_is_refused(run: Path, tmp_path: Path):
    for command in (export, validate_run, load_run):
        with pytest.raises(UsageError, match="is a run of tiny, not of eye-state"):
            command("eye-state", run)
        with pytest.raises(UsageError, match="no folder of a run"):
            command("tiny", tmp_path / "nothing")


def test_ablate_trains_what_is_missing_and_writes_one_result_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runs = tmp_path / "runs"
    paths = list(ablate("tiny", runs=runs))
    assert [path.name for path in paths] == [
        "none-seed0.json",
        "none-seed3.json",
        "with-size-seed0.json",
        "with-size-seed3.json",
    ]
    result = json.loads(paths[1].read_text())
    assert (result["name"], result["seed"], result["steps"], result["preset"]) == ("none", 3, 3, "small")
    assert set(result["figures"]) == {"slope"} and result["commit"]
    assert result["settings"]["losses.size"] == 0 and result["settings"]["network.width"] == 2
    results = read_results("tiny")
    assert [one["seed"] for one in results["with-size"]] == [0, 3]
    slopes = {one["figures"]["slope"] for all_seeds in results.values() for one in all_seeds}
    assert len(slopes) == 4

    monkeypatch.setattr(TinyMethod, "losses", None)  # whoever trains now fails
    before = {path: path.read_bytes() for path in paths}
    assert list(ablate("tiny", runs=runs)) == paths
    assert {path: path.read_bytes() for path in paths} == before


def test_an_ablation_whose_settings_changed_is_trained_again(tmp_path: Path):
    list(ablate("tiny", only="none", runs=tmp_path / "runs"))
    path = next(iter(ablate("tiny", only="none", overrides={"losses.distance": 0.5}, runs=tmp_path / "runs")))
    assert json.loads(path.read_text())["settings"]["losses.distance"] == 0.5
    kept = sorted(folder.name for folder in (tmp_path / "runs").iterdir())
    assert kept == ["none-seed0", "none-seed0.old1", "none-seed3"]


def test_an_unknown_ablation_names_the_nearest():
    with pytest.raises(UsageError, match="no ablation 'with-siz' of tiny. Did you mean 'with-size'"):
        ablations("tiny", "with-siz")
