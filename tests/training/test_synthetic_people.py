"""Synthetic people: the same seed gives the same picture, and what is said of a picture is true of it."""

from collections import Counter

import numpy as np
import pytest
import torch

from backend.aligned_crop import align
from backend.detection import detect_faces
from backend.errors import UsageError
from backend.face_models import OpenHead, Topology, load_face_model
from backend.face_models.morphable_model import SurfacePoints
from backend.lids import closure
from backend.rendering.camera import Camera
from backend.rendering.rasterizer import rasterize, rasterize_screen
from backend.rendering.shading import HarmonicLight, harmonic_basis
from training.data import generator as synthetic
from training.data.depth_buffer import draw, lit_share
from training.data.expressions import random_expression
from training.data.generator import SyntheticPeople
from training.data.lamps import Lamp, nearest_harmonic, random_lighting
from training.data.open_head_on import OpenHeadOn
from training.data.pixel_shading import relief_slope
from training.data.recesses import Recesses
from training.data.sample import EYE_STATES, PARSING_CLASSES, SIDES, Sample
from training.data.shoulders import posed
from training.data.viewing import LARGEST_YAW_DEGREES, random_view

SIZE = 128
PICTURES = 16


@pytest.fixture(scope="module")
def people() -> SyntheticPeople:
    return SyntheticPeople(seed=3, size=SIZE, dense=True, pictures_per_person=4)


@pytest.fixture(scope="module")
def album(people) -> list[Sample]:
    return [people.photograph(index) for index in range(PICTURES)]


def test_seed_and_index_say_what_is_in_a_picture(album):
    again = SyntheticPeople(seed=3, size=SIZE, dense=True, pictures_per_person=4)
    for index in (5, 2):  # in another order
        sample = again.photograph(index)
        assert np.array_equal(sample.image, album[index].image)
        assert np.array_equal(sample.landmarks478, album[index].landmarks478)
        assert np.array_equal(sample.parsing, album[index].parsing)
        assert sample.attributes == album[index].attributes
    assert not np.array_equal(SyntheticPeople(seed=4, size=SIZE).photograph(5).image, album[5].image)


def test_pictures_of_a_person_share_the_person_and_nothing_else(album):
    first, second, other = album[0], album[1], album[4]
    assert first.person == second.person != other.person
    assert np.array_equal(first.identity, second.identity) and not np.array_equal(first.identity, other.identity)
    assert np.array_equal(first.albedo, second.albedo)
    assert not np.array_equal(first.key_weights, second.key_weights)
    assert not np.array_equal(first.camera.rotation, second.camera.rotation)


def test_labels_have_the_shapes_and_types_that_the_sample_promises(people, album):
    keys = len(people.model.key_names)
    for sample in album:
        assert sample.image.shape == (SIZE, SIZE, 3) and sample.image.dtype == np.uint8
        assert sample.key_weights.shape == (keys,) and sample.key_weights.dtype == np.float32
        assert sample.light.shape == (9, 3) and np.isfinite(sample.light).all()
        assert sample.closure.shape == (2,) and sample.gaze.shape == (2, 2)
        assert sample.visible68.dtype == sample.visible478.dtype == bool
        assert sample.parsing.max() < len(PARSING_CLASSES)
        assert set(sample.eye_state) <= set(EYE_STATES)
        assert all(isinstance(value, int | float | str) for value in sample.attributes.values())


def test_landmarks_are_where_the_codes_put_them(people, album):
    for sample in album:
        model = people.model
        neutral = model.neutral(sample.identity)
        vertices = model.key_offsets(neutral).apply(neutral, sample.key_weights)
        expected = sample.camera.project(model.landmarks68(vertices))
        assert np.abs(expected - sample.landmarks68).max() < 0.05
        assert np.abs(sample.camera.project(model.landmarks478(vertices)) - sample.landmarks478).max() < 0.05


def test_points_on_the_far_side_are_not_visible_and_those_in_front_are(people):
    left, front, right = people.triple(2)
    right_jaw, left_jaw = slice(1, 5), slice(12, 16)
    assert not left.visible68[right_jaw].any() or left.attributes["occluder"] != "none"
    assert not right.visible68[left_jaw].any() or right.attributes["occluder"] != "none"
    inside = ((front.landmarks68 >= 0) & (front.landmarks68 < SIZE)).all(axis=1)
    assert not front.visible68[~inside].any()


