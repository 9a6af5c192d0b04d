"""GNM Head is read from the file that Google gives out."""

import re
from pathlib import Path

import numpy as np
import pytest

from backend.errors import UsageError
from backend.face_models.gnm import COMPONENTS, LICENCE, gnm_arrays, recognises
from backend.face_models.model_arrays import ModelArrays
from backend.face_models.morphable_model import Topology
from backend.face_models.skinning import rotations, skinned
from backend.gnm_file import COMMIT, GNM_FILE
from tests.gnm_files import EXTERIORS, PATCHES, gnm_content, write_gnm

SMALL = (6, 5)
QUADS = [(side - 1) ** 2 for _, side, _, _ in PATCHES]


@pytest.fixture(scope="module")
def content() -> dict[str, np.ndarray]:
    return gnm_content(seed=3, modes=SMALL)


@pytest.fixture(scope="module")
def path(content: dict[str, np.ndarray], tmp_path_factory) -> Path:
    return write_gnm(tmp_path_factory.mktemp("gnm") / "gnm_head.npz", content)


@pytest.fixture(scope="module")
def arrays(path: Path) -> ModelArrays:
    return gnm_arrays(path)


def patch_of(content: dict[str, np.ndarray]) -> np.ndarray:
    """(Q,) which sheet each quad is on: the sheets follow each other."""
    return np.repeat(np.arange(len(PATCHES)), QUADS)


def moved_by_google(content: dict[str, np.ndarray], identity: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """(V, 3): what the published model says of turned joints (4 x 4 matrices down the chain), written for this test."""
    vertices = content["template_vertex_positions"] + np.tensordot(identity, content["vertex_identity_basis"], 1)
    joints = content["template_joint_positions"] + np.tensordot(identity, content["joint_identity_basis"], 1)
    turns = rotations(pose)
    feature = (turns - np.eye(3)).reshape(-1)
    vertices = vertices + (feature @ content["pose_correctives_regressor"]).reshape(-1, 3)
    world = []
    for joint, parent in enumerate(content["joint_parent_indices"]):
        own = np.eye(4)
        own[:3, :3], own[:3, 3] = turns[joint], joints[joint] - (joints[parent] if joint else 0)
        world.append(world[parent] @ own if joint else own)
    result = np.zeros_like(vertices)
    for joint, matrix in enumerate(world):
        weight = content["skinning_weights"][joint][:, None]
        result += weight * ((vertices - joints[joint]) @ matrix[:3, :3].T + matrix[:3, 3])
    return result


def test_the_fixture_has_the_arrays_and_modes_of_the_published_file(tmp_path: Path):
    full = gnm_content()
    assert len(full) == 23
    size = len(full["template_vertex_positions"])
    assert full["vertex_identity_basis"].shape == (253, size, 3) and len(full["identity_names"]) == 253
    assert full["expression_basis"].shape == (383, size, 3) and len(full["expression_names"]) == 383
    assert full["joint_names"].tolist() == ["neck", "head", "left_eye", "right_eye"]
    assert full["pose_correctives_regressor"].shape == (36, 3 * size)
    assert full["vertex_groups"].shape == (len(full["vertex_group_names"]), size)
    assert len(full["triangles"]) == len(full["triangle_uvs"]) == 2 * len(full["quads"])
    np.testing.assert_array_equal(full["vertex_groups"][:6].sum(axis=0), 1)  # the components share no vertex
    np.testing.assert_array_equal(np.sort(full["mirror_indices"]), np.arange(size))
    arrays = gnm_arrays(write_gnm(tmp_path / "gnm_head.npz", full))
    assert arrays.identity_basis.shape[0] == 253 and arrays.expression_basis.shape[0] == 383


def test_shape_and_modes_come_as_they_are(arrays: ModelArrays, content: dict[str, np.ndarray]):
    assert arrays.metres_per_unit == 1 and arrays.name == "gnm" and arrays.licence is LICENCE and LICENCE.commercial
    np.testing.assert_array_equal(arrays.mean, content["template_vertex_positions"])
    np.testing.assert_array_equal(arrays.identity_basis, content["vertex_identity_basis"])
    np.testing.assert_array_equal(arrays.expression_basis, content["expression_basis"])
    np.testing.assert_array_equal(arrays.faces, content["quads"])
    assert arrays.mean.dtype == arrays.identity_basis.dtype == np.float32 and arrays.faces.dtype == np.int32
    assert arrays.albedo is None and arrays.landmarks68 is None and arrays.keys == {}


def test_every_face_is_in_one_part(arrays: ModelArrays):
    rows = np.concatenate(list(arrays.part_faces.values()))
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(arrays.faces)))
    assert set(arrays.part_faces) == {
        "skin", "mouth_inside", "eyeball_left", "eyeball_right", "cornea_left", "cornea_right", "teeth_upper",
        "teeth_lower", "gums", "tongue",
    }  # fmt: skip


