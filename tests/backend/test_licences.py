"""What may be sold: the strictest licence of a head counts, is written into the result and refuses before any work."""

import dataclasses
import json
import os
import re
import struct
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from backend import asset_store, batch, batch_command, batch_record, cli, licences, pipeline
from backend.asset_catalogue import CATALOGUE, FACE_MODEL
from backend.batch import batch_from_request, run_batch
from backend.batch_plan import Person
from backend.client import Backend
from backend.environment import clean_variables
from backend.errors import UsageError
from backend.licences import Credit
from backend.obj_file import write_obj_note
from backend.options import METHODS, ReconstructOptions
from backend.result_folder import read_result
from backend.weights import save_weights

ROOT = Path(licences.__file__).parent.parent
FREE = Credit("face model A", "CC0-1.0", "A is free.", commercial=True)
NAMED = Credit("detector B", "CC-BY-4.0", "B is free.", commercial=True)
RESEARCH = Credit("weights C", "C", "C is for research.", commercial=False)
BOUND = Credit("face model D", "D", "D is for study.", commercial=False)


@pytest.fixture
def flame(tmp_path: Path, monkeypatch) -> Path:
    """A home with a FLAME 2020 whose record is whole and whose model is not looked into. Returns its folder."""
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path / "home"))
    return write_model(tmp_path / "home", "flame2020")


def write_model(home: Path, name: str, **other) -> Path:
    entry = next(entry for entry in CATALOGUE if entry.name == name)
    told = dataclasses.replace(
        asset_store._absent(entry), installed=True, sha256="ab", preparation=asset_store.PREPARATION
    )
    folder = home / "face_models" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.npz").write_bytes(b"not looked into")
    (folder / "asset.json").write_text(json.dumps({"schema_version": 1, **dataclasses.asdict(told), **other}), "utf-8")
    return folder


# Together


def test_a_head_may_be_sold_only_where_everything_in_it_may():
    together = licences.combined([FREE, NAMED])
    assert together.commercial and together.name == "CC0-1.0 and CC-BY-4.0"
    for credits in ([FREE, RESEARCH, NAMED], [RESEARCH], [BOUND, RESEARCH]):
        assert not licences.combined(credits).commercial


def test_the_sentence_names_all_that_forbid_and_nothing_else():
    sentence = licences.combined([BOUND, NAMED, RESEARCH]).sentence
    assert sentence.startswith("Heads made with the face model D and the weights C may not be sold.")
    assert "D is for study." in sentence and "C is for research." in sentence and "B" not in sentence


def test_only_a_head_for_sale_is_refused_and_any_other_is_warned_of():
    licences.check_sale([FREE, RESEARCH], for_sale=False)
    licences.check_sale([FREE, NAMED], for_sale=True)
    with pytest.raises(UsageError, match="weights C may not be sold.*another face model") as caught:
        licences.check_sale([FREE, RESEARCH], for_sale=True)
    assert caught.value.code == "licence-forbids-sale"
    (warning,) = licences.warnings([FREE, RESEARCH])
    assert "may not be sold" in warning and licences.warnings([FREE, NAMED]) == []


# Of what


@pytest.mark.parametrize("entry", [entry for entry in CATALOGUE if entry.kind == FACE_MODEL], ids=lambda e: e.name)
def test_a_face_model_has_the_licence_that_the_list_says(entry, tmp_path, monkeypatch):
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path))
    credit = licences.of_face_model(entry.name)
    assert (credit.name, credit.sentence, credit.commercial) == (entry.licence, entry.sentence, entry.commercial)
    assert credit.what == f"face model {entry.label}"


def test_the_licence_that_came_with_an_added_file_counts(flame):
    write_model(flame.parent.parent, "flame2020", licence="Bought", sentence="For sale.", commercial=True)
    assert licences.of_face_model("flame2020") == Credit("face model FLAME 2020", "Bought", "For sale.", True)


def test_a_face_model_of_which_nothing_is_known_allows_no_sale(tmp_path, monkeypatch):
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path))
    assert not licences.of_face_model("mine.npz").commercial


@pytest.mark.parametrize("name", METHODS)
def test_the_weights_of_a_method_are_known_before_it_is_loaded(name):
    method = pipeline.method_named(name)
    assert licences.WEIGHTS_OF_METHOD[name] == (tuple(method.weights.values()) if method else ())
    assert all(credit.commercial for credit in licences.of_options(ReconstructOptions(method=name)))