def test_a_triple_shows_one_held_face_from_the_left_the_front_and_the_right(people):
    left, front, right = people.triple(1)
    assert left.yaw >= 20 > abs(front.yaw) and right.yaw <= -20
    for other in (front, right):
        assert np.array_equal(left.identity, other.identity)
        assert np.array_equal(left.key_weights, other.key_weights)
        assert np.array_equal(left.closure, other.closure)


def test_a_person_who_holds_still_is_seen_from_the_sides_asked_for(people):
    triple, turned = people.triple(1), people.turned(1, (60, 0, -45, -60))
    assert [sample.yaw for sample in turned] == [60, 0, -45, -60]
    for sample, sign in zip(turned, (1, 0, -1, -1), strict=True):
        assert sample.camera.position[0] * sign >= 0 and (sign or abs(sample.camera.position[0]) < 0.01)
        assert np.array_equal(sample.key_weights, triple[1].key_weights)
        assert np.array_equal(sample.identity, triple[1].identity)
    assert len({sample.index for sample in turned}) == 4


def test_eyes_are_as_shut_as_is_said(album):
    for sample in album:
        for side, (state, shut) in enumerate(zip(sample.eye_state, sample.closure, strict=True)):
            eye = PARSING_CLASSES.index(("left_eye", "right_eye")[side])
            if state == "shut":
                assert shut > 0.95
                assert (sample.parsing == eye).sum() <= 3  # a lash's breadth at most
            elif state == "wide":
                assert shut == 0.0
            elif state == "half":
                assert 0.2 < shut < 0.85


def test_parsing_names_what_lies_under_the_landmarks():
    people = SyntheticPeople(seed=11, size=224, pictures_per_person=1)
    wanted = {30: "nose", 51: "upper_lip", 57: "lower_lip", 19: "right_brow", 24: "left_brow"}
    right = Counter()
    for index in range(12):
        sample = people.photograph(index)
        for point, name in wanted.items():
            if not sample.visible68[point] or abs(sample.yaw) > 40:
                continue
            column, row = sample.landmarks68[point].astype(int)
            near = sample.parsing[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4]
            right[name, PARSING_CLASSES.index(name) in near] += 1
    for name in wanted.values():
        assert right[name, True] >= 3
        assert right[name, True] >= 0.9 * (right[name, True] + right[name, False])


def test_depth_and_normals_agree_with_the_landmarks(people, album):
    checked = 0
    for sample in album:
        depth, normals = sample.dense.depth, sample.dense.normals
        on_head = depth > 0
        assert np.allclose(np.linalg.norm(normals[on_head], axis=1), 1.0, atol=1e-3)
        assert (normals[on_head][:, 2] < 0.3).mean() > 0.95  # towards the camera
        assert not normals[~on_head].any()
        neutral = people.model.neutral(sample.identity)
        vertices = people.model.key_offsets(neutral).apply(neutral, sample.key_weights)
        expected = sample.camera.to_camera(people.model.landmarks68(vertices))[:, 2]
        for point in np.flatnonzero(sample.visible68):
            column, row = sample.landmarks68[point].astype(int)
            if on_head[row, column] and 27 <= point <= 30 and abs(sample.yaw) < 45:
                pixel = expected[point] / sample.camera.fx  # metres; the flank of the nose is steep
                assert abs(depth[row, column] - expected[point]) < 0.003 + 3 * pixel
                checked += 1
    assert checked > 20


def test_aligned_pictures_are_the_crop_of_their_own_landmarks_up_to_the_jitter():
    people = SyntheticPeople(seed=5, size=SIZE, framing="aligned", pictures_per_person=1)
    for index in range(8):
        crop = align(people.photograph(index).landmarks68.astype(float), SIZE)
        assert 0.88 < crop.scale < 1.12
        middle = np.array([crop.left, crop.top]) + SIZE / crop.scale / 2
        assert np.abs(middle - SIZE / 2).max() < 0.06 * SIZE


def test_an_unknown_framing_is_refused():
    with pytest.raises(ValueError, match="portrait, aligned"):
        SyntheticPeople(seed=0, framing="passport")