def test_parts_are_what_the_vertex_groups_say(arrays: ModelArrays, content: dict[str, np.ndarray]):
    patch = patch_of(content)
    for name, number in {
        "eyeball_left": 1,
        "cornea_left": 2,
        "eyeball_right": 3,
        "cornea_right": 4,
        "tongue": 7,
    }.items():
        assert (patch[arrays.part_faces[name]] == number).all() and len(arrays.part_faces[name]) == QUADS[number]
    assert (patch[arrays.part_faces["teeth_upper"]] == 5).all() and (patch[arrays.part_faces["teeth_lower"]] == 6).all()
    assert set(patch[arrays.part_faces["gums"]]) == {5, 6}
    assert (arrays.mean[arrays.faces[arrays.part_faces["eyeball_left"]]][..., 0] > 0).all()  # of the subject
    mouth = arrays.mean[arrays.faces[arrays.part_faces["mouth_inside"]]]
    assert np.hypot(mouth[..., 0], mouth[..., 1] - 0.235).max() < 0.04


def test_a_vertex_at_a_soft_edge_is_in_its_group(content: dict[str, np.ndarray], tmp_path: Path):
    # Google counts a vertex in from a weight of 0.0001 on
    groups, row = content["vertex_groups"], content["vertex_group_names"].tolist().index("mouth_sock")

    def faces_of_the_mouth(weight: float) -> int:
        changed = groups.copy()
        changed[row] = np.where(groups[row] > 0, weight, 0)
        file = write_gnm(tmp_path / "soft.npz", {**content, "vertex_groups": changed})
        return len(gnm_arrays(file).part_faces.get("mouth_inside", ()))

    assert faces_of_the_mouth(2e-4) == faces_of_the_mouth(1.0) > 0
    assert faces_of_the_mouth(5e-5) == 0


def test_regions_that_lie_over_each_other_in_the_file_do_not_in_the_texture(arrays: ModelArrays):
    assert arrays.uv.min() >= 0 and arrays.uv.max() <= 1
    boxes = []
    for names in (
        ("skin", "mouth_inside"), ("eyeball_left",), ("eyeball_right",), ("cornea_left",), ("cornea_right",),
        ("teeth_upper", "teeth_lower", "gums"), ("tongue",),
    ):  # fmt: skip
        corners = arrays.uv[arrays.face_uv[np.concatenate([arrays.part_faces[name] for name in names])]]
        boxes.append((corners.min(axis=(0, 1)), corners.max(axis=(0, 1))))
    for number, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[:number]:
            assert (high < other_low).any() or (other_high < low).any()


def test_the_texture_keeps_its_proportions_and_its_seams(arrays: ModelArrays, content: dict[str, np.ndarray]):
    ours, theirs = arrays.uv[arrays.face_uv].astype(np.float64), content["quad_uvs"].astype(np.float64)
    for rows in arrays.part_faces.values():
        ratio = (ours[rows, 2] - ours[rows, 0]) / (theirs[rows, 2] - theirs[rows, 0])
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-4)
    # neighbours share their corners in the texture as in the mesh: the sheets have no seam
    assert len(arrays.uv) == len(arrays.mean)
    for vertex in (40, 200, 400):
        assert len(np.unique(arrays.face_uv[arrays.faces == vertex])) == 1


