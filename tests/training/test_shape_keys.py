"""The figures of shape keys on cases whose answer is known, and on models whose keys should be sound."""

import json

import cv2
import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from backend.face_models import RegisteredHead, load_face_model
from backend.lids import aperture
from training.evaluation import shape_keys
from training.evaluation.shape_keys import ARKIT_NAMES, CORRECTIVES, Lips, Mirror


@pytest.fixture(scope="module")
def model():
    return load_face_model("open_head")


def grid(width=9, height=5, step=0.01):
    """A flat piece of skin, symmetric about x = 0: vertices (V, 3) and triangles (T, 3)."""
    x, y = np.meshgrid((np.arange(width) - width // 2) * step, np.arange(height) * step)
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    at = np.arange(x.size).reshape(height, width)
    corner = np.stack([at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]], axis=-1).reshape(-1, 4)
    return vertices, np.concatenate([corner[:, [0, 1, 2]], corner[:, [0, 2, 3]]])


def key_pair(vertices, seed=0):
    """A key of the left half, and the same of the right half."""
    left = np.random.default_rng(seed).normal(scale=0.002, size=vertices.shape) * (vertices[:, :1] > 0)
    right = np.zeros_like(left)
    for number, place in enumerate(vertices):
        other = np.linalg.norm(vertices - place * [-1, 1, 1], axis=1).argmin()
        right[other] = left[number] * [-1, 1, 1]
    return left, right


def test_keys_that_are_each_others_mirror_image_have_no_asymmetry():
    vertices, triangles = grid()
    left, right = key_pair(vertices)
    assert shape_keys.asymmetry(left, right, Mirror(vertices, triangles)) == pytest.approx((0, 0), abs=1e-5)


def test_a_key_that_is_off_by_a_millimetre_where_it_moves_has_a_millimetre_of_asymmetry():
    vertices, triangles = grid()
    left, right = key_pair(vertices)
    off = right + np.where(np.linalg.norm(right, axis=1, keepdims=True) > 0, [[0.0, 0.0, 0.001]], 0.0)
    millimetres, share = shape_keys.asymmetry(left, off, Mirror(vertices, triangles))
    assert millimetres == pytest.approx(1.0, rel=1e-3) and 0.1 < share < 1


def test_a_key_without_its_other_side_is_wholly_asymmetric():
    vertices, triangles = grid()
    left, right = key_pair(vertices)
    assert shape_keys.asymmetry(left, np.zeros_like(right), Mirror(vertices, triangles))[1] == pytest.approx(1.0)
    assert shape_keys.asymmetry(0 * left, 0 * right, Mirror(vertices, triangles)) == (0.0, 0.0)


def test_skin_whose_other_side_is_not_there_does_not_count():
    vertices, triangles = grid()
    kept = vertices[triangles][:, :, 0].max(axis=1) < 0.025
    mirror = Mirror(vertices, triangles[kept])
    assert vertices[mirror.vertices, 0].min() > -0.025 and len(mirror.vertices) == 5 * 5


def test_the_pairs_are_left_and_right_of_all_and_the_others_with_themselves():
    pairs = shape_keys.mirror_pairs(ARKIT_NAMES + CORRECTIVES)
    assert ("eyeLookInLeft", "eyeLookInRight") in pairs and ("jawLeft", "jawRight") in pairs
    assert ("jawOpen", "jawOpen") in pairs and ("eyeBlinkLeftCorrective", "eyeBlinkRightCorrective") in pairs
    assert sorted({name for pair in pairs for name in pair}) == sorted(ARKIT_NAMES + CORRECTIVES)
    assert len(ARKIT_NAMES) == 52


def test_every_key_belongs_to_a_group():
    assert {shape_keys.group_of(name) for name in ARKIT_NAMES + CORRECTIVES} == set(shape_keys.GROUPS)
    assert shape_keys.group_of("eyeLookUpLeft") == "gaze" and shape_keys.group_of("eyeBlinkLeft") == "lids"


def test_depth_in_a_ball_is_its_radius_less_the_distance_from_its_centre():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.012)
    points = np.array([[0.011, 0, 0], [0, 0.013, 0], [0, 0, -0.012]])
    found = shape_keys.depth_inside(points, np.asarray(ball.vertices), np.asarray(ball.faces))
    assert np.allclose(found, [0.001, -0.001, 0.0], atol=5e-5)