def test_eyes_are_other_than_open_and_wink_as_often_as_wanted():
    names = SyntheticPeople(seed=0, size=32).model.key_names
    states = [random_expression(names, np.random.default_rng(seed)).eye_state for seed in range(1500)]
    both_open = np.mean([pair == ("open", "open") for pair in states])
    winks = np.mean(["shut" in pair and len(set(pair)) == 2 for pair in states])
    assert 0.5 < both_open < 0.6
    assert winks >= 0.08


def test_views_spread_as_documented():
    views = [random_view(np.random.default_rng(seed), 224) for seed in range(1500)]
    yaw = np.abs([view.yaw for view in views])
    assert yaw.max() <= LARGEST_YAW_DEGREES and yaw.max() > 75
    assert 0.7 < (yaw < 45).mean() < 0.95
    assert abs(np.mean([view.yaw for view in views])) < 3
    focal = np.array([view.focal_35mm for view in views])
    assert focal.min() >= 23.9 and np.percentile(focal, 95) > 100


@pytest.mark.parametrize("perspective", [True, False])
def test_the_compiled_depth_buffer_draws_what_the_rasterizer_draws(people, perspective: bool):
    model = people.model
    camera = Camera.orbit(0.5, 0.2, 0.7, 160, focal_pixels=400.0)
    seen = camera.to_camera(model.mean).astype(np.float32)
    triangles = model.topology.triangles
    intrinsics = torch.as_tensor(camera.intrinsics, dtype=torch.float32)
    if perspective:
        expected = rasterize(torch.from_numpy(seen)[None], torch.from_numpy(triangles), intrinsics, (160, 160))
        screen = camera.project(model.mean).astype(np.float32)
    else:
        screen = (seen[:, :2] * 500 + 80).astype(np.float32)
        expected = rasterize_screen(
            torch.from_numpy(screen)[None],
            torch.from_numpy(seen[None, :, 2].copy()),
            torch.from_numpy(triangles),
            (160, 160),
            perspective=False,
        )
    found, depth, barycentric = draw(screen, seen[:, 2].copy(), triangles, 160, 160, perspective)
    same = found == expected.face_index[0].numpy()
    assert same.mean() > 0.999
    covered = same & (found >= 0)
    assert covered.sum() > 5000
    assert np.abs(depth[covered] - expected.depth[0].numpy()[covered]).max() < 1e-4
    assert np.percentile(np.abs(barycentric - expected.barycentric[0].numpy())[covered], 99.9) < 2e-3