def test_a_seam_of_the_file_is_one_in_the_texture(content: dict[str, np.ndarray], tmp_path: Path):
    uv = content["quad_uvs"].copy()
    left = content["template_vertex_positions"][content["quads"][: QUADS[0]]].mean(axis=1)[:, 0] > 0
    uv[: QUADS[0]][left, :, 1] *= 0.5
    arrays = gnm_arrays(write_gnm(tmp_path / "seam.npz", {**content, "quad_uvs": uv}))
    assert len(arrays.uv) == len(arrays.mean) + 18  # one column of the skin is there twice


def test_v_runs_up(arrays: ModelArrays):
    corners, places = arrays.faces[arrays.part_faces["skin"]], arrays.face_uv[arrays.part_faces["skin"]]
    height, v = arrays.mean[corners][..., 1], arrays.uv[places][..., 1]
    assert np.corrcoef(height.ravel(), v.ravel())[0, 1] > 0.99


def test_the_topology_is_one_that_the_rest_of_lifemask_takes(arrays: ModelArrays):
    topology = Topology(arrays.faces, arrays.uv, arrays.face_uv, (), np.zeros((0, 2), np.int32))
    first, second, third = (arrays.mean[topology.triangles[:, corner]] for corner in range(3))
    assert (np.cross(second - first, third - first)[:, 2] > 0).all()  # the sheets look out of the face
    assert topology.triangle_uv.shape == topology.triangles.shape


@pytest.mark.parametrize("correctives", [False, True], ids=["none, as published", "some"])
def test_turned_joints_give_the_published_model(content: dict[str, np.ndarray], tmp_path: Path, correctives: bool):
    generator = np.random.default_rng(0)
    content = dict(content)
    if correctives:
        wanted = generator.normal(scale=0.003, size=content["pose_correctives_regressor"].shape).astype(np.float32)
        wanted[:9] = 0  # turning the whole head bends nothing
        content["pose_correctives_regressor"] = wanted
    arrays = gnm_arrays(write_gnm(tmp_path / "gnm_head.npz", content))
    assert (arrays.skinning.pose_basis is not None) == correctives
    assert arrays.skinning.names == ("neck", "head", "left_eye", "right_eye")
    np.testing.assert_array_equal(arrays.skinning.parents, [-1, 0, 1, 1])
    identity, pose = generator.normal(size=SMALL[0]), generator.normal(scale=0.4, size=(4, 3))
    shaped = arrays.mean + np.tensordot(identity, arrays.identity_basis, axes=1)
    turned = skinned(arrays.skinning, shaped, arrays.skinning.regressor @ shaped, pose)
    np.testing.assert_allclose(turned, moved_by_google(content, identity, pose), atol=2e-6)
    assert np.abs(turned - shaped).max() > 0.01


def test_a_root_that_names_itself_is_a_root(content: dict[str, np.ndarray], tmp_path: Path):
    own = content["joint_parent_indices"].copy()
    own[0] = 0
    arrays = gnm_arrays(write_gnm(tmp_path / "own.npz", {**content, "joint_parent_indices": own}))
    np.testing.assert_array_equal(arrays.skinning.parents, [-1, 0, 1, 1])


def test_joints_are_those_that_the_file_states_whatever_its_regressor(content: dict[str, np.ndarray], tmp_path: Path):
    off = content["joint_regressor"] * 1.3
    off[0] = np.roll(off[0], 5)
    arrays = gnm_arrays(write_gnm(tmp_path / "off.npz", {**content, "joint_regressor": off}))
    regressor = arrays.skinning.regressor
    np.testing.assert_allclose(regressor.sum(axis=1), 1, atol=1e-5)
    identity = np.random.default_rng(2).normal(size=SMALL[0])
    stated = content["template_joint_positions"] + np.tensordot(identity, content["joint_identity_basis"], 1)
    shaped = arrays.mean + np.tensordot(identity, arrays.identity_basis, axes=1)
    np.testing.assert_allclose(regressor @ (shaped + 0.5), stated + 0.5, atol=1e-5)  # wherever the head is


def test_a_regressor_that_is_right_stays_as_it_is(arrays: ModelArrays, content: dict[str, np.ndarray]):
    np.testing.assert_array_equal(arrays.skinning.regressor, content["joint_regressor"])


