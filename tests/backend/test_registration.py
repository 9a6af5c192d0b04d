"""The open head registered to heads whose answer is known: other people of the open head, turned, larger, cut off."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from backend.face_models import load_face_model
from backend.face_models.registration import BareHead, outer_skin, register, skin_triangles
from backend.face_models.rendered_landmarks import plain_colours
from backend.surface import OrientedSurface, closest_on_triangles, mesh_normals


@pytest.fixture(scope="module")
def open_head():
    return load_face_model("open_head")


def person(model, seed: int) -> np.ndarray:
    return model.neutral(np.random.default_rng(seed).normal(size=model.identity_size)).astype(np.float64)


def bare(model, vertices: np.ndarray, skin: np.ndarray | None = None) -> BareHead:
    shown = model.topology.triangles[model.topology.triangle_face < model.topology.part("lashes").start]
    skin = skin_triangles(model) if skin is None else skin
    return BareHead(vertices, skin, plain_colours(model.masks), shown)


@pytest.fixture(scope="module")
def other_person(open_head):
    """Another person of the open head, larger, nodding and somewhere else, and the registration to them."""
    turn = Rotation.from_euler("x", 6, degrees=True).as_matrix()
    vertices = 1.06 * person(open_head, 5) @ turn.T + [0.0, 1.4, 0.2]
    return vertices, register(open_head, bare(open_head, vertices))


def test_every_point_of_another_persons_face_is_found(open_head, other_person):
    vertices, found = other_person
    face = open_head.masks["face"] & outer_skin(open_head)
    missed = np.linalg.norm(found.place.apply(vertices) - vertices, axis=1)
    assert np.median(missed[face]) < 0.002 and np.quantile(missed[face], 0.95) < 0.005
    assert found.trust[face].mean() > 0.98
    assert found.similarity_scale == pytest.approx(1.06, abs=0.06)


def test_both_directions_agree(open_head, other_person):
    vertices, found = other_person
    face = np.flatnonzero(open_head.masks["face"] & outer_skin(open_head))
    there = found.place.apply(vertices)[face]
    back = found.source_place.apply(vertices)[face]  # of the vertex with the same number
    assert np.median(np.linalg.norm(there - vertices[face], axis=1)) < 0.002
    assert np.median(np.linalg.norm(back - vertices[face], axis=1)) < 0.002


def test_lips_are_not_taken_for_each_other(open_head, other_person):
    _, found = other_person
    masks = open_head.masks
    for lip, other in (("lip_upper", "lip_lower"), ("lip_lower", "lip_upper")):
        own = np.flatnonzero(masks[lip])
        landed = masks[other][found.place.vertices[own]] * found.place.barycentric[own]
        assert (landed.sum(axis=1) > 0.6).mean() < 0.03


def test_a_face_without_the_rest_of_the_head_is_not_trusted_where_it_is_not(open_head):
    """Like the Basel Face Model: no ears, no neck, no back of the head."""
    vertices = person(open_head, 6)
    skin = skin_triangles(open_head)
    front = vertices[:, 2] > -0.055
    cut = skin[front[skin].all(axis=1)]
    model = bare(open_head, vertices, cut)
    shown = model.all_triangles[front[model.all_triangles].all(axis=1)]
    found = register(open_head, BareHead(vertices, cut, model.colours, shown))
    outer = outer_skin(open_head)
    assert found.trust[outer & (vertices[:, 2] < -0.075)].mean() < 0.02
    assert found.trust[outer & (vertices[:, 2] > -0.03)].mean() > 0.97


def test_a_thing_without_a_face_is_refused():
    grid = np.stack(np.meshgrid(np.linspace(-0.1, 0.1, 12), np.linspace(-0.1, 0.1, 12), [0.0]), -1).reshape(-1, 3)
    a = (np.arange(11)[:, None] * 12 + np.arange(11)).reshape(-1)
    triangles = np.concatenate([np.stack([a, a + 1, a + 13], 1), np.stack([a, a + 13, a + 12], 1)])
    grey = np.full((len(grid), 3), 128, np.uint8)
    with pytest.raises(ValueError, match="no face"):
        register(load_face_model("open_head"), BareHead(grid, triangles, grey, triangles))


def test_the_closest_point_that_faces_the_same_way_is_on_the_right_side_of_a_fold():
    """Two sheets a tenth of a millimetre apart that face each other, as lips do."""
    corners = np.array([[0, 0, 0], [0.01, 0, 0], [0, 0.01, 0], [0.01, 0.01, 0]])
    lower, upper = corners, corners + [0, 0, 1e-4]
    triangles = np.array([[0, 1, 2], [1, 3, 2], [4, 6, 5], [5, 6, 7]])
    surface = OrientedSurface(np.concatenate([lower, upper]), triangles)
    points = np.array([[0.003, 0.003, 0.9e-4], [0.006, 0.007, 0.9e-4]])
    vertices, weights, cosine = surface.closest(points, np.tile([0, 0, 1.0], (2, 1)))
    assert (vertices < 4).all() and (cosine > 0.99).all()
    vertices, weights, _ = surface.closest(points, np.tile([0, 0, -1.0], (2, 1)))
    assert (vertices >= 4).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)


def test_the_closest_point_is_the_closest_of_all_triangles_where_the_surface_is_smooth(open_head):
    triangles = skin_triangles(open_head)
    mean = open_head.mean.astype(np.float64)
    generator = np.random.default_rng(0)
    cheeks = np.flatnonzero(open_head.masks["cheeks"])
    chosen = generator.choice(cheeks, 20)
    normals = mesh_normals(mean, triangles)[chosen]
    points = mean[chosen] + 0.001 * normals + generator.normal(scale=2e-4, size=(20, 3))
    vertices, weights, _ = OrientedSurface(mean, triangles).closest(points, normals)
    found = np.einsum("nc,ncd->nd", weights, mean[vertices])
    for point, place in zip(points, found, strict=True):
        best = np.linalg.norm(closest_on_triangles(point, mean[triangles]) - point, axis=1).min()
        assert np.linalg.norm(place - point) <= best + 2e-5
