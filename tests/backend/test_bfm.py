"""The Basel Face Model is read from the file that Deep3D's kin use."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from backend.errors import UsageError
from backend.face_models import bfm
from backend.face_models.bfm import bfm_arrays, linear_of_bytes, read_bfm_front
from backend.lid_rig import boundary_loops
from tests.face_model_files import BFM_VERTICES, write_bfm_front
from tests.stand_in_heads import write_bfm_head


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return write_bfm_front(tmp_path_factory.mktemp("bfm") / "BFM_model_front.mat", seed=1)


def rewritten(path: Path, target: Path, **other) -> Path:
    content = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    savemat(target, {name: value for name, value in {**content, **other}.items() if value is not None})
    return target


def test_the_fixture_has_the_keys_and_shapes_of_the_real_file(tmp_path: Path):
    content = loadmat(write_bfm_front(tmp_path / "full.mat", vertices=BFM_VERTICES))
    rows = 3 * BFM_VERTICES
    assert content["meanshape"].shape == content["meantex"].shape == (1, rows)
    assert content["idBase"].shape == content["texBase"].shape == (rows, 80)
    assert content["exBase"].shape == (rows, 64)
    assert content["tri"].shape[1] == content["tri_mask2"].shape[1] == 3
    assert content["point_buf"].shape == (BFM_VERTICES, 8)
    assert content["keypoints"].shape == (1, 68)
    assert content["frontmask2_idx"].shape[1] == 1
    assert content["skinmask"].shape == (1, BFM_VERTICES)
    assert content["tri"].min() == content["point_buf"].min() == 1
    assert content["tri"].max() == BFM_VERTICES
    assert content["point_buf"].max() == len(content["tri"]) + 1


def test_lengths_become_metres_about_the_mean_of_the_vertices(path: Path):
    model, content = read_bfm_front(path), loadmat(path)
    by_hand = content["meanshape"].reshape(-1, 3) / 10
    np.testing.assert_allclose(model.mean, by_hand - by_hand.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(model.mean.mean(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(model.identity_basis[5, 11, 2], content["idBase"][3 * 11 + 2, 5] / 10, rtol=1e-6)
    np.testing.assert_allclose(model.expression_basis[63, 0, 1], content["exBase"][1, 63] / 10, rtol=1e-6)


def test_colours_stay_bytes(path: Path):
    model, content = read_bfm_front(path), loadmat(path)
    np.testing.assert_allclose(model.mean_albedo[4], content["meantex"][0, 12:15], rtol=1e-6)
    np.testing.assert_allclose(model.albedo_basis[79, 4], content["texBase"][12:15, 79], rtol=1e-6)


def test_numbers_count_from_zero(path: Path):
    model, content = read_bfm_front(path), loadmat(path)
    np.testing.assert_array_equal(model.faces + 1, content["tri"])
    np.testing.assert_array_equal(model.landmarks68 + 1, content["keypoints"][0])
    np.testing.assert_array_equal(model.front_vertices + 1, content["frontmask2_idx"][:, 0])
    assert model.skin.sum() == content["skinmask"].sum()


def test_faces_round_a_vertex_hold_it_and_the_rest_is_padding(path: Path):
    model = read_bfm_front(path)
    for vertex in (0, 100, len(model.mean) - 1):
        rows = model.faces_of_vertex[vertex]
        real = rows[rows < len(model.faces)]
        assert len(real) and (model.faces[real] == vertex).any(axis=1).all()
        assert (rows[rows >= len(model.faces)] == len(model.faces)).all()


def test_front_faces_are_found_whichever_corner_they_start_from(path: Path, tmp_path: Path):
    model, front = read_bfm_front(path), loadmat(path)["tri_mask2"]
    assert model.front_faces.sum() == len(front)
    turned = read_bfm_front(rewritten(path, tmp_path / "turned.mat", tri_mask2=np.roll(front, 1, axis=1)))
    np.testing.assert_array_equal(turned.front_faces, model.front_faces)


def test_faces_of_the_fixture_look_out_of_the_face(path: Path):
    model = read_bfm_front(path)
    first, second, third = (model.mean[model.faces[:, corner]] for corner in range(3))
    assert (np.cross(second - first, third - first)[:, 2] > 0).mean() > 0.98


def test_a_missing_file_is_a_sentence(tmp_path: Path):
    with pytest.raises(UsageError, match="University of Basel") as caught:
        read_bfm_front(tmp_path / "BFM_model_front.mat")
    assert caught.value.code == "no-face-model-file"


@pytest.mark.parametrize("length", [0, 60, 5000, 200_000])
def test_a_damaged_file_is_a_sentence(path: Path, tmp_path: Path, length: int):
    damaged = tmp_path / "damaged.mat"
    damaged.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UsageError, match="no BFM_model_front.mat") as caught:
        read_bfm_front(damaged)
    assert caught.value.code == "bad-face-model-file"


def test_a_file_of_matlab_7_3_is_told_from_a_damaged_one(tmp_path: Path):
    newer = tmp_path / "newer.mat"
    newer.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n".ljust(64, b"\0"))
    with pytest.raises(UsageError, match="version 7.3"):
        read_bfm_front(newer)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda data: {"exBase": None}, "it has no exBase"),
        (lambda data: {"idBase": data["idBase"][:, :79]}, "its idBase is 7500 x 79, where 7500 x 80 was expected"),
        (lambda data: {"keypoints": data["keypoints"] - 1 - data["keypoints"].min()}, "its keypoints does not count"),
        (lambda data: {"tri": data["tri"] + 1}, "its tri does not count from 1 to 2500"),
        (lambda data: {"tri": data["tri"] + 0.5}, "its tri does not count from 1 to 2500"),
        (lambda data: {"meanshape": data["meanshape"] * np.nan}, "not finite"),
        (lambda data: {"skinmask": "all"}, "its skinmask holds no numbers"),
    ],
    ids=["missing", "modes", "from zero", "beyond", "halves", "not finite", "text"],
)
def test_what_is_wrong_with_a_file_is_said(path: Path, tmp_path: Path, other, told: str):
    wrong = rewritten(path, tmp_path / "wrong.mat", **other(loadmat(path)))
    with pytest.raises(UsageError) as caught:
        read_bfm_front(wrong)
    assert told in caught.value.sentence and str(wrong) in caught.value.sentence


def test_the_full_model_is_told_what_to_make_of_it_and_its_matrices_are_not_read(tmp_path: Path, monkeypatch):
    def load(path: Path, variable_names: tuple[str, ...]) -> dict[str, np.ndarray]:
        read.extend(loadmat(path, variable_names=variable_names))
        return loadmat(path, variable_names=variable_names)

    read = []
    monkeypatch.setattr(bfm, "loadmat", load)
    full = tmp_path / "01_MorphableModel.mat"
    savemat(full, {"shapePC": np.zeros((6, 2)), "texPC": np.zeros((6, 2))})
    with pytest.raises(UsageError, match="give the folder it lies in"):
        read_bfm_front(full)
    assert read and "shapePC" not in read


def test_arrays_hold_one_surface_with_its_landmarks(path: Path):
    arrays, model = bfm_arrays(path), read_bfm_front(path)
    assert (arrays.name, arrays.metres_per_unit, arrays.licence.commercial) == ("bfm2009", 0.1, False)
    assert arrays.identity_basis.shape == (80, 2500, 3) and arrays.expression_basis.shape == (64, 2500, 3)
    assert (arrays.faces[:, 3] == -1).all() and list(arrays.part_faces) == ["skin"]
    np.testing.assert_array_equal(arrays.faces[:, :3], model.faces)
    np.testing.assert_array_equal(arrays.landmarks68.apply(arrays.mean), model.mean[model.landmarks68])
    assert arrays.skinning is None and arrays.contour is None and arrays.uv is None


def test_linear_colours_change_as_the_bytes_do(path: Path):
    """Against the exact way from bytes to linear light, one colour at a time."""

    def linear(byte: float) -> float:
        share = byte / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    arrays, content = bfm_arrays(path), loadmat(path)
    for vertex, channel, component in ((0, 0, 0), (7, 1, 3), (2499, 2, 79)):
        byte, step = content["meantex"][0, 3 * vertex + channel], content["texBase"][3 * vertex + channel, component]
        assert arrays.albedo.mean[vertex, channel] == pytest.approx(linear(byte), rel=1e-5)
        small = (linear(byte + 0.01 * step) - linear(byte - 0.01 * step)) / 0.02
        assert arrays.albedo.basis[component, vertex, channel] == pytest.approx(small, rel=1e-3, abs=1e-9)
    mean, slope = linear_of_bytes(np.array([-5.0, 0.0, 5.0, 255.0, 300.0]))
    np.testing.assert_allclose(mean, [0, 0, 5 / 255 / 12.92, 1, 1], rtol=1e-6)
    assert (slope > 0).all()


def test_the_face_of_a_person_has_the_topology_of_the_real_file(tmp_path: Path):
    """One surface with an outer edge and a slit between the lips; the jaw's uppermost landmarks on the edge."""
    arrays = bfm_arrays(write_bfm_head(tmp_path))
    loops = boundary_loops(arrays.faces)
    assert len(loops) == 2 and len(np.unique(arrays.faces[:, :3])) == len(arrays.mean) == 9000
    places = arrays.landmarks68.vertices[:, 0]
    assert np.isin(places[[0, 1, 15, 16]], loops[0]).all() and np.isin(places[60:], loops[1]).all()
    lips = arrays.mean[loops[1]]
    assert np.ptp(lips[:, 0]) > 0.035 and np.ptp(lips[:, 1]) < 0.01
    corner, nose, chin = arrays.landmarks68.apply(arrays.mean)[[36, 30, 8]]
    assert corner[0] < 0 and nose[2] > chin[2] and corner[1] > nose[1] > chin[1], "the subject's right is -X"
    assert 0.1 < arrays.albedo.mean.mean() < 0.5