def test_the_file_is_told_from_others(path: Path, tmp_path: Path):
    assert recognises(path) and recognises(path.rename(path.with_name("renamed.npz")))
    path.with_name("renamed.npz").rename(path)
    other = tmp_path / "ict_facekit.npz"
    np.savez(other, neutral=np.zeros((3, 3)))
    text = tmp_path / "FLAME.obj"
    text.write_text("v 0 0 0\n")
    assert not recognises(other) and not recognises(text) and not recognises(tmp_path)
    assert not recognises(tmp_path / "gnm_head.npz")
    damaged = tmp_path / "gnm_head.npz"
    damaged.write_bytes(path.read_bytes()[:5000])
    assert recognises(damaged)  # so that its reader can say what is wrong


def test_a_missing_file_is_a_sentence(tmp_path: Path):
    with pytest.raises(UsageError, match="huggingface.co/google/gnm-v3") as caught:
        gnm_arrays(tmp_path / "gnm_head.npz")
    assert caught.value.code == "no-face-model-file" and "assets fetch gnm" in caught.value.sentence


@pytest.mark.parametrize("length", [0, 60, 5000, -100])
def test_a_file_that_is_cut_off_is_a_sentence(path: Path, tmp_path: Path, length: int):
    damaged = tmp_path / "gnm_head.npz"
    damaged.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UsageError, match="may be damaged.*huggingface.co/google/gnm-v3") as caught:
        gnm_arrays(damaged)
    assert caught.value.code == "bad-face-model-file"


def test_a_file_with_changed_bytes_is_a_sentence(path: Path, tmp_path: Path):
    damaged = tmp_path / "gnm_head.npz"
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    damaged.write_bytes(bytes(whole))
    with pytest.raises(UsageError, match="may be damaged") as caught:
        gnm_arrays(damaged)
    assert caught.value.code == "bad-face-model-file"


class Trap:
    """Runs when it is unpickled."""

    ran = False

    def __reduce__(self):
        return (_spring, ())


def _spring() -> None:
    Trap.ran = True


def test_a_file_with_pickled_objects_is_not_run(content: dict[str, np.ndarray], tmp_path: Path):
    made = {**content, "template_joint_positions": np.array([Trap()], dtype=object)}
    with pytest.raises(UsageError, match="pickled objects") as caught:
        gnm_arrays(write_gnm(tmp_path / "gnm_head.npz", made))
    assert caught.value.code == "unsafe-file" and not Trap.ran
    made = {**content, "extra": np.array([Trap()], dtype=object)}
    gnm_arrays(write_gnm(tmp_path / "gnm_head.npz", made))  # what is not asked for is not even opened
    assert not Trap.ran