def test_the_gap_of_the_lids_is_the_aperture_times_the_width_and_grows_by_what_a_lid_is_lifted(model):
    neutral = model.neutral(np.zeros(1)).astype(float)
    eye = model.rig.left
    mean, largest = shape_keys.lid_gap_mm(neutral, eye)
    width = np.linalg.norm((shape_keys.canthi(eye, neutral)[1] - shape_keys.canthi(eye, neutral)[0])[:2])
    assert mean == pytest.approx(1000 * aperture(neutral, model.rig, "left") * width, rel=1e-6)
    lifted = neutral.copy()
    lifted[eye.upper[2:-2], 1] += 0.001
    assert np.subtract(shape_keys.lid_gap_mm(lifted, eye), (mean, largest)) == pytest.approx([1, 1], abs=0.1)


def test_a_blink_that_does_not_shut_and_lids_pressed_into_the_eye_are_found(model):
    neutral = model.neutral(np.zeros(1))
    left, right = shape_keys.measure_lids(model, neutral, lambda weights: neutral, fused=False)
    assert left.uncovered == right.uncovered == 1.0 and left.aperture == pytest.approx(1.0) and left.gap_mm[1] > 5

    def pressed(weights):
        result = neutral.copy()
        result[model.rig.left.loop, 2] -= 0.001
        return result

    deep = shape_keys.measure_lids(model, neutral, pressed, fused=False)
    assert 0.3 < deep[0].depth_mm["squint 1"] < 0.8  # a millimetre less what the margins lie over the ball
    assert deep[1].depth_mm["squint 1"] < 0


def two_lips(gap):
    """Two flat lips, 40 mm wide and 8 mm high, this far apart, as one mesh; masks; landmarks at their inner edges."""
    lower, triangles = grid(9, 3, 0.005)
    lower[:, 1] *= 0.8
    upper = lower + [0, 0.008 + gap, 0]
    masks = {"lip_lower": np.arange(54) < 27, "lip_upper": np.arange(54) >= 27}
    landmarks = np.zeros((68, 3))
    landmarks[48, 0], landmarks[54, 0] = -0.02, 0.02
    for row, (above, below) in enumerate(((61, 67), (62, 66), (63, 65))):
        landmarks[above], landmarks[below] = [row * 0.01 - 0.01, 0.008 + gap, 0], [row * 0.01 - 0.01, 0.008, 0]
    return Lips(np.concatenate([triangles, triangles + 27]), masks), np.concatenate([lower, upper]), landmarks


@pytest.mark.parametrize("gap", [0.003, -0.002])
def test_a_gap_between_the_lips_that_was_put_in_by_hand_is_found(gap):
    lips, vertices, landmarks = two_lips(gap)
    found = lips.measure(vertices, landmarks)
    assert np.allclose(found.slit, 1000 * gap) and found.landmarks == pytest.approx(1000 * abs(gap))
    assert found.approach == pytest.approx(max(1000 * gap, 0), abs=0.3)


def test_teeth_that_turn_are_stiff_and_a_tooth_that_is_torn_out_is_not(model):
    teeth = model.topology.part_vertices("teeth_lower")
    turned, torn, away = (np.zeros_like(model.mean) for _ in range(3))
    turn = Rotation.from_euler("x", 20, degrees=True).as_matrix()
    turned[teeth] = model.mean[teeth] @ (turn - np.eye(3)).T
    torn[teeth[:3]] = 0.005
    away[model.topology.part_vertices("skin")] = 0.01
    found = shape_keys.teeth_bent_mm(model.topology, model.mean, {"turned": turned, "torn": torn, "away": away})
    assert found["turned"] < 0.01 and found["torn"] > 3 and found["away"] == 0


