"""Skins, wrinkles and the albedo basis of synthetic people."""

import numpy as np
import pytest

from backend.errors import SetupError
from backend.face_models.albedo import AlbedoBasis, load_albedo_basis, read_albedo_basis
from backend.face_models.open_head import OpenHead
from training.albedo_basis import main, principal_components, quantised, vertex_colours
from training.data.brow_strokes import BrowPainter, BrowStyle
from training.data.iris import IRISES
from training.data.pigment import MELANIN_RANGE, random_hair_colour, random_melanin, skin_colour
from training.data.skin import SkinMaker
from training.data.skin_fields import SkinFields, along
from training.data.wrinkle_lines import WRINKLES
from training.data.wrinkles import WrinkleMaker

SIZE = 256


@pytest.fixture(scope="module")
def maker():
    return SkinMaker(OpenHead(), SIZE)


@pytest.fixture(scope="module")
def skins(maker):
    return [maker.random(np.random.default_rng(seed)) for seed in range(12)]


@pytest.fixture(scope="module")
def wrinkle_maker(maker):
    return WrinkleMaker(maker.fields.model, SIZE, maker.fields)


def colour_of(melanin, haemoglobin):
    return skin_colour(np.full((1, 1), melanin, np.float32), np.full((1, 1), haemoglobin, np.float32))[0, 0]


def lightness(colour):
    """L* of a linear colour, by its luminance."""
    luminance = colour @ [0.2126, 0.7152, 0.0722]
    return 116 * luminance ** (1 / 3) - 16


def test_more_pigment_is_darker_in_every_channel():
    tones = np.array([colour_of(m, 0.4) for m in np.linspace(*MELANIN_RANGE, 12)])
    assert (np.diff(tones, axis=0) < 0).all()
    assert (colour_of(0.5, 0.8) < colour_of(0.5, 0.2)).all()


def test_skin_is_redder_than_green_and_greener_than_blue_at_any_tone():
    for melanin in np.linspace(*MELANIN_RANGE, 12):
        red, green, blue = colour_of(melanin, 0.35)
        assert red > green > blue


def test_tones_span_the_lightness_that_is_measured_of_people():
    assert 68 < lightness(colour_of(MELANIN_RANGE[0], 0.35)) < 80
    assert 20 < lightness(colour_of(MELANIN_RANGE[1], 0.35)) < 32


def test_melanin_reaches_both_ends_of_its_range():
    generator = np.random.default_rng(0)
    drawn = np.array([random_melanin(generator) for _ in range(400)])
    assert drawn.min() < 0.2
    assert drawn.max() > 4.0
    assert drawn.min() >= MELANIN_RANGE[0]
    assert drawn.max() <= MELANIN_RANGE[1]


def test_dark_people_have_dark_hair_unless_it_is_grey():
    generator = np.random.default_rng(0)
    young = [random_hair_colour(generator, melanin=3.0, age=0.1) for _ in range(100)]
    assert {name for name, _ in young} <= {"black", "dark brown"}
    old = [random_hair_colour(generator, melanin=3.0, age=1.0)[0] for _ in range(100)]
    assert old.count("grey") > 30


def test_a_skin_fills_the_whole_texture_with_colours_between_black_and_white(skins):
    for skin in skins:
        assert skin.albedo.shape == (SIZE, SIZE, 3)
        assert skin.albedo.dtype == np.float32
        assert skin.gloss.shape == (SIZE, SIZE)
        assert skin.gloss.dtype == np.float32
        assert 0 < skin.albedo.min()
        assert skin.albedo.max() < 1
        assert 0 <= skin.gloss.min()
        assert skin.gloss.max() == 1


def test_the_same_seed_makes_the_same_skin_and_another_one_makes_another(maker, skins):
    again = maker.random(np.random.default_rng(3))
    np.testing.assert_array_equal(again.albedo, skins[3].albedo)
    np.testing.assert_array_equal(again.gloss, skins[3].gloss)
    assert again.parameters == skins[3].parameters
    assert np.abs(skins[4].albedo - skins[3].albedo).max() > 0.05


def test_parameters_say_what_was_painted(maker, skins):
    forehead = maker.fields.blob("forehead") > 0.8
    melanin = np.array([skin.parameters["melanin"] for skin in skins])
    brightness = np.array([skin.albedo[forehead].mean() for skin in skins])
    assert np.corrcoef(melanin, np.log(brightness))[0, 1] < -0.95
    for skin in skins:
        assert skin.parameters["iris"] in IRISES
        assert 0 <= skin.parameters["age"] <= 1
        assert not (skin.parameters["stubble"] and skin.parameters["make_up"])
        assert {"haemoglobin", "freckles", "hair_colour", "hair_red", "hair_green", "hair_blue"} <= set(skin.parameters)


def test_eyes_are_wet_and_nothing_else_is(maker, skins):
    parts = maker.fields.model.topology.part_names
    eyes = np.isin(maker.fields.part, [parts.index("eyeball_left"), parts.index("eyeball_right")])
    assert (skins[0].gloss[eyes] == 1).all()
    assert skins[0].gloss[~eyes].max() < 0.93


