"""Pixel-Face, Multi-PIE and Bosphorus from tiny folders of their layouts, and from folders that are others."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat
from scipy.spatial.transform import Rotation

from backend.errors import UsageError
from training.data import bosphorus_layout, multi_pie_layout
from training.data.bosphorus_layout import delaunay_triangles, open_bosphorus, read_bnt
from training.data.landmarks101 import NOT_COMPARED, SEVEN
from training.data.mesh_files import write_obj
from training.data.multi_pie_layout import open_multi_pie
from training.data.pixel_face_layout import open_pixel_face


def picture(path: Path, value: int = 0, size=(6, 9)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))
    return path


def points106(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(106, 3))


def pixel_face(root: Path, split="train", subject="0033", sample="107", registered=False) -> Path:
    moment = root / split / subject / sample / "Images"
    for view in range(3):
        picture(moment / f"{view}/t.jpg", 40 * view)
    (moment / "fusion").mkdir()
    np.savetxt(moment / "fusion/nicp_106_pts.txt", points106(), fmt="%.6f")
    return moment


def test_pixel_face_gives_three_pictures_and_101_points_in_millimetres(tmp_path: Path):
    pixel_face(tmp_path)
    pixel_face(tmp_path, subject="0034")
    pixel_face(tmp_path, "val", "10075", "other_1")
    folder = open_pixel_face(tmp_path)
    assert [(t.subject, t.name) for t in folder.triples] == [("0033", "0033/107"), ("0034", "0034/107")]
    assert folder.subjects == ["0033", "0034"] and len(open_pixel_face(tmp_path, None)) == 3
    item = folder.item(0)
    assert [round(image.mean(), -1) for image in item.images] == [0, 40, 80]
    assert item.triple.yaw == (None, None, None)  # the set does not say it: it is to be measured
    kept = [row for row in range(106) if row not in (3, 15, 17, 25, 27)]
    assert NOT_COMPARED == (3, 15, 17, 25, 27) and item.points101.shape == (101, 3)
    assert np.allclose(item.points101, 100 * points106()[kept], atol=1e-3)


def test_the_photographs_of_pixel_face_are_turned_clockwise_and_mirrored(tmp_path: Path):
    moment = pixel_face(tmp_path)
    lying = np.random.default_rng(0).integers(0, 255, (4, 7, 3)).astype(np.uint8)
    cv2.imwrite(str(moment / "0/t.bmp"), lying)
    (moment / "0/t.jpg").unlink()
    upright = cv2.flip(cv2.rotate(lying, cv2.ROTATE_90_CLOCKWISE), 1)
    assert np.array_equal(open_pixel_face(tmp_path).item(0).images[0], upright[..., ::-1])


def test_a_scan_of_pixel_face_has_the_points_as_landmarks(tmp_path: Path):
    pixel_face(tmp_path, "val")
    vertices, triangles = np.random.default_rng(1).normal(size=(5, 3)), np.array([[0, 1, 2], [2, 3, 4]])
    folder = open_pixel_face(tmp_path, "val")
    assert folder.scan(folder.triples[0]) is None
    (tmp_path / "val_obj").mkdir()
    write_obj(tmp_path / "val_obj/0033107.obj", vertices, triangles)
    scan = folder.scan(folder.triples[0])
    assert np.allclose(scan.vertices, 100 * vertices, atol=1e-4) and np.array_equal(scan.triangles, triangles)
    assert np.array_equal(scan.landmarks, folder.item(0).points101[list(SEVEN)])


def test_pixel_face_as_its_owner_gives_it(tmp_path: Path):
    vertices = np.random.default_rng(2).normal(size=(120, 3))
    scan = {"v": vertices, "f": np.array([[1, 2, 3], [118, 119, 120]]), "tex": vertices, "kpt_ind": np.arange(1, 107)}
    for sample in ("s17", "s18"):
        for view in range(3):
            picture(tmp_path / f"data/{sample}/{view}/t.bmp")
        (tmp_path / f"data/{sample}/fusion").mkdir()
        savemat(tmp_path / f"data/{sample}/fusion/gt.mat", {"new_kpt_gt_obj": scan})
    (tmp_path / "release_id/split").mkdir(parents=True)
    (tmp_path / "release_id/release_info.txt").write_text("0033 s17 1 40 0\n0034 s18 0 31 2\n")
    (tmp_path / "release_id/split/release_train.txt").write_text("s17\n")
    (tmp_path / "release_id/split/release_eva.txt").write_text("s18\n")
    folder = open_pixel_face(tmp_path, "val")
    assert [triple.subject for triple in folder.triples] == ["0034"]
    item, found = folder.item(0), folder.scan(folder.triples[0])
    assert np.allclose(item.points101, 100 * np.delete(vertices[:106], NOT_COMPARED, axis=0), atol=1e-3)
    assert np.allclose(found.vertices, 100 * vertices) and found.triangles.tolist() == [[0, 1, 2], [117, 118, 119]]
    (tmp_path / "data/s18/fusion/gt.mat").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="is no scan of Pixel-Face"):
        folder.scan(folder.triples[0])


def test_what_is_wrong_with_a_moment_is_said(tmp_path: Path):
    moment = pixel_face(tmp_path)
    (pixel_face(tmp_path, subject="0035") / "2/t.jpg").unlink()
    folder = open_pixel_face(tmp_path)
    assert "view 2" in folder.left_out["0035/107"]
    (moment / "fusion/nicp_106_pts.txt").write_text("1 2 3\n4 5 6\n")
    with pytest.raises(UsageError, match="106 lines of 3 numbers each; there are 2"):
        folder.item(0)
    assert list(folder.items()) == [] and "106 lines" in folder.left_out["0033/107"]
    with pytest.raises(UsageError, match="'val'"):
        open_pixel_face(tmp_path, "val")


@pytest.mark.parametrize(
    ("open_set", "expected"),
    [
        (open_pixel_face, ("Pixel-Face", "fusion/nicp_106_pts.txt", "release_id")),
        (open_multi_pie, ("Multi-PIE", "001_01_01_051_06_cropped.png")),
        (open_bosphorus, ("Bosphorus", "bs000_N_N_0.bnt", "bs000_YR_R45_0.png")),
    ],
)
def test_a_wrong_folder_gets_the_tree_that_was_expected_and_what_is_there(tmp_path: Path, open_set, expected):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError) as caught:
        open_set(tmp_path)
    assert caught.value.code == "wrong-data-folder"
    assert all(words in caught.value.sentence for words in (*expected, "Expected:", "notes.txt"))
    with pytest.raises(UsageError, match="does not exist"):
        open_set(tmp_path / "nowhere")


def multi_pie(root: Path, subject="001", light="06", cameras=multi_pie_layout.YAW_OF_CAMERA):
    for camera in cameras:
        picture(root / f"{subject}_01_01_{camera}_{light}_cropped.png", int(camera))


def test_multi_pie_gives_the_front_and_both_sides_of_one_moment(tmp_path: Path):
    multi_pie(tmp_path)
    multi_pie(tmp_path, light="07")
    multi_pie(tmp_path / "more", "002", cameras=("051", "080"))
    folder = open_multi_pie(tmp_path, (30, 60))
    assert [triple.name for triple in folder.triples] == [f"001_01_01_{n}/{a}" for n in ("06", "07") for a in (30, 60)]
    assert folder.triples[0].yaw == (30, 0, -30) and folder.triples[3].yaw == (60, 0, -60)
    assert [int(image[0, 0, 0]) for image in folder.item(1).images] == [90, 51, 200]
    assert folder.item(0).points101 is None and folder.scan(folder.triples[0]) is None
    assert "camera 130" in folder.left_out["002_01_01_06/30"]


def test_an_angle_that_multi_pie_has_not_is_said(tmp_path: Path):
    multi_pie(tmp_path, cameras=("051", "190"))
    with pytest.raises(UsageError, match="50 degrees aside; it has 15, 30, 45"):
        open_multi_pie(tmp_path, (50,))
    with pytest.raises(UsageError, match="camera 080 is missing"):
        open_multi_pie(tmp_path)


NAMES = [*bosphorus_layout.EYE_CORNERS, "Nose tip", *bosphorus_layout.MOUTH_CORNERS, "Chin middle"]
PLACES = np.array([[-45, 30, 0], [-16, 30, 5], [16, 30, 5], [45, 30, 0], [0, 0, 30], [-25, -30, 5], [25, -30, 5],
                   [0, -60, 0]], float)  # fmt: skip


def write_bnt(path: Path, points: np.ndarray, background=-1e9, rows=None):
    grid = np.full((5, *points.shape[:2]), background)
    grid[:3] = points.transpose(2, 0, 1)
    name = path.with_suffix(".png").name.encode()
    count = struct.pack("<I", grid.size if rows is None else rows)
    head = struct.pack("<HHdH", *points.shape[:2], background, len(name)) + name + count
    path.write_bytes(head + grid.astype("<f8").tobytes())


def write_lm3(path: Path, points: dict[str, np.ndarray]):
    lines = ["# 3D landmarks", f"{len(points)} landmarks:"]
    for name, point in points.items():
        lines += [name, " ".join(f"{value:.4f}" for value in point)]
    path.write_text("\r\n".join(lines) + "\r\n")


def bosphorus(root: Path, subject="bs000", names=NAMES, left_shows=1.0, angles=(("L", 45), ("R", 45))) -> Path:
    folder = root / "BosphorusDB_p1" / subject
    x, y = np.meshgrid(np.arange(-50.0, 51, 2), np.arange(-60.0, 61, 2))
    grid = np.stack([x, y, 40 - (x**2 + y**2) / 100], axis=2)
    grid[:5] = -1e9
    views = {"N_N": 0.0} | {f"YR_{side}{angle}": angle if side == "L" else -angle for side, angle in angles}
    for code, degrees in views.items():
        # positive yaw shows the subject's left side: the face turns towards the picture's left
        turn = Rotation.from_euler("y", -left_shows * degrees, degrees=True).as_matrix()
        moved = PLACES @ turn.T + [3, 5, 100]
        picture(folder / f"{subject}_{code}_0.png", 10)
        write_lm3(folder / f"{subject}_{code}_0.lm3", dict(zip(names, moved, strict=True)))
        if not degrees:
            write_bnt(folder / f"{subject}_{code}_0.bnt", np.where(grid > -1e8, grid + [3, 5, 100], grid))
    return folder


def test_bosphorus_gives_a_neutral_face_and_two_turned_ones(tmp_path: Path):
    bosphorus(tmp_path, angles=(("L", 45), ("R", 45), ("R", 20)))
    bosphorus(tmp_path, "bs001", angles=(("L", 45),))
    folder = open_bosphorus(tmp_path)
    (triple,) = folder.triples
    assert triple.subject == "bs000" and triple.yaw == (45, 0, -45)
    assert [path.name[6:-4] for path in triple.pictures] == ["YR_L45_0", "N_N_0", "YR_R45_0"]
    assert open_bosphorus(tmp_path, 20).triples[0].yaw == (45, 0, -20)
    assert "bs001_YR_R45_0.png" in folder.left_out["bs001"] and folder.item(0).points101 is None
    with pytest.raises(UsageError, match="30.*45"):
        open_bosphorus(tmp_path, 60)


def test_the_sides_of_bosphorus_are_measured_not_believed(tmp_path: Path):
    """Turned the other way, and left and right of the landmarks' names exchanged: the same seven, the other order."""
    swapped = [name.replace("left", "?").replace("right", "left").replace("?", "right") for name in NAMES]
    swapped = [name.replace("Left", "?").replace("Right", "Left").replace("?", "Right") for name in swapped]
    bosphorus(tmp_path / "a", names=swapped)
    bosphorus(tmp_path / "b", left_shows=-1.0)
    exchanged, turned = open_bosphorus(tmp_path / "a"), open_bosphorus(tmp_path / "b")
    assert np.allclose(exchanged.scan(exchanged.triples[0]).landmarks, PLACES[:7] + [3, 5, 100])
    assert [path.name[6:-4] for path in turned.triples[0].pictures] == ["YR_R45_0", "N_N_0", "YR_L45_0"]
    assert turned.triples[0].yaw == (45, 0, -45)


