"""Hair, glasses, things in front, backgrounds and the camera of synthetic pictures."""

from dataclasses import replace

import numpy as np
import pytest

from backend.face_models import load_face_model
from training.data import backgrounds, occluders
from training.data.attachment import Attachment, sheet_triangles, tube
from training.data.clouds import clouds
from training.data.depth_buffer import draw
from training.data.glasses import FrameShape, random_glasses
from training.data.hair import MOST_TRIANGLES, comb, random_hair
from training.data.hair_styles import STYLES, HairStyle
from training.data.head_chart import HeadChart, directions, place_at
from training.data.occluders import random_occluder
from training.data.sensor import QUALITIES, SensorSettings, develop, photograph
from training.data.shaded_shapes import ShadedCanvas

PLAIN = SensorSettings(
    exposure=np.ones(3, np.float32), contrast=1.0, shoulder=1.2, lift=0.0, saturation=1.0, grey=False, vignette=0.0,
    blur=0.0, motion=(0.0, 0.0), resolution=1.0, grain=0.0, coarseness=0.0, sharpening=0.0, jpeg_quality=0,
)  # fmt: skip
"""A camera without faults."""


@pytest.fixture(scope="module")
def model():
    return load_face_model("open_head")


@pytest.fixture(scope="module")
def people(model):
    """Three neutral heads."""
    generator = np.random.default_rng(0)
    return [model.neutral(generator.normal(size=model.identity_size).astype(np.float32)) for _ in range(3)]


def style(name, **changes):
    """A style of that name with no chance in its measures but what is given."""
    return replace(HairStyle(name=name, thickness=0.012), **changes)


# Backgrounds and clouds


@pytest.mark.parametrize("kind", backgrounds.KINDS)
def test_a_background_of_every_kind_is_light(kind):
    picture = backgrounds.KINDS[kind][0](np.random.default_rng(1), 60, 90)
    assert picture.shape == (60, 90, 3) and picture.dtype == np.float32
    assert np.isfinite(picture).all() and picture.min() > -0.1


def test_backgrounds_fill_the_picture_and_repeat_by_seed():
    one, same, other = (backgrounds.random_background(np.random.default_rng(seed), 50, 120) for seed in (4, 4, 5))
    assert one.shape == (50, 120, 3) and one.dtype == np.float32 and one.min() >= 0
    assert np.array_equal(one, same) and not np.allclose(one, other)


def test_clouds_are_smooth_and_as_strong_as_said():
    field = clouds(np.random.default_rng(0), 200, 300, 10)
    assert field.shape == (200, 300) and 0.5 < field.std() < 1.2
    assert np.abs(np.diff(field, axis=1)).mean() < 0.15


# The camera


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_photograph_repeats_by_seed(quality):
    light = np.random.default_rng(0).uniform(0, 1, (60, 80, 3)).astype(np.float32)
    one, same = (photograph(light, np.random.default_rng(7), quality) for _ in range(2))
    assert one.shape == light.shape and one.dtype == np.uint8 and np.array_equal(one, same)


def test_an_unknown_quality_is_refused():
    with pytest.raises(ValueError, match="good"):
        photograph(np.zeros((8, 8, 3), np.float32), np.random.default_rng(0), "best")


def test_the_camera_leaves_the_light_it_was_given_alone():
    light = np.full((40, 40, 3), 0.3, np.float32)
    photograph(light, np.random.default_rng(3), "web")
    assert (light == np.float32(0.3)).all()


@pytest.mark.parametrize("seed", range(12))
def test_nothing_moves_in_the_worst_photograph(seed):
    """The middle of a spot stays within a third of a pixel, or labels would be wrong."""
    row, column = np.mgrid[:96, :96]
    light = np.exp(-((row - 47.5) ** 2 + (column - 47.5) ** 2) / 60).astype(np.float32)
    settings = SensorSettings.random(np.random.default_rng(seed), "web")
    settings = replace(settings, grain=0.0, grey=True, jpeg_quality=max(settings.jpeg_quality, 60), vignette=0.0)
    seen = develop(np.repeat(light[..., None], 3, axis=-1), settings, np.random.default_rng(0))[..., 0].astype(float)
    seen = np.clip(seen - 60, 0, None)
    assert (seen * row).sum() / seen.sum() == pytest.approx(47.5, abs=0.35)
    assert (seen * column).sum() / seen.sum() == pytest.approx(47.5, abs=0.35)


def test_tones_rise_with_the_light_from_black_to_white():
    light = np.repeat(np.linspace(0, 1.2, 200, dtype=np.float32)[None, :, None], 3, axis=-1)
    tones = develop(np.repeat(light, 20, axis=0), PLAIN, np.random.default_rng(0))[10, :, 1].astype(int)
    assert tones[0] == 0 and tones[-1] >= 250 and (np.diff(tones) >= 0).all()
    assert tones[30] == pytest.approx(118, abs=12)  # 0.18, mid grey