@pytest.mark.parametrize(
    ("trained_with", "licence", "commercial"),
    [
        ("flame2020", "FLAME", False),
        ("generic_model.pkl", "FLAME", False),
        ("BFM_model_front.mat", "BFM", False),
        ("flame2023_Open.pkl", "unknown", False),  # anything can be called so
        ("ict_facekit.npz", "unknown", False),
        ("ict", "MIT", True),
        ("open_head", "CC0-1.0", True),
        ("nobody_knows", "unknown", False),
    ],
)
def test_weights_carry_the_licence_of_the_face_model_that_they_were_trained_with(
    trained_with, licence, commercial, tmp_path, monkeypatch
):
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path / "home"))
    path = tmp_path / "mine.safetensors"
    save_weights(path, {"weight": torch.zeros(2, 2)}, "eye-motion", trained_with, {})
    credit = licences.of_weights(path, "open_head")
    assert (credit.name, credit.commercial) == (licence, commercial)
    assert credit.what.startswith("weights mine (trained with the face model")


def test_weights_that_do_not_say_what_they_are_of_carry_the_licence_of_the_heads_face_model(tmp_path, monkeypatch):
    monkeypatch.setenv("LIFEMASK_HOME", str(tmp_path / "home"))
    for content in (b"", b"no safetensors at all", struct.pack("<Q", 1 << 60), struct.pack("<Q", 2) + b"{}"):
        (tmp_path / "mine.safetensors").write_bytes(content)
        assert not licences.of_weights(tmp_path / "mine.safetensors", "flame2020").commercial
    assert licences.of_weights(tmp_path / "gone.safetensors", "bfm2009").name == "BFM"


def test_weights_that_ship_are_free_and_known_as_such():
    for path in sorted(licences.WEIGHTS_FOLDER.glob("*.safetensors")):
        credit = licences.of_weights(path.stem, "open_head")
        assert credit.commercial and credit.what == f"weights {path.stem}" and "sold included" in credit.sentence


# Refused before any work


def bare(home: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    variables = os.environ | {"LIFEMASK_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-S", "-m", "backend", *arguments]
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["reconstruct", "batch"])
def test_a_head_for_sale_is_refused_by_a_bare_python(command, flame, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(b"not looked into")
    what = "photo.jpg" if command == "reconstruct" else "."
    result = bare(
        flame.parent.parent, command, what, "--output", "out", "--face-model", "flame2020", "--for-sale", cwd=folder
    )
    assert result.returncode == 2
    assert "face model FLAME 2020 may not be sold" in result.stderr and "Traceback" not in result.stderr
    assert [path.name for path in folder.iterdir()] == ["photo.jpg"]


def test_it_is_refused_before_a_photograph_is_read(flame, tmp_path):
    options = ReconstructOptions(face_model="flame2020", for_sale=True)
    with pytest.raises(UsageError) as caught:
        pipeline.reconstruct([tmp_path / "nowhere.jpg"], tmp_path / "out", options)
    assert caught.value.code == "licence-forbids-sale" and not (tmp_path / "out").exists()


def test_a_batch_is_refused_as_a_whole(flame, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "Ada.jpg").write_bytes(b"not looked into")
    monkeypatch.setattr(batch, "_serving", lambda jobs: pytest.fail("a worker was started"))
    asked = {"input": str(tmp_path / "photos"), "output": str(tmp_path / "heads")}
    call = types.SimpleNamespace(cancelled=lambda: False)
    with pytest.raises(UsageError) as caught:
        batch_from_request({**asked, "options": {"face_model": "flame2020", "for_sale": True}}, call)
    assert caught.value.code == "licence-forbids-sale" and not (tmp_path / "heads").exists()


# Chosen by name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("flame2020", "FLAME 2020 has not been added.*https://flame.is.tue.mpg.de.*assets add FILE.*open_head"),
        (
            "gnm",
            "GNM Head 3 has not been added. Download it: python3 -m backend assets fetch gnm(?s:(?!assets add).)*$",
        ),
        ("open-head", "Did you mean open_head"),
        ("bfm2019", "Did you mean bfm2009"),
        ("face_landmarker", "no such face model"),
        ("", "no such face model"),
    ],
)
def test_a_face_model_that_is_not_there_is_said_with_what_there_is_and_how_more_come(name, words, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"not looked into")
    result = bare(tmp_path / "home", "reconstruct", "photo.jpg", "--output", "out", "--face-model", name, cwd=tmp_path)
    assert result.returncode == 2
    assert re.search(words, result.stderr), result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_batch_asks_its_workers_for_the_face_model(flame, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "Ada.jpg").write_bytes(b"Ada")
    chosen = cli.make_parser().parse_args(
        ["batch", str(tmp_path / "photos"), "--output", str(tmp_path / "heads"), "--face-model", "flame2020"]
    )
    plan, options = batch_command.checked_batch(chosen)
    asked = []

    class Recording(Backend):
        def request(self, method, params):
            asked.append(params["options"])
            return super().request(method, params)

    told = {"seconds": 0.01, "assets": [asset.as_json() for asset in asset_store.assets()]}
    variables = clean_variables() | {"LIFEMASK_FAKE": json.dumps(told)}
    command = [sys.executable, str(ROOT / "tests" / "fake_backend.py"), "--parent-pid", str(os.getpid())]
    report = run_batch(
        plan, options, make_worker=lambda: Recording(command, tmp_path / "logs", variables=variables, name="batch")
    )
    assert [row.state for row in report.rows] == ["made"], report.rows[0].sentence
    assert [options["face_model"] for options in asked] == ["flame2020"]
    assert report.as_json()["options"]["face_model"] == "flame2020"