def changed(content: dict[str, np.ndarray], key: str, index: object, value: object) -> dict[str, np.ndarray]:
    values = content[key].copy()
    values[index] = value
    return {key: values}


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda data: {"quads": None}, "it has no quads"),
        (lambda data: {"version": np.array("2.1")}, "it is version 2.1 of the variant 'head'"),
        (lambda data: {"variant": np.array("body")}, "it is version 3.0 of the variant 'body'"),
        (
            lambda data: {"expression_basis": data["expression_basis"][:, :-1]},
            "its expression_basis is 5 x 683 x 3, where 5 x 684 x 3 was expected",
        ),
        (
            lambda data: {"joint_identity_basis": data["joint_identity_basis"][:-1]},
            "its joint_identity_basis is 5 x 4 x 3, where 6 x 4 x 3 was expected",
        ),
        (
            lambda data: {"skinning_weights": data["skinning_weights"].T},
            "its skinning_weights is 684 x 4, where 4 x 684 was expected",
        ),
        (
            lambda data: {"vertex_group_names": data["vertex_group_names"][:-1]},
            "its vertex_groups is 13 x 684, where 12 x 684 was expected",
        ),
        (lambda data: {"template_vertex_positions": np.array(1.0)}, "its template_vertex_positions is one number"),
        (lambda data: {"quads": data["quads"][:0]}, "its quads is 0 x 4"),
        (lambda data: changed(data, "vertex_identity_basis", (0, 0), np.nan), "holds numbers that are not finite"),
        (lambda data: changed(data, "quads", (0, 0), 684), "its quads do not count from 0 to 683"),
        (lambda data: changed(data, "quads", (0, 0), -1), "its quads do not count from 0 to 683"),
        (lambda data: {"quads": data["quads"] + 0.5}, "its quads do not count from 0 to 683"),
        (lambda data: {"quad_uvs": data["quad_uvs"] + 1}, "its quad_uvs leave the unit square"),
        (lambda data: {"joint_names": np.arange(4)}, "its joint_names is no list of names"),
        (lambda data: {"skinning_weights": data["joint_names"]}, "its skinning_weights holds no numbers"),
        (lambda data: {"skinning_weights": data["skinning_weights"] * 2}, "its skinning_weights do not sum to 1"),
        (lambda data: changed(data, "joint_parent_indices", 1, 2), "name the root first"),
        (lambda data: changed(data, "joint_parent_indices", 2, -1), "name the root first"),
        (lambda data: changed(data, "vertex_group_names", 0, "face"), "it has no vertex group skin"),
        (lambda data: changed(data, "vertex_group_names", 9, "jaws"), "it has no vertex group teeth"),
        (lambda data: {"mesh_component_names": data["mesh_component_names"][:-1]}, "its parts are skin, left_eye"),
        (lambda data: changed(data, "vertex_groups", (0, 0), 0), "belong to no part"),
        (lambda data: changed(data, "vertex_groups", (1, slice(0, 324)), 1), "or to several"),
        (lambda data: changed(data, "vertex_groups", (7, slice(None)), 1), "it has no faces of eyeball_left"),
        (lambda data: changed(data, "pose_correctives_regressor", (3, 7), 0.01), "bends the head when the whole head"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(content: dict[str, np.ndarray], tmp_path: Path, other, told: str):
    made = {key: value for key, value in {**content, **other(content)}.items() if value is not None}
    file = write_gnm(tmp_path / "gnm_head.npz", made)
    with pytest.raises(UsageError) as caught:
        gnm_arrays(file)
    assert caught.value.code == "bad-face-model-file"
    assert told in caught.value.sentence and str(file) in caught.value.sentence
    assert "gnm_head.npz of version 3 was expected, from https://huggingface.co/google/gnm-v3" in caught.value.sentence


def test_joints_that_vertices_cannot_give_are_told(content: dict[str, np.ndarray], tmp_path: Path):
    made = {
        **content,
        **changed(content, "vertex_identity_basis", 0, 0),
        **changed(content, "joint_identity_basis", 0, 0.01),
    }
    with pytest.raises(UsageError, match="its joints do not follow from its vertices"):
        gnm_arrays(write_gnm(tmp_path / "gnm_head.npz", made))


def test_an_archive_that_would_fill_the_memory_is_not_unpacked(
    content: dict[str, np.ndarray], tmp_path: Path, monkeypatch
):
    monkeypatch.setattr("backend.face_models.gnm.LARGEST_BYTES", 1000)
    with pytest.raises(UsageError, match="larger than any version's"):
        gnm_arrays(write_gnm(tmp_path / "gnm_head.npz", content))


def test_a_single_array_is_no_archive(tmp_path: Path):
    file = tmp_path / "gnm_head.npz"
    with file.open("wb") as target:
        np.save(target, np.zeros(3))
    with pytest.raises(UsageError, match="cannot be read as an .npz archive"):
        gnm_arrays(file)


def test_the_address_to_fetch_is_of_one_commit_for_ever():
    assert re.fullmatch(r"[0-9a-f]{40}", COMMIT) and re.fullmatch(r"[0-9a-f]{64}", GNM_FILE.sha256)
    assert f"/resolve/{COMMIT}/" in GNM_FILE.source and GNM_FILE.source.endswith(GNM_FILE.name)


def test_the_sheets_of_the_fixture_are_in_the_order_that_these_tests_take(content: dict[str, np.ndarray]):
    assert content["mesh_component_names"].tolist() == list(COMPONENTS)
    exterior = content["vertex_groups"][content["vertex_group_names"].tolist().index("eye_exteriors")] > 0
    patch = patch_of(content)
    np.testing.assert_array_equal(exterior[content["quads"]].all(axis=1), np.isin(patch, EXTERIORS))
