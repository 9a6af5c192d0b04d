"""The learnt population: what the file holds, the parts that learnt it, and that its mean is nearer to people."""

import numpy as np
import pytest

from backend.face_models import load_face_model
from backend.face_models.ict import IctFaceKit
from training.evaluation.ict_people import ict_person, scan_of
from training.evaluation.now import pooled, scan_error
from training.evaluation.shape import skin_triangles
from training.open_head.identity import STATISTICS, SliderStatistics
from training.open_head.learn_statistics import FIRST_SEED, PEOPLE, Motion, crease_squares, slider_mirror
from training.open_head.makehuman_mean import load_makehuman_mean

GRID = 5
FIRST_PERSON, PEOPLE_TO_MEASURE = 40, 8  # others than the benchmark's
SCAN_POINTS = 2500


@pytest.fixture(scope="module")
def statistics():
    return SliderStatistics.read()


def test_the_file_is_small_and_holds_a_mean_and_a_factor_for_every_slider(statistics):
    assert STATISTICS.stat().st_size <= 600_000
    count = len(statistics.names)
    assert count > 300 and len(set(statistics.names)) == count
    assert statistics.mean.shape == (count,)
    assert statistics.factor.shape[0] == count and statistics.factor.shape[1] >= 100
    assert np.isfinite(statistics.mean).all() and np.isfinite(statistics.factor).all()


def test_sliders_of_the_population_stay_in_the_range_they_were_made_for(statistics):
    deviation = np.linalg.norm(statistics.factor, axis=1)
    assert np.abs(statistics.mean).max() < 2
    assert 0.02 < np.median(deviation) < 0.5 and deviation.max() < 1.2


def test_the_mean_person_is_as_symmetric_as_a_mirror_image(statistics):
    value = dict(zip(statistics.names, statistics.mean, strict=True))
    pairs = [(name, "r" + name[1:]) for name in value if name.startswith("l-")]
    assert len(pairs) > 50
    assert max(abs(value[left] - value[right]) for left, right in pairs) < 1e-4


def test_a_slider_and_its_mirror_image_are_found_and_one_without_is_not():
    generator = np.random.default_rng(0)
    mirror = np.array([1, 0, 3, 2])
    left = generator.normal(size=(4, 3))
    right = left[mirror] * [-1, 1, 1]
    directions = np.stack([left.ravel(), generator.normal(size=12), right.ravel()], axis=1)
    assert slider_mirror(directions, mirror).tolist() == [2, -1, 0]


def grid():
    corner = np.array([row * GRID + column for row in range(GRID - 1) for column in range(GRID - 1)])
    faces = np.stack([corner, corner + 1, corner + GRID + 1, corner + GRID], axis=1)
    y, x = np.divmod(np.arange(GRID * GRID), GRID)
    return faces, x.astype(float), y.astype(float)


def test_creases_cost_what_the_definition_says():
    faces, x, y = grid()
    generator = np.random.default_rng(1)
    offsets = generator.normal(size=(GRID * GRID, 3))
    expected = 0.0
    for vertex in range(GRID * GRID):
        around = np.flatnonzero(np.abs(x - x[vertex]) + np.abs(y - y[vertex]) == 1)
        expected += ((offsets[vertex] - offsets[around].mean(axis=0)) ** 2).sum()
    assert crease_squares(offsets.reshape(-1, 1), faces)[0, 0] == pytest.approx(expected)


def test_a_motion_steps_about_its_middle_and_keeps_its_size():
    motion = Motion(1.1, np.eye(3), np.array([0.0, 0.1, 0.0]))
    stepped = motion.stepped(np.array([0.0, 0.0, np.pi / 2, 0.01, 0.0, 0.0]))
    assert np.allclose(stepped.apply(np.zeros((1, 3))), [[0.01, 0.1, 0.0]])
    assert np.allclose(stepped.apply(np.array([[1.0, 0.0, 0.0]])), [[0.01, 1.2, 0.0]])


def test_the_learnt_mean_is_nearer_to_people_it_never_saw_than_the_mean_of_makehuman(data_folder):
    file = data_folder / "face_models/ict_facekit.npz"
    if not file.is_file():
        pytest.skip(f"no {file}: ICT-FaceKit is not part of the project")
    ict, model = IctFaceKit(file), load_face_model("open_head")
    own, triangles = model.neutral(np.zeros(model.identity_size, np.float32)), skin_triangles(model)
    heads = {"own": own, "makehuman": load_makehuman_mean(len(own))}
    errors = {name: [] for name in heads}
    for number in range(FIRST_PERSON, FIRST_PERSON + PEOPLE_TO_MEASURE):
        person = ict_person(ict, number)
        assert not FIRST_SEED <= person.seed < FIRST_SEED + PEOPLE, "this person was learnt from"
        scan, landmarks = scan_of(ict, person, SCAN_POINTS), ict.landmarks68(person.neutral)
        for name, head in heads.items():
            errors[name].append(scan_error(head, triangles, model.landmarks68(head), scan, landmarks))
    # the mean distance: the median over so few people differs by a tenth from one eight to the next
    assert pooled(errors["own"]).mean < 0.95 * pooled(errors["makehuman"]).mean
