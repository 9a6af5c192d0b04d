"""Folders of photographs as their makers lay them out."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.errors import UsageError
from training.data.folders import open_folder


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 30, 3), 120, np.uint8))
    return path


def empty(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names(folder: Path, kind: str) -> list[str]:
    return [item.name for item in open_folder(folder, kind).items]


def test_a_plain_folder_gives_its_pictures_at_any_depth(tmp_path: Path):
    for name in ("b.jpg", "a/c.PNG", "a/notes.txt", ".hidden/d.jpg"):
        (empty if name.endswith("txt") else picture)(tmp_path / name)
    assert names(tmp_path, "photographs") == ["a/c", "b"]


def test_pictures_that_differ_in_their_ending_only_keep_it(tmp_path: Path):
    for name in ("a.jpg", "a.png", "b.png"):
        picture(tmp_path / name)
    assert names(tmp_path, "photographs") == ["a.jpg", "a.png", "b"]


@pytest.mark.parametrize("blocks", [True, False])
def test_ffhq_is_read_with_or_without_its_blocks_of_a_thousand(tmp_path: Path, blocks: bool):
    for number in (0, 7, 1005):
        block = f"{number // 1000 * 1000:05d}/" if blocks else ""
        picture(tmp_path / f"images1024x1024/{block}{number:05d}.png")
    empty(tmp_path / "ffhq-dataset-v2.json")
    picture(tmp_path / "thumbnails128x128/00009.png")
    found = open_folder(tmp_path, "ffhq").items
    assert [item.path.stem for item in found] == ["00000", "00007", "01005"]
    assert [item.path.stem for item in open_folder(tmp_path / "images1024x1024", "ffhq").items] == [
        "00000", "00007", "01005",
    ]  # fmt: skip


def test_cew_knows_which_eyes_are_shut_and_leaves_single_eyes_out(tmp_path: Path):
    picture(tmp_path / "dataset_B_FacialImages/ClosedFace/closed_eye_0001.jpg_face_1.jpg")
    picture(tmp_path / "dataset_B_FacialImages/OpenFace/Aaron_Guiel_0001.jpg")
    picture(tmp_path / "dataset_B_Eye_Images/closedLeftEyes/closed_eye_0001.jpg_eye_1_L.jpg")
    items = open_folder(tmp_path, "cew").items
    assert [(item.path.name, item.labels["shut"]) for item in items] == [
        ("closed_eye_0001.jpg_face_1.jpg", True),
        ("Aaron_Guiel_0001.jpg", False),
    ]


def test_cew_of_the_test_data(data_folder: Path):
    items = open_folder(data_folder / "eyes/cew_research_only", "cew").items
    assert sum(item.labels["shut"] for item in items) == 154 and len(items) == 339
    assert len({item.name for item in items}) == 339


def now_folder(root: Path) -> Path:
    release = root / "NoW_Dataset/final_release_version"
    for subject in ("FaMoS_1", "FaMoS_2"):
        for challenge in ("multiview_neutral", "selfie"):
            picture(release / f"iphone_pictures/{subject}/{challenge}/IMG_0001.jpg")
            empty(release / f"detected_face/{subject}/{challenge}/IMG_0001.npy")
    empty(root / "scans/FaMoS_1/natural_head_rotation.000001.obj")
    empty(root / "scans_lmks_onlypp/FaMoS_1/natural_head_rotation.000001_picked_points.pp")
    return root


def test_now_gives_challenges_boxes_and_scans(tmp_path: Path):
    found = open_folder(now_folder(tmp_path), "now").items
    assert [item.name for item in found] == [
        f"{subject}/{challenge}/IMG_0001"
        for subject in ("FaMoS_1", "FaMoS_2")
        for challenge in ("multiview_neutral", "selfie")
    ]
    first, last = found[0].labels, found[-1].labels
    assert (first["subject"], first["challenge"], first["scan"].suffix) == ("FaMoS_1", "multiview_neutral", ".obj")
    assert first["scan_landmarks"].suffix == ".pp" and first["box"].name == "IMG_0001.npy"
    assert "scan" not in last


def test_now_takes_the_pictures_of_its_own_list(tmp_path: Path):
    now_folder(tmp_path)
    (tmp_path / "imagepathsvalidation.txt").write_text("FaMoS_2/selfie/IMG_0001.jpg\n")
    assert names(tmp_path, "now") == ["FaMoS_2/selfie/IMG_0001"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("photographs", "at any depth"),
        ("ffhq", "images1024x1024/"),
        ("cew", "closed/"),
        ("now", "NoW_Dataset/final_release_version/"),
    ],
)
def test_a_wrong_folder_gets_the_tree_that_was_expected_and_what_is_there(tmp_path: Path, kind: str, expected: str):
    empty(tmp_path / "something else.txt")
    with pytest.raises(UsageError) as caught:
        open_folder(tmp_path, kind)
    assert caught.value.code == "wrong-data-folder"
    assert expected in caught.value.sentence and "something else.txt" in caught.value.sentence


def test_a_folder_that_is_none_and_a_kind_that_is_none_are_said(tmp_path: Path):
    with pytest.raises(UsageError, match="does not exist"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is a file"):
        open_folder(picture(tmp_path / "a.jpg"))
    with pytest.raises(UsageError, match="ffhq, cew, now"):
        open_folder(tmp_path, "fhq")


def test_pictures_that_cannot_be_read_are_skipped_and_counted(tmp_path: Path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        picture(tmp_path / name)
    (tmp_path / "b.jpg").write_bytes((tmp_path / "b.jpg").read_bytes()[:200])
    empty(tmp_path / "d.jpg")
    folder = open_folder(tmp_path)
    assert [item.name for item, _ in folder.images()] == ["a", "c"]
    assert list(folder.left_out) == ["b", "d"] and "d.jpg is empty" in folder.left_out["d"]
    assert len(folder) == 4