def test_pupils_are_darker_than_the_iris_and_that_than_the_white(maker, skins):
    model = maker.fields.model
    texels = maker.fields.vertex_texels.round().astype(int)

    def brightness(skin, mask):
        column, row = texels[model.masks[mask]].T
        return float(np.median(skin.albedo[row, column].mean(axis=1)))

    for skin in skins:
        assert brightness(skin, "pupil") < brightness(skin, "iris") < brightness(skin, "sclera")


def test_lips_are_redder_than_the_chin_without_make_up(maker, skins):
    lips, chin = maker.fields.lips > 0.9, maker.fields.blob("chin") > 0.7

    def redness(colours):
        return np.log(colours[..., 0] / colours[..., 1]).mean()

    bare = [skin for skin in skins if not skin.parameters["make_up"] and not skin.parameters["stubble"]]
    assert bare
    for skin in bare:
        assert redness(skin.albedo[lips]) > redness(skin.albedo[chin])


def test_a_beard_darkens_the_chin_of_the_dark_haired_but_not_the_forehead(maker):
    fields = maker.fields
    beard, forehead = fields.beard() > 0.8, fields.blob("forehead") > 0.7
    drawn = [maker.random(np.random.default_rng(seed)) for seed in range(90)]
    dark = [skin for skin in drawn if skin.parameters["hair_green"] < 0.06 and skin.parameters["melanin"] < 1.5]

    def contrast(skin):
        return skin.albedo[beard].mean() / skin.albedo[forehead].mean()

    grown = [contrast(skin) for skin in dark if skin.parameters["stubble"] > 0.5]
    shaved = [contrast(skin) for skin in dark if not skin.parameters["stubble"]]
    assert grown
    assert shaved
    assert np.median(grown) < 0.85 * np.median(shaved)


def test_brows_lie_between_the_landmarks_of_the_brows(maker):
    style = BrowStyle(200, 1.0, 0.006, 0.9, 0.4, lift=0.0, arch=0.0, inner=0.0, outer=1.0, joined=0.0)
    window = BrowPainter(maker.fields).cover(style, np.random.default_rng(0))
    cover = np.zeros((SIZE, SIZE), np.float32)
    window.of(cover)[:] = window.share
    for side in ("left", "right"):
        lower, upper = maker.fields.brow(side)
        middle = ((along(lower, np.linspace(0.3, 0.9, 9)) + along(upper, np.linspace(0.3, 0.9, 9))) / 2).round()
        column, row = middle.astype(int).T
        assert cover[row, column].mean() > 0.5
        assert cover[row + round(0.03 * SIZE), column].max() < 0.05


def test_mirrored_places_fold_the_head(maker):
    assert maker.fields.mirrored[..., 0].min() >= 0
    blob = maker.fields.blob("cheek")
    left = maker.fields.place[..., 0] > 0
    assert blob[left].max() > 0.8
    assert blob[~left].max() > 0.8


def test_vertex_texels_lead_back_to_the_vertices():
    fields = SkinFields(OpenHead(), SIZE)
    texels = fields.vertex_texels.round().astype(int).clip(0, SIZE - 1)
    found = fields.place[texels[:, 1], texels[:, 0]]
    face = fields.model.masks["face"] & fields.model.masks["outer_skin"]
    assert np.median(np.linalg.norm(found - fields.model.mean, axis=1)[face]) < 0.001


# --- wrinkles ---


def region(fields, x_mm, y_mm, radius_mm=9.0):
    """Texels round a point of the average head seen from in front."""
    place = fields.place
    away = np.hypot(place[..., 0] - x_mm / 1000, place[..., 1] - y_mm / 1000)
    return fields.skin & (away < radius_mm / 1000) & (place[..., 2] > -0.03)


@pytest.mark.parametrize(
    ("weights", "at"),
    [
        ({"browInnerUp": 1.0}, (0, 45)),
        ({"browOuterUpLeft": 1.0}, (38, 45)),
        ({"browDownLeft": 1.0}, (7, 20)),
        ({"eyeSquintLeft": 1.0}, (57, 2)),
        ({"mouthSmileRight": 1.0}, (-27, -50)),
        ({"noseSneerLeft": 1.0}, (9, -5)),
        ({"mouthShrugLower": 1.0}, (0, -96)),
    ],
)
def test_an_expression_wrinkles_its_own_place(wrinkle_maker, maker, weights, at):
    wrinkles = wrinkle_maker.random(np.random.default_rng(0), age=0.5)
    change = np.abs(wrinkles.displacement(weights) - wrinkles.displacement({}))
    here = region(maker.fields, *at)
    assert change[here].max() > 0.0001
    opposite = region(maker.fields, 0, -20) if at[1] > 0 else region(maker.fields, 0, 50)
    assert change[opposite].max() < 0.00002


