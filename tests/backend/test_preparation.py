"""Face models of others made ready: ICT-FaceKit itself, heads in the formats of FLAME, Basel and GNM Head."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial import cKDTree

from backend.alignment import similarity
from backend.calibration import ViewDirection, load_calibration
from backend.code_measurement import CodeMeasurement
from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.face_models.eyes import fit_sphere
from backend.face_models.flame import flame_arrays
from backend.face_models.lid_keys import BLINK_CORRECTIVES
from backend.face_models.preparation import prepare
from backend.face_models.registered_head import RegisteredHead
from backend.lid_rig import EYE, SIDES
from backend.lids import aperture, penetration
from backend.photographs import load_photograph
from backend.pipeline import fit_photographs, make_albedo
from tests.conftest import GNM_MODES
from tests.gnm_heads import gnm_head_content
from tests.stand_in_heads import write_flame_head

ASTRONAUT = Path(__file__).parents[2] / "backend/assets/demo/astronaut.png"
PEOPLE = 6


@pytest.fixture(scope="module", params=["flame", "bfm", "ict", "gnm"])
def model(request) -> RegisteredHead:
    return RegisteredHead.load(request.getfixturevalue(f"prepared_{request.param}"))


@pytest.fixture(scope="module")
def flame(prepared_flame) -> RegisteredHead:
    return RegisteredHead.load(prepared_flame)


@pytest.fixture(scope="module")
def bfm(prepared_bfm) -> RegisteredHead:
    return RegisteredHead.load(prepared_bfm)


@pytest.fixture(scope="module")
def ict(prepared_ict) -> RegisteredHead:
    return RegisteredHead.load(prepared_ict)


@pytest.fixture(scope="module")
def gnm(prepared_gnm) -> RegisteredHead:
    return RegisteredHead.load(prepared_gnm)


@pytest.fixture(scope="module")
def gnm_file():
    """The arrays of the file that `gnm` was made of, and its vertex groups by name."""
    content = gnm_head_content(modes=GNM_MODES)
    return content, dict(zip(content["vertex_group_names"].tolist(), content["vertex_groups"], strict=True))


def people(model: RegisteredHead, spread: float = 0.8):
    generator = np.random.default_rng(4)
    for _ in range(PEOPLE):
        yield model.neutral(spread * generator.normal(size=model.identity_size))


def test_every_model_has_all_keys_of_the_open_head(model):
    assert set(model.key_names) == set(load_face_model("open_head").key_names)
    keys = model.key_offsets(model.neutral(np.zeros(1)))
    assert keys.names == model.key_names and np.isfinite(keys.offset).all()
    moved = keys.dense(len(model.mean))
    still = [name for name, offset in zip(keys.names, moved, strict=True) if not offset.any()]
    assert set(still) <= {"tongueOut"}  # of a model without a tongue


def test_the_lids_of_random_people_shut_and_do_not_sink_into_the_eyes(model):
    for neutral in people(model):
        keys, centres, rig = model.key_offsets(neutral), model.eye_centres(neutral), model.rig_of(neutral)
        for side in SIDES:
            name = f"eyeBlink{side.title()}"
            shut = keys.apply(neutral, {name: 1.0})
            half = keys.apply(neutral, {name: 0.5, BLINK_CORRECTIVES[side]: 1.0})
            own = aperture(neutral, rig, side)
            assert own > 0.15 and aperture(shut, rig, side) == pytest.approx(0, abs=0.002)
            assert 0.3 * own < aperture(half, rig, side) < 0.65 * own
            rest = max(penetration(neutral, centres, rig, side).max(), 0.0)
            for posed in (half, shut):
                assert penetration(posed, centres, rig, side).max() < rest + 0.0002


def test_only_the_blinking_eyes_lids_move(model):
    neutral = model.neutral(np.zeros(1))
    moved = np.flatnonzero(np.abs(model.key_offsets(neutral).apply(neutral, {"eyeBlinkLeft": 1.0}) - neutral).max(1))
    assert len(moved) > 10
    assert (neutral[moved, 0] > 0).all()


def test_the_lips_part_with_the_jaw_and_meet_again_with_mouth_close(model):
    neutral = model.neutral(np.zeros(1))
    keys, points = model.key_offsets(neutral), load_face_model("open_head").points68
    inner = model.from_open_head(points)[0]

    def gap(**weights: float) -> float:
        posed = keys.apply(neutral, weights)
        lower_lip = cKDTree(posed[model.masks["lip_lower"]])
        return float(lower_lip.query(inner.apply(posed)[[61, 62, 63]])[0].max())

    rest = gap()
    assert gap(jawOpen=1.0) > rest + 0.012
    assert gap(jawOpen=1.0, mouthClose=1.0) < rest + 0.0015


def test_keys_of_the_left_and_the_right_are_mirror_images(model):
    neutral = model.mean
    keys = dict(zip(model.key_names, model.key_offsets(neutral).dense(len(neutral)), strict=True))
    skin = model.topology.part_vertices("skin")
    near = np.linalg.norm(neutral[model.mirror] * [-1, 1, 1] - neutral, axis=1)[skin] < 0.0015
    skin = skin[near]
    for name in ("mouthSmileLeft", "browOuterUpLeft", "cheekSquintLeft"):
        left, right = keys[name][skin], keys[name.replace("Left", "Right")][model.mirror[skin]] * [-1, 1, 1]
        strength = np.linalg.norm(left, axis=1).max()
        assert np.linalg.norm(left - right, axis=1).mean() < 0.03 * strength


def test_landmarks_lie_where_the_open_heads_do_on_the_face(model):
    """Their order and their sides: eye corners about the irises, the nose before the eyes, the chin below the mouth."""
    points = model.landmarks68(model.mean)
    assert points[36, 0] < points[39, 0] < 0 < points[42, 0] < points[45, 0]
    assert points[30, 2] > points[[36, 39, 42, 45], 2].max() + 0.01
    assert points[8, 1] < points[57, 1] < points[51, 1] < points[33, 1] < points[27, 1]
    dense = model.landmarks478(model.mean)
    assert np.linalg.norm(dense[468] - model.eye_centres(model.mean)[1]) < 0.02
    assert np.linalg.norm(dense[473] - model.eye_centres(model.mean)[0]) < 0.02


def test_regions_are_where_they_belong(model):
    masks, mean = model.masks, model.mean
    lips, brows, nose = (mean[masks[name]].mean(axis=0) for name in ("lips", "brows", "nose"))
    assert lips[1] < nose[1] < brows[1] and nose[2] > brows[2]
    assert not (masks["lip_upper"] & masks["lip_lower"]).any()
    assert masks["iris"].sum() > 0 and (masks["pupil"] <= masks["iris"]).all()
    assert np.abs(lips[0]) < 0.003


def test_flames_neutral_head_is_flames_own_mesh(flame, tmp_path):
    """Coefficients from elsewhere give the same vertices, in the same order, but for the origin."""
    arrays = flame_arrays(write_flame_head(tmp_path / "generic_model.pkl"))
    identity = np.random.default_rng(1).normal(size=flame.identity_size).astype(np.float32)
    wanted = arrays.mean + np.tensordot(identity, arrays.identity_basis, 1)
    got = flame.neutral(identity)
    assert len(got) == len(arrays.mean) and (flame.file_index == np.arange(len(got))).all()
    away = got - wanted
    assert np.abs(away - away.mean(axis=0)).max() < 1e-5
    np.testing.assert_allclose(flame.eye_centres(got).mean(axis=0), 0, atol=1e-5)


def test_flame_keeps_its_joints_and_expressions(flame):
    assert flame.skinning.names[2] == "jaw" and flame.expression_basis.shape[0] == 100
    np.testing.assert_allclose(flame.skinning.weights.sum(axis=1), 1, atol=1e-5)


def test_grown_together_eyes_become_parts_of_their_own(bfm):
    assert {"eyeball_left", "eyeball_right"} <= set(bfm.topology.part_names) and bfm.eyeballs == {}
    for side in SIDES:
        eye = bfm.rig.eye(side)
        part = bfm.topology.part_vertices(f"eyeball_{side}")
        assert set(eye.followers[eye.kind == EYE]) <= set(part)
        assert set(part) <= set(eye.followers[eye.kind == EYE]) | set(eye.loop)
    # nothing is left of the eye between shut lids
    neutral = bfm.neutral(np.zeros(1))
    shut = bfm.key_offsets(neutral).apply(neutral, {"eyeBlinkLeft": 1.0})
    part = bfm.topology.triangles[_of_part(bfm, "eyeball_left")]
    assert _area_to_the_front(shut, part) < 0.12 * _area_to_the_front(neutral, part)


def test_iris_and_gaze_of_models_with_eyeballs(flame, ict, gnm):
    for model in (flame, ict, gnm):
        neutral = model.neutral(np.zeros(1))
        keys = model.key_offsets(neutral)
        iris = np.flatnonzero(model.masks["iris"] & (neutral[:, 0] > 0))
        up = keys.apply(neutral, {"eyeLookUpLeft": 1.0})[iris].mean(axis=0) - neutral[iris].mean(axis=0)
        aside = keys.apply(neutral, {"eyeLookOutLeft": 1.0})[iris].mean(axis=0) - neutral[iris].mean(axis=0)
        assert up[1] > 0.004 and abs(up[0]) < 0.001 and aside[0] > 0.004


def test_icts_eggs_become_balls_that_lids_lie_on(ict):
    assert ict.round_eyes
    for neutral in people(ict):
        for side in SIDES:
            ball = neutral[ict.eyeballs[side]].astype(np.float64)
            centre, radius = fit_sphere(ball)
            assert np.abs(np.linalg.norm(ball - centre, axis=1) - radius).max() < 1e-5
            assert 0.010 < radius < 0.0145


def test_gnms_sunk_irises_stay_sunk_in_balls_that_lids_lie_on(gnm):
    assert not gnm.round_eyes and gnm.rig.eyeball.radius == pytest.approx(0.012, abs=1e-5)
    for neutral in people(gnm):
        centres, radius = gnm.eye_centres(neutral), gnm.rig_of(neutral).eyeball.radius
        for centre, side in zip(centres, SIDES, strict=True):
            over = np.linalg.norm(neutral[gnm.eyeballs[side]] - centre, axis=1) - radius
            white = np.isin(gnm.eyeballs[side], gnm.eyeball_whites[side])
            assert np.abs(over[white]).max() < 1e-4 and over.max() < 1e-4
            assert over[~white].min() < -0.002  # the hole of the pupil


def test_gnms_clear_shells_are_left_out_and_leave_its_joints_where_they_were(gnm, gnm_file):
    file, groups = gnm_file
    assert not any(name.startswith("cornea") for name in gnm.topology.part_names)
    shells = np.flatnonzero(groups["eye_exteriors"] > 0)
    assert len(shells) and not np.isin(shells, gnm.file_index).any()
    assert len(gnm.file_index) == len(file["template_vertex_positions"]) - len(shells)
    assert file["joint_regressor"][:, shells].any()
    identity = np.random.default_rng(5).normal(size=gnm.identity_size)
    wanted = file["template_joint_positions"] + np.tensordot(identity, file["joint_identity_basis"], 1)
    shaped = file["template_vertex_positions"] + np.tensordot(identity, file["vertex_identity_basis"], 1)
    np.testing.assert_allclose(gnm.skinning.regressor @ shaped[gnm.file_index], wanted, atol=2e-5)


def test_gnms_teeth_and_gums_are_stiff_and_the_lower_ones_go_with_the_jaw(gnm, gnm_file):
    neutral = gnm.neutral(np.zeros(1))
    keys = gnm.key_offsets(neutral)
    lower = np.flatnonzero(gnm_file[1]["lower_teeth_and_gums"][gnm.file_index] > 0)
    upper = np.flatnonzero(gnm_file[1]["upper_teeth_and_gums"][gnm.file_index] > 0)
    for weights in ({"jawOpen": 1.0}, {"tongueOut": 1.0}, {"jawLeft": 1.0}):
        posed = keys.apply(neutral, weights)
        for jaw in (lower, upper):
            before, after = (vertices[jaw] - vertices[jaw].mean(axis=0) for vertices in (neutral, posed))
            assert np.abs(after - before @ similarity(before, after)[1].T).max() < 1e-4
    lowered = keys.apply(neutral, {"jawOpen": 1.0}) - neutral
    assert lowered[lower, 1].mean() < -0.015 and np.abs(lowered[upper]).max() < 1e-4
    assert np.abs(keys.apply(neutral, {"tongueOut": 1.0})[lower] - neutral[lower]).max() < 1e-4


def test_no_two_regions_of_gnms_texture_meet(gnm):
    """Every region is drawn on its own, as wide as a texture of 512 texels smears it; none touches another's."""
    size, drawn = 512, np.zeros((512, 512), int)
    regions = (("skin", "mouth_inside"), ("eyeball_left",), ("eyeball_right",), ("teeth_upper", "teeth_lower", "gums"))
    for parts in (*regions, ("tongue",)):
        picture = np.zeros((size, size), np.uint8)
        for part in parts:
            corners = gnm.topology.uv[gnm.topology.face_uv[gnm.topology.part(part)]]
            cv2.fillPoly(picture, list((corners * size).astype(np.int32)), 1)
        drawn += cv2.dilate(picture, np.ones((3, 3), np.uint8))
    assert drawn.max() == 1
    skin = gnm.topology.uv[gnm.topology.triangle_uv[_of_part(gnm, "skin")]].astype(np.float64)
    area = np.cross(skin[:, 1] - skin[:, 0], skin[:, 2] - skin[:, 0])
    assert (area > 0).all() or (area < 0).all()  # no triangle is turned over


