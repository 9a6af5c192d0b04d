"""The head that stands in a Blender file: geometry, parts, keys, their values over time, cameras."""

import numpy as np
import pytest

from backend.face_models import load_face_model
from backend.result_folder import FaceModelCredit, HeadResult, write_result

pytestmark = pytest.mark.blender
LARGEST_CAMERA_ERROR_PIXELS = 0.1
LARGEST_SECONDS_TO_BUILD = 0.5


def in_blender_space(points: np.ndarray) -> np.ndarray:
    """Metres, Z up, facing -Y, from model space: y becomes z, z becomes -y."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)


def dense_offsets(head: HeadResult) -> np.ndarray:
    offsets = np.zeros((len(head.key_names), len(head.vertices), 3))
    for (key, vertex), offset in zip(head.key_index, head.key_offset, strict=True):
        offsets[key, vertex] += offset
    return offsets


@pytest.fixture(scope="module")
def measured(in_blender, blender_version, result_folder) -> dict:
    return in_blender(blender_version, "build", result=result_folder)


def test_the_head_stands_upright_in_metres_and_faces_minus_y(measured, made_up_head):
    assert np.abs(measured["vertices"] - in_blender_space(made_up_head.vertices)).max() < 1e-6
    low, high = measured["vertices"].min(axis=0), measured["vertices"].max(axis=0)
    assert (high - low)[2] == pytest.approx(np.ptp(made_up_head.vertices[:, 1]), abs=1e-6)
    assert measured["scale"] == pytest.approx([1, 1, 1])
    assert measured["rotation"] == pytest.approx([0, 0, 0])


def test_faces_and_uvs_are_those_of_the_result(measured, made_up_head):
    used = made_up_head.faces >= 0
    assert np.array_equal(measured["loop_vertex"], made_up_head.faces[used])
    assert np.array_equal(measured["face_sides"], used.sum(axis=1))
    assert np.abs(measured["loop_uv"] - made_up_head.uv[made_up_head.face_uv[used]]).max() < 1e-6
    assert measured["smooth"]


def test_every_part_has_a_material_slot_and_a_vertex_group(measured, made_up_head):
    assert tuple(measured["materials"]) == made_up_head.part_names
    assert tuple(measured["groups"]) == made_up_head.part_names
    for number, (name, (start, end)) in enumerate(zip(made_up_head.part_names, made_up_head.part_faces, strict=True)):
        assert set(measured["face_material"][start:end]) == {number}
        faces = made_up_head.faces[start:end]
        assert measured["groups"][name] == sorted(set(faces[faces >= 0].tolist()))


def test_hairs_lie_on_the_lashes_from_root_to_tip_and_nowhere_else(measured, made_up_head):
    number = made_up_head.part_names.index("lashes")
    is_lash = np.repeat(measured["face_material"], measured["face_sides"]) == number
    assert np.all(measured["lash_uv"][~is_lash] == 0)
    along, up = measured["lash_uv"][is_lash].T
    assert sorted(set(np.round(up, 4))) == [0.0, 0.5, 1.0]
    points = made_up_head.vertices[measured["loop_vertex"][is_lash]]
    strip = made_up_head.vertices[made_up_head.faces[slice(*made_up_head.part_faces[number])].ravel()]
    from_root = points[:, 2] - strip[:, 2].min()  # the made-up strip stands out of the face
    assert np.corrcoef(up, from_root)[0, 1] > 0.99
    assert abs(np.corrcoef(along, points[:, 0])[0, 1]) > 0.99
    assert np.ptp(along) * 0.008 == pytest.approx(0.024, rel=0.1)
    assert measured["cut_out"] == [name == "lashes" for name in made_up_head.part_names]
    cover = measured["hair_cover"]
    assert cover[0].mean() > 2 * cover[-10].mean() and cover.max() > 0.95 and cover.min() == 0


def test_keys_are_the_basis_and_every_key_of_the_result(measured, made_up_head):
    assert measured["keys"] == ["Basis", *made_up_head.key_names]
    offsets = measured["key_points"][1:] - measured["key_points"][:1]
    assert np.abs(offsets - in_blender_space(dense_offsets(made_up_head))).max() < 1e-6


def test_the_photographs_expressions_are_values_and_an_action_after_the_neutral(measured, made_up_head):
    expected = [np.zeros(len(made_up_head.key_names)), *made_up_head.key_weights]
    for frame, values in enumerate(expected):
        assert measured["values_at_frames"][frame][1:] == pytest.approx(values.tolist(), abs=1e-6), f"frame {frame}"
    assert measured["key_values"][1:] == pytest.approx(made_up_head.key_weights[0].tolist(), abs=1e-6)


def test_correctives_follow_their_key(measured, made_up_head):
    assert set(measured["driven"]) == set(made_up_head.correctives)
    assert measured["corrective_values"] == pytest.approx([0.0, 0.75, 1.0, 0.0], abs=1e-6)


def test_each_camera_sees_the_posed_head_where_the_photograph_does(measured, made_up_head):
    for index, photograph in enumerate(made_up_head.photographs):
        expected = photograph.camera.project(made_up_head.posed_vertices(index).astype(np.float64))
        error = np.linalg.norm(measured["projected"][index] - expected, axis=1).max()
        assert error < LARGEST_CAMERA_ERROR_PIXELS, photograph.file
        assert measured["resolutions"][index] == [photograph.camera.width, photograph.camera.height, 100]


def test_each_camera_has_its_photograph_behind_the_head(measured, made_up_head):
    for photograph, background in zip(made_up_head.photographs, measured["backgrounds"], strict=True):
        assert background == [True, photograph.file, photograph.camera.width, photograph.camera.height]


def test_several_heads_in_one_file_do_not_share_keys_or_names(in_blender, blender_version, result_folder):
    measured = in_blender(blender_version, "build_twice", result=result_folder)
    assert len({"Head", *measured["names"]}) == 3
    assert measured["meshes"] == measured["actions"] == 2
    assert measured["jaw"] == pytest.approx([0.5, 0.875])
    assert measured["followed"] == [True, True]


def test_the_open_head_is_built_in_half_a_second_with_every_key_at_0(in_blender, blender_version, tmp_path):
    model = load_face_model("open_head")
    neutral = model.neutral(np.zeros(model.identity_size, np.float32)).astype(np.float32)
    keys, topology = model.key_offsets(neutral), model.topology
    head = HeadResult(
        vertices=neutral,
        faces=topology.faces,
        uv=topology.uv,
        face_uv=topology.face_uv,
        part_names=tuple(map(str, topology.part_names)),
        part_faces=topology.part_faces,
        key_names=tuple(keys.names),
        key_index=keys.index,
        key_offset=keys.offset,
        key_weights=np.zeros((0, len(keys.names)), np.float32),
        landmarks68=model.landmarks68(neutral).astype(np.float32),
        face_model=FaceModelCredit("open_head", "CC0-1.0", "", True),
    )
    write_result(tmp_path, head)
    measured = in_blender(blender_version, "build_object", result=tmp_path)
    assert measured["vertices"] > 5000
    assert measured["values"] == [0.0] * len(keys.names) and len(keys.names) >= 52
    assert min(measured["seconds"]) < LARGEST_SECONDS_TO_BUILD
