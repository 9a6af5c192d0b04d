"""FBX, GLB, OBJ and .blend, each read again: nothing is lost, moved, turned or scaled on the way."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from backend.obj_file import write_obj

pytestmark = pytest.mark.blender
SAME_PLACE_METRES = 2e-6


def in_blender_space(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)


@pytest.fixture(scope="module")
def exported(in_blender, blender_version, result_folder, made_up_head, tmp_path_factory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp(f"exports-{blender_version}")
    plain = tmp_path_factory.mktemp("plain")
    write_obj(made_up_head, plain / "head.obj", "albedo.png")
    shutil.copy(result_folder / "albedo.png", plain)
    arguments = {"result": result_folder, "folder": folder, "plain_obj": plain / "head.obj"}
    return in_blender(blender_version, "export", **arguments), folder


def original_vertex(measured: dict, file: str, head) -> np.ndarray:
    """For each imported vertex the vertex of the result that lies in its place."""
    distance, vertex = cKDTree(in_blender_space(head.vertices.astype(np.float64))).query(measured[f"{file}_vertices"])
    assert distance.max() < SAME_PLACE_METRES, f"{file}: a vertex moved by {distance.max():.2g} m"
    assert set(vertex) == set(range(len(head.vertices))), f"{file}: vertices are missing"
    return vertex


@pytest.mark.parametrize("file", ["fbx", "glb", "obj", "plain_obj"])
def test_geometry_size_and_orientation_survive(exported, made_up_head, file):
    measured, _ = exported
    original_vertex(measured, file, made_up_head)
    assert measured[f"{file}_objects"].count("MESH") == 1
    if file != "glb":
        assert len(measured[f"{file}_face_sides"]) == len(made_up_head.faces)
    assert measured[f"{file}_smooth"]


@pytest.mark.parametrize("file", ["fbx", "glb", "obj", "plain_obj"])
def test_uvs_survive(exported, made_up_head, file):
    measured, _ = exported
    vertex = original_vertex(measured, file, made_up_head)[measured[f"{file}_loop_vertex"]]
    used = made_up_head.faces >= 0
    wanted = np.column_stack([made_up_head.faces[used], made_up_head.uv[made_up_head.face_uv[used]]])
    found = np.column_stack([vertex, measured[f"{file}_loop_uv"]])
    assert cKDTree(wanted).query(found)[0].max() < 1e-5
    assert cKDTree(found).query(wanted)[0].max() < 1e-5


@pytest.mark.parametrize("file", ["fbx", "glb", "obj", "plain_obj"])
def test_every_part_keeps_its_material(exported, made_up_head, file):
    measured, _ = exported
    assert set(measured[f"{file}_materials"]) == set(made_up_head.part_names)
    vertex = original_vertex(measured, file, made_up_head)
    part_of_vertex = np.zeros(len(made_up_head.vertices), int)
    for number, (start, end) in enumerate(made_up_head.part_faces):
        faces = made_up_head.faces[start:end]
        part_of_vertex[faces[faces >= 0]] = number
    of_loop = np.repeat(measured[f"{file}_face_material"], measured[f"{file}_face_sides"])
    names = np.array(measured[f"{file}_materials"])[of_loop]
    expected = np.array(made_up_head.part_names)[part_of_vertex[vertex[measured[f"{file}_loop_vertex"]]]]
    assert np.array_equal(names, expected)


@pytest.mark.parametrize("file", ["fbx", "glb", "obj", "plain_obj"])
def test_the_texture_comes_along(exported, file):
    assert [64, 64] in exported[0][f"{file}_images"]


@pytest.mark.parametrize("file", ["fbx", "glb"])
def test_the_52_keys_survive_with_their_offsets_even_under_a_modifier(exported, made_up_head, file):
    measured, _ = exported
    free = [name for name in made_up_head.key_names if name not in made_up_head.correctives]
    assert len(free) == 52
    assert measured[f"{file}_keys"][1:] == free
    assert measured[f"{file}_key_values"][1:] == [0.0] * 52 or max(measured[f"{file}_key_values"][1:]) < 1e-6
    vertex = original_vertex(measured, file, made_up_head)
    expected = np.zeros((len(made_up_head.key_names), len(made_up_head.vertices), 3))
    for (key, index), offset in zip(made_up_head.key_index, made_up_head.key_offset, strict=True):
        expected[key, index] += offset
    offsets = measured[f"{file}_key_points"][1:] - measured[f"{file}_key_points"][:1]
    assert np.abs(offsets - in_blender_space(expected)[:52][:, vertex]).max() < SAME_PLACE_METRES


@pytest.mark.parametrize("file", ["fbx", "obj"])
def test_lashes_are_plain_where_pictures_know_one_uv_map(exported, file):
    assert exported[0][f"{file}_images"] == [[64, 64]]


def test_the_fbx_needs_no_scale_or_rotation(exported):
    assert exported[0]["fbx_scale"] == pytest.approx([1, 1, 1], abs=1e-6)


def test_the_glb_names_its_targets_and_holds_nothing_but_the_head(exported, made_up_head):
    content = (exported[1] / "head.glb").read_bytes()
    length = struct.unpack("<I", content[12:16])[0]
    described = json.loads(content[20 : 20 + length])
    free = [name for name in made_up_head.key_names if name not in made_up_head.correctives]
    (mesh,) = described["meshes"]
    assert mesh["extras"]["targetNames"] == free
    assert not any(mesh.get("weights", []))
    assert not {"cameras", "animations"} & set(described)
    assert "KHR_lights_punctual" not in described.get("extensionsUsed", [])
    lashes = next(material for material in described["materials"] if material["name"] == "lashes")
    assert lashes["alphaMode"] != "OPAQUE"
    assert lashes["pbrMetallicRoughness"]["baseColorTexture"]["texCoord"] == 1
    positions = [described["accessors"][part["attributes"]["POSITION"]] for part in mesh["primitives"]]
    assert np.min([part["min"] for part in positions], axis=0) == pytest.approx(made_up_head.vertices.min(0), abs=1e-6)
    assert np.max([part["max"] for part in positions], axis=0) == pytest.approx(made_up_head.vertices.max(0), abs=1e-6)


@pytest.mark.parametrize("file", ["fbx", "glb"])
def test_the_file_beside_an_export_says_what_the_format_cannot(exported, made_up_head, file):
    note = json.loads((exported[1] / f"head.{file}.json").read_text("utf-8"))
    assert len(note["keys"]) == 52
    assert note["keys_left_out"]["eyeBlinkLeftCorrective"]["formula"] == "4*w*(1-w)"
    assert note["keys_left_out"]["eyeBlinkLeftCorrective"]["follows"] == "eyeBlinkLeft"
    assert note["licence"] == "CC0-1.0"
    first, second = note["photograph_values"]
    assert first == pytest.approx({"eyeBlinkLeft": 0.25, "jawOpen": 0.5, "mouthSmileRight": 1.0})
    assert second == pytest.approx({"browInnerUp": 0.125, "tongueOut": 0.75})


def test_an_export_leaves_the_file_as_it_was(exported):
    assert exported[0]["unchanged"]


def test_a_blend_is_whole_wherever_it_is_moved(in_blender, blender_version, result_folder, made_up_head, tmp_path):
    measured = in_blender(blender_version, "save", result=result_folder, folder=tmp_path)
    assert np.abs(measured["vertices"] - in_blender_space(made_up_head.vertices)).max() < 1e-6
    assert measured["keys"] == ["Basis", *made_up_head.key_names]
    assert set(measured["pictures"]) == {"albedo.png", "lashes", "photo_1.jpg", "photo_2.jpg"}
    assert all(packed and path.startswith("//") for packed, path in measured["pictures"].values())
    assert all(0.03 < value < 0.95 for value in measured["picture_values"].values())
    assert len(measured["cameras"]) == 2 and measured["lights"] > 0
    assert measured["scene"] == [1, 0, 2]
    assert measured["resolution"] == [300, 400]
    assert measured["values_at_frames"][0][1:] == [0.0] * len(made_up_head.key_names)
    assert measured["values_at_frames"][1][1:] == pytest.approx(made_up_head.key_weights[0].tolist(), abs=1e-6)
    assert measured["paths_used"] == []


def test_the_portrait_shows_a_lit_head_and_leaves_nothing_behind(in_blender, blender_version, result_folder, tmp_path):
    measured = in_blender(blender_version, "portrait", result=result_folder, folder=tmp_path)
    pixels = measured["pixels"].mean(axis=2)
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    middle = pixels[30:66, 36:60]
    assert middle.mean() > corners.max() + 0.05
    assert middle.std() > 0.01 and middle.max() < 1.0
    assert measured["before"] == measured["after"]
    assert measured["scenes_of_head"] == 1
