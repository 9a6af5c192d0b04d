"""Masks of parts to ten classes, by the names of the files."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.errors import UsageError
from training.data.celebamask_layout import CLASS_OF_PART, open_celebamask
from training.data.sample import PARSING_CLASSES

SIDE = 40
BOXES = {
    "skin": (5, 5, 35, 35), "l_brow": (8, 22, 10, 30), "r_brow": (8, 10, 10, 18), "l_eye": (12, 22, 15, 30),
    "r_eye": (12, 10, 15, 18), "nose": (15, 18, 22, 22), "mouth": (26, 14, 28, 26), "u_lip": (24, 14, 26, 26),
    "l_lip": (28, 14, 30, 26), "neck": (35, 12, 40, 28), "l_ear": (14, 35, 22, 38), "eye_g": (12, 25, 15, 30),
    "hair": (0, 0, 6, 40),
}  # fmt: skip
"""Top, left, bottom, right; the subject's left in the right of the picture."""


def a_face(root: Path, number: int = 0, boxes=BOXES, size: int = SIDE) -> None:
    (root / "CelebA-HQ-img").mkdir(parents=True, exist_ok=True)
    folder = root / f"CelebAMask-HQ-mask-anno/{number // 2000}"
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / f"CelebA-HQ-img/{number}.jpg"), np.full((2 * SIDE, 2 * SIDE, 3), 7, np.uint8))
    for part, (top, left, bottom, right) in boxes.items():
        mask = np.zeros((size, size), np.uint8)
        mask[top:bottom, left:right] = 255
        cv2.imwrite(str(folder / f"{number:05d}_{part}.png"), mask)


def test_every_part_becomes_its_class_by_name(tmp_path: Path):
    a_face(tmp_path, 2001)
    folder = open_celebamask(tmp_path)
    parsed = folder.item(0)
    assert len(folder) == 1 and folder.faces[0].number == 2001
    assert parsed.image.shape == (SIDE, SIDE, 3) and parsed.labels.dtype == np.uint8
    label = {name: number for number, name in enumerate(PARSING_CLASSES)}
    seen = {(20, 10): "skin", (9, 25): "left_brow", (9, 12): "right_brow", (13, 23): "left_eye", (13, 12): "right_eye",
            (18, 20): "nose", (27, 20): "mouth", (25, 20): "upper_lip", (29, 20): "lower_lip", (37, 20): "background",
            (18, 36): "background", (2, 2): "background"}  # fmt: skip
    assert {place: PARSING_CLASSES[parsed.labels[place]] for place in seen} == seen
    assert parsed.labels[5, 20] == label["background"]  # hair lies over skin
    assert parsed.labels[13, 28] == label["background"]  # and glasses over an eye
    assert len(CLASS_OF_PART) == 18 and set(CLASS_OF_PART.values()) == set(PARSING_CLASSES)


def test_the_classes_are_those_of_the_published_remap_of_19_numbers():
    """0 background, then the parts in this order; 10 to 6, 11 to 7, 12 to 8, 13 to 9, what else is above 5 to 0."""
    published = {number: number for number in range(1, 6)} | {10: 6, 11: 7, 12: 8, 13: 9}
    for number, name in enumerate(CLASS_OF_PART.values(), 1):
        assert PARSING_CLASSES.index(name) == published.get(number, 0)


def test_sides_can_be_looked_at_and_exchanged(tmp_path: Path):
    a_face(tmp_path)
    a_face(tmp_path, 1)
    labelled, exchanged = open_celebamask(tmp_path), open_celebamask(tmp_path, "exchanged")
    assert labelled.left_is_left() == 1 and exchanged.left_is_left() == 0
    assert PARSING_CLASSES[exchanged.item(0).labels[13, 23]] == "right_eye"
    assert PARSING_CLASSES[exchanged.item(0).labels[25, 20]] == "upper_lip"


def test_the_folder_above_is_found_and_faces_without_a_picture_are_left(tmp_path: Path):
    a_face(tmp_path / "CelebAMask-HQ")
    a_face(tmp_path / "CelebAMask-HQ", 1)
    (tmp_path / "CelebAMask-HQ/CelebA-HQ-img/1.jpg").unlink()
    assert [face.number for face in open_celebamask(tmp_path).faces] == [0]


def test_what_is_wrong_is_said(tmp_path: Path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError) as caught:
        open_celebamask(tmp_path)
    assert caught.value.code == "wrong-data-folder"
    assert "00000_skin.png" in caught.value.sentence and "notes.txt" in caught.value.sentence
    a_face(tmp_path)
    a_face(tmp_path, boxes={"nose": BOXES["nose"]}, size=SIDE + 1)
    with pytest.raises(UsageError, match="not as large"):
        open_celebamask(tmp_path).item(0)
    for eye in ("l_eye", "nose"):
        (tmp_path / f"CelebAMask-HQ-mask-anno/0/00000_{eye}.png").unlink()
    with pytest.raises(UsageError, match="both eyes"):
        open_celebamask(tmp_path).left_is_left()