def test_a_tenth_of_good_photographs_are_grey():
    generator = np.random.default_rng(0)
    grey = np.mean([SensorSettings.random(generator, "good").grey for _ in range(2000)])
    assert grey == pytest.approx(0.1, abs=0.025)


def test_a_grey_photograph_has_no_colours():
    light = np.random.default_rng(0).uniform(0, 1, (32, 32, 3)).astype(np.float32)
    seen = develop(light, replace(PLAIN, grey=True), np.random.default_rng(0))
    assert (np.ptp(seen, axis=-1) == 0).all()


def test_grain_is_stronger_with_the_gain_and_with_the_light():
    def spread(level, grain):
        light = np.full((64, 64, 3), level, np.float32)
        settings = replace(PLAIN, grain=grain)
        return develop(light, settings, np.random.default_rng(0))[..., 1].std()

    assert spread(0.18, 0.03) > 1.7 * spread(0.18, 0.01) > 0.5
    assert spread(0.18, 0.0) == 0


def test_few_stored_pixels_take_detail_away():
    light = (np.indices((96, 96)).sum(axis=0) % 2).astype(np.float32)[..., None].repeat(3, axis=-1)
    sharp, coarse = (
        develop(light, replace(PLAIN, resolution=share), np.random.default_rng(0)).astype(float) for share in (1.0, 0.4)
    )
    assert sharp.std() > 100 and coarse.std() < 40


# Things in front


@pytest.mark.parametrize("kind", occluders.KINDS)
def test_what_is_in_front_hides_and_shades_and_changes_nothing_else(kind, monkeypatch):
    monkeypatch.setattr(occluders, "KINDS", {kind: occluders.KINDS[kind]})
    generator = np.random.default_rng(2)
    image = generator.uniform(0.15, 0.25, (160, 160, 3)).astype(np.float32)
    before = image.copy()
    drawn, hidden, name = random_occluder(image, np.array([40, 30, 80, 100]), generator)
    assert name == kind and drawn.dtype == np.float32 and hidden.dtype == bool
    assert np.array_equal(image, before)
    assert 0.003 < hidden.mean() < 0.8
    changed = np.abs(drawn - image).max(axis=-1)
    assert (changed[hidden] > 0.01).mean() > 0.9
    # Away from the thing there is at most its shadow.
    near = np.pad(hidden, 6)
    near = np.max([np.roll(near, (y, x), (0, 1)) for y in range(-6, 7, 3) for x in range(-6, 7, 3)], axis=0)[6:-6, 6:-6]
    assert (drawn[~near] <= image[~near] + 0.02).mean() > 0.97


def test_things_in_front_repeat_by_seed():
    image = np.full((90, 90, 3), 0.2, np.float32)
    box = np.array([20.0, 20, 50, 60])
    one, same = (random_occluder(image, box, np.random.default_rng(11)) for _ in range(2))
    assert np.array_equal(one[0], same[0]) and np.array_equal(one[1], same[1]) and one[2] == same[2]


@pytest.mark.parametrize("kind", occluders.KINDS)
def test_a_face_at_the_edge_of_the_picture_is_no_trouble(kind, monkeypatch):
    monkeypatch.setattr(occluders, "KINDS", {kind: occluders.KINDS[kind]})
    image = np.full((64, 64, 3), 0.2, np.float32)
    drawn, _, _ = random_occluder(image, np.array([-50.0, 50, 40, 60]), np.random.default_rng(0))
    assert drawn.shape == image.shape and np.isfinite(drawn).all()


def test_a_hand_has_the_colour_of_the_face(monkeypatch):
    monkeypatch.setattr(occluders, "KINDS", {"hand": occluders.KINDS["hand"]})
    image = np.empty((120, 120, 3), np.float32)
    image[:] = [0.30, 0.12, 0.06]
    drawn, hidden, _ = random_occluder(image, np.array([30.0, 20, 60, 80]), np.random.default_rng(5))
    mean = drawn[hidden].mean(axis=0)
    assert mean[0] / mean[2] == pytest.approx(5.0, rel=0.15) and mean[0] / mean[1] == pytest.approx(2.5, rel=0.15)