def test_heads_of_another_face_model_are_made_anew_when_a_batch_goes_on(flame, tmp_path):
    photograph = tmp_path / "Ada.jpg"
    photograph.write_bytes(b"Ada")
    person = Person("Ada", (photograph,), (None,))

    def made_from(name: str) -> str:
        return batch_record.fingerprint(person, ReconstructOptions(face_model=name))

    own, other = made_from("open_head"), made_from("flame2020")
    assert own != other
    assert batch_record.fingerprint(person, ReconstructOptions(method="spectral")) not in (own, other)
    assert batch_record.fingerprint(person, ReconstructOptions(face_model="flame2020", for_sale=True)) == other
    write_model(flame.parent.parent, "flame2020", sha256="cd")  # added again, from another file
    assert made_from("flame2020") not in (own, other)


# In the result


def reconstruct(folder: Path, **options):
    return pipeline.reconstruct([cli.DEMO_PHOTOGRAPH], folder, ReconstructOptions(texture_size=128, **options))


def test_a_result_names_every_licence_that_it_stands_under(tmp_path):
    report = reconstruct(tmp_path / "out", method="eye-motion", for_sale=True)
    told = json.loads((tmp_path / "out" / "head.json").read_text("utf-8"))["licences"]
    assert [entry["what"] for entry in told] == [
        "face model Open Head",
        "weights eye-motion-open-small",
        "weights eye-state-open-small",
        "weights attribute-detail-open-small",
        "weights face-parsing-open-small",
        "detector MediaPipe",
    ]
    assert [entry["name"] for entry in told] == ["CC0-1.0", *4 * ["free for any use"], "Apache-2.0"]
    assert all(entry["commercial"] is True and entry["sentence"].endswith(".") for entry in told)
    assert not any("sold" in warning for warning in report.warnings)


def test_without_detail_its_weights_have_no_part_in_the_head():
    named = [credit.what for credit in licences.of_options(ReconstructOptions(detail=False))]
    assert not any("attribute-detail" in what for what in named)
    assert any("attribute-detail" in credit.what for credit in licences.of_options(ReconstructOptions()))


def test_a_result_that_may_not_be_sold_says_so_in_its_warnings_and_beside_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(licences, "of_weights", lambda *_: RESEARCH)
    report = reconstruct(tmp_path / "out", method="eye-motion")
    (warning,) = (warning for warning in report.warnings if "sold" in warning)
    result = read_result(tmp_path / "out")
    assert warning in result.warnings and RESEARCH in result.licences and result.face_model.commercial
    write_obj_note(result, tmp_path / "head.obj")
    note = json.loads((tmp_path / "head.obj.json").read_text("utf-8"))
    assert note["may_be_used_commercially"] is False and note["licence_in_words"] == warning
    assert [entry["what"] for entry in note["licences"]] == [credit.what for credit in result.licences]
    assert (note["face_model"], note["licence"]) == ("open_head", "CC0-1.0")
