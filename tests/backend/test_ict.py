"""The read-only ICT-FaceKit model: frame, names, and lids that shut on its eyeballs."""

import os
from pathlib import Path

import numpy as np
import pytest

from backend.errors import UsageError
from backend.face_models.eyes import fit_sphere, gaze_rotation
from backend.face_models.ict import IctFaceKit
from backend.face_models.lid_keys import BLINK_CORRECTIVES
from backend.lids import penetration
from backend.rendering.camera import frontal_orthographic
from backend.rendering.rasterizer import rasterize_screen

DATA = Path(os.environ.get("LIFEMASK_DATA") or Path(__file__).parents[3] / "shared/data")
FILE = DATA / "face_models/ict_facekit.npz"
needs_file = pytest.mark.skipif(not FILE.is_file(), reason=f"no {FILE}: ICT-FaceKit is not part of the project")
MOST_INSIDE_M = 0.0002
MOST_INSIDE_ON_THE_WAY_M = 0.0003
MOST_VISIBLE = 0.01


@pytest.fixture(scope="module")
def model():
    return IctFaceKit(FILE)


@pytest.fixture(scope="module", params=[None, 0, 1, 2])
def person(model, request):
    """(neutral, keys) of the mean and of three random people."""
    identity = np.zeros(100)
    if request.param is not None:
        identity = np.random.default_rng(request.param).normal(size=100)
    neutral = model.neutral(identity)
    return neutral, model.key_offsets(neutral)


def test_a_missing_file_is_said_in_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="no ICT-FaceKit file at"):
        IctFaceKit(tmp_path / "nothing.npz")


def test_a_file_of_something_else_is_said_in_a_sentence(tmp_path):
    np.savez(tmp_path / "other.npz", vertices=np.zeros((3, 3)))
    with pytest.raises(UsageError, match="is no ICT-FaceKit file"):
        IctFaceKit(tmp_path / "other.npz")


def test_without_a_path_the_variable_is_asked_for(monkeypatch):
    monkeypatch.delenv("LIFEMASK_DATA", raising=False)
    with pytest.raises(UsageError, match="LIFEMASK_DATA"):
        IctFaceKit()


def test_a_sphere_is_found_from_a_cap_of_it():
    generator = np.random.default_rng(0)
    direction = generator.normal(size=(200, 3))
    direction = direction[direction[:, 2] > 0]
    points = np.array([0.03, 0.01, -0.02]) + 0.012 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    centre, radius = fit_sphere(points)
    assert np.allclose(centre, [0.03, 0.01, -0.02], atol=1e-9) and np.isclose(radius, 0.012)


@pytest.mark.parametrize(
    ("direction", "axis", "sign"), [("Up", 1, 1), ("Down", 1, -1), ("ToLeft", 0, 1), ("ToRight", 0, -1)]
)
def test_a_gaze_turns_to_where_its_name_says(direction, axis, sign):
    looking = gaze_rotation(direction, 20.0) @ [0.0, 0.0, 1.0]
    assert np.isclose(np.degrees(np.arcsin(sign * looking[axis])), 20.0)


@needs_file
def test_the_head_is_metric_upright_and_faces_forward(model):
    neutral = model.neutral(np.zeros(100))
    points = model.landmarks68(neutral)
    eyes = model.eye_centres(neutral)
    assert np.allclose(eyes.mean(0), 0, atol=1e-4)
    assert eyes[0, 0] > 0.028 > 0.02 > eyes[1, 0]  # left, the subject's own, is at +X
    assert points[45, 0] > points[36, 0]
    assert points[27, 1] > points[8, 1]  # the bridge of the nose above the chin
    assert points[30, 2] == points[:, 2].max()  # the tip of the nose in front
    assert 0.055 < np.linalg.norm(eyes[0] - eyes[1]) < 0.07


@needs_file
def test_its_key_names_are_those_of_arkit(model):
    assert len(set(model.key_names)) == len(model.key_names)
    for name in ("eyeBlinkLeft", "browInnerUp", "cheekPuff", "jawOpen", "mouthSmileRight", "noseSneerLeft"):
        assert name in model.key_names
    assert not any("_" in name for name in model.key_names)


@needs_file
def test_left_keys_move_the_left_side(model, person):
    neutral, keys = person
    for name in ("browDownLeft", "mouthSmileLeft", "eyeBlinkLeft", "eyeWideLeft"):
        moved = np.linalg.norm(keys.apply(neutral, {name: 1.0}) - neutral, axis=1)
        assert neutral[moved.argmax(), 0] > 0.005, name


