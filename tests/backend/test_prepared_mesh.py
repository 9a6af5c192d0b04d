"""What is kept of a face model's mesh when it is made ready: parts left out, pieces of the skin joined."""

from dataclasses import replace

import numpy as np
import pytest

from backend.errors import UsageError
from backend.face_models import preparation
from backend.face_models.model_arrays import ModelArrays
from backend.face_models.morphable_model import Licence, SurfacePoints, split_quads

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)


def three_squares() -> ModelArrays:
    """A socket, skin beside it with copies of two of its corners, and a cornea whose vertices come last."""
    mean = np.concatenate([SQUARE, SQUARE + [1, 0, 0], SQUARE + [0, 0, 1]]).astype(np.float32)
    return ModelArrays(
        name="squares",
        label="Squares",
        licence=Licence("CC0-1.0", "Free.", commercial=True),
        source="here",
        mean=mean,
        faces=np.arange(12, dtype=np.int32).reshape(3, 4),
        identity_basis=np.zeros((1, 12, 3), np.float32),
        expression_basis=np.zeros((1, 12, 3), np.float32),
        metres_per_unit=1.0,
        part_faces={"eye_socket": np.array([0]), "skin": np.array([1]), "cornea_left": np.array([2])},
    )


def test_faces_of_parts_that_are_left_out_have_no_corners_among_the_kept_vertices():
    arrays = three_squares()
    kept = preparation._kept(arrays)
    assert sorted(kept.parts) == ["eye_socket", "skin"]
    assert (kept.faces[2] == -1).all()
    assert split_quads(kept.faces).max() < len(kept.index)
    for row in (0, 1):
        assert np.array_equal(arrays.mean[kept.index][kept.faces[row]], arrays.mean[arrays.faces[row]])


def test_pieces_of_the_skin_are_joined_where_they_touch():
    kept = preparation._kept(three_squares())
    assert kept.index.tolist() == [0, 1, 2, 3, 5, 6]
    assert set(kept.faces[0]) & set(kept.faces[1]) == {1, 2}


def test_points_of_one_piece_that_touch_stay_two_as_lips_do():
    strip = np.array(
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0], [0, 1, 0]], np.float32
    )
    arrays = replace(
        three_squares(),
        mean=np.concatenate([strip, SQUARE + [9, 0, 0]]).astype(np.float32),
        faces=np.array([[0, 1, 2, 3], [1, 4, 5, 2], [4, 6, 7, 5], [8, 9, 10, 11]], np.int32),
        part_faces={"skin": np.array([0, 1, 2]), "eye_socket": np.array([3])},
    )
    assert len(preparation._kept(arrays).index) == 12


def test_landmarks_follow_the_vertex_that_theirs_was_joined_to():
    arrays = three_squares()
    kept = preparation._kept(arrays)
    points = SurfacePoints(np.array([[4, 7, 6]], np.int32), np.float32([[0.25, 0.25, 0.5]]))
    moved = preparation._kept_points(points, kept)
    assert np.allclose(moved.apply(arrays.mean[kept.index]), points.apply(arrays.mean))


def test_landmarks_on_a_part_that_is_left_out_are_refused():
    kept = preparation._kept(three_squares())
    with pytest.raises(UsageError, match="landmarks") as caught:
        preparation._kept_points(SurfacePoints(np.array([[8, 9, 10]], np.int32), np.float32([[1, 0, 0]])), kept)
    assert caught.value.code == "bad-face-model-file"
