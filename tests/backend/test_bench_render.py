"""What `bench render` measures: meshes of the right size, and figures for each."""

import numpy as np

from backend import bench_render


def test_the_meshes_have_the_sizes_that_are_named_and_show_the_head():
    (vertices, triangles), (fine, dense) = bench_render.head_meshes()
    assert len(triangles) == 9_500 and abs(len(dense) - 70_000) < 3
    assert triangles.max() < len(vertices) and dense.max() < len(fine)
    assert np.allclose(np.ptp(fine, axis=0), np.ptp(vertices, axis=0))


def test_a_figure_is_given_for_forward_and_gradient(monkeypatch):
    monkeypatch.setattr(bench_render, "REPEATS", 1)
    vertices, triangles = bench_render.head_meshes()[0]
    found = bench_render.time_rasterizer("torch", vertices, triangles, 48, 2)
    assert found["forward"] > 0 and found["both"] > 0 and np.isfinite([found["forward"], found["both"]]).all()
