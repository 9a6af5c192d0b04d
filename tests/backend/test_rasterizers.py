"""Rasterizers by name, and the adapter of pytorch3d: its frames against the golden file, without the package."""

import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from backend.rendering import rasterizers
from backend.rendering.rasterizer import rasterize
from backend.rendering.rasterizers import RasterizerError, ndc_from_camera, rasterizer_named

DATA = Path(os.environ.get("LIFEMASK_DATA", Path(__file__).parents[3] / "shared" / "data"))
GOLDEN = DATA / "golden" / "pytorch3d_fragments.npz"


def test_the_default_is_the_rasterizer_in_plain_torch():
    assert rasterizer_named() is rasterize and rasterizer_named("torch") is rasterize


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(RasterizerError, match="torch, pytorch3d") as refused:
        rasterizer_named("opengl")
    assert refused.value.code == "unknown-rasterizer"


def test_pytorch3d_is_refused_with_a_sentence_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr(rasterizers, "pytorch3d_is_installed", lambda: False)
    with pytest.raises(RasterizerError, match="not installed") as refused:
        rasterizer_named("pytorch3d")
    assert refused.value.code == "rasterizer-not-installed"


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.is_file():
        pytest.skip(f"pytorch3d's fragments are not at {GOLDEN}; set LIFEMASK_DATA")
    with np.load(GOLDEN, allow_pickle=False) as file:
        return {name: torch.tensor(file[name]) for name in file.files if file[name].dtype.kind in "biuf"}


def camera_of(golden):
    size, focal = int(golden["size"]), float(golden["focal"])
    return torch.tensor([focal, focal, size / 2, size / 2]), (size, size)


@pytest.fixture
def replayed(monkeypatch, golden):
    """A pytorch3d that answers every image with the golden file's, and keeps what it was asked."""
    asked = {}

    def meshes(vertices, faces):
        asked.update(vertices=vertices, faces=faces)
        return vertices, faces

    def rasterize_meshes(meshes, **settings):
        vertices, faces = meshes
        asked.update(settings)
        face = golden["face_index"].long()
        numbered = [torch.where(face >= 0, face + k * faces.shape[1], -1) for k in range(len(vertices))]
        depth = torch.where(face >= 0, golden["depth"], -1.0).expand(len(vertices), -1, -1)
        barycentric = torch.where(face.unsqueeze(-1) >= 0, golden["barycentric"], -1.0)
        return (
            torch.stack(numbered)[..., None],
            depth[..., None],
            barycentric.expand(len(vertices), -1, -1, -1)[..., None, :],
            depth[..., None],
        )

    for name in ("pytorch3d", "pytorch3d.renderer", "pytorch3d.renderer.mesh", "pytorch3d.structures"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    module = ModuleType("pytorch3d.renderer.mesh.rasterize_meshes")
    module.rasterize_meshes = rasterize_meshes
    sys.modules["pytorch3d.structures"].Meshes = meshes
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(rasterizers, "pytorch3d_is_installed", lambda: True)
    return asked


def test_both_rasterizers_give_the_same_fragments_of_the_golden_head(golden, replayed):
    intrinsics, size = camera_of(golden)
    vertices, faces = golden["camera_vertices"].expand(2, -1, -1), golden["faces"].long()
    theirs = rasterizer_named("pytorch3d")(vertices, faces, intrinsics, size)
    mine = rasterize(vertices, faces, intrinsics, size)
    same = theirs.face_index == mine.face_index
    assert same.float().mean() >= 0.999
    assert torch.equal(torch.isinf(theirs.depth), ~theirs.covered) and not theirs.barycentric[~theirs.covered].any()
    both = same & mine.covered
    assert (theirs.depth[both] - mine.depth[both]).abs().max() < 1e-3  # centimetres
    assert (theirs.barycentric[both] - mine.barycentric[both]).abs().max() < 1e-3
    assert replayed["perspective_correct"] and not replayed["cull_backfaces"] and replayed["faces_per_pixel"] == 1


def test_pytorch3d_is_given_the_coordinates_the_golden_file_was_made_with(golden, replayed):
    intrinsics, (height, width) = camera_of(golden)
    vertices, focal = golden["camera_vertices"], float(golden["focal"])
    rasterizer_named("pytorch3d")(vertices[None], golden["faces"], intrinsics, (height, width))
    u, v = (focal * vertices[:, k] / vertices[:, 2] + width / 2 for k in (0, 1))
    expected = torch.stack([1 - 2 * u / width, 1 - 2 * v / height, vertices[:, 2]], -1)
    assert torch.allclose(replayed["vertices"][0], expected, atol=1e-5)


def test_of_an_oblong_image_the_shorter_side_spans_one_to_minus_one():
    corners = torch.tensor([[[0.0, 0, 1], [300, 200, 1]]])
    found = ndc_from_camera(corners, torch.tensor([1.0, 1, 0, 0]), (200, 300))
    assert torch.allclose(found[0], torch.tensor([[1.5, 1, 1], [-1.5, -1, 1]]))
