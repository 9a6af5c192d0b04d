"""Heads made, updated and kept by the add-on's operators, with a fake backend."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from addon.export_presets import ExportOptions
from backend.options import ReconstructOptions

from .conftest import PHOTOGRAPH_VALUES, write_made_up_result

pytestmark = pytest.mark.blender
SCENARIOS = Path(__file__).with_name("session_scenarios.py")
FREE_VALUES = [
    {name: value for name, value in values.items() if not name.endswith("Corrective")} for values in PHOTOGRAPH_VALUES
]


@pytest.fixture(scope="module")
def other_result(made_up_head, tmp_path_factory) -> Path:
    """The same head with another shape, other expressions and another texture."""
    folder = tmp_path_factory.mktemp("other")
    weights = made_up_head.key_weights.copy()
    weights[0, made_up_head.key_names.index("jawOpen")] = 0.125
    head = dataclasses.replace(
        made_up_head,
        vertices=made_up_head.vertices * np.float32(1.25),
        key_offset=made_up_head.key_offset * np.float32(2),
        key_weights=weights,
    )
    write_made_up_result(folder, head)
    Image.new("RGB", (32, 32), (255, 0, 0)).save(folder / "albedo.png")
    return folder


@pytest.fixture(scope="module")
def measure(in_blender, blender_version, result_folder, other_result, tmp_path_factory):
    """A function that runs a scenario, once for all tests of a Blender."""

    @functools.cache
    def run(scenario: str) -> dict:
        folder = tmp_path_factory.mktemp("Arbeit 写真")
        return in_blender(
            blender_version, scenario, script=SCENARIOS, result=result_folder, other=other_result, folder=folder
        )

    return run


def test_a_script_makes_a_head_that_needs_no_file_but_its_own(measure, made_up_head):
    measured = measure("create")
    assert measured["ended"] == ["FINISHED"] and measured["done"] == [False, measured["head"]["id"]]
    head, record = measured["head"], measured["record"]
    assert [Path(path).name for path in head["paths"]] == ["Zoë.jpg", "b.jpg"]
    assert head["keys"] == ["Basis", *made_up_head.key_names]
    assert head["location"] == [1.0, 2.0, 3.0] and measured["selected"] == [head["name"]]
    assert record["values"] == FREE_VALUES and record["closure"][0] == {"left": 0.25, "right": 0.0}
    assert (record["licence"], record["sentence"], record["commercial"]) == ("CC0-1.0", "Anyone may use it.", True)
    assert record["warnings"] == ["A sentence."] and record["options"] == {
        "texture_size": 2048,
        "texture": True,
        "detail": True,
        "face_model": "open_head",
        "method": "eye-motion",
    }
    sizes = {name: size[:2] for name, size in measured["pictures"].items()}
    assert sizes == {"albedo.png": [64, 64], "photo_1.jpg": [300, 400], "photo_2.jpg": [420, 280]}
    assert all(size[2] == 4 for size in measured["pictures"].values()), "pixels are there without the job folder"


def test_sliders_stay_where_they_are_moved_to(measure):
    measured = measure("create")
    assert measured["jaw_after_frame_change"] == 0.75
    assert measured["action"] == [True, True], "the action of the photographs is kept, not assigned"
    assert measured["action_after_reload"].endswith("photographs")


def test_another_file_takes_the_news_of_the_last_one_away(measure):
    assert measure("create")["state_after_reload"] == "READY"


def test_an_update_brings_new_figures_and_keeps_what_the_person_did(measure, made_up_head):
    measured = measure("update")
    head = measured["head"]
    assert measured["ended"] == ["FINISHED"] and head["name"] == "Ada"
    assert head["location"] == [0.5, 0.0, 0.25] and head["modifiers"] == ["SUBSURF"]
    assert measured["material"] == "My skin"
    names = [name for name in made_up_head.key_names if name != "cheekPuff"]
    assert head["keys"] == ["Basis", *names, "Mine", "One", "Other"], (
        "a removed key stays removed, one of the person's own stays"
    )
    assert any("cheekPuff" in warning for warning in measured["done"][2])
    expected = (made_up_head.vertices * np.float32(1.25))[:, [0, 2, 1]] * [1, -1, 1]
    assert np.abs(measured["basis"] - expected).max() < 1e-6 and measured["mesh_is_basis"] < 1e-6
    assert np.abs(measured["mine"] - [0.125, 0, 0]).max() < 1e-6
    jaw = made_up_head.key_names.index("jawOpen")
    moved = np.zeros_like(made_up_head.vertices)
    rows = made_up_head.key_index[:, 0] == jaw
    np.add.at(moved, made_up_head.key_index[rows, 1], made_up_head.key_offset[rows] * 2)
    assert np.abs(measured["jaw"] - moved[:, [0, 2, 1]] * [1, -1, 1]).max() < 1e-6
    assert head["values"]["jawOpen"] == 0.125 and head["values"]["Mine"] == 0.25


def test_an_update_replaces_pictures_and_actions_where_they_are(measure):
    measured = measure("update")
    before, after = measured["counts"]
    assert before == after, "objects, images and actions are replaced, not added"
    assert measured["action"] == "My animation"
    assert measured["photographs_action"][1] and "photographs" in measured["photographs_action"][0]
    assert measured["albedo_packed"] and measured["albedo"].shape == (32 * 32 * 4,)
    assert measured["albedo"][:3] == pytest.approx([1.0, 0.0, 0.0], abs=0.02)
    assert len(measured["cameras"]) == 1, "a camera that was removed stays removed"


def test_an_update_sends_the_packed_photograph_where_the_file_is_gone(measure):
    measured = measure("update")
    assert "b.jpg" in measured["gone"]
    assert Path(measured["sent"][0]).name != "a.jpg" and measured["sent_there"]
    assert Path(measured["sent"][1]).name == "b.jpg"
    assert [Path(path).name for path in measured["head"]["paths"]] == ["a.jpg", "b.jpg"], "it remembers the originals"


def test_of_several_copies_the_one_that_was_asked_for_is_updated_and_the_others_stay(measure):
    measured = measure("copies")
    assert measured["second"]["height"] == pytest.approx(1.25 * measured["first"]["height"], rel=1e-5)
    assert measured["third"]["height"] == measured["first"]["height"]
    assert [measured[name]["albedo"] for name in ("first", "second", "third")] == [[64, 64], [32, 32], [64, 64]]
    assert [measured[name]["camera users"] for name in ("first", "second", "third")] == [2, 1, 2]
    assert all(head["packed"] and head["background"] for head in measured.values())


def test_what_stands_in_the_way_of_an_update_is_told(measure):
    measured = measure("elsewhere")
    assert measured["mode"] == ["OBJECT", "EDIT"]
    assert measured["waits"][0] and "not in Object Mode" in measured["waits"][1]
    assert measured["afterwards"] is False
    sentence, code = measured["no room"]
    assert "No space left on device" in sentence and "Traceback" not in sentence and code == "file-error"
    assert measured["deleted"][1] == ["Head.001"] and "made anew" in measured["deleted"][0][0]
    assert measured["again after a failure"] == [None, "internal"], "the timer does not go on failing"


def test_a_head_that_was_remodelled_is_left_alone_and_the_new_one_stands_beside_it(measure, made_up_head):
    measured = measure("beside")
    assert measured["untouched"] and measured["ids_differ"] and measured["apart"]
    assert measured["new"][1] == len(made_up_head.key_names) + 1
    assert measured["done"][0] and "beside it" in measured["done"][1][0]


def test_a_result_waits_where_it_cannot_be_built(measure):
    measured = measure("waiting")
    state, waits, reason, heads = measured["scene deleted"]
    assert (state, waits, heads) == ("DONE", True, 0) and "scene" in reason
    assert measured["added by hand"] == [False, 1]
    assert measured["file reloaded"][:2] == ["DONE", True] and measured["file reloaded"][3] == 0
    assert measured["and again"] == ["DONE", True], "what waits is not forgotten with the next file"
    state, waits, reason, heads = measured["edit mode"]
    assert (state, waits, heads) == ("DONE", True, 0) and "Object Mode" in reason and not measured["polled"]
    assert measured["after edit mode"] == [False, 1]
    assert measured["scene renamed"][1] is False and measured["scene renamed"][3] == 1
    state, code, sentence, heads = measured["result deleted"]
    assert (state, code, heads) == ("ERROR", "result-not-built", 1) and "is not a result folder" in sentence


def test_a_script_is_told_what_went_wrong(measure):
    measured = measure("faults")
    assert measured["not set up"][0] == "NOT_SET_UP" and "not set up" in measured["not set up"][1]
    assert "online access" in measured["offline"][0] and measured["offline"][1] == "allow-online-access"
    assert "no wheels" in measured["no wheels"][0] and measured["no wheels"][1] == "choose-folder"
    assert "There is no Python in" in measured["no environment"][0]
    assert "SIGKILL" in measured["crash"] and "try again" in measured["crash"]
    assert "gone.jpg" in measured["deleted"] and measured["deleted fix"] == "choose-another-photo"
    assert "no photographs" in measured["nothing chosen"]
    assert measured["objects"] == 0


def test_a_batch_is_asked_for_as_the_backend_takes_it(measure):
    measured = measure("batch")
    folder = Path(measured["folder"])
    plain, per_person, table = measured["asked"]
    assert plain == {
        "input": str(folder / "people"),
        "output": str(folder / "people heads"),
        "per_person": False,
        "resume": True,
        "overwrite": False,
        "jobs": 2,
        "options": {
            "texture_size": 1024, "texture": True, "detail": True, "face_model": "open_head", "method": "eye-motion",
            "formats": ["fbx", "glb"], "blender": "",
            "export_options": {"preset": "unreal", "keys": "used", "parts": "joined", "texture_size": 512},
        },
    }  # fmt: skip
    options = ReconstructOptions.from_request(plain["options"])
    assert (options.formats, options.texture_size, options.blender) == (("fbx", "glb"), 1024, None)
    wanted = ExportOptions("unreal", keys="used", texture_size=512)
    assert ExportOptions.from_json(options.export_options) == wanted
    assert per_person["per_person"] and not per_person["resume"] and per_person["overwrite"]
    assert per_person["output"] == str(folder / "out")
    assert table["input"] == str(folder / "people.csv") and not table["per_person"]
    assert "Choose a folder" in measured["refused"]
    assert "Choose an output folder" in measured["whole disk"]


def test_the_choice_of_a_face_model_is_a_name_that_survives_files_and_computers(measure):
    measured = measure("face_models")
    assert measured["before"] == [["open_head"], "open_head"]
    assert measured["found on the disk"] == [["open_head", "flame2023", "ict"], "open_head"]
    assert measured["chosen"] == ["ict", "ict"]
    assert measured["refused"].count("TypeError") == 1, "what is not in the list cannot be chosen"
    assert measured["after another was added"] == ["ict", "ict"], "whatever its place in the list"
    assert measured["where it is not installed"] == ["ict", "ict", "ict"]
    assert measured["items"][:2] == [["open_head", "NONE"], ["ict", "ERROR"]]
    assert measured["scenes differ"] == ["ict", "open_head"]


def test_a_face_model_that_is_not_installed_or_may_not_be_sold_disables_what_would_use_it(measure):
    measured = measure("face_models")
    assert measured["polls"] == {
        "not installed": [False, False], "installed": [True, True], "sold": [False, False], "not sold": [True, True],
    }  # fmt: skip
    assert "The face model ict is not installed here" in measured["not installed"]
    assert "FLAME 2023 may not be sold" in measured["sold"]
    asked = measured["asked"]
    assert (asked["face_model"], asked["method"], asked["for_sale"]) == ("flame2023", "spectral", False)
    assert "FLAME 2023 may not be sold" in measured["update"] and measured["updated with"] == "flame2023"


def test_face_models_come_and_go_by_operators(measure):
    measured = measure("face_models_come_and_go")
    assert measured["listed"] == ["flame2023", "ict", "bfm2009", "face_landmarker"]
    assert measured["offline"] == [False, ""], "no download while Blender may not use the network"
    assert "agreed=True" in measured["not agreed"]
    assert measured["downloaded"] == ["FINISHED"] and "ict" in measured["models after the download"]
    assert measured["added"] == ["FINISHED"] and measured["added_path"] == measured["file"]
    assert measured["added folder"] == ["FINISHED"] and measured["added_folder_path"] == measured["folder"]
    assert measured["removed"] == ["FINISHED"] and "ict" not in measured["models after the removal"]
    assert "Choose the file" in measured["nothing chosen"]
    assert "comes with Lifemask" in measured["built in"]
    assert "is not what it should be" in measured["broken"] and measured["broken fix"] == "add-face-model"
    assert measured["page"] == ["FINISHED"] and "No page" in measured["no page"]


def test_disabling_the_add_on_while_it_works_ends_the_process(measure):
    measured = measure("disabled")
    assert not measured["timer"] and not measured["alive"] and measured["jobs"] == []
    assert measured["again"] == ["FINISHED"]
