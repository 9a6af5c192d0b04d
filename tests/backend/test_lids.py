"""Lids that rest on the eyeball and shut over it: on a made-up eye, on the open head and on ICT-FaceKit."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.face_models import IctFaceKit, load_face_model
from backend.lid_rig import (
    LASH,
    LINING,
    SIDES,
    SKIN,
    Eyeball,
    LidRig,
    boundary_loops,
    build_eye_rig,
    mesh_edges,
)
from backend.lids import (
    MARGIN_CLEARANCE,
    aperture,
    blink_offsets,
    closure,
    fit_lids,
    penetration,
    place_eyeballs,
    rest_on_eyeballs,
)
from training.evaluation.lids import (
    PIXELS_PER_MM,
    eyeball_pixels,
    key_weights,
    measure_person,
    meets_requirement,
    random_identity,
)

RADIUS = 0.012
AROUND, LINING_RINGS, SKIN_RINGS = 28, 5, 10
LASH_COLUMNS, LASH_ROWS = 9, 3


def made_up_face(width=0.026, height=0.010, tilt=0.0, depth=0.0, lashes=True):
    """Two eyes of rings of quads: an elliptic opening in a curved face, a bag behind it, a card of upper lashes.

    Returns vertices (V, 3), faces (F, 4), and for each side its margin, its eyeball's centre and its lash faces.
    """
    vertices, faces, eyes, lash_faces = [], [], [], []
    for sign in (1.0, -1.0):
        first = sum(len(part) for part in vertices)
        angle = 2 * np.pi * np.arange(AROUND) / AROUND
        x, y = np.cos(angle) * width / 2, np.sin(angle) * height / 2
        y = y + tilt * x
        off_axis = np.minimum(np.hypot(x, y), 0.011)
        z = np.sqrt((RADIUS + 0.0008) ** 2 - off_axis**2) + depth
        margin = np.stack([x, y, z], 1)
        rings = []
        for ring in range(LINING_RINGS, 0, -1):
            inwards = ring / LINING_RINGS
            narrowed = margin * [1 - 0.7 * inwards, 1 - 0.7 * inwards, 1]
            rings.append(narrowed - [0, 0, 0.02 * inwards**2])
        rings.append(margin)
        for ring in range(1, SKIN_RINGS + 1):
            grown = margin * [1 + 0.16 * ring, 1 + 0.42 * ring, 1]
            rings.append(grown + [0, 0, 0.0006 * min(ring, 3)])
        eye = np.concatenate(rings) * [sign, 1, 1] + [sign * 0.031, 0, 0]
        start = first + AROUND * np.arange(len(rings) - 1)[:, None] + np.arange(AROUND)
        onward = first + AROUND * np.arange(len(rings) - 1)[:, None] + (np.arange(AROUND) + 1) % AROUND
        quads = np.stack([start, onward, onward + AROUND, start + AROUND], -1).reshape(-1, 4)
        vertices.append(eye)
        faces.append(quads)
        loop = first + AROUND * LINING_RINGS + np.arange(AROUND)
        centre = np.array([sign * 0.031, 0, depth])
        lash_first = sum(len(part) for part in vertices)
        across = np.linspace(0.15, 0.85, LASH_COLUMNS) * np.pi
        root = np.stack([np.cos(across) * width / 2, np.sin(across) * height / 2, 0 * across], 1)
        root[:, 1] += tilt * root[:, 0]
        root[:, 2] = np.sqrt((RADIUS + 0.001) ** 2 - np.minimum((root**2).sum(1), 0.011**2)) + depth
        card = np.concatenate([root + row * np.array([0, 0.001, 0.002]) for row in range(LASH_ROWS)])
        vertices.append(card * [sign, 1, 1] + [sign * 0.031, 0, 0])
        corner = lash_first + (LASH_COLUMNS * np.arange(LASH_ROWS - 1)[:, None] + np.arange(LASH_COLUMNS - 1)).ravel()
        card_faces = np.stack([corner, corner + 1, corner + 1 + LASH_COLUMNS, corner + LASH_COLUMNS], 1)
        lash_faces.append(card_faces if lashes else None)
        eyes.append((loop, centre))
    return np.concatenate(vertices), np.concatenate(faces), eyes, lash_faces


def made_up_rig(**shape) -> tuple[np.ndarray, np.ndarray, LidRig]:
    """Vertices, centres and rig of `made_up_face`."""
    vertices, faces, eyes, lashes = made_up_face(**shape)
    rigs = [build_eye_rig(vertices, faces, *eye, card) for eye, card in zip(eyes, lashes, strict=True)]
    return vertices, np.stack([centre for _, centre in eyes]), LidRig(*rigs, Eyeball(RADIUS))


@pytest.fixture(scope="module")
def average():
    """The rig of the average made-up face; rigs are made once and used for every person."""
    return made_up_rig()[2]


shapes = st.fixed_dictionaries(
    {
        "width": st.floats(0.021, 0.030),
        "height": st.floats(0.007, 0.013),
        "tilt": st.floats(-0.12, 0.12),
        "depth": st.floats(-0.002, 0.002),
    }
)


def fitted(shape, rig):
    vertices = made_up_face(**shape)[0]
    centres = place_eyeballs(vertices, rig)
    return fit_lids(vertices, centres, rig), centres


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_no_lid_vertex_enters_the_ball_anywhere_on_the_way(average, shape):
    neutral, centres = fitted(shape, average)
    for side in SIDES:
        motion = blink_offsets(neutral, centres, average, side)
        for weight in np.linspace(0, 1, 9):
            deepest = penetration(motion.apply(neutral, weight), centres, average, side).max()
            assert deepest < 0.0001, f"{1000 * deepest:.3f} mm inside at {weight}"


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_shut_margins_meet_and_the_upper_lid_goes_most_of_the_way(average, shape):
    neutral, centres = fitted(shape, average)
    for side in SIDES:
        eye = average.eye(side)
        shut = blink_offsets(neutral, centres, average, side).apply(neutral, 1.0)
        assert aperture(shut, average, side) == 0.0
        middle_up, middle_low = eye.upper[len(eye.upper) // 2], eye.lower[len(eye.lower) // 2]
        assert 0 <= shut[middle_low, 1] - shut[middle_up, 1] < 0.001
        down, up = neutral[middle_up, 1] - shut[middle_up, 1], shut[middle_low, 1] - neutral[middle_low, 1]
        assert 0.8 < down / (down + up) < 0.95


def test_the_margin_stays_on_the_ball_while_it_shuts(average):
    neutral, centres = fitted({}, average)
    motion = blink_offsets(neutral, centres, average, "left")
    middle = average.left.upper[len(average.left.upper) // 2]
    for weight in (0.0, 0.25, 0.5, 0.75, 1.0):
        height = np.linalg.norm(motion.apply(neutral, weight)[middle] - centres[0]) - RADIUS
        assert abs(height - MARGIN_CLEARANCE) < 0.00005


def test_a_key_without_its_corrective_would_cut_through_the_ball(average):
    neutral, centres = fitted({"height": 0.013}, average)
    motion = blink_offsets(neutral, centres, average, "left")
    straight = replace(motion, corrective=np.zeros_like(motion.corrective))
    assert penetration(straight.apply(neutral, 0.5), centres, average, "left").max() > 0.0003


def test_fitted_margins_touch_the_ball_and_far_skin_is_left_alone(average):
    vertices = made_up_face(depth=0.002)[0]
    centres = place_eyeballs(vertices, average) + [0, 0, 0.0005]
    fitted_face = fit_lids(vertices, centres, average)
    for centre, side in zip(centres, SIDES, strict=True):
        margin = fitted_face[average.eye(side).loop] - centre
        on_ball = np.hypot(margin[:, 0], margin[:, 1]) < 0.009
        height = np.linalg.norm(margin[on_ball], axis=1) - RADIUS
        np.testing.assert_allclose(height, MARGIN_CLEARANCE, atol=2e-5)
        np.testing.assert_array_equal(fitted_face[average.eye(side).loop, :2], vertices[average.eye(side).loop, :2])
    followers = np.concatenate([average.left.vertices, average.right.vertices])
    others = np.setdiff1d(np.arange(len(vertices)), followers)
    np.testing.assert_array_equal(fitted_face[others], vertices[others])


def test_the_lining_hides_below_the_surface_of_the_ball(average):
    neutral, centres = fitted({}, average)
    for weight in (0.0, 0.5, 1.0):
        posed = blink_offsets(neutral, centres, average, "right").apply(neutral, weight)
        lining = average.right.followers[average.right.kind == LINING]
        assert np.linalg.norm(posed[lining] - centres[1], axis=1).max() < RADIUS


def test_fitting_twice_changes_nothing(average):
    neutral, centres = fitted({"tilt": 0.05}, average)
    np.testing.assert_allclose(fit_lids(neutral, centres, average), neutral, atol=2e-6)


def test_eyeballs_of_a_mirrored_face_are_mirrored_and_follow_a_moved_face(average):
    vertices = made_up_face(tilt=0.05)[0]
    left, right = place_eyeballs(vertices, average)
    np.testing.assert_allclose(left * [-1, 1, 1], right, atol=1e-9)
    np.testing.assert_allclose(
        place_eyeballs(vertices + [0.001, 0.002, 0.003], average)[0], left + [0.001, 0.002, 0.003]
    )
    assert abs(left[0] - 0.031) < 0.0005 and abs(left[2]) < 0.001


def test_a_wink_leaves_the_other_eye_alone(average):
    neutral, centres = fitted({}, average)
    posed = blink_offsets(neutral, centres, average, "left").apply(neutral, 1.0)
    np.testing.assert_array_equal(posed[average.right.vertices], neutral[average.right.vertices])
    assert closure(posed, neutral, average, "left") == 1.0
    assert closure(posed, neutral, average, "right") == 0.0


def test_closure_grows_with_the_weight_of_the_blink(average):
    neutral, centres = fitted({}, average)
    motion = blink_offsets(neutral, centres, average, "left")
    values = [closure(motion.apply(neutral, weight), neutral, average, "left") for weight in np.linspace(0, 1, 11)]
    assert np.all(np.diff(values) > 0) and abs(values[5] - 0.5) < 0.1


def test_aperture_is_the_mean_gap_over_the_width(average):
    """Against the definition, station by station, on the made-up ellipse."""
    vertices = made_up_face(width=0.026, height=0.010, lashes=False)[0]
    gaps = [0.010 * np.sqrt(1 - (2 * place - 1) ** 2) for place in np.linspace(0.1, 0.9, 25)]
    assert aperture(vertices, average, "left") == pytest.approx(np.mean(gaps) / 0.026, rel=0.03)


def test_aperture_of_crossed_margins_is_zero(average):
    vertices = made_up_face()[0]
    crossed = vertices * [1, -1, 1]
    assert aperture(crossed, average, "left") == 0.0


def test_lids_pushed_into_the_ball_by_another_key_come_back_to_rest(average):
    neutral, centres = fitted({}, average)
    posed = neutral.copy()
    moved = average.left.lid_vertices
    posed[moved] += [0, -0.002, -0.002]
    assert penetration(posed, centres, average, "left").max() > 0.001
    rested = rest_on_eyeballs(posed, neutral, centres, average)
    assert penetration(rested, centres, average, "left").max() < 0.0
    np.testing.assert_array_equal(rested[average.right.vertices], neutral[average.right.vertices])


def test_lashes_turn_stiffly_with_the_upper_lid(average):
    neutral, centres = fitted({}, average)
    eye = average.left
    lashes = eye.followers[eye.kind == LASH].reshape(LASH_ROWS, LASH_COLUMNS)
    shut = blink_offsets(neutral, centres, average, "left").apply(neutral, 1.0)
    hair, hair_shut = neutral[lashes[-1]] - neutral[lashes[0]], shut[lashes[-1]] - shut[lashes[0]]
    np.testing.assert_allclose(np.linalg.norm(hair_shut, axis=1), np.linalg.norm(hair, axis=1), rtol=0.02)
    pitch = np.degrees(np.arctan2(hair[:, 1], hair[:, 2]) - np.arctan2(hair_shut[:, 1], hair_shut[:, 2]))
    assert pitch[LASH_COLUMNS // 2] > 25


def test_a_cornea_is_cleared_too():
    ball = Eyeball(RADIUS, (0.0, 0.3, 0.5), (0.0006, 0.0004, 0.0))
    vertices, centres, rig = made_up_rig()
    rig = replace(rig, eyeball=ball)
    neutral = fit_lids(vertices, centres, rig)
    assert ball.surface(np.array([0.0, 0.0, 1.0])) == pytest.approx(RADIUS + 0.0006)
    for weight in (0.0, 0.5, 1.0):
        posed = blink_offsets(neutral, centres, rig, "left").apply(neutral, weight)
        assert penetration(posed, centres, rig, "left").max() < 0.0


def test_a_rig_survives_its_arrays_and_a_cut_mesh(average, tmp_path):
    np.savez(tmp_path / "rig.npz", **average.to_arrays())
    with np.load(tmp_path / "rig.npz", allow_pickle=False) as arrays:
        back = LidRig.from_arrays(arrays)
    neutral, centres = fitted({}, average)
    there = blink_offsets(neutral, centres, average, "left")
    here = blink_offsets(neutral, centres, back, "left")
    np.testing.assert_allclose(here.offset, there.offset, atol=2e-5)
    base_index = np.concatenate([np.arange(len(neutral))[::-1], [-1, -1]])
    cut = average.renumbered(base_index)
    flipped = np.concatenate([neutral[::-1], np.zeros((2, 3))])
    moved = blink_offsets(flipped, centres, cut, "left").apply(flipped, 1.0)[: len(neutral)][::-1]
    np.testing.assert_allclose(moved, there.apply(neutral, 1.0), atol=1e-9)


def test_a_cut_that_loses_the_margin_is_refused(average):
    with pytest.raises(ValueError, match="margin"):
        average.renumbered(np.setdiff1d(np.arange(2000), average.left.loop[:1]))


def test_a_loop_that_parts_nothing_is_refused():
    vertices, faces, ((loop, centre), _), _ = made_up_face()
    with pytest.raises(ValueError, match="canthus to canthus"):
        build_eye_rig(vertices, faces, loop[: AROUND // 2 + 1], centre)
    with pytest.raises(ValueError, match="part the skin"):
        build_eye_rig(vertices, faces, loop[::2], centre)


def test_an_unknown_side_is_named_in_the_error(average):
    with pytest.raises(ValueError, match="'middle'"):
        average.eye("middle")


def test_shares_are_the_harmonic_continuation_of_the_margin(average):
    """Each inner skin vertex is the mean of its neighbours, weighted by one over the edge length."""
    vertices, faces, *_ = made_up_face()
    eye = average.left
    share = {int(v): row for v, row in zip(eye.followers, eye.share.astype(float), strict=True)}
    share |= {int(v): row for v, row in zip(eye.loop, np.eye(len(eye.loop)), strict=True)}
    edges = mesh_edges(faces)
    skin = eye.followers[(eye.kind == SKIN) & (eye.distance < 0.006)]
    for vertex in skin[::7]:
        neighbours = [int(b if a == vertex else a) for a, b in edges if vertex in (a, b)]
        weight = [1 / np.linalg.norm(vertices[vertex] - vertices[n]) for n in neighbours]
        mean = sum(w * share[n] for w, n in zip(weight, neighbours, strict=True)) / sum(weight)
        np.testing.assert_allclose(share[int(vertex)], mean, atol=1e-5)
    np.testing.assert_allclose(eye.share.sum(1), 1.0, atol=1e-5)


def test_boundary_loops_of_a_band_are_its_two_rims():
    vertices, faces, *_ = made_up_face(lashes=False)
    loops = boundary_loops(faces[: len(faces) // 2])
    assert [len(loop) for loop in loops] == [AROUND, AROUND]
    assert {frozenset(loop.tolist()) for loop in loops} == {
        frozenset(range(AROUND)),
        frozenset(range(AROUND * (LINING_RINGS + SKIN_RINGS), AROUND * (LINING_RINGS + SKIN_RINGS + 1))),
    }
    triangle_and_quad = np.array([[0, 1, 2, 3], [2, 1, 4, -1]])
    assert sorted(boundary_loops(triangle_and_quad)[0].tolist()) == [0, 1, 2, 3, 4]


def test_the_lids_of_a_person_take_at_most_30_milliseconds(average):
    vertices = made_up_face()[0]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        centres = place_eyeballs(vertices, average)
        neutral = fit_lids(vertices, centres, average)
        for side in SIDES:
            blink_offsets(neutral, centres, average, side)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.03


# The models themselves ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def open_head():
    return load_face_model("open_head")


@pytest.fixture(scope="module")
def ict():
    path = Path(os.environ.get("LIFEMASK_DATA", "../shared/data")) / "face_models/ict_facekit.npz"
    if not path.is_file():
        pytest.skip(f"no ICT-FaceKit at {path}")
    return IctFaceKit(path)


def test_the_open_heads_lids_shut_on_random_people(open_head):
    figures = [
        eye
        for seed in range(9000, 9006)
        for eye in measure_person(open_head, random_identity(seed, open_head.identity_size), {}).values()
    ]
    assert meets_requirement(figures)
    assert min(eye.open_area for eye in figures) > 2000


def test_icts_lids_shut_on_random_people(ict):
    figures = [
        eye
        for seed in range(9000, 9002)
        for eye in measure_person(ict, random_identity(seed, ict.identity_size), {}).values()
    ]
    assert meets_requirement(figures)


def test_squint_wide_and_looks_keep_the_open_heads_lids_out_of_the_balls(open_head):
    neutral = open_head.neutral(random_identity(9100, open_head.identity_size))
    keys = open_head.key_offsets(neutral)
    rig, centres = open_head.rig_of(neutral), open_head.eye_centres(neutral)
    for name in ("eyeSquint", "eyeWide", "eyeLookDown", "eyeLookUp", "cheekSquint"):
        for side in SIDES:
            posed = keys.apply(neutral, key_weights(side, {name: 1.0}))
            assert penetration(posed, centres, rig, side).max() < 0.0003, name


def test_uncovered_eye_is_counted_in_eyeball_pixels(open_head):
    """Without the skin in front every pixel of the ball's disc is seen: its area in the render's scale."""
    neutral = open_head.neutral(np.zeros(open_head.identity_size))
    centre = open_head.eye_centres(neutral)[0]
    pushed = neutral.copy()
    pushed[open_head.topology.part_vertices("skin")] -= [0, 0, 0.2]
    disc = np.pi * (12 * PIXELS_PER_MM) ** 2
    assert eyeball_pixels(pushed, open_head.topology, "left", centre) == pytest.approx(disc, rel=0.02)
    assert eyeball_pixels(neutral, open_head.topology, "left", centre) < 0.5 * disc