def test_keys_carried_over_are_alike_by_their_direction_and_apart_by_their_distance():
    own = np.zeros((10, 3))
    own[:5, 1] = 0.002
    found = shape_keys.transfer_errors(
        {"same": own, "half": own, "opposite": own, "still": 0 * own},
        {"same": own, "half": own / 2, "opposite": -own, "still": 0 * own},
        np.arange(10),
    )
    assert found["same"] == pytest.approx((1, 0, 2))
    assert found["half"] == pytest.approx((1, 1, 2))
    assert found["opposite"] == pytest.approx((-1, 4, 2))
    assert "still" not in found


def test_a_missing_key_is_said(model):
    figures = shape_keys.ShapeKeyFigures(missing=["jawOpen"], superfluous=["sneeze"])
    figures.lids = shape_keys.measure_lids(
        model, model.neutral(np.zeros(1)), lambda w: model.neutral(np.zeros(1)), True
    )
    mouth = shape_keys.MouthFigures(1.0, np.array([0.5, -1.0]), 0.1)
    figures.mouths = {name: [mouth] for name in shape_keys.MOUTH_POSES}
    text = "\n".join(shape_keys.report(figures))
    assert "MISSING: jawOpen" in text and "sneeze" in text and "gap of 0.50 mm" in text


def assert_sound(figures):
    assert not figures.missing and not figures.superfluous
    assert max(eye.uncovered for eye in figures.lids) < 0.01
    assert max(eye.gap_mm[1] for eye in figures.lids) < 0.1
    sealed = np.array([mouth.slit for mouth in figures.mouths["jawOpen + mouthClose"]])
    opened = np.array([mouth.slit for mouth in figures.mouths["jawOpen"]])
    assert np.nanmax(sealed) < 0.5 and np.nanmin(opened.max(axis=1)) > 15


def test_the_open_heads_keys_are_sound(model):
    figures = shape_keys.measure(model, people=2, seed=1)
    assert_sound(figures)
    assert max(depth for eye in figures.lids for depth in eye.depth_mm.values()) < 0
    mouth = [rows for (left, right), rows in figures.asymmetry.items() if left.startswith("mouth") and left != right]
    assert np.array(mouth)[..., 0].max() < 0.01


def test_the_keys_of_a_head_in_flames_format_are_sound(prepared_flame):
    figures = shape_keys.measure(RegisteredHead.load(prepared_flame), people=1, seed=1)
    assert_sound(figures)
    assert max(depth for eye in figures.lids for depth in eye.depth_mm.values()) < 0.2


def test_the_lids_of_a_face_in_one_piece_shut_and_its_lips_meet(prepared_bfm):
    figures = shape_keys.measure(RegisteredHead.load(prepared_bfm), people=1, seed=1)
    assert figures.fused and not figures.missing
    assert max(eye.uncovered for eye in figures.lids) < 0.02


def test_the_command_prints_and_writes_the_figures(tmp_path, capsys):
    answer = tmp_path / "figures.json"
    assert shape_keys.main(["--people", "1", "--json", str(answer)]) == 0
    record = json.loads(answer.read_text())
    assert record["face_model"] == "open_head" and record["missing"] == [] and len(record["lids"]) == 2
    assert "all there" in capsys.readouterr().out


def test_an_error_on_one_side_is_red_on_the_map_and_nowhere_else(model, monkeypatch):
    from training.evaluation import shape_key_pictures

    def one_sided(name_offsets):
        keys = original(name_offsets)
        dense = keys.dense(len(model.mean))
        dense[keys.names.index("browDownRight")] += np.float32([0, 0, 0.005]) * (model.mean[:, :1] < -0.02)
        return type(keys).from_dense(keys.names, dense)

    original = model.key_offsets
    clean = shape_key_pictures.asymmetry_map(model)
    monkeypatch.setattr(model, "key_offsets", one_sided)
    found = shape_key_pictures.asymmetry_map(model)
    changed = (found.astype(int) - clean).any(axis=2)
    size = (found.shape[1]) // 3
    assert changed[22 : 22 + size, : size // 2].any()  # the brows' tile, the subject's right
    changed[22 : 22 + size, : size // 2 + 8] = False
    assert changed.mean() < 0.01
    red = cv2.cvtColor(found, cv2.COLOR_RGB2HSV)[22 : 22 + size, : size // 2, 1] > 180
    assert red.mean() > 0.05