def test_a_scan_of_bosphorus_is_joined_by_delaunay_triangles(tmp_path: Path):
    folder = open_bosphorus(bosphorus(tmp_path))
    scan = folder.scan(folder.triples[0])
    assert len(scan.vertices) == 51 * (61 - 5) and len(scan.triangles) == 2 * 50 * (61 - 6)
    sides = scan.vertices[scan.triangles]
    normals = np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0])
    assert (normals[:, 2] > 0).all()
    assert np.allclose(scan.landmarks, PLACES[:7] + [3, 5, 100], atol=1e-3)


def test_triangles_do_not_bridge_holes():
    x, y = np.meshgrid(np.arange(20.0), np.arange(20.0))
    points = np.stack([x.ravel(), y.ravel(), np.where(x.ravel() < 10, 0.0, 50.0)], axis=1)
    triangles = delaunay_triangles(points, 3.0)
    assert len(triangles) == 2 * 2 * 9 * 19  # two sheets, none between them
    hole = np.hypot(x.ravel() - 5, y.ravel() - 5) > 3
    left = delaunay_triangles(points[hole], 3.0)
    middle = points[hole][left].mean(1)
    assert not (np.hypot(middle[:, 0] - 5, middle[:, 1] - 5) < 1.5).any()


@pytest.mark.parametrize("damage", ["cut", "rows", "empty", "nan"])
def test_a_damaged_scan_is_refused(tmp_path: Path, damage: str):
    grid = np.ones((4, 4, 3))
    path = tmp_path / "bs000_N_N_0.bnt"
    if damage == "nan":
        grid[1, 1, 0] = np.nan
    write_bnt(path, grid, rows=7 if damage == "rows" else None)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    if damage == "empty":
        path.write_bytes(b"")
    with pytest.raises(UsageError, match="bs000_N_N_0.bnt"):
        read_bnt(path)


def test_a_turned_view_with_too_few_landmarks_is_left_out(tmp_path: Path):
    folder = bosphorus(tmp_path)
    write_lm3(folder / "bs000_YR_R45_0.lm3", dict(zip(NAMES[:3], PLACES, strict=False)))
    with pytest.raises(UsageError, match="3 points that the frontal one has, too few"):
        open_bosphorus(tmp_path)