def test_icts_own_keys_are_its_own(ict, data_folder):
    from backend.face_models.ict_files import ict_arrays

    arrays = ict_arrays(data_folder / "face_models/ict_facekit.npz")
    stored = dict(zip(ict.stored_keys.names, ict.stored_keys.dense(len(ict.mean)), strict=True))
    skin = ict.topology.part_vertices("skin")
    np.testing.assert_allclose(
        stored["mouthSmileLeft"][skin], arrays.keys["mouthSmileLeft"][ict.file_index][skin], atol=5e-5
    )
    assert "tongueOut" not in arrays.keys
    tongue = ict.topology.part_vertices("gums_tongue")
    assert np.linalg.norm(stored["tongueOut"][tongue], axis=1).max() > 0.01


def test_a_saved_model_is_the_same_when_it_is_read(model, tmp_path):
    model.save(tmp_path / "again.npz")
    again = RegisteredHead.load(tmp_path / "again.npz")
    identity = np.random.default_rng(2).normal(size=model.identity_size)
    neutral = model.neutral(identity)
    np.testing.assert_allclose(again.neutral(identity), neutral, atol=1e-7)  # shares of the lids are kept as halves
    keys, keys_again = model.key_offsets(neutral), again.key_offsets(neutral)
    np.testing.assert_allclose(keys_again.dense(len(neutral)), keys.dense(len(neutral)), atol=2e-6)
    assert again.licence == model.licence and again.topology.part_names == model.topology.part_names
    np.testing.assert_array_equal(again.landmarks68(neutral), model.landmarks68(neutral))
    np.testing.assert_array_equal(again.file_index, model.file_index)


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_prepared_model_says_how_to_mend_it(flame, tmp_path, damage):
    path = tmp_path / "model.npz"
    flame.save(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        np.savez(path, something=np.zeros(3))
    with pytest.raises(UsageError, match="assets add"):
        RegisteredHead.load(path)


def test_a_mesh_without_a_face_is_refused_by_name(tmp_path):
    arrays = flame_arrays(write_flame_head(tmp_path / "generic_model.pkl"))
    flat = arrays.mean * [1, 1, 0.02]
    with pytest.raises(UsageError, match="FLAME 2020"):
        prepare(replace(arrays, mean=(flat[:, [2, 0, 1]]).astype(np.float32)))


@pytest.fixture(scope="module")
def astronaut():
    return load_photograph(ASTRONAUT)


@pytest.mark.parametrize("name", ["flame", "bfm", "ict", "gnm"])
def test_a_photograph_is_fitted_with_any_model(name, request, astronaut, monkeypatch):
    model = RegisteredHead.load(request.getfixturevalue(f"prepared_{name}"))
    monkeypatch.setattr("backend.pipeline.load_face_model", lambda name: model)
    head = fit_photographs([astronaut.image], [astronaut.focal_35mm], face_model=model.name)
    photograph = head.photographs[0]
    assert photograph.landmark_error < 0.035
    assert max(photograph.closure.values()) < 0.35  # her eyes are open
    weights = dict(zip(head.keys.names, photograph.key_weights, strict=True))
    assert weights["mouthSmileLeft"] > 0.2 and weights["mouthSmileRight"] > 0.2
    assert np.abs(head.identity).max() < 6
    options = type("Options", (), {"texture": True, "texture_size": 256})
    albedo = make_albedo(head, [astronaut], options)
    cheek = model.landmarks478(model.mean)[50]
    texel = _texel(model, cheek, 256)
    red, green, blue = albedo[texel].astype(int)
    assert red > green > blue > 50  # skin


def test_what_a_network_knows_of_the_open_head_is_carried_over(flame):
    """The same person: the model's head made from carried codes is nearer to the open head's than the mean is."""
    open_head = load_face_model("open_head")
    generator = np.random.default_rng(3)
    face = np.flatnonzero(open_head.masks["face"] & (flame.trust > 0.9))
    corners, shares = flame.place.vertices[face], flame.place.barycentric[face]

    def shape_of(vertices):
        place = np.einsum("nc,ncd->nd", shares, vertices[corners])
        return place - place.mean(axis=0)

    better = []
    for _ in range(PEOPLE):
        codes = generator.normal(size=open_head.identity_size)
        measured = CodeMeasurement(codes, np.full(open_head.identity_size, 0.3))
        carried = flame.own_measurement(measured)
        assert carried.identity.shape == (flame.identity_size,)
        assert (carried.identity_deviation > 0).all() and (carried.identity_deviation <= 1).all()
        wanted = np.tensordot(codes, open_head.identity_basis[:, face], 1)
        wanted -= wanted.mean(axis=0)
        moved = shape_of(flame.shape(carried.identity)) - shape_of(flame.mean)
        better.append(np.linalg.norm(moved - wanted) / np.linalg.norm(wanted))
    assert np.mean(better) < 0.5
    nothing = flame.own_measurement(CodeMeasurement(np.zeros(96), np.ones(96)))
    assert np.abs(nothing.identity).max() == 0 and nothing.identity_deviation.min() > 0.6


def test_a_networks_codes_help_to_fit_any_model(flame, astronaut, monkeypatch):
    """The pipeline's way: a method's codes are the open head's, the head another model's."""
    monkeypatch.setattr("backend.pipeline.load_face_model", lambda name: flame)
    head = fit_photographs([astronaut.image], [None], method="eye-motion", face_model=flame.name)
    alone = fit_photographs([astronaut.image], [None], method="fit", face_model=flame.name)
    assert head.photographs[0].landmark_error < 0.04
    assert np.abs(head.identity - alone.identity).max() > 0.05


def test_the_calibration_stays_with_the_open_head():
    open_head = load_face_model("open_head")
    embedding = load_calibration().embedding(ViewDirection(0.0, 0.0))
    points, trust = open_head.from_open_head(embedding)
    assert points is embedding and (trust == 1).all()


def _of_part(model: RegisteredHead, name: str) -> np.ndarray:
    rows, face = model.topology.part(name), model.topology.triangle_face
    return (face >= rows.start) & (face < rows.stop)


def _area_to_the_front(vertices: np.ndarray, triangles: np.ndarray) -> float:
    first, second, third = (vertices[triangles[:, corner], :2] for corner in range(3))
    return float(np.maximum(np.cross(second - first, third - first), 0).sum() / 2)


def _texel(model: RegisteredHead, place: np.ndarray, size: int) -> tuple[int, int]:
    skin = model.topology.triangles[_of_part(model, "skin")]
    nearest = np.linalg.norm(model.mean[skin].mean(axis=1) - place, axis=1).argmin()
    u, v = model.topology.uv[model.topology.triangle_uv[_of_part(model, "skin")][nearest]].mean(axis=0)
    return int((1 - v) * size), int(u * size)
