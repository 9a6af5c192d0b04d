"""Normals of displaced surfaces against those of surfaces that are known."""

import torch
from torch.autograd import gradcheck

from backend.rendering.displacement import displaced_normals

FLAT = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)


def plane(rows, columns, texel):
    y, x = torch.meshgrid(torch.arange(rows) * texel, torch.arange(columns) * texel, indexing="ij")
    points = torch.stack([x, -y, torch.zeros_like(x)], -1).double()[None]
    return points, FLAT.expand_as(points), x.double()[None], torch.ones(rows, columns, dtype=torch.bool)


def test_waves_on_a_plane_have_the_normals_of_their_slope():
    points, normals, x, covered = plane(6, 400, 0.0001)
    height = 0.001 * torch.sin(x * 500)
    slope = 0.5 * torch.cos(x * 500)
    expected = torch.nn.functional.normalize(torch.stack([-slope, slope * 0, slope * 0 + 1], -1), dim=-1)
    found = displaced_normals(points, normals, height, covered)
    assert torch.allclose(found[:, :, 1:-1], expected[:, :, 1:-1], atol=1e-3)


def test_a_sphere_raised_evenly_keeps_its_normals_whichever_way_the_grid_runs():
    latitude, longitude = torch.meshgrid(torch.linspace(-1, 1, 200), torch.linspace(-2, 2, 300), indexing="ij")
    normal = torch.stack([longitude.sin() * latitude.cos(), latitude.sin(), longitude.cos() * latitude.cos()], -1)
    normal = normal.double()[None]
    raised = torch.full(normal.shape[:3], 0.01, dtype=torch.float64)
    for grid in (normal, normal.flip(2)):
        found = displaced_normals(grid * 0.1, grid, raised, torch.ones(200, 300, dtype=torch.bool))
        assert (found * grid).sum(-1)[:, 1:-1, 1:-1].min() > 0.99999


def test_the_border_of_a_chart_takes_nothing_from_outside_it():
    points, normals, _, covered = plane(8, 8, 0.001)
    covered[:, 5:] = False
    points[:, :, 5:] = 1e3
    found = displaced_normals(points, normals, torch.zeros(1, 8, 8, dtype=torch.float64), covered)
    assert torch.allclose(found[:, :, :5], normals[:, :, :5]) and not found[:, :, 5:].any()


def test_a_texel_without_neighbours_keeps_the_normal_it_was_given():
    points, normals, _, covered = plane(5, 5, 0.001)
    alone = torch.zeros_like(covered)
    alone[2, 2] = True
    found = displaced_normals(points, normals, torch.ones(1, 5, 5, dtype=torch.float64), alone)
    assert torch.equal(found[0, 2, 2], FLAT)


def test_gradients_reach_the_displacement_and_the_surface():
    points, normals, x, covered = plane(4, 5, 0.1)
    covered[0, :2] = False
    height = 0.05 * torch.sin(x * 20)
    assert gradcheck(
        lambda points, height: displaced_normals(points, normals, height, covered),
        (points.requires_grad_(), height.requires_grad_()),
    )
