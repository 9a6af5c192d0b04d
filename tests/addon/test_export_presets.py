"""Exports for other programs: every preset, option and failure, each file read again by an empty Blender."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from backend.environment import clean_variables

pytestmark = pytest.mark.blender
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("export_scenarios.py")
SAME_PLACE_METRES = 2e-6
WITH_KEYS = ("fbx", "unreal", "unity", "glb", "usd", "faceit")
FBX = ("fbx", "unreal", "unity", "metahuman")


def in_blender_space(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)


def facing_x(points: np.ndarray) -> np.ndarray:
    """Blender space turned about Z so that the face looks along +X."""
    return np.stack([-points[..., 1], points[..., 0], points[..., 2]], axis=-1)


def offsets_of(head) -> np.ndarray:
    dense = np.zeros((len(head.key_names), len(head.vertices), 3))
    for (key, vertex), offset in zip(head.key_index, head.key_offset, strict=True):
        dense[key, vertex] += offset
    return dense


def vertices_of(head, *parts: str) -> list[int]:
    ranges = [head.part_faces[head.part_names.index(part)] for part in parts]
    faces = np.concatenate([head.faces[start:end] for start, end in ranges])
    return sorted(set(faces[faces >= 0].tolist()))


@pytest.fixture(scope="module")
def presets(in_blender, blender_version, result_folder, tmp_path_factory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp(f"Ausgänge {blender_version}")
    return in_blender(blender_version, "presets", script=SCRIPT, result=result_folder, folder=folder), folder


@pytest.fixture(scope="module")
def options(in_blender, blender_version, result_folder, tmp_path_factory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp(f"options-{blender_version}")
    return in_blender(blender_version, "options", script=SCRIPT, result=result_folder, folder=folder), folder


@pytest.fixture(scope="module")
def failures(in_blender, blender_version, result_folder, tmp_path_factory, small_disk) -> dict:
    folder = tmp_path_factory.mktemp(f"failures-{blender_version}")
    places = {"full": small_disk} if small_disk else {}
    return in_blender(blender_version, "failures", script=SCRIPT, result=result_folder, folder=folder, **places)


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory, blender_version):
    """A disk of 64 KiB, or None where mounting one is not allowed."""
    folder = tmp_path_factory.mktemp("small-disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    yield folder if mounted else None
    if mounted:
        subprocess.run(["umount", folder], check=False)


@pytest.fixture(scope="module")
def operators(in_blender, blender_version, result_folder, tmp_path_factory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp(f"operators-{blender_version}")
    return in_blender(blender_version, "operators", script=SCRIPT, result=result_folder, folder=folder), folder


@pytest.mark.parametrize("preset", WITH_KEYS)
def test_keys_and_their_motion_survive_every_modifier_pose_and_edit_mode(presets, made_up_head, preset):
    measured, _ = presets
    free = [name for name in made_up_head.key_names if name not in made_up_head.correctives]
    assert measured[f"{preset}_keys"][1:] == free
    turn = facing_x if preset == "unreal" else lambda points: points
    place = turn(in_blender_space(made_up_head.vertices.astype(np.float64)))
    distance, vertex = cKDTree(place).query(measured[f"{preset}_vertices"])
    assert distance.max() < SAME_PLACE_METRES
    assert set(vertex) == set(range(len(place)))
    moved = measured[f"{preset}_key_points"][1:] - measured[f"{preset}_key_points"][:1]
    expected = turn(in_blender_space(offsets_of(made_up_head)))[: len(free), vertex]
    assert np.abs(moved - expected).max() < SAME_PLACE_METRES


def test_an_export_leaves_head_window_and_file_as_they_were(presets):
    before, after = presets[0]["before"], presets[0]["after"]
    assert before["mode"] == "EDIT" and before["view"][0] == "CAMERA"
    for name, value in before.items():
        assert after[name] == value, name


@pytest.mark.parametrize("preset", ("fbx", "unreal", "unity", "glb", "obj", "metahuman", "faceit"))
def test_files_hold_the_head_alone_under_its_name(presets, preset):
    measured, _ = presets
    assert measured[f"{preset}_types"] == ["MESH"]
    (name,) = measured[f"{preset}_names"]
    assert name.replace("_", " ") == "Tante Käthe"
    assert measured[f"{preset}_modifiers"] == [] and measured[f"{preset}_drivers"] == 0
    assert not measured[f"{preset}_animated"] and not measured[f"{preset}_has_action"]
    assert measured[f"{preset}_properties"] == []


def test_unreal_gets_centimetres_in_its_own_axes_with_nothing_on_the_object(presets, made_up_head):
    raw = presets[0]["unreal_raw"]
    settings = {name: raw["settings"][name] for name in ("UnitScaleFactor", "UpAxis", "UpAxisSign")}
    assert settings == {"UnitScaleFactor": 1.0, "UpAxis": 2, "UpAxisSign": 1}
    # The front is -Y, which is what Unreal's importer converts every file to: it has nothing left to turn.
    assert (raw["settings"]["FrontAxis"], raw["settings"]["FrontAxisSign"]) == (1, -1)
    assert raw["scaling"] == pytest.approx([1, 1, 1]) and raw["rotation"] == pytest.approx([0, 0, 0])
    expected = 100.0 * facing_x(in_blender_space(made_up_head.vertices.astype(np.float64)))
    assert np.abs(np.array(raw["vertices"]) - expected).max() < 1e-3
    eyes = vertices_of(made_up_head, "eyeball_left", "eyeball_right")
    assert expected[eyes, 0].mean() > expected[:, 0].mean(), "the face does not look along +X"
    assert raw["smoothing"]


@pytest.mark.parametrize("preset", ("fbx", "unity"))
def test_metres_with_y_up_have_nothing_on_the_object_either(presets, made_up_head, preset):
    raw = presets[0][f"{preset}_raw"]
    assert raw["settings"]["UnitScaleFactor"] == 100.0  # FBX counts in centimetres
    assert [raw["settings"][name] for name in ("UpAxis", "FrontAxis", "FrontAxisSign")] == [1, 2, 1]
    assert raw["scaling"] == pytest.approx([1, 1, 1]) and raw["rotation"] == pytest.approx([0, 0, 0])
    assert np.abs(np.array(raw["vertices"]) - made_up_head.vertices).max() < 1e-5
    assert raw["smoothing"] == (preset == "unity")


@pytest.mark.parametrize("preset", FBX)
def test_an_fbx_carries_its_texture(presets, preset):
    raw = presets[0][f"{preset}_raw"]
    assert raw["embedded"] == [True]
    assert raw["name"] == "Tante Käthe"


def test_mesh_to_metahuman_gets_a_textured_still_with_eyes_and_nothing_in_front_of_them(presets, made_up_head):
    measured, folder = presets
    kept = ("skin", "mouth_inside", "eyeball_left", "eyeball_right")
    assert tuple(measured["metahuman_materials"]) == kept
    assert set(measured["metahuman_base_colours"]) == set(kept)
    assert measured["metahuman_keys"] == [] and measured["metahuman_raw"]["shapes"] == []
    expected = in_blender_space(made_up_head.vertices.astype(np.float64))[vertices_of(made_up_head, *kept)]
    found = 0.01 * np.array(measured["metahuman_raw"]["vertices"])
    assert len(found) == len(expected)
    assert cKDTree(facing_x(expected)).query(found)[0].max() < SAME_PLACE_METRES


def test_faceit_gets_its_vertex_groups_at_the_centre(presets, made_up_head):
    measured, _ = presets
    groups = {name for name in measured["faceit_groups"] if name.startswith("faceit_")}
    assert groups == {
        "faceit_main", "faceit_left_eyeball", "faceit_right_eyeball", "faceit_upper_teeth", "faceit_lower_teeth",
        "faceit_tongue", "faceit_eyelashes",
    }  # fmt: skip
    assert np.allclose(measured["faceit_vertices"], in_blender_space(made_up_head.vertices), atol=SAME_PLACE_METRES)
    assert all(measured["faceit_packed"])


def test_a_blender_file_holds_the_head_as_it_stood(presets, made_up_head):
    measured, _ = presets
    assert measured["blend_keys"] == ["Basis", *made_up_head.key_names]
    assert measured["blend_drivers"] == 2 and measured["blend_own_drivers"]
    values = dict(zip(measured["blend_keys"], measured["blend_key_values"], strict=True))
    assert [values[name] for name in ("eyeBlinkLeft", "jawOpen", "mouthSmileRight")] == pytest.approx([0.25, 0.5, 1.0])
    assert len(measured["blend_modifiers"]) == 6
    assert measured["blend_scale"] == pytest.approx([2.0, 2.0, 1.5])
    assert [names for _, names in measured["blend_backgrounds"]] == [["photo_1.jpg"], ["photo_2.jpg"]]
    assert measured["blend_resolution"] == [300, 400]
    assert len(measured["blend_packed"]) == 4 and all(measured["blend_packed"])


def test_each_key_has_an_obj_with_the_vertices_in_the_same_order(presets, made_up_head):
    measured, folder = presets
    files = sorted(path.name for path in (folder / "obj-keys").glob("head_*.obj"))
    free = [name for name in made_up_head.key_names if name not in made_up_head.correctives]
    assert files == sorted(f"head_{name}.obj" for name in free)
    neutral = in_blender_space(made_up_head.vertices.astype(np.float64))
    assert np.abs(measured["obj-keys_vertices"] - neutral).max() < SAME_PLACE_METRES
    jaw = in_blender_space(offsets_of(made_up_head)[made_up_head.key_names.index("jawOpen")])
    assert np.abs(measured["jaw_vertices"] - neutral - jaw).max() < SAME_PLACE_METRES
    note = json.loads((folder / "obj-keys" / "head.obj.json").read_text("utf-8"))
    assert note["key_files"]["jawOpen"] == "head_jawOpen.obj"
    assert "usemtl" not in (folder / "obj-keys" / "head_jawOpen.obj").read_text()


@pytest.mark.parametrize("preset", ("obj", "usd"))
def test_pictures_beside_a_file_bear_its_name_and_are_found_after_a_move(presets, preset):
    measured, folder = presets
    assert (folder / preset / "head_albedo.png").is_file()
    assert measured[f"{preset}_images"]["head_albedo.png"] == [64, 64]
    text = (folder / preset / ("head.mtl" if preset == "obj" else "head.usd")).read_bytes()
    assert b"head_albedo.png" in text and str(folder.parent).encode() not in text


@pytest.mark.parametrize("preset", ("fbx", "unreal", "glb", "obj", "obj-keys", "usd", "blend", "metahuman", "faceit"))
def test_the_note_beside_a_file_names_units_axes_keys_model_licence_and_versions(presets, preset):
    measured, folder = presets
    (path,) = (folder / preset).glob("head.*.json")
    note = json.loads(path.read_text("utf-8"))
    assert note["preset"] == preset and note["file"] == path.name.removesuffix(".json")
    assert note["units"] == ("centimetres" if preset in ("unreal", "metahuman") else "metres")
    assert note["keys"] == measured["keys"][preset]
    assert note["axes"].startswith("+Y up" if preset in ("fbx", "glb", "obj", "obj-keys") else "+Z up")
    assert (note["face_model"], note["licence"]) == ("made_up", "CC0-1.0")
    assert note["written_by"]["lifemask"] and note["written_by"]["blender"]
    assert note["photograph_values"][0] == pytest.approx({"eyeBlinkLeft": 0.25, "jawOpen": 0.5, "mouthSmileRight": 1.0})
    assert ("not_tried" in note) == (preset in ("unreal", "metahuman", "faceit"))


def test_used_keys_are_those_of_the_photographs(options):
    measured, _ = options
    used = ["browInnerUp", "eyeBlinkLeft", "jawOpen", "mouthSmileRight", "tongueOut"]
    assert measured["used.glb_keys"][1:] == used
    assert measured["small.blend_keys"][1:] == [*used, "eyeBlinkLeftCorrective"]


def test_a_head_without_keys_and_an_export_that_wants_none_are_still_heads(options, made_up_head):
    measured, _ = options
    for name in ("none.fbx", "keyless.glb"):
        assert measured[f"{name}_keys"] == []
        place = cKDTree(in_blender_space(made_up_head.vertices)).query(measured[f"{name}_vertices"])[0]
        assert place.max() < SAME_PLACE_METRES


@pytest.mark.parametrize("name", ("separate.fbx", "separate.usd"))
def test_separate_parts_are_objects_of_their_own_with_the_keys_that_move_them(options, made_up_head, name):
    measured, folder = options
    note = json.loads((folder / f"{name}.json").read_text("utf-8"))
    assert set(note["objects"]) == {f"Head_{part}" for part in made_up_head.part_names}
    assert sum(measured[f"{name}_vertex_counts"]) == len(made_up_head.vertices)
    assert sorted(measured[f"{name}_key_counts"]) == sorted(len(keys) for keys in note["objects"].values())
    dense = np.abs(offsets_of(made_up_head)).max(axis=2)
    for part in made_up_head.part_names:
        moved = dense[:52, vertices_of(made_up_head, part)].max(axis=1) > 1e-6
        assert note["objects"][f"Head_{part}"] == [made_up_head.key_names[key] for key in np.flatnonzero(moved)]
    assert measured[f"{name}_materials"] == ["skin"]


def test_pictures_are_made_smaller_and_never_larger(options):
    measured, _ = options
    assert measured["small.glb_images"] == {"albedo": [16, 16], "lashes": [16, 8]}
    assert measured["small.obj_images"] == {"small_albedo.png": [32, 32]}
    assert measured["small.blend_images"]["photo_1.jpg"] == [24, 32]
    assert measured["large.glb_images"]["albedo"] == [64, 64]


def test_displacement_is_applied_to_the_copy_with_every_key(options, made_up_head):
    measured, _ = options
    assert measured["has_displacement"] == [False, True, False]
    assert np.abs(measured["flat.fbx_vertices"] - measured["plain.fbx_vertices"]).max() == 0
    pushed = np.linalg.norm(measured["displaced.fbx_vertices"] - measured["plain.fbx_vertices"], axis=1)
    assert pushed.mean() == pytest.approx(0.01, rel=0.05), "the modifier moves every vertex 10 mm along its normal"
    for name in ("displaced.fbx", "subdivided.fbx"):
        assert measured[f"{name}_keys"] == measured["plain.fbx_keys"]
        moved = np.abs(measured[f"{name}_key_points"][1:] - measured[f"{name}_key_points"][:1]).max(axis=(1, 2))
        assert moved.min() > 1e-4
    assert measured["subdivided.fbx_vertex_counts"][0] > 3 * len(made_up_head.vertices)


def test_options_leave_nothing_behind(options):
    assert options[0]["same"]


def test_a_hidden_excluded_painted_or_pinned_head_in_another_scene_or_mode_exports_like_any_other(
    in_blender, blender_version, result_folder, tmp_path
):
    measured = in_blender(blender_version, "states", script=SCRIPT, result=result_folder, folder=tmp_path)
    assert set(measured["keys"].values()) == {52} and len(measured["keys"]) == 11
    assert [name for name, same in measured["same"].items() if not same] == []
    assert measured["painted"] and measured["paint"] == pytest.approx([1, 0, 0, 1], abs=0.01)
    gone = measured["warnings"].pop("without its picture")
    assert gone == ["The picture albedo.png is gone and is not in the file."]
    assert not any(measured["warnings"].values())


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("below a file", "a file is a file, not a folder. Choose another place."),
        ("no folder", "There is no folder"),
        ("a folder", "is there already and is not a file that can be replaced"),
        ("below a device", "/dev/full is a file, not a folder"),
        ("long name", "is too long for a file. Choose a shorter one."),
        ("other ending", "should end in one of .blend, .fbx, .glb, .obj, .usd"),
        ("wrong ending", "head.glb should end in .fbx for FBX for Unreal."),
        ("no faces", "has no faces to export"),
    ],
)
def test_what_cannot_be_written_is_told_in_a_sentence(failures, failure, words):
    assert words in failures["sentences"][failure]
    assert failures["left"] == ["a file", "folder.fbx"] and failures["older"] == "older"
    assert failures["after"] == failures["before"]


@pytest.mark.parametrize("preset", ("fbx", "glb", "obj", "obj-keys", "usd", "blend"))
def test_a_full_disk_is_told_and_the_older_file_stays(failures, small_disk, preset):
    if small_disk is None:
        pytest.skip("a small disk cannot be mounted here")
    sentence = failures["sentences"][f"full {preset}"]
    assert sentence.endswith("could not be written: the disk is full. Make room, or choose another folder.")
    assert failures["sentences"][f"left {preset}"] == "older"
    assert not [name for name in failures["sentences"]["left in full"] if name.startswith(".")]


def test_the_export_operator_takes_the_head_that_is_meant(operators):
    measured, folder = operators
    assert measured["poll"] == [False, False, True, True]
    assert "Select a head first." in measured["which"]
    assert "There is no head called Nobody." in measured["wrong"]
    assert measured["named"] == measured["by camera"] == "FINISHED"
    assert "/dev/full is a file" in measured["bad place"]
    note = measured["notes"]["camera.fbx"]
    assert note["preset"] == "unreal" and "Head" in note["objects"]
    assert len(note["keys"]) == 5
    assert (folder / "named.glb").is_file() and not (folder / "which.fbx").exists()


def test_a_head_becomes_an_asset_of_this_file_with_what_there_is_to_say_about_it(operators):
    measured, _ = operators
    assert measured["in file"] == "FINISHED" and measured["marked"] == [False, True]
    description, licence, tags = measured["about"]
    assert "54 shape keys" in description and "made_up (CC0-1.0)" in description
    assert licence == "CC0-1.0" and tags == ["ARKit", "Lifemask", "face", "head"]


def test_a_head_goes_to_an_asset_library_with_preview_and_catalogue_and_leaves_the_file_alone(operators):
    measured, _ = operators
    assert measured["to library"] == measured["again"] == "FINISHED"
    assert measured["changed"] == {}
    assert measured["library"] == [
        "Lifemask",
        "Lifemask/Head.blend",
        "Lifemask/Head_2.blend",
        "blender_assets.cats.txt",
    ]
    assert measured["offered"] == ["Head"]
    count, author, catalogue = measured["asset"]
    assert (count, author) == (54, "Käthe")
    lines = measured["catalogues"].splitlines()
    assert lines[-1] == f"{catalogue}:Lifemask/Heads:Lifemask-Heads" and "Chairs" in lines[-2]
    assert measured["asset_place"] == [0, 0, 0]
    size, contrast = measured["preview"]
    assert size == [128, 128] and contrast > 0.02
    assert all(measured["asset_pictures"])
    assert "nowhere" in measured["bad library"]
    assert "Head is linked from another file" in measured["linked"] and "Traceback" not in measured["linked"]


def test_the_file_browser_shows_what_the_preset_is_for_and_displacement_only_where_there_is_one(
    in_blender, blender_version, result_folder
):
    measured = in_blender(blender_version, "dialog", script=SCRIPT, result=result_folder)
    for name, drawn in measured["drawn"].items():
        assert {"preset", "keys", "parts", "texture_size"} <= set(drawn)
        assert ("displacement" in drawn) == (name == "displaced")
        assert any(entry.startswith("text ") for entry in drawn)
    paths = measured["paths"]
    assert paths["glb /a/head.fbx"] == "/a/head.glb"
    assert paths["unreal /a/my head.v2"] == "/a/my head.v2.fbx"
    assert paths["usd /a/"] == "/a/"


def test_build_files_takes_options_after_a_blenders_own_arguments(blender_python, result_folder, tmp_path):
    """As `blender --background … --python build_files.py -- ARGUMENTS` hands them over."""
    (tmp_path / "resources" / "config").mkdir(parents=True)
    wanted = {"preset": "unreal", "keys": "used", "texture_size": 16}
    command = [blender_python("4.5"), ROOT / "addon" / "build_files.py", "--background", "--factory-startup", "--"]
    command += ["--result", result_folder, "--output", tmp_path, "--options", json.dumps(wanted)]
    command += ["--format", "fbx", "--format", "usd", "--format", "blend"]
    variables = clean_variables() | {"BLENDER_USER_RESOURCES": str(tmp_path / "resources")}
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
    reports = [json.loads(line) for line in ended.stdout.splitlines()]
    assert reports[-1] == {"done": True}, ended.stderr[-2000:]
    assert {"head.fbx", "head.usd", "head.blend"} <= {report.get("file") for report in reports}
    notes = {name: json.loads((tmp_path / f"head.{name}.json").read_text("utf-8")) for name in ("fbx", "usd", "blend")}
    assert [notes[name]["preset"] for name in ("fbx", "usd", "blend")] == ["unreal", "usd", "blend"]
    assert len(notes["usd"]["keys"]) == 5 and len(notes["blend"]["keys"]) == 6


def test_build_files_writes_a_note_beside_the_whole_blender_file_too(blender_python, result_folder, tmp_path):
    (tmp_path / "resources" / "config").mkdir(parents=True)
    command = [blender_python("4.5"), ROOT / "addon" / "build_files.py", "--result", result_folder]
    variables = clean_variables() | {"BLENDER_USER_RESOURCES": str(tmp_path / "resources")}
    command += ["--output", tmp_path, "--format", "blend"]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    note = json.loads((tmp_path / "head.blend.json").read_text("utf-8"))
    assert (note["units"], note["licence"], len(note["keys"])) == ("metres", "CC0-1.0", 54)
    assert sorted(path.name for path in tmp_path.glob("head*")) == ["head.blend", "head.blend.json"]


@pytest.mark.parametrize("options", ['{"preset": "maya"}', "not JSON"])
def test_build_files_refuses_options_that_make_no_sense(blender_python, result_folder, tmp_path, options):
    (tmp_path / "resources" / "config").mkdir(parents=True)
    command = [blender_python("4.5"), ROOT / "addon" / "build_files.py", "--result", result_folder]
    command += ["--output", tmp_path, "--format", "fbx", "--options", options]
    variables = clean_variables() | {"BLENDER_USER_RESOURCES": str(tmp_path / "resources")}
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    message = json.loads(ended.stdout.splitlines()[-1])["error"]
    assert "export preset called 'maya'" in message or "not JSON" in message
    assert sorted(os.listdir(tmp_path)) == ["resources"]
