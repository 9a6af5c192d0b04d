"""The window of the texture that skin detail lives in."""

import numpy as np
import pytest
import torch

from backend.detail_layout import OFFSET_UNIT_M, DetailLayout, layout_of, unwrapped
from backend.face_models import load_face_model
from backend.rendering.camera import Camera
from backend.surface import mesh_normals

SIZE = 128


@pytest.fixture(scope="module")
def model():
    return load_face_model("open_head")


@pytest.fixture(scope="module")
def layout(model):
    return layout_of(model, SIZE)


def texel_of_vertices(model, layout, vertices):
    """Row and column in the window of vertices, from the model's own UVs."""
    topology = model.topology
    uv = np.zeros((len(model.mean), 2))
    uv[topology.triangles.reshape(-1)] = topology.uv[topology.triangle_uv.reshape(-1)]
    place = uv[vertices] * [SIZE, -SIZE] + [-0.5, SIZE - 0.5] - [layout.columns.start, layout.rows.start]
    return np.round(place[:, ::-1]).astype(int)


def test_a_texel_shows_the_point_of_the_head_that_lies_there(model, layout):
    points, normals = layout.surface(torch.as_tensor(model.mean)[None])
    cheeks = np.flatnonzero(model.masks["cheeks"])[::7]
    row, column = texel_of_vertices(model, layout, cheeks).T
    inside = (row >= 0) & (column >= 0) & (row < layout.height) & (column < layout.width)
    away = np.linalg.norm(points[0].numpy()[row[inside], column[inside]] - model.mean[cheeks[inside]], axis=1)
    assert inside.sum() > 10 and away.max() < 0.003  # a texel is 2.2 mm
    lengths = normals[0].norm(dim=-1)[layout.covered]
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-4)


def test_the_subjects_left_is_at_greater_columns(model, layout):
    points, _ = layout.surface(torch.as_tensor(model.mean)[None])
    x = points[0, layout.height // 3, :, 0]
    assert x[3 * layout.width // 4] > 0.02 and x[layout.width // 4] < -0.02


@pytest.mark.parametrize("part", ["lips", "lid margins", "nostrils"])
def test_no_detail_is_allowed_on(part, model):
    """On finer texels: these parts are narrow."""
    layout = layout_of(model, 512)
    if part == "lips":
        there = model.masks["lips"]
    elif part == "lid margins":
        there = np.zeros(len(model.mean), bool)
        for side in ("left", "right"):
            there[model.rig.eye(side).loop] = True
    else:
        down = mesh_normals(model.mean, model.topology.triangles)[:, 1]
        there = model.masks["nose"] & (down < -0.7)
    share = layout(torch.as_tensor(there[:, None], dtype=torch.float32)[None])[0, ..., 0]
    assert (share > 0.95).sum() > 20 and layout.allowed[share > 0.95].max() < 0.12


def test_detail_is_allowed_where_faces_wrinkle(model):
    layout = layout_of(model, 512)
    points, _ = layout.surface(torch.as_tensor(model.mean)[None])
    for place in ([0.02, 0.05, 0.03], [0.03, -0.045, 0.02], [0.0, 0.02, 0.035]):  # forehead, cheek, between the brows
        nearest = (points[0] - torch.tensor(place)).norm(dim=-1)
        nearest[~layout.covered] = 1
        assert layout.allowed.flatten()[nearest.argmin()] > 0.95, place


def test_detail_fades_to_nothing_at_the_borders_of_the_window(layout):
    allowed = layout.allowed
    assert allowed.min() == 0 and allowed.max() <= 1
    assert max(allowed[:, 0].max(), allowed[:, -1].max()) < 0.3 and allowed[0].max() < 0.3


def test_both_sides_are_alike(layout):
    assert (layout.allowed - layout.allowed.flip(1)).abs().mean() < 0.005


def test_an_expression_map_is_how_far_the_skin_moves(model, layout):
    offsets = torch.zeros(1, len(model.mean), 3)
    offsets[..., 1] = 0.004
    shown = layout.expression_map(offsets)
    assert shown.shape == (1, 3, layout.height, layout.width)
    assert torch.allclose(shown[0, 1][layout.covered], torch.tensor(0.004 / OFFSET_UNIT_M), atol=1e-3)
    assert shown[0, 0].abs().max() < 1e-6 and not shown[0, 1][~layout.covered].any()


def test_gradients_reach_the_vertices(model, layout):
    vertices = torch.as_tensor(model.mean)[None].requires_grad_()
    layout(vertices).square().sum().backward()
    assert (vertices.grad[0, torch.as_tensor(model.masks["nose"] & model.masks["outer_skin"])].abs().sum(1) > 0).any()


def test_the_photograph_is_read_where_the_camera_sees_each_texel(model, layout):
    camera = Camera.orbit(0.2, 0.0, 0.9, 400, focal_pixels=1200.0)
    row, column = np.mgrid[:400, :400]
    image = np.stack([column * 255 / 400, row * 255 / 400, 0 * row], axis=-1).astype(np.uint8)
    points = layout.surface(torch.as_tensor(model.mean)[None])[0][0].numpy()
    shown = unwrapped(image, camera, points).astype(float)
    wanted = camera.project(points.reshape(-1, 3)).reshape(*points.shape[:2], 2) * 255 / 400
    inside = layout.covered.numpy() & (wanted > 5).all(-1) & (wanted < 250).all(-1)
    assert inside.sum() > 1000 and np.abs(shown[inside][:, :2] - wanted[inside]).max() < 2.5


def test_a_window_goes_back_to_its_place(layout):
    whole = layout.whole(np.ones((layout.height, layout.width), np.float32))
    assert whole.shape == (SIZE, SIZE) and whole.sum() == layout.height * layout.width
    assert whole[layout.rows.start, layout.columns.start] == 1 and whole[layout.rows.start - 1].max() == 0


def test_a_size_that_cannot_be_divided_is_refused(model):
    with pytest.raises(ValueError, match="multiple of 16"):
        DetailLayout(model, 100)
