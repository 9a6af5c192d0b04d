"""Displacement maps as arrays: mixing against the formula, sampling, normals against known slopes. No Blender."""

import numpy as np
import pytest

from addon.displacement_maps import (
    DisplacementMaps,
    UnwrappedSurface,
    covered_texels,
    left_share,
    normal_map,
    resized,
    sample,
)

SIZE = 32
KEYS = {
    "brows_up": (("browInnerUp", "browOuterUpLeft"), ("browInnerUp", "browOuterUpRight")),
    "pucker": (("mouthPucker",), ("mouthPucker",)),
}


@pytest.fixture(scope="module")
def maps() -> DisplacementMaps:
    random = np.random.default_rng(3)
    names = ("photo", "neutral", *KEYS)
    return DisplacementMaps(
        {name: random.normal(scale=1e-3, size=(SIZE, SIZE)).astype(np.float32) for name in names}, KEYS
    )


def mixed_by_hand(maps: DisplacementMaps, values: dict, strength: float, photograph: float) -> np.ndarray:
    """One texel at a time, as the contract has it."""
    result = np.zeros((SIZE, SIZE))
    for row in range(SIZE):
        for column in range(SIZE):
            t = min(max(((column + 0.5) / SIZE - 0.48) / 0.04, 0.0), 1.0)
            left = t * t * (3 - 2 * t)
            neutral = mix = float(maps.pictures["neutral"][row, column])
            for group, (of_left, of_right) in KEYS.items():
                on_left = min(max(values.get(key, 0.0) for key in of_left), 1.0)
                on_right = min(max(values.get(key, 0.0) for key in of_right), 1.0)
                share = left * on_left + (1 - left) * on_right
                mix += share * (float(maps.pictures[group][row, column]) - neutral)
            photo = float(maps.pictures["photo"][row, column])
            result[row, column] = strength * ((1 - photograph) * mix + photograph * photo)
    return result


@pytest.mark.parametrize(
    "values",
    [{}, {"browInnerUp": 0.5}, {"browInnerUp": 0.25, "browOuterUpLeft": 0.75, "mouthPucker": 1.5}, {"jawOpen": 1.0}],
)
@pytest.mark.parametrize(("strength", "photograph"), [(1.0, 0.0), (1.5, 0.25), (0.0, 1.0)])
def test_maps_are_mixed_as_the_formula_says(maps, values, strength, photograph):
    expected = mixed_by_hand(maps, values, strength, photograph)
    assert np.abs(maps.mixed(values, strength, photograph) - expected).max() < 1e-8


def test_the_left_of_the_person_is_where_the_result_says():
    u = np.array([0.0, 0.47, 0.5, 0.53, 1.0])
    assert left_share(u) == pytest.approx([0, 0, 0.5, 1, 1])
    assert left_share(u, left_is_greater_u=False) == pytest.approx([1, 1, 0.5, 0, 0])


def test_only_the_maps_that_are_needed_are_read(maps):
    only = DisplacementMaps({"neutral": maps.pictures["neutral"], "pucker": maps.pictures["pucker"]}, KEYS)
    assert np.isfinite(only.mixed({"mouthPucker": 0.5})).all()
    with pytest.raises(KeyError):
        only.mixed({"browInnerUp": 0.5})


def test_samples_at_texel_centres_are_the_texels_and_between_them_the_mean(maps):
    picture = maps.pictures["photo"]
    row, column = np.array([0, 5, 31]), np.array([3, 31, 0])
    uv = np.stack([(column + 0.5) / SIZE, (row + 0.5) / SIZE], axis=1)
    assert sample(picture, uv) == pytest.approx(picture[row, column])
    between = uv + [0.5 / SIZE, 0.0]
    assert sample(picture, between) == pytest.approx((picture[row, column] + picture[row, (column + 1) % SIZE]) / 2)
    constant = np.full((SIZE, SIZE), 0.25, np.float32)
    assert resized(constant, (8, 16)) == pytest.approx(np.full((8, 16), 0.25))


def plane(width: float, height: float, *, mirrored: bool = False) -> UnwrappedSurface:
    """A rectangle in the XZ plane, facing -Y, over the whole of the UV square; metres."""
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    points = np.stack([uv[:, 0] * width, np.zeros(4), uv[:, 1] * height], axis=1)
    if mirrored:
        uv = uv * [-1, 1] + [1, 0]
    tangent = np.array([-1.0 if mirrored else 1.0, 0, 0])
    return UnwrappedSurface(
        uv=uv,
        points=points,
        normals=np.tile([0.0, -1.0, 0.0], (4, 1)),
        tangents=np.tile(tangent, (4, 1)),
        signs=np.full(4, -1.0 if mirrored else 1.0),
        vertices=np.arange(4),
        triangles=np.array([[0, 1, 2], [0, 2, 3]]),
    )


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_slope_becomes_the_normal_that_the_formula_gives(mirrored):
    """h = a u + b v on a plane of W by H metres has the normal (-a / W, -b / H, 1), made a unit vector."""
    width, height, rise, climb = 0.2, 0.1, 0.01, 0.02
    v, u = np.meshgrid((np.arange(SIZE) + 0.5) / SIZE, (np.arange(SIZE) + 0.5) / SIZE, indexing="ij")
    found = normal_map((rise * u + climb * v).astype(np.float32), plane(width, height, mirrored=mirrored))
    expected = np.array([-rise / width, -climb / height, 1.0])
    assert np.abs(found - expected / np.linalg.norm(expected)).max() < 1e-4


def test_the_normal_of_waves_is_that_of_the_moved_surface():
    size = 256
    v, u = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size, indexing="ij")
    wave, width, height = 0.002, 0.2, 0.1
    found = normal_map(
        (wave * np.sin(2 * np.pi * 3 * u) * np.cos(2 * np.pi * v)).astype(np.float32), plane(width, height)
    )
    along_u = wave * 6 * np.pi * np.cos(2 * np.pi * 3 * u) * np.cos(2 * np.pi * v) / width
    along_v = -wave * 2 * np.pi * np.sin(2 * np.pi * 3 * u) * np.sin(2 * np.pi * v) / height
    expected = np.stack([-along_u, -along_v, np.ones_like(u)], axis=-1)
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    degrees = np.degrees(np.arccos(np.clip((found * expected).sum(-1), -1, 1)))
    assert degrees[2:-2, 2:-2].max() < 0.2 and degrees.max() < 1.5


def test_beyond_a_chart_nothing_is_sloped_and_its_border_has_no_false_edge():
    surface = plane(0.2, 0.1)
    small = UnwrappedSurface(**{**vars(surface), "uv": 0.25 + 0.5 * surface.uv})
    texel, _, weights = covered_texels(small.uv, small.triangles, (SIZE, SIZE))
    assert len(texel) == (SIZE // 2) ** 2 and weights.sum(axis=1) == pytest.approx(1.0)
    height = np.zeros((SIZE, SIZE), np.float32)
    height[8:24, 8:24] = 0.005  # level inside, a cliff at the border
    assert np.abs(normal_map(height, small) - [0, 0, 1]).max() < 1e-6