def test_a_capsule_covers_what_its_definition_says():
    canvas = ShadedCanvas(40, 60, np.array([0, 0, 1.0]))
    start, end, radius = np.array([15.0, 20.0]), np.array([45.0, 24.0]), 7.0
    canvas.capsule(start, end, radius, radius, np.ones(3))
    for row in range(0, 40, 3):
        for column in range(0, 60, 3):
            point = np.array([column + 0.5, row + 0.5])
            share = np.clip((point - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
            distance = np.linalg.norm(point - start - share * (end - start))
            if abs(distance - radius) > 0.6:
                assert canvas.cover[row, column] == (1.0 if distance < radius else 0.0)


def test_the_capsule_that_stands_out_more_is_seen():
    canvas = ShadedCanvas(40, 40, np.array([0, 0, 1.0]))
    near, far = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    canvas.capsule([20, 20], [20, 20], 8, 8, near, base=20)
    canvas.capsule([20, 20], [20, 20], 15, 15, far)
    assert canvas.colour[20, 20].argmax() == 0 and canvas.colour[20, 32].argmax() == 1


# Meshes


def test_the_triangles_of_a_sheet_cover_it_once():
    triangles = sheet_triangles(4, 5)
    points = np.stack(np.meshgrid(np.arange(5), np.arange(4)), axis=-1).reshape(-1, 2).astype(float)
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    area = 0.5 * np.abs(np.cross(b - a, c - a))
    assert area == pytest.approx(np.full(24, 0.5))


def test_a_tube_lies_round_its_line():
    line = np.stack([np.linspace(0, 0.1, 9), np.zeros(9), 0.001 * np.arange(9)], axis=1)
    points, triangles = tube(line, np.full((9, 2), 0.002))
    apart = np.linalg.norm(points.reshape(9, 6, 3) - line[:, None], axis=-1)
    assert apart == pytest.approx(np.full((9, 6), 0.002), abs=2e-5)
    assert triangles.max() == len(points) - 1


# Glasses


def nearest_skin_in_front(model, neutral, points):
    """How far (N,) points lie in front of the skin that a look from ahead meets there, metres; NaN where none."""
    triangles = model.topology.triangles[model.masks["outer_skin"][model.topology.triangles].all(axis=1)]
    scale = 2000.0
    screen = (neutral[:, :2] * [1, -1] * scale + 256).astype(np.float32)
    _, depth, _ = draw(screen, -neutral[:, 2].copy(), triangles, 512, 512, False)
    column, row = (points[:, :2] * [1, -1] * scale + 256).astype(int).T
    return np.where(np.isfinite(depth[row, column]), points[:, 2] + depth[row, column], np.nan)


@pytest.mark.parametrize("seed", range(6))
def test_glasses_stand_before_eyes_and_face(model, people, seed):
    neutral = people[seed % 3]
    frame, lenses, *glare = random_glasses(model, neutral, np.random.default_rng(seed))
    assert frame.name == "glasses" and lenses.name == "lenses" and frame.opacity == 1 and 0 < lenses.opacity < 1
    balls = np.concatenate(list(model.eyeballs.values()))
    assert lenses.vertices[:, 2].min() > neutral[balls, 2].max() - 0.004
    for mirrored in glare:
        assert mirrored.vertices[:, 2].min() > lenses.vertices[:, 2].min() and 0 < mirrored.opacity < 0.5
    # What stands before the face, arms apart, does not cut into it by more than the softness of skin.
    front = frame.vertices[frame.vertices[:, 2] > neutral[balls, 2].max()]
    assert np.nanmin(nearest_skin_in_front(model, neutral, front)) > -0.003


@pytest.mark.parametrize("seed", range(6))
def test_glasses_reach_behind_the_ears_and_sit_straight(model, people, seed):
    neutral = people[seed % 3]
    frame = random_glasses(model, neutral, np.random.default_rng(seed))[0]
    for sign in (1, -1):
        ear = neutral[model.masks["ears"] & (sign * neutral[:, 0] > 0)]
        arm = frame.vertices[sign * frame.vertices[:, 0] > 0.05]
        assert arm[:, 2].min() < ear[ear[:, 1] > ear[:, 1].max() - 0.012, 2].mean()
    eyes = model.eye_centres(neutral)
    assert frame.vertices[:, 0].mean() == pytest.approx(eyes[:, 0].mean(), abs=0.004)


def test_lenses_are_as_large_as_the_frame_says():
    shape = FrameShape.random(np.random.default_rng(0))
    lens = shape.lens(400)
    assert np.ptp(lens[:, 0]) == pytest.approx(shape.width, rel=0.02)
    assert np.ptp(lens[:, 1]) == pytest.approx(shape.height, abs=shape.lift + 0.02 * shape.height)


# Hair


def test_the_chart_meets_the_skin_where_it_is(model, people):
    chart = HeadChart(model)
    for neutral in (model.mean, *people):
        skull = chart.of(neutral)
        apart = neutral[model.masks["scalp"]].astype(float) - skull.middle
        distance = np.linalg.norm(apart, axis=1)
        error = np.abs(skull.radius(apart / distance[:, None]) - distance)
        assert np.percentile(error, 90) < 0.004


def test_places_on_the_map_are_directions_from_the_crown():
    place = place_at(np.array([0.0, 1.0, 2.5]), np.array([0.0, 0.7, -2.0]))
    found = directions(place)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(3))
    assert np.arccos(found @ directions(np.zeros(2))) == pytest.approx([0.0, 1.0, 2.5], abs=1e-6)
    assert found[1, 0] > 0 > found[2, 0]  # the subject's left is at positive angles


@pytest.mark.parametrize("name", STYLES)
def test_hair_of_every_style_keeps_its_budget(model, people, name):
    colour = np.array([0.1, 0.05, 0.02])
    styles = (HairStyle.random(np.random.default_rng(seed)) for seed in range(400))
    for number, chosen in zip(range(4), (s for s in styles if s.name == name), strict=False):
        worn = comb(model, people[number % 3], chosen, np.random.default_rng(number), colour)
        assert bool(worn) == (name != "bald")
        assert sum(len(part.triangles) for part in worn) <= MOST_TRIANGLES
        for part in worn:
            check_mesh(part)
            assert part.name in (("hat",) if name == "hat" else ("hair", "fringe"))
            if name != "hat":
                assert part.colours.mean(axis=0) == pytest.approx(0.9 * colour, rel=0.35)


def check_mesh(part: Attachment):
    assert part.vertices.dtype == np.float32 and part.colours.shape == part.vertices.shape
    assert part.triangles.dtype == np.int64
    assert np.isfinite(part.vertices).all() and np.abs(part.vertices).max() < 0.6
    assert 0 <= part.triangles.min() and part.triangles.max() < len(part.vertices)
    assert part.colours.min() >= 0 and part.colours.max() <= 1


def test_hair_repeats_by_seed(model, people):
    one, same = (random_hair(model, people[0], np.random.default_rng(3), np.full(3, 0.1)) for _ in range(2))
    assert len(one) == len(same)
    assert all(np.array_equal(a.vertices, b.vertices) for a, b in zip(one, same, strict=True))


def hidden_points(model, neutral, worn, points):
    """Which of (N, 3) points hair hides from somebody ahead, (N,) bool."""
    scale, hidden = 1000.0, np.zeros(len(points), bool)
    column, row = (points[:, :2] * [1, -1] * scale + 256).astype(int).T
    for part in worn:
        screen = (part.vertices[:, :2] * [1, -1] * scale + 256).astype(np.float32)
        _, depth, _ = draw(screen, -part.vertices[:, 2].copy(), part.triangles, 512, 512, False)
        hidden |= points[:, 2] + depth[row, column] < 0
    return hidden


@pytest.mark.parametrize("name", ["cropped", "short", "swept back", "tied back"])
def test_hair_without_a_fringe_leaves_the_face_free(model, people, name):
    for number, neutral in enumerate(people):
        worn = comb(model, neutral, style(name), np.random.default_rng(number), np.full(3, 0.1))
        assert not hidden_points(model, neutral, worn, model.landmarks68(neutral)[17:]).any()


def test_a_long_fringe_hangs_over_brows_and_a_short_one_does_not(model, people):
    for number, neutral in enumerate(people):
        brows = model.landmarks68(neutral)[17:27]
        covered = []
        for length in (0.015, 0.085):
            chosen = style("long", fringe=length, fringe_half_width=0.85, fringe_sheet=True)
            worn = comb(model, neutral, chosen, np.random.default_rng(number), np.full(3, 0.1))
            assert "fringe" in [part.name for part in worn]
            covered.append(hidden_points(model, neutral, worn, brows).mean())
        assert covered[0] == 0 and covered[1] >= 0.6


def test_long_hair_hangs_lower_than_short_hair(model, people):
    lowest = []
    for length in (0.0, 0.08, 0.2):
        chosen = style("long", parting=0.1, over_ears=True, length=length)
        worn = comb(model, people[0], chosen, np.random.default_rng(0), np.full(3, 0.1))
        lowest.append(min(part.vertices[:, 1].min() for part in worn))
    assert lowest[0] > lowest[1] + 0.03 > lowest[2] + 0.06


@pytest.mark.parametrize("name", ["short", "swept back"])
def test_hair_covers_the_crown_and_does_not_sink_into_the_head(model, people, name):
    chart = HeadChart(model)
    for number, neutral in enumerate(people):
        hair = comb(model, neutral, style(name), np.random.default_rng(number), np.full(3, 0.1))[0]
        skull = chart.of(neutral)
        apart = hair.vertices.astype(float) - skull.middle
        distance = np.linalg.norm(apart, axis=1)
        over = distance - skull.radius(apart / distance[:, None])
        assert np.percentile(over, 5) > -0.002
        top = neutral[model.masks["scalp"]][neutral[model.masks["scalp"]][:, 1].argmax()]
        assert hair.vertices[:, 1].max() > top[1] + 0.005
