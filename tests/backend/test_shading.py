"""Interpolation, texture look-ups, normals, light, and pictures of a sphere."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from backend.rendering.camera import Camera
from backend.rendering.interpolation import barycentric_interpolate, sample_bilinear, sample_texture
from backend.rendering.rasterizer import rasterize_screen
from backend.rendering.shading import (
    HarmonicLight,
    TextureMap,
    harmonic_basis,
    linear_to_srgb,
    render_head,
    srgb_to_linear,
    vertex_normals,
)


def sphere(columns=48, rows=24, radius=0.1):
    """Vertices (V, 3), triangles (T, 3) counter-clockwise from outside, uv (V, 2) of a sphere."""
    u, v = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))
    longitude, latitude = (u - 0.5) * 2 * np.pi, (v - 0.5) * np.pi
    x, y, z = np.sin(longitude) * np.cos(latitude), np.sin(latitude), np.cos(longitude) * np.cos(latitude)
    index = np.arange((columns + 1) * (rows + 1)).reshape(rows + 1, columns + 1)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return radius * np.stack([x, y, z], -1).reshape(-1, 3), triangles, np.stack([u, v], -1).reshape(-1, 2)


def interpolate_by_hand(attributes, faces, fragments):
    """One pixel at a time, as in the definition."""
    batch, height, width = fragments.face_index.shape
    image = torch.zeros(batch, attributes.shape[-1], height, width, dtype=attributes.dtype)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                face = fragments.face_index[b, y, x]
                if face >= 0:
                    image[b, :, y, x] = fragments.barycentric[b, y, x] @ attributes[b, faces[face]]
    return image


def some_fragments():
    generator = torch.Generator().manual_seed(2)
    screen = torch.rand(2, 8, 2, dtype=torch.float64, generator=generator) * 10
    depth = torch.rand(2, 8, dtype=torch.float64, generator=generator) + 1
    faces = torch.tensor([[0, 1, 2], [2, 3, 4], [5, 6, 7]])
    return rasterize_screen(screen, depth, faces, (9, 10)), faces


def test_interpolation_equals_the_definition():
    fragments, faces = some_fragments()
    attributes = torch.rand(2, 8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = barycentric_interpolate(attributes, faces, fragments)
    assert torch.allclose(found, interpolate_by_hand(attributes, faces, fragments))


def test_uncovered_pixels_are_zero():
    fragments, faces = some_fragments()
    image = barycentric_interpolate(torch.ones(2, 8, 1, dtype=torch.float64), faces, fragments)[:, 0]
    assert (~fragments.covered).any() and not image[~fragments.covered].any()


def test_gradients_reach_the_attributes():
    fragments, faces = some_fragments()
    attributes = torch.rand(2, 8, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda values: barycentric_interpolate(values, faces, fragments), (attributes,))


def test_a_sample_at_a_pixel_centre_is_that_pixel():
    image = torch.rand(3, 5, 7)
    points = torch.stack(torch.meshgrid(torch.arange(7) + 0.5, torch.arange(5) + 0.5, indexing="xy"), -1)
    assert torch.allclose(sample_bilinear(image, points).permute(2, 0, 1), image, atol=1e-5)


def test_v_goes_up_in_textures():
    texture = torch.zeros(1, 4, 4)
    texture[0, 0, 3] = 1  # top right
    assert sample_texture(texture, torch.tensor([0.875, 0.875])).item() == pytest.approx(1, abs=1e-5)


def test_textures_of_a_batch_are_sampled_each_at_its_own_places():
    generator = torch.Generator().manual_seed(4)
    textures = torch.rand(3, 2, 5, 6, generator=generator, dtype=torch.float64)
    uv = torch.rand(3, 4, 2, 2, generator=generator, dtype=torch.float64)
    whole = sample_texture(textures, uv)
    assert torch.allclose(whole, torch.stack([sample_texture(textures[i], uv[i]) for i in range(3)]))
    assert gradcheck(sample_texture, (textures.requires_grad_(), uv.requires_grad_()))
    with pytest.raises(ValueError, match="3 images"):
        sample_texture(textures, uv[:2])


def test_srgb_and_linear_are_inverse_and_standard():
    values = torch.linspace(0, 1, 256, dtype=torch.float64)
    assert torch.allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-9)
    assert srgb_to_linear(torch.tensor(0.5)).item() == pytest.approx(0.21404, abs=1e-5)


def test_normals_of_a_sphere_point_outwards():
    vertices, triangles, _ = sphere(96, 48)
    normals = vertex_normals(torch.tensor(vertices), torch.tensor(triangles)).numpy()
    inner = np.abs(vertices[:, 1]) < 0.09
    seam = np.abs(np.abs(np.arctan2(vertices[:, 0], vertices[:, 2])) - np.pi) < 1e-6
    cosine = (normals * vertices / 0.1).sum(-1)[inner & ~seam]
    assert cosine.min() > 0.999


def test_the_harmonic_basis_is_orthonormal():
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(400_000, 3, generator=generator, dtype=torch.float64), dim=-1)
    basis = harmonic_basis(normals)
    gram = basis.T @ basis / len(normals) * 4 * np.pi
    assert torch.allclose(gram, torch.eye(9, dtype=torch.float64), atol=0.02)


def test_a_lamp_lights_what_faces_it_and_ambient_light_lights_all_alike():
    lamp = HarmonicLight.directional((0, 0, 1), strength=1.0, ambient=0.0)
    front, side, back = lamp.shade(torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 0, -1]]))[:, 0].tolist()
    assert front == pytest.approx(1, abs=0.1) and side < 0.1 and back < 0.1
    assert torch.allclose(HarmonicLight.ambient().shade(torch.eye(3)), torch.ones(3, 3), atol=1e-6)


def test_a_head_under_ambient_light_shows_its_own_colour_inside_and_nothing_outside():
    vertices, triangles, _ = sphere()
    picture = render_head(
        vertices, triangles, Camera.orbit(0.4, 0.1, 0.8, 64, 48), (120, 60, 200), light=HarmonicLight.ambient()
    )
    assert picture.shape == (48, 64, 4) and picture.dtype == np.uint8
    assert picture[24, 32].tolist() == [120, 60, 200, 255] and picture[0, 0].tolist() == [0, 0, 0, 0]


def test_light_from_the_subjects_left_falls_on_the_right_of_the_picture():
    vertices, triangles, _ = sphere()
    light = HarmonicLight.directional((1, 0, 0.2))
    picture = render_head(vertices, triangles, Camera.orbit(0, 0, 0.8, 64), light=light).astype(int)
    row = picture[32, picture[32, :, 3] > 0]
    assert row[-6, 0] > row[5, 0] + 40


def test_a_texture_lies_where_its_uv_says():
    vertices, triangles, uv = sphere()
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :32, 0], image[:, 32:, 1], image[:32, :, 2] = 255, 255, 255  # upper half blue too
    picture = render_head(
        vertices,
        triangles,
        Camera.orbit(0, 0, 0.8, 64),
        texture=TextureMap(image, uv, triangles),
        light=HarmonicLight.ambient(),
    )
    assert picture[28, 26].tolist() == [255, 0, 255, 255] and picture[36, 38].tolist() == [0, 255, 0, 255]


def test_supersampling_softens_the_edge_and_keeps_the_inside():
    vertices, triangles, _ = sphere()
    camera, light = Camera.orbit(0, 0, 0.8, 40), HarmonicLight.ambient()
    hard, soft = (render_head(vertices, triangles, camera, (90, 90, 90), None, light, n) for n in (1, 3))
    assert set(np.unique(hard[..., 3])) == {0, 255}
    edge = (soft[..., 3] > 0) & (soft[..., 3] < 255)
    assert edge.any() and np.abs(soft[edge][:, :3].astype(int) - 90).max() <= 1
    assert soft[20, 20].tolist() == hard[20, 20].tolist()


def test_supersampling_below_one_is_refused():
    vertices, triangles, _ = sphere(8, 4)
    with pytest.raises(ValueError, match="at least 1"):
        render_head(vertices, triangles, Camera.orbit(0, 0, 1, 8), supersampling=0)