def test_one_side_wrinkles_without_the_other(wrinkle_maker, maker):
    wrinkles = wrinkle_maker.random(np.random.default_rng(1), age=0.5)
    change = np.abs(wrinkles.displacement({"eyeSquintLeft": 1.0}) - wrinkles.displacement({}))
    assert change[region(maker.fields, 57, 2)].max() > 0.0001
    assert change[region(maker.fields, -57, 2)].max() < 0.00001


def test_the_old_are_more_wrinkled_at_rest_than_the_young(wrinkle_maker):
    def roughness(age):
        maps = [wrinkle_maker.random(np.random.default_rng(seed), age).displacement({}) for seed in range(5)]
        return np.mean([relief.std() for relief in maps])

    assert roughness(0.95) > 1.3 * roughness(0.05)


def test_the_crease_of_a_lid_unfolds_when_it_shuts(wrinkle_maker, maker):
    lids = region(maker.fields, 27, 9, 7)

    def crease(weights):
        deepest = [
            -wrinkle_maker.random(np.random.default_rng(seed), 0.1).displacement(weights)[lids].min()
            for seed in range(12)
        ]
        return float(np.median(deepest))

    assert crease({}) > 0.0003
    assert crease({"eyeBlinkLeft": 1.0}) < 0.5 * crease({})
    assert crease({"eyeBlinkRight": 1.0}) == pytest.approx(crease({}))


def test_wrinkles_stay_within_two_millimetres_and_follow_the_seed(wrinkle_maker):
    everything = {key: 1.0 for key in OpenHead().key_names if not key.startswith("eyeBlink")}
    relief = wrinkle_maker.random(np.random.default_rng(2), 1.0).displacement(everything)
    assert relief.dtype == np.float32
    assert np.abs(relief).max() < 0.003
    np.testing.assert_array_equal(relief, wrinkle_maker.random(np.random.default_rng(2), 1.0).displacement(everything))


def test_every_driver_is_a_key_of_the_model():
    keys = set(OpenHead().key_names)
    for group in WRINKLES.values():
        assert {key.format(side=side) for key in group.drivers for side in ("Left", "Right")} <= keys


# --- the albedo basis ---


def test_principal_components_find_the_directions_that_samples_were_made_from():
    generator = np.random.default_rng(0)
    directions = np.linalg.qr(generator.normal(size=(50, 3)))[0].T * [[3.0], [2.0], [1.0]]
    samples = (0.5 + generator.normal(size=(4000, 3)) @ directions).astype(np.float32)
    mean, basis, share = principal_components(samples, 3)
    np.testing.assert_allclose(mean, 0.5, atol=0.15)
    assert share > 0.999
    for found, made in zip(basis, directions, strict=True):
        assert abs(found @ made) / np.linalg.norm(made) / np.linalg.norm(found) > 0.99
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(made), rel=0.05)


def test_quantised_values_are_within_half_a_step():
    basis = np.random.default_rng(0).normal(size=(4, 10, 3)).astype(np.float32)
    values, step = quantised(basis)
    assert values.dtype == np.int8
    assert (np.abs(values * step[:, None, None] - basis) <= step[:, None, None] * 0.5001).all()


def test_nearest_coefficients_undo_colours():
    basis = load_albedo_basis()
    wanted = np.random.default_rng(0).normal(size=(5, basis.size)).astype(np.float32)
    np.testing.assert_allclose(basis.nearest(basis.colours(wanted)), wanted, atol=0.02)
    np.testing.assert_allclose(basis.nearest(basis.mean), 0, atol=1e-5)


def test_the_basis_that_ships_comes_near_to_skins_it_has_not_seen(maker):
    basis = load_albedo_basis()
    assert basis.mean.shape == (len(maker.fields.model.mean), 3)
    skin_vertices = maker.fields.model.masks["outer_skin"]
    errors = []
    for seed in range(20):
        skin = maker.random(np.random.default_rng([77, seed]))
        colours = vertex_colours(skin.albedo, maker.fields.vertex_texels)
        found = basis.colours(basis.nearest(colours))
        errors.append(np.abs(found - colours)[skin_vertices].mean())
    assert np.mean(errors) < 0.01


def test_coefficients_of_random_people_have_a_standard_deviation_of_about_one(maker):
    basis = load_albedo_basis()
    codes = np.stack(
        [
            basis.nearest(
                vertex_colours(maker.random(np.random.default_rng([5, seed])).albedo, maker.fields.vertex_texels)
            )
            for seed in range(60)
        ]
    )
    assert 0.7 < codes[:, :10].std() < 1.3


def test_the_command_makes_a_basis_that_reads_back(tmp_path, capsys):
    output = tmp_path / "albedo.npz"
    assert main(["--count", "44", "--output", str(output)]) == 0
    basis = read_albedo_basis(output)
    assert isinstance(basis, AlbedoBasis)
    assert basis.size == 40
    assert "explain" in capsys.readouterr().out


def test_too_few_skins_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--count", "40"])
    assert "--count" in capsys.readouterr().err


def test_a_missing_basis_is_said_in_a_sentence(tmp_path):
    with pytest.raises(SetupError, match=r"missing\.npz, are missing from"):
        read_albedo_basis(tmp_path / "missing.npz")