@needs_file
def test_the_mirror_of_the_mirror_is_the_vertex_itself_almost_everywhere(model):
    assert (model.mirror[model.mirror] == np.arange(len(model.mirror))).mean() > 0.99
    assert np.abs(model.mean[model.mirror] * [-1, 1, 1] - model.mean).max() < 5e-4


@needs_file
@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_lids_stay_outside_the_eyeballs_on_the_whole_way(model, person, weight):
    neutral, keys = person
    posed = model.posed(neutral, keys, {"eyeBlinkLeft": weight, "eyeBlinkRight": weight})
    limit = MOST_INSIDE_M if weight in (0.0, 1.0) else MOST_INSIDE_ON_THE_WAY_M
    for side in ("left", "right"):
        assert penetration(posed, model.eye_centres(neutral), model.rig_of(neutral), side).max() <= limit


def visible_eye_pixels(model, vertices):
    """Pixels of a frontal parallel view that show an eyeball, lashes off."""
    import torch

    shown = [name for name in model.topology.part_names if name != "lashes"]
    faces = np.concatenate([model.topology.faces[model.topology.part(name)] for name in shown])
    is_eye = np.concatenate(
        [np.full(len(model.topology.faces[model.topology.part(name)]), name.startswith("eyeball")) for name in shown]
    )
    assert (faces[is_eye] >= 0).any()
    two = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]])
    good = two[:, 2] >= 0
    screen, depth = frontal_orthographic(vertices, 8000.0, 900)
    fragments = rasterize_screen(
        torch.as_tensor(screen, dtype=torch.float32)[None],
        torch.as_tensor(depth, dtype=torch.float32)[None],
        torch.as_tensor(two[good].astype(np.int64)),
        (900, 900),
        perspective=False,
    )
    index = fragments.face_index[0].numpy()
    return np.concatenate([is_eye, is_eye])[good][index[index >= 0]].sum()


@needs_file
def test_shut_lids_cover_the_eyes(model, person):
    neutral, keys = person
    open_area = visible_eye_pixels(model, neutral)
    posed = model.posed(neutral, keys, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})
    assert open_area > 5000
    assert visible_eye_pixels(model, posed) <= MOST_VISIBLE * open_area


@needs_file
def test_shut_lids_stay_shut_in_a_grimace(model, person):
    neutral, keys = person
    grimace = {"mouthSmileLeft": 0.6, "cheekSquintLeft": 0.6, "browDownRight": 0.6, "noseSneerRight": 0.5}
    posed = model.posed(neutral, keys, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, **grimace})
    assert visible_eye_pixels(model, posed) <= 2 * MOST_VISIBLE * visible_eye_pixels(model, neutral)


@needs_file
def test_closure_is_read_back_for_each_eye(model, person):
    neutral, keys = person
    closure = model.lid_closure(model.posed(neutral, keys, {"eyeBlinkLeft": 1.0}), neutral)
    assert closure["left"] > 0.95 and closure["right"] < 0.05


@needs_file
def test_a_key_and_its_corrective_are_what_posing_applies(model, person):
    neutral, keys = person
    by_keys = keys.apply(neutral, {"eyeBlinkLeft": 0.5, BLINK_CORRECTIVES["left"]: 1.0})
    assert np.abs(model.posed(neutral, keys, {"eyeBlinkLeft": 0.5}) - by_keys).max() < 3e-4


@needs_file
def test_a_gaze_turns_the_eyeball_about_its_centre(model, person):
    neutral, keys = person
    posed = model.posed(neutral, keys, {}, {"left": (20.0, 0.0), "right": (0.0, 10.0)})
    centres = model.eye_centres(neutral)
    for row, (side, axis, degrees) in enumerate((("left", 0, 20.0), ("right", 1, 10.0))):
        pupil = model.eyeballs[side][model.eyeball_directions[side][:, 2].argmax()]
        before, after = neutral[pupil] - centres[row], posed[pupil] - centres[row]
        assert np.isclose(np.linalg.norm(before), np.linalg.norm(after), atol=1e-5)
        turned = np.degrees(np.arctan2(after[axis], after[2]) - np.arctan2(before[axis], before[2]))
        assert np.isclose(turned, degrees, atol=0.5)
