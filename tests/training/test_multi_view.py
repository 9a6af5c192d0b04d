"""Faces against scans where the answer is known: planes, spheres, a mesh and itself, and units that are wrong."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from backend.errors import PhotoError, UsageError
from backend.face_models.morphable_model import Topology
from training.data.landmarks101 import SEVEN_OF_68
from training.data.triples import Scan, Triple, TripleFolder
from training.evaluation import multi_view
from training.evaluation.multi_view import FaceError, face_error, measure, seven_with_nose_tip, summary_of
from training.evaluation.now import Similarity

SEVEN_MM = np.array([[-45, 30, 0], [-16, 30, 5], [16, 30, 5], [45, 30, 0], [0, -10, 30], [-25, -45, 5], [25, -45, 5]],
                    float)  # fmt: skip


def bumpy_face(count=36):
    """A sheet with hills in millimetres, its triangles, and seven landmarks near it."""
    x, y = np.meshgrid(np.linspace(-90, 90, count), np.linspace(-110, 90, count))
    z = 8 * np.cos(x / 17) * np.sin(y / 23) - (x**2 + 0.6 * y**2) / 250
    row, column = np.mgrid[: count - 1, : count - 1]
    corner = (row * count + column).reshape(-1)
    triangles = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + count], 1),
            np.stack([corner + 1, corner + count + 1, corner + count], 1),
        ]
    )
    return np.stack([x, y, z], axis=2).reshape(-1, 3), triangles, SEVEN_MM.copy()


def scan_of(vertices, triangles, landmarks):
    """Points on the faces of a mesh, not its vertices."""
    return Scan(vertices[triangles].mean(1), triangles, landmarks)


def moved(points, scale=1.0):
    turn = Rotation.from_euler("xyz", [6, -9, 4], degrees=True).as_matrix()
    return scale * points @ turn.T + [12.0, -20.0, 30.0]


def test_a_face_in_another_place_and_size_is_without_error():
    vertices, triangles, landmarks = bumpy_face()
    scan = scan_of(vertices, triangles, landmarks)
    found = face_error(moved(vertices, 1.1) / 1000, triangles, moved(landmarks, 1.1) / 1000, scan)
    assert found.rmse_mm < 1e-3 and found.mean_mm < 1e-3
    assert found.alignment.scale == pytest.approx(1 / 1.1, rel=1e-4)


def test_rigid_keeps_the_size():
    vertices, triangles, landmarks = bumpy_face()
    scan = scan_of(vertices, triangles, landmarks)
    kept = face_error(moved(vertices) / 1000, triangles, moved(landmarks) / 1000, scan, alignment="rigid")
    assert kept.alignment.scale == 1 and kept.rmse_mm < 1e-3
    larger = face_error(1.06 * vertices / 1000, triangles, 1.06 * landmarks / 1000, scan, alignment="rigid")
    assert larger.alignment.scale == 1 and larger.rmse_mm > 0.1


def test_icp_mends_landmarks_that_are_off():
    vertices, triangles, landmarks = bumpy_face()
    wrong = landmarks + np.random.default_rng(0).normal(size=(7, 3)) * 3
    found = face_error(vertices / 1000, triangles, wrong / 1000, scan_of(vertices, triangles, landmarks))
    assert found.rmse_mm < 0.05


def test_points_off_a_plane_have_the_root_mean_square_and_the_mean_of_their_offsets():
    """One point of two lies in the plane, one of four 4 mm before it, one of four 4 mm behind it."""
    plane = np.array([[-300, -300, 0], [300, -300, 0], [300, 300, 0], [-300, 300, 0]], float)
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    x, y = np.meshgrid(np.arange(-100, 101, 2.5), np.arange(-100, 101, 2.5))
    row, column = np.indices(x.shape)
    z = np.where((row + column) % 2 == 0, 0.0, np.where(row % 2, 4.0, -4.0))
    flat = SEVEN_MM * [1, 1, 0]
    scan = Scan(np.stack([x, y, z], 2).reshape(-1, 3), np.zeros((0, 3), int), flat)
    found = face_error(plane / 1000, triangles, flat / 1000, scan, alignment="rigid")
    assert found.rmse_mm == pytest.approx(np.sqrt(8), abs=0.01) and found.mean_mm == pytest.approx(2, abs=0.01)


def test_an_offset_is_found_by_icp_and_what_is_left_is_the_noise():
    vertices, triangles, landmarks = bumpy_face()
    corners = vertices[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    noise = np.where(np.arange(len(triangles)) % 2, 0.5, -0.5)[:, None]
    scan = Scan(corners.mean(1) + noise * normals + [2, -1, 3], triangles, landmarks)
    found = face_error(vertices / 1000, triangles, landmarks / 1000, scan, alignment="rigid")
    assert found.rmse_mm == pytest.approx(0.5, abs=0.03) and found.mean_mm == pytest.approx(0.5, abs=0.03)
    assert np.allclose(1000 * found.alignment.apply(np.zeros((1, 3))), [2, -1, 3], atol=0.1)


def test_the_pose_of_the_prediction_does_not_matter():
    vertices, triangles, landmarks = bumpy_face()
    scan = scan_of(vertices * [1, 1, 1.2], triangles, landmarks)
    straight = face_error(vertices / 1000, triangles, landmarks / 1000, scan)
    turn = Rotation.from_euler("xyz", [70, 20, -110], degrees=True).as_matrix()
    turned = face_error(vertices @ turn.T / 1000 + 0.3, triangles, landmarks @ turn.T / 1000 + 0.3, scan)
    assert straight.rmse_mm > 0.3 and turned.rmse_mm == pytest.approx(straight.rmse_mm, rel=1e-3)


def test_the_root_mean_square_is_no_mean():
    error = FaceError(np.array([0.0, 0, 0, 4.0]), np.array([0.0, 0, 0, 5.0]), np.ones(4, bool), None)
    assert error.rmse_mm == 2 and error.mean_mm == 1.25


def test_a_sphere_in_a_larger_one_is_off_by_the_difference_of_the_radii():
    sphere = trimesh.creation.icosphere(subdivisions=3)
    triangles, directions = np.asarray(sphere.faces), np.asarray(sphere.vertices)
    landmarks = SEVEN_MM / np.linalg.norm(SEVEN_MM, axis=1, keepdims=True) * 60
    scan = Scan(63 * directions, triangles, landmarks * 63 / 60)
    found = face_error(0.06 * directions + 0.2, triangles, landmarks / 1000 + 0.2, scan, alignment="rigid")
    assert found.rmse_mm == pytest.approx(3, abs=0.3) and found.mean_mm == pytest.approx(3, abs=0.3)
    free = face_error(0.06 * directions, triangles, landmarks / 1000, scan)
    assert free.rmse_mm < 0.01 and free.alignment.scale == pytest.approx(63 / 60, rel=1e-4)


def test_a_plane_is_never_farther_than_the_surface():
    vertices, triangles, landmarks = bumpy_face()
    inner = triangles[np.abs(vertices[triangles].mean(1)[:, 0]) < 20]  # the scan reaches beyond the prediction
    scan = scan_of(vertices, triangles, landmarks)
    found = face_error(vertices / 1000, inner, landmarks / 1000, scan, alignment="rigid")
    assert (found.to_planes_mm <= found.distances_mm + 1e-9).all()
    assert found.mean_mm > 1.5 * np.mean(found.to_planes_mm)


def test_the_crop_is_that_of_now_with_the_tip_of_the_nose():
    vertices, triangles, landmarks = bumpy_face()
    scan = scan_of(vertices, triangles, landmarks)
    found = face_error(vertices / 1000, triangles, landmarks / 1000, scan)
    bridge = (landmarks[1] + landmarks[2]) / 2
    centre = landmarks[4] + 0.3 * (bridge - landmarks[4])
    radius = 1.4 * (np.linalg.norm(landmarks[3] - landmarks[0]) + np.linalg.norm(bridge - landmarks[4])) / 2
    assert np.array_equal(found.cropped, np.linalg.norm(scan.vertices - centre, axis=1) <= radius)
    assert 0.2 < found.cropped.mean() < 0.9
    all68 = np.random.default_rng(0).normal(size=(68, 3))
    assert np.array_equal(seven_with_nose_tip(all68)[4], all68[30])
    with pytest.raises(ValueError, match="68"):
        seven_with_nose_tip(all68[:51])


@pytest.mark.parametrize(("factor", "unit"), [(1, "mm"), (0.1, "cm"), (0.01, "dm")])
def test_a_wrong_unit_is_refused_with_the_right_one(factor, unit):
    vertices, triangles, landmarks = bumpy_face()
    scan = scan_of(vertices, triangles, landmarks)
    with pytest.raises(UsageError) as caught:
        face_error(factor * vertices, triangles, factor * landmarks, scan)
    assert caught.value.code == "wrong-unit" and f"--unit {unit}" in caught.value.sentence
    assert face_error(factor * vertices, triangles, factor * landmarks, scan, unit=unit).rmse_mm < 1e-3
    in_metres = Scan(scan.vertices / 1000, scan.triangles, scan.landmarks / 1000)
    with pytest.raises(UsageError, match="The scan is said to be in millimetres.*--scan-unit m"):
        face_error(vertices / 1000, triangles, landmarks / 1000, in_metres)


def test_landmarks_of_another_scan_are_refused():
    vertices, triangles, landmarks = bumpy_face()
    with pytest.raises(UsageError, match="near its own landmarks"):
        face_error(vertices / 1000, triangles, landmarks / 1000, scan_of(vertices, triangles, landmarks + 900))


def test_every_face_counts_once():
    motion = Similarity(1.0, np.eye(3), np.zeros(3))
    few = FaceError(np.array([3.0]), np.array([3.0]), np.ones(1, bool), motion)
    many = FaceError(np.ones(99), np.ones(99), np.ones(99, bool), motion)
    found = summary_of([few, many])
    assert (found.rmse, found.rmse_deviation, found.mean, found.faces) == (2, 1, 2, 2)
    assert "2.0000     1.0000" in multi_view.table({"three photographs": found})
    with pytest.raises(ValueError, match="No face"):
        summary_of([])


def a_face_model():
    """Of a face model what is asked for here: a skin of quads, and landmarks."""
    vertices, _, landmarks = bumpy_face()
    row, column = np.mgrid[:35, :35]
    corner = (36 * row + column).reshape(-1)
    faces = np.stack([corner, corner + 1, corner + 37, corner + 36], 1).astype(np.int32)
    none = np.zeros((0, 2), np.float32)
    topology = Topology(faces, none, faces[:0], ("skin",), np.array([[0, len(faces)]], np.int32))
    landmarks68 = np.zeros((68, 3))
    landmarks68[list(SEVEN_OF_68)] = landmarks / 1000
    return SimpleNamespace(mean=vertices / 1000, topology=topology, landmarks68=lambda head: landmarks68)


class StandIn(TripleFolder):
    """Triples whose pictures are their own numbers and whose scans are the mean face."""

    def image(self, path):
        return np.full((2, 2, 3), int(path.name), np.uint8)

    def scan(self, triple):
        model = a_face_model()
        triangles = model.topology.triangles
        seven = 1000 * seven_with_nose_tip(model.landmarks68(None))
        return None if triple.subject == "without" else scan_of(1000 * model.mean, triangles, seven)


def test_a_set_is_measured_from_one_and_from_three_photographs():
    subjects = ("a", "without", "blind")
    pictures = tuple(Path(str(view)) for view in (10, 11, 12))
    folder = StandIn(Path(), [Triple(subject, subject, pictures, (45.0, 0.0, -45.0)) for subject in subjects])
    model, asked = a_face_model(), []

    def reconstruct(images):
        asked.append([int(image[0, 0, 0]) for image in images])
        if len(asked) > 2:
            raise PhotoError("no-face", "No face was found.")
        stretched = [model.mean * [1, 1, 1 + 0.2 * number] for number in range(len(images))]
        return [model.mean] if len(images) == 1 else stretched

    errors, left_out = measure(folder, reconstruct, model)
    assert asked[:2] == [[11], [10, 11, 12]]
    assert [len(errors[row]) for row in (multi_view.ONE, multi_view.THREE)] == [1, 1]
    assert errors[multi_view.ONE][0].rmse_mm < 0.01 < 0.2 < errors[multi_view.THREE][0].rmse_mm
    assert "no scan" in left_out["without"] and "No face" in left_out["blind"]


def test_the_command_prints_the_table_and_writes_the_figures(tmp_path, monkeypatch, capsys):
    model = a_face_model()
    pictures = tuple(Path(str(view)) for view in (10, 11, 12))
    folder = StandIn(Path(), [Triple(subject, subject, pictures, (45.0, 0.0, -45.0)) for subject in ("a", "without")])
    monkeypatch.setattr(multi_view, "open_bosphorus", lambda root, right_angle: folder)
    monkeypatch.setattr(multi_view, "load_face_model", lambda name: model)
    head = SimpleNamespace(photographs=[SimpleNamespace(posed=model.mean)] * 3)
    monkeypatch.setattr("backend.pipeline.fit_photographs", lambda images, focal, method: head)
    output = tmp_path / "figures.json"
    assert multi_view.main(["bosphorus", str(tmp_path), "--right-angle", "20", "--json", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "RMSE to planes" in printed and "1 face\n" in printed and "1 left out, without" in printed
    assert json.loads(output.read_text())["rows"]["three photographs"]["rmse"] < 0.01
    folder.triples = folder.triples[1:]
    with pytest.raises(UsageError, match="without: it has no scan"):
        multi_view.main(["bosphorus", str(tmp_path)])
