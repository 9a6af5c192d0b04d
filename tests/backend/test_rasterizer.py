"""The rasterizer against its definition, against pytorch3d, at its edges, and its gradients."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from backend.rendering import rasterizer
from backend.rendering.interpolation import barycentric_interpolate
from backend.rendering.rasterizer import rasterize, rasterize_screen

DATA = Path(os.environ.get("LIFEMASK_DATA", Path(__file__).parents[3] / "shared" / "data"))
GOLDEN = DATA / "golden" / "pytorch3d_fragments.npz"


def rasterize_by_hand(screen, depth, faces, height, width, perspective):
    """One pixel and one triangle at a time, in float64, as in the definition: faces at each pixel, nearest first.

    Returns for every pixel a list of (depth, face, barycentric, margin), where margin is how far inside the pixel is,
    in units of the smallest barycentric coordinate.
    """
    found = {}
    for row in range(height):
        for column in range(width):
            point = np.array([column + 0.5, row + 0.5])
            hits = []
            for number, face in enumerate(faces):
                a, b, c = screen[face]
                area = np.cross(b - a, c - a)
                if area == 0:
                    continue
                plain = np.array([np.cross(b - point, c - point), np.cross(c - point, a - point)]) / area
                plain = np.append(plain, 1 - plain.sum())
                weight = plain / depth[face] if perspective else plain
                weight = weight / weight.sum()
                value = weight @ depth[face]
                # A corner behind the camera has a negative depth: its plain coordinate turns round.
                if weight.min() < -1e-4 or (perspective and value <= rasterizer.NEAR_METRES):
                    continue
                hits.append((value, number, weight, weight.min()))
            found[row, column] = sorted(hits, key=lambda hit: hit[:2])
    return found


@st.composite
def meshes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, size = draw(st.integers(3, 12)), draw(st.sampled_from([3, 9, 24]))
    screen = rng.uniform(-0.5 * size, 1.5 * size, (count, 2))
    depth = rng.uniform(-0.2, 2.0, count)
    faces = np.stack([rng.choice(count, 3, replace=False) for _ in range(draw(st.integers(1, 12)))])
    return screen, depth, faces, size, draw(st.booleans())


@settings(max_examples=60, deadline=None)
@given(meshes())
def test_every_pixel_gets_what_the_definition_says(mesh):
    screen, depth, faces, size, perspective = mesh
    expected = rasterize_by_hand(screen, depth, faces, size, size + 1, perspective)
    found = rasterize_screen(
        torch.tensor(screen)[None], torch.tensor(depth)[None], torch.tensor(faces), (size, size + 1), perspective
    )
    for (row, column), hits in expected.items():
        face = int(found.face_index[0, row, column])
        certain = [hit for hit in hits if hit[3] > 1e-6]
        possible = {hit[1]: hit for hit in hits}
        if face < 0:
            assert not certain
            assert torch.isinf(found.depth[0, row, column]) and not found.barycentric[0, row, column].any()
            continue
        assert face in possible
        value, _, weight, _ = possible[face]
        assert not certain or value <= certain[0][0] * (1 + 1e-6) + 1e-6
        assert np.isclose(found.depth[0, row, column], value, rtol=1e-6, atol=1e-9)
        assert np.allclose(found.barycentric[0, row, column], weight, atol=1e-6)


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.is_file():
        pytest.skip(f"pytorch3d's fragments are not at {GOLDEN}; set LIFEMASK_DATA")
    with np.load(GOLDEN, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def rasterize_golden(golden, vertices=None):
    size, focal = int(golden["size"]), float(golden["focal"])
    vertices = torch.tensor(golden["camera_vertices"]) if vertices is None else vertices
    intrinsics = torch.tensor([focal, focal, size / 2, size / 2])
    return rasterize(vertices[None], torch.tensor(golden["faces"]).long(), intrinsics, (size, size))


def test_pixels_show_the_triangles_that_pytorch3d_finds(golden):
    found = rasterize_golden(golden).face_index[0].numpy()
    assert (golden["face_index"] >= 0).mean() > 0.3
    assert (found == golden["face_index"]).mean() >= 0.999
    assert ((found >= 0) != (golden["face_index"] >= 0)).mean() <= 1e-4


def test_depth_and_barycentric_coordinates_are_those_of_pytorch3d(golden):
    found = rasterize_golden(golden)
    same = (found.face_index[0].numpy() == golden["face_index"]) & (golden["face_index"] >= 0)
    assert np.abs(found.depth[0].numpy() - golden["depth"])[same].max() < 1e-3  # centimetres
    error = np.abs(found.barycentric[0].numpy() - golden["barycentric"])[same].max(axis=-1)
    assert error.max() < 1e-3 and (error < 1e-4).mean() >= 0.999


def test_the_interpolated_image_is_that_of_pytorch3d(golden):
    faces = torch.tensor(golden["faces"]).long()
    image = barycentric_interpolate(torch.tensor(golden["attributes"])[None], faces, rasterize_golden(golden))
    error = np.abs(image[0].permute(1, 2, 0).numpy() - golden["interpolated"])
    assert np.quantile(error, 0.999) < 1e-3


def test_the_gradient_of_the_image_is_that_of_pytorch3d(golden):
    size, focal = int(golden["size"]), float(golden["focal"])
    vertices, faces = torch.tensor(golden["camera_vertices"]), torch.tensor(golden["faces"]).long()
    # pytorch3d's own variables: x and y in [-1, 1] with the axes turned, and depth beside them.
    ndc = torch.stack(
        [
            -2 * focal / size * vertices[:, 0] / vertices[:, 2],
            -2 * focal / size * vertices[:, 1] / vertices[:, 2],
            vertices[:, 2],
        ],
        -1,
    )
    ndc.requires_grad_()
    found = rasterize_screen((1 - ndc[None, :, :2]) * size / 2, ndc[None, :, 2], faces, (size, size))
    image = barycentric_interpolate(torch.tensor(golden["attributes"])[None], faces, found)[0].permute(1, 2, 0)
    (image * torch.tensor(golden["weights"])).sum().backward()
    mine, theirs = ndc.grad.numpy(), golden["grad_ndc"]
    assert np.corrcoef(mine.ravel(), theirs.ravel())[0, 1] > 0.9999
    assert np.linalg.norm(mine - theirs) / np.linalg.norm(theirs) < 0.01


def corner_meeting_fan(size):
    """Triangles that tile the square and meet at pixel centres, edges and corners."""
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.linspace(0, size, 7), np.linspace(0, size, 7)), -1)
    grid[1:-1, 1:-1] += rng.uniform(-1, 1, (5, 5, 2)) * size / 20
    grid[3, 3] = size / 2 + 0.5
    index = np.arange(49).reshape(7, 7)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    return torch.tensor(grid.reshape(-1, 2)), torch.tensor(
        np.concatenate([np.stack([a, b, c], 1), np.stack([d, c, b], 1)])
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbouring_triangles_leave_no_gap(dtype):
    screen, faces = corner_meeting_fan(200)
    found = rasterize_screen(screen.to(dtype)[None], torch.ones(1, 49, dtype=dtype), faces, (200, 200))
    assert found.covered.all()


def test_winding_makes_no_difference():
    screen, faces = corner_meeting_fan(50)
    one = rasterize_screen(screen[None], torch.ones(1, 49), faces, (50, 50))
    other = rasterize_screen(screen[None], torch.ones(1, 49), faces.flip(1), (50, 50))
    assert torch.equal(one.face_index, other.face_index)


def test_of_a_triangle_that_reaches_behind_the_camera_the_rest_is_seen():
    # A floor one unit below the camera that runs from far in front of it to far behind it.
    vertices = torch.tensor([[-1e3, 1, -1e3], [1e3, 1, -1e3], [0, 1, 1e4]], requires_grad=True)
    found = rasterize(vertices[None], torch.tensor([[0, 1, 2]]), torch.tensor([16.0, 16, 16, 16]), (32, 32))
    assert found.covered[0, 17:].all() and not found.covered[0, :16].any()
    expected = 16 / (torch.arange(17, 32) + 0.5 - 16)
    assert torch.allclose(found.depth[0, 17:], expected[:, None].expand(-1, 32), rtol=1e-3)
    found.depth[found.covered].sum().backward()
    assert torch.isfinite(vertices.grad).all() and vertices.grad.any()


def test_what_is_behind_the_camera_is_not_seen_and_takes_nothing_with_it():
    vertices = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [0, 1, 1], [0, 0, -1], [0.5, 0, -1], [0, 0.5, -2]])
    faces = torch.tensor([[3, 4, 5], [0, 1, 2], [3, 4, 3]])
    found = rasterize(vertices[None], faces, torch.tensor([16.0, 16, 16, 16]), (32, 32))
    assert set(found.face_index.unique().tolist()) == {-1, 1}


def test_triangles_in_front_and_triangles_across_the_near_plane_leave_no_gap():
    rng = np.random.default_rng(2)
    # A tunnel round the camera: every line of sight ends on it or leaves through the far end.
    angle = np.linspace(0, 2 * np.pi, 13)[:-1]
    z = np.array([-3.0, -0.5, 0.7, 2.0, 60.0])
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    vertices = np.concatenate([np.concatenate([ring * rng.uniform(0.9, 1.1), np.full((12, 1), d)], 1) for d in z])
    faces = []
    for level in range(4):
        for k in range(12):
            a, b = level * 12 + k, level * 12 + (k + 1) % 12
            faces += [[a, b, a + 12], [b, b + 12, a + 12]]
    found = rasterize(
        torch.tensor(vertices, dtype=torch.float32)[None],
        torch.tensor(faces),
        torch.tensor([20.0, 20, 30, 30]),
        (60, 60),
    )
    far = torch.hypot(torch.arange(60) + 0.5 - 30, (torch.arange(60) + 0.5 - 30)[:, None]) < 1
    assert (found.covered[0] | far).all()


def test_triangles_without_area_are_not_drawn():
    screen = torch.tensor([[[0.0, 0.0], [30.0, 30.0], [10.0, 10.0]]])
    found = rasterize_screen(screen, torch.ones(1, 3), torch.tensor([[0, 1, 2], [0, 0, 1]]), (32, 32))
    assert not found.covered.any()


def test_a_triangle_far_larger_than_the_image_fills_it():
    vertices = torch.tensor([[[-1e5, -1e5, 1.0], [1e5, -1e5, 1.0], [0, 2e5, 1.0]]])
    found = rasterize(vertices, torch.tensor([[0, 1, 2]]), torch.tensor([50.0, 50, 50, 50]), (70, 100))
    assert found.covered.all() and torch.allclose(found.depth, torch.ones(()))


def test_vertices_that_are_not_numbers_take_only_their_triangles_away():
    screen = torch.tensor([[[0.0, 0], [9, 0], [0, 9], [float("nan"), 5], [9, 9]]])
    found = rasterize_screen(screen, torch.ones(1, 5), torch.tensor([[0, 1, 3], [1, 4, 2], [0, 1, 2]]), (9, 9))
    assert found.covered.all()


def test_of_equal_depths_the_first_face_wins():
    screen = torch.tensor([[[0.0, 0], [9, 0], [0, 9]]])
    found = rasterize_screen(screen, torch.ones(1, 3), torch.tensor([[1, 2, 0], [0, 1, 2]]), (8, 8))
    assert set(found.face_index.unique().tolist()) == {-1, 0}


def test_parallel_depth_may_be_negative_and_nearer_wins():
    screen = torch.tensor([[[0.0, 0], [20, 0], [0, 20]]]).repeat(1, 3, 1)
    depth = torch.tensor([[0.1] * 3 + [-0.2] * 3 + [-0.1] * 3])
    faces = torch.arange(9).view(3, 3)
    found = rasterize_screen(screen, depth, faces, (8, 8), perspective=False)
    assert (found.face_index == 1).all() and torch.allclose(found.depth, torch.tensor(-0.2))


def test_images_of_a_batch_are_those_of_single_runs():
    generator = torch.Generator().manual_seed(5)
    vertices = torch.rand(3, 20, 3, generator=generator) * torch.tensor([2, 2, 1.0]) + torch.tensor([-1, -1, 1.0])
    faces = torch.randint(0, 20, (30, 3), generator=generator)
    intrinsics = torch.tensor([[20.0, 20, 16, 16], [30, 30, 16, 16], [15, 20, 10, 16]])
    whole = rasterize(vertices, faces, intrinsics, (32, 24))
    for i in range(3):
        one = rasterize(vertices[i : i + 1], faces, intrinsics[i], (32, 24))
        assert torch.equal(one.face_index[0], whole.face_index[i])
        assert torch.allclose(one.barycentric[0], whole.barycentric[i])


def test_both_depth_buffers_choose_the_same_faces():
    generator = torch.Generator().manual_seed(6)
    packed, plain = (rasterizer._DepthBuffer(50, torch.device(name)) for name in ("cpu", "cpu"))
    plain._packed = False
    plain._depth, plain._face = torch.full((50,), float("inf")), torch.full((50,), -1, dtype=torch.int32)
    for _ in range(4):
        pixel = torch.randint(0, 45, (200,), generator=generator)
        depth = torch.randint(-3, 4, (200,), generator=generator) / 4
        face = torch.randint(0, 100, (200,), generator=generator)
        packed.put(pixel, depth, face)
        plain.put(pixel, depth, face)
    assert torch.equal(packed.face_index(), plain.face_index())


def test_chunks_do_not_change_the_picture(monkeypatch):
    screen, faces = corner_meeting_fan(90)
    depth = torch.rand(1, 49, generator=torch.Generator().manual_seed(0)) + 1
    whole = rasterize_screen(screen[None].float(), depth, faces, (90, 90))
    for name, most in (("CHUNK_PIXELS", 100), ("CHUNK_TILES", 3), ("CHUNK_TRIANGLES", 1)):
        monkeypatch.setattr(rasterizer, name, most)
    assert torch.equal(whole.face_index, rasterize_screen(screen[None].float(), depth, faces, (90, 90)).face_index)


@pytest.mark.parametrize("perspective", [True, False])
def test_gradients_of_barycentric_coordinates_and_depth_are_right(perspective):
    generator = torch.Generator().manual_seed(1)
    screen = torch.rand(2, 5, 2, dtype=torch.float64, generator=generator) * 12
    depth = torch.rand(2, 5, dtype=torch.float64, generator=generator) + 1
    faces = torch.tensor([[0, 1, 2], [2, 3, 4]])

    def values(screen, depth):
        found = rasterize_screen(screen, depth, faces, (10, 11), perspective)
        return found.barycentric[found.covered], found.depth[found.covered]

    assert len(values(screen, depth)[0]) > 20
    assert gradcheck(values, (screen.requires_grad_(), depth.requires_grad_()), eps=1e-7)


def test_gradients_reach_vertices_and_lens():
    vertices = torch.tensor([[[-0.4, -0.4, 1.0], [0.5, -0.3, 1.3], [0.1, 0.6, 0.8]]], dtype=torch.float64)
    intrinsics = torch.tensor([10.0, 11, 5, 6], dtype=torch.float64)

    def values(vertices, intrinsics):
        return rasterize(vertices, torch.tensor([[0, 1, 2]]), intrinsics, (12, 12)).barycentric

    assert gradcheck(values, (vertices.requires_grad_(), intrinsics.requires_grad_()))


def test_an_empty_mesh_gives_an_empty_picture():
    found = rasterize_screen(torch.zeros(1, 3, 2), torch.ones(1, 3), torch.zeros(0, 3, dtype=torch.int64), (4, 5))
    assert found.face_index.shape == (1, 4, 5) and not found.covered.any()


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(F, 3\)"):
        rasterize_screen(torch.zeros(1, 3, 2), torch.ones(1, 3), torch.zeros(1, 4, dtype=torch.int64), (4, 4))
    with pytest.raises(ValueError, match=r"\(B, V, 3\)"):
        rasterize(torch.zeros(3, 3), torch.zeros(1, 3, dtype=torch.int64), torch.ones(4), (4, 4))
