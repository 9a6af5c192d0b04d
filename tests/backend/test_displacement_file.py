"""Displacement maps as OpenEXR files, read by ourselves and by OpenCV."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.displacement_file import read_displacement, write_displacement

READ_WITH_OPENCV = """
import sys, cv2, numpy
found = cv2.imread(sys.argv[1], cv2.IMREAD_UNCHANGED)
numpy.save(sys.argv[2], found)
"""


def waves(height: int, width: int) -> np.ndarray:
    row, column = np.mgrid[:height, :width]
    return (1e-3 * np.sin(row / 7) * np.cos(column / 5)).astype(np.float32)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 1000))
def test_a_map_comes_back_bit_by_bit(tmp_path_factory, height, width, seed):
    path = tmp_path_factory.mktemp("maps") / "map.exr"
    written = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    write_displacement(path, written)
    assert np.array_equal(read_displacement(path), written)


def test_another_program_reads_the_same(tmp_path):
    path, found = tmp_path / "map.exr", tmp_path / "found.npy"
    write_displacement(path, waves(100, 64))
    environment = {**os.environ, "OPENCV_IO_ENABLE_OPENEXR": "1"}
    subprocess.run([sys.executable, "-c", READ_WITH_OPENCV, str(path), str(found)], check=True, env=environment)
    assert np.array_equal(np.load(found), waves(100, 64))


def test_smooth_maps_take_less_room_than_their_numbers(tmp_path):
    write_displacement(tmp_path / "map.exr", np.zeros((256, 256), np.float32))
    assert (tmp_path / "map.exr").stat().st_size < 256 * 256


@pytest.mark.parametrize(
    "change", [lambda data: data[:200], lambda data: b"png" + data, lambda data: b"", lambda data: data[:-40]]
)
def test_a_damaged_file_is_refused_with_a_sentence(tmp_path, change):
    path = tmp_path / "map.exr"
    write_displacement(path, waves(64, 64))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=r"map\.exr is no displacement map"):
        read_displacement(path)