def test_light_that_has_only_two_orders_is_found_again():
    generator = np.random.default_rng(0)
    normals = generator.normal(size=(3000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    true = generator.normal(size=(9, 3)).astype(np.float32) * 0.1
    true[0] += 3.0
    light = harmonic_basis(torch.from_numpy(normals).float()).numpy() @ true
    found = nearest_harmonic(normals, light, prior=np.zeros((9, 3), np.float32), ridge=1e-6)
    assert np.abs(found - true).max() < 1e-3


def test_lamps_as_harmonics_are_those_of_the_renderer():
    lighting = random_lighting(np.random.default_rng(1), np.diag([1.0, -1.0, -1.0]))
    lamp: Lamp = lighting.lamps[0]
    alone = type(lighting)(np.zeros((9, 3), np.float32), (lamp,), lighting.kind).harmonic()
    expected = HarmonicLight.directional(tuple(lamp.direction.tolist()), 1.0, 0.0).coefficients.numpy()
    assert np.allclose(alone, expected[:, :1] * lamp.colour, atol=1e-5)


def test_closure_is_that_of_the_lids_on_the_whole_head(people):
    person, model = people.person(1), people.model
    rig = model.rig_of(person.neutral)
    weights = random_expression(model.key_names, np.random.default_rng(4)).weights
    expected = [closure(person.posed(weights), person.neutral, rig, side) for side in SIDES]
    assert np.allclose(person.closures(weights, rig), expected, atol=1e-6)


def test_what_lies_in_front_hides_points_and_is_no_part_of_the_face(monkeypatch):
    def right_half(image, face_box, generator):
        hidden = np.zeros(image.shape[:2], bool)
        hidden[:, SIZE // 2 :] = True
        return np.where(hidden[..., None], np.float32(0.5), image), hidden, "board"

    monkeypatch.setattr(synthetic, "random_occluder", right_half)
    monkeypatch.setattr(synthetic, "OCCLUDER_SHARE", 1.0)
    monkeypatch.setattr(synthetic, "LARGEST_HIDDEN_SHARE", 1.0)
    sample = SyntheticPeople(seed=3, size=SIZE).photograph(0)
    assert sample.attributes["occluder"] == "board"
    behind = sample.landmarks478[:, 0] > SIZE / 2
    assert behind.any() and not sample.visible478[behind].any() and sample.visible478[~behind].any()
    assert not sample.parsing[:, SIZE // 2 :].any() and sample.parsing[:, : SIZE // 2].any()


def test_what_would_hide_most_of_a_face_is_left_out(monkeypatch):
    def everything(image, face_box, generator):
        return np.zeros_like(image), np.ones(image.shape[:2], bool), "wall"

    monkeypatch.setattr(synthetic, "random_occluder", everything)
    monkeypatch.setattr(synthetic, "OCCLUDER_SHARE", 1.0)
    assert SyntheticPeople(seed=3, size=SIZE).photograph(0).attributes["occluder"] == "none"


def test_lids_shade_the_eyes_and_lips_the_teeth(people):
    model, person = people.model, people.person(0)
    names = list(model.key_names)
    recesses = Recesses(model, np.ones(len(model.mean), np.float32))

    def openness(**weights: float):
        values = np.zeros(len(names), np.float32)
        for name, value in weights.items():
            values[names.index(name)] = value
        return recesses.openness(person.posed(values))

    rest = openness()
    eye, teeth = model.masks["iris"], model.topology.part_vertices("teeth_upper")
    assert openness(eyeBlinkLeft=0.6, eyeBlinkRight=0.6)[eye].mean() < rest[eye].mean()
    assert openness(jawOpen=0.6)[teeth].mean() > 1.2 * rest[teeth].mean()
    assert rest.min() >= 0 and rest.max() <= 1


def test_the_slope_of_a_relief_is_its_gradient_on_the_surface():
    generator = np.random.default_rng(2)
    vertices = generator.normal(size=(3, 3)).astype(np.float32)
    uv = generator.random((3, 2)).astype(np.float32)
    corners = np.array([[0, 1, 2]])
    along_u, along_v = np.array([0.7], np.float32), np.array([-0.4], np.float32)
    steep = np.float32(1e6)
    slope = relief_slope(vertices, corners, uv, corners, np.array([0]), along_u, along_v, steep)[0]
    heights = uv @ np.array([0.7, -0.4])
    for corner in (1, 2):  # along an edge the relief rises by what the gradient says
        assert np.isclose(slope @ (vertices[corner] - vertices[0]), heights[corner] - heights[0], atol=1e-4)
    assert abs(slope @ np.cross(vertices[1] - vertices[0], vertices[2] - vertices[0])) < 1e-4
    gentle = relief_slope(vertices, corners, uv, corners, np.array([0]), along_u, along_v, np.float32(0.01))[0]
    assert np.isclose(np.linalg.norm(gentle), 0.01, rtol=1e-3)


def test_a_lamp_reaches_what_nothing_lies_before_and_half_of_it_at_an_edge():
    nearest = np.full((40, 40), 9.0, np.float32)
    nearest[:, :20] = 1.0
    column = np.array([5.0, 19.5, 35.0], np.float32)
    row, depth = np.full(3, 20.0, np.float32), np.full(3, 2.0, np.float32)
    lit = lit_share(nearest, column, row, depth, np.float32(3.0), np.float32(0.01))
    assert lit[0] == 0 and lit[2] == 1 and 0.3 < lit[1] < 0.7
    before = lit_share(nearest, column, row, np.full(3, 0.99, np.float32), np.float32(3.0), np.float32(0.01))
    assert (before == 1).all()


def test_shoulders_are_seen_from_outside(people):
    person, model = people.person(0), people.model
    vertices, triangles, _, away = posed(person.shoulders, model, person.neutral, person.neck_colour, np.eye(3))
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    axis = vertices.mean(axis=0) * [1, 0, 1]
    outwards = ((a + b + c) / 3 - axis) * [1, 0, 1]
    low = away[triangles].min(axis=1) == 1  # below the collar
    assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), outwards)[low] > 0).mean() > 0.95
    assert np.allclose(vertices[: len(model.data["neck_loop"])], person.neutral[model.data["neck_loop"]], atol=0.012)


@pytest.mark.slow
def test_mediapipe_finds_the_faces():
    people = SyntheticPeople(seed=21, size=224, pictures_per_person=2)
    found = []
    for index in range(45):
        sample = people.photograph(index)
        if abs(sample.yaw) < 60:
            found.append(bool(detect_faces(sample.image)))
    assert np.mean(found) >= 0.97


class Copy(OpenHead):
    """The open head under another name, its vertices in another order, as a model that was prepared knows it."""

    def __init__(self, *, without: str = ""):
        super().__init__()
        own = self.topology
        self.name = "copy"
        count = len(self.mean)
        self.place = SurfacePoints(
            np.repeat(np.arange(count)[:, None], 3, axis=1), np.tile([1.0, 0.0, 0.0], (count, 1))
        )
        self.trust = np.ones(count, np.float32)
        if without:
            self.trust[self.masks[without]] = 0.0
        self.topology = Topology(own.faces, own.uv * 0, own.face_uv * 0, own.part_names, own.part_faces)


def people_of(model: OpenHead, monkeypatch, **options) -> SyntheticPeople:
    monkeypatch.setattr(synthetic, "load_face_model", lambda name: {"copy": model}[name])
    return SyntheticPeople(seed=3, size=SIZE, dense=True, pictures_per_person=4, face_model="copy", **options)


def test_people_of_another_head_with_the_same_shape_are_the_same_people(album, monkeypatch):
    """Its texture coordinates are of no use, so everything comes by the correspondence."""
    others = people_of(Copy(), monkeypatch)
    for index in (0, 5, 9):
        own, other = album[index], others.photograph(index)
        assert np.abs(own.image.astype(float) - other.image).mean() < 1.5
        assert (own.parsing == other.parsing).mean() > 0.99
        np.testing.assert_allclose(other.landmarks478, own.landmarks478, atol=1e-3)
        np.testing.assert_allclose(other.closure, own.closure, atol=1e-5)
        np.testing.assert_allclose(other.albedo, own.albedo, atol=0.1)
        assert other.eye_state == own.eye_state and (other.visible68 == own.visible68).mean() > 0.97


def test_a_head_without_an_inside_of_the_mouth_gets_one(monkeypatch):
    model = Copy()
    topology = model.topology
    kept = [name for name in topology.part_names if not name.startswith(("mouth", "teeth", "tongue"))]
    rows = [np.arange(*topology.part(name).indices(len(topology.faces))[:2]) for name in kept]
    ends = np.cumsum([len(row) for row in rows])
    part_faces = np.stack([ends - [len(row) for row in rows], ends], axis=1).astype(np.int32)
    model.topology = Topology(
        topology.faces[np.concatenate(rows)],
        topology.uv,
        topology.face_uv[np.concatenate(rows)],
        tuple(kept),
        part_faces,
    )
    people = people_of(model, monkeypatch)
    label, shown = PARSING_CLASSES.index("mouth"), []
    for index in range(12):
        sample = people.photograph(index)
        lips = sample.landmarks68[[62, 66]]
        if sample.visible68[[60, 64]].all() and lips[1, 1] - lips[0, 1] > 4:
            column, row = lips.mean(axis=0).astype(int)
            shown.append(sample.parsing[row, column] == label)
    assert len(shown) >= 2 and np.mean(shown) > 0.7


def test_a_model_that_is_no_whole_head_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="has no scalp. Pictures are made of models that are whole heads"):
        people_of(Copy(without="scalp"), monkeypatch)
    model = Copy()
    model.place = None
    with pytest.raises(UsageError, match="not known which point of it is which"):
        people_of(model, monkeypatch)


def test_what_is_laid_on_a_head_takes_its_shape():
    model = Copy()
    laid, generator = OpenHeadOn(model), np.random.default_rng(1)
    neutral = model.neutral(generator.normal(size=96))
    skin = model.masks["outer_skin"].copy()
    skin[model.data["neck_loop"]] = False  # which is tucked under the skin
    np.testing.assert_allclose(laid.vertices(neutral)[skin], neutral[skin], atol=1e-5)
    face = model.masks["face"] & model.masks["outer_skin"]
    own = OpenHeadOn(load_face_model("open_head"))
    away = np.abs(laid.texels(512) - own.texels(512))[face].max(axis=1)
    assert (away < 0.1).mean() > 0.96  # at seams a vertex has several places
    assert laid.uv.min() >= 0 and laid.uv.max() <= 1
