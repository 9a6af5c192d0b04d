"""Meshes from files: order of vertices, colours, polygons, and files that are none."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from backend.errors import UsageError
from training.data import mesh_files
from training.data.mesh_files import read_mesh, write_obj

SQUARE = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def lines_of(vertices, more="") -> str:
    return "".join(f"v {x} {y} {z}{more}\n" for x, y, z in vertices)


def test_an_obj_with_colours_keeps_order_and_coordinates(tmp_path: Path):
    found = read_mesh(written(tmp_path / "a.obj", lines_of(SQUARE, " 0.5 0.25 1") + "f 1 2 3\nf 1 3 4\n"))
    assert np.array_equal(found.vertices, SQUARE)
    assert found.triangles.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_texture_seams_split_no_vertex(tmp_path: Path):
    text = lines_of(SQUARE) + "vt 0 0\nvt 1 0\nvt 1 1\nvt 0.5 0\nvn 0 0 1\nmtllib no.mtl\nusemtl skin\n"
    text += "f 1/1/1 2/2/1 3/3/1\nf 1/4/1 3/3/1 4/2/1\n"
    found = read_mesh(written(tmp_path / "a.obj", text))
    assert len(found.vertices) == 4 and found.triangles.tolist() == [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize("line", ["f 1 2 3 4", "f 1//1 2//1 3//1 4//1", "f -4 -3 -2 -1"])
def test_polygons_become_fans_and_indices_may_count_backwards(tmp_path: Path, line: str):
    found = read_mesh(written(tmp_path / "a.OBJ", lines_of(SQUARE) + line + "\r\n"))
    assert found.triangles.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_triangles_and_quads_in_one_file_are_not_mixed_up(tmp_path: Path):
    """Five faces of 4, 2 x 3 ... whose numbers happen to divide by the first face's count of corners."""
    faces = "f 1 2 3\nf 1 2 3 4\nf 2 3\n"
    with pytest.raises(UsageError, match="no face"):
        read_mesh(written(tmp_path / "a.obj", lines_of(SQUARE) + faces))
    found = read_mesh(written(tmp_path / "b.obj", lines_of(SQUARE) + "f 1 2 3\nf 1 2 3 4\n"))
    assert found.triangles.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]


def test_blocks_of_a_long_file_are_put_together(tmp_path: Path, monkeypatch):
    sphere = trimesh.creation.icosphere(subdivisions=3)
    write_obj(tmp_path / "a.obj", sphere.vertices, sphere.faces)
    monkeypatch.setattr(mesh_files, "BLOCK_BYTES", 1000)
    found = read_mesh(tmp_path / "a.obj")
    assert np.abs(found.vertices - sphere.vertices).max() < 1e-7
    assert np.array_equal(found.triangles, sphere.faces)


def test_ply_and_stl_keep_the_order(tmp_path: Path):
    sphere = trimesh.creation.icosphere(subdivisions=2)
    order = np.random.default_rng(0).permutation(len(sphere.vertices))
    shuffled = trimesh.Trimesh(sphere.vertices[order], np.argsort(order)[sphere.faces], process=False)
    shuffled.export(tmp_path / "a.ply")
    found = read_mesh(tmp_path / "a.ply")
    assert np.allclose(found.vertices, shuffled.vertices, atol=1e-6) and np.array_equal(found.triangles, shuffled.faces)
    shuffled.export(tmp_path / "a.stl")
    found = read_mesh(tmp_path / "a.stl")
    assert len(found.vertices) == len(shuffled.vertices)
    assert np.allclose(found.vertices[found.triangles], shuffled.vertices[shuffled.faces], atol=1e-6)
    assert found.triangles[0].tolist() == [0, 1, 2]  # the order of first mention


def test_a_cloud_of_points_is_a_scan_but_no_surface(tmp_path: Path):
    trimesh.PointCloud(SQUARE).export(tmp_path / "a.ply")
    assert len(read_mesh(tmp_path / "a.ply", needs_triangles=False).vertices) == 4
    with pytest.raises(UsageError, match="no faces"):
        read_mesh(tmp_path / "a.ply")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.obj", b"hello\n", "no vertices"),
        ("a.obj", b"v 1 2\n", "has 2 numbers"),
        ("a.obj", b"v 1 2 x\nf 1 1 1\n", "is no vertex"),
        ("a.obj", b"v 1 2 nan\nf 1 1 1\n", "no number"),
        ("a.obj", b"v 1 2 3\nf 1 2 3\n", "there are 1"),
        ("a.obj", b"v 1 2 3\nf 1 one 1\n", "is no face"),
        ("a.obj", b"v 1 2 3\nf 0 1 1\n", "there are 1"),
        ("a.obj", b"\0\1\2", "not text"),
        ("a.ply", b"not a ply", "cannot be used"),
        ("a.stl", b"", "cannot be used"),
        ("a.fbx", b"", "end in .obj, .ply, .stl"),
    ],
)
def test_a_file_that_is_no_mesh_is_said_in_a_sentence(tmp_path: Path, name: str, content: bytes, said: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=said) as caught:
        read_mesh(tmp_path / name)
    assert name in caught.value.sentence


def test_bounds(tmp_path: Path, monkeypatch):
    path = written(tmp_path / "a.obj", lines_of(SQUARE) + "f 1 2 3\n")
    monkeypatch.setattr(mesh_files, "MOST_VERTICES", 3)
    with pytest.raises(UsageError, match="more than 3 vertices"):
        read_mesh(path)
    monkeypatch.setattr(mesh_files, "LARGEST_FILE_BYTES", 10)
    with pytest.raises(UsageError, match="at most"):
        read_mesh(path)
    with pytest.raises(UsageError, match="no mesh"):
        read_mesh(tmp_path / "b.obj")
