"""Which surface point lies under a texel."""

import numpy as np
import pytest

from backend.face_models import load_face_model
from backend.rendering.uv_baking import texel_map

SIZE = 200


@pytest.fixture(scope="module")
def topology():
    return load_face_model("open_head").topology


@pytest.fixture(scope="module")
def texels(topology):
    return texel_map(topology.uv, topology.triangle_uv, SIZE)


def test_the_uv_of_the_point_under_a_texel_is_the_place_of_the_texel(topology, texels):
    row, column = np.divmod(texels.texel, SIZE)
    u, v = texels.interpolate(topology.uv, topology.triangle_uv).T
    error = np.maximum(np.abs(u * SIZE - column - 0.5), np.abs((1 - v) * SIZE - row - 0.5))
    assert np.quantile(error, 0.99) < 1e-3


def test_every_texel_whose_centre_lies_in_a_triangle_is_covered():
    corner = np.array([[0.1, 0.1], [0.9, 0.15], [0.4, 0.95], [0.95, 0.9]])
    triangles = np.array([[0, 1, 2], [1, 3, 2]])
    covered = np.zeros((40, 40), bool)
    covered.reshape(-1)[texel_map(corner, triangles, 40).texel] = True
    inside = 0
    for row in range(40):
        for column in range(40):
            point = np.array([(column + 0.5) / 40, 1 - (row + 0.5) / 40])
            for a, b, c in corner[triangles]:
                share = np.linalg.solve(np.stack([b - a, c - a], 1), point - a)
                if share.min() > 1e-6 and share.sum() < 1 - 1e-6:
                    inside += 1
                    assert covered[row, column]
    assert inside > 500 and covered.sum() < inside + 120  # a border of about one texel, not more


def test_vertex_values_are_mixed_by_the_barycentric_coordinates(topology, texels):
    values = np.random.default_rng(0).normal(size=(int(topology.faces.max()) + 1, 2)).astype(np.float32)
    found = texels.interpolate(values, topology.triangles)
    for i in range(0, len(found), 997):
        corners = values[topology.triangles[texels.triangle[i]]]
        assert np.allclose(found[i], texels.barycentric[i] @ corners, atol=1e-4)


def test_barycentric_coordinates_sum_to_one_and_stay_near_the_triangle(texels):
    assert np.allclose(texels.barycentric.sum(axis=1), 1, atol=1e-4)
    assert np.abs(texels.barycentric).max() < 4


def test_texels_outside_the_charts_take_the_nearest_value(texels):
    row, column = np.divmod(texels.texel, SIZE)
    image = texels.image(np.stack([row, column], axis=1).astype(np.float32))
    assert np.array_equal(image[row, column], np.stack([row, column], axis=1))
    free = np.ones((SIZE, SIZE), bool)
    free[row, column] = False
    for place in np.argwhere(free)[::1501]:
        nearest = np.min(np.hypot(row - place[0], column - place[1]))
        assert np.hypot(*(image[tuple(place)] - place)) <= nearest * 1.1 + 1


def test_a_map_is_made_once(topology, texels):
    assert texel_map(topology.uv.copy(), topology.triangle_uv.copy(), SIZE) is texels
