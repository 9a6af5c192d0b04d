"""CelebAMask-HQ: 30,000 faces with hand-drawn masks of 18 parts, as the ten classes of DF-MVR's face parse net.

Lee et al., "MaskGAN: Towards Diverse and Interactive Facial Image Manipulation", CVPR 2020. For research
(github.com/switchablenorms/CelebAMask-HQ). Parts are told by the names of their files, never by a number: programs that
put the masks together number them in different orders.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from backend.errors import UsageError
from backend.photographs import load_photograph
from training.data.folders import existing_folder, wrong_folder
from training.data.sample import PARSING_CLASSES

CLASS_OF_PART = {
    "skin": "skin", "l_brow": "left_brow", "r_brow": "right_brow", "l_eye": "left_eye", "r_eye": "right_eye",
    "eye_g": "background", "l_ear": "background", "r_ear": "background", "ear_r": "background", "nose": "nose",
    "mouth": "mouth", "u_lip": "upper_lip", "l_lip": "lower_lip", "neck": "background", "neck_l": "background",
    "cloth": "background", "hair": "background", "hat": "background",
}  # fmt: skip
"""Part to class, in the order in which parts are drawn: the later ones cover the earlier, as in the public parse net's
training."""
PICTURES, MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
MASK_NAME = re.compile(r"(\d{5})_(\w+)\.png")
Sides = Literal["labelled", "exchanged"]
TREE = """\
  ROOT/                                      or a folder that holds CelebAMask-HQ/
    CelebA-HQ-img/0.jpg 1.jpg ...
    CelebAMask-HQ-mask-anno/0/00000_skin.png 00000_l_brow.png ...
    CelebAMask-HQ-mask-anno/1/ ...           two thousand faces a folder"""


@dataclass(frozen=True)
class MaskedFace:
    """A face of the set, as files: its picture, and its masks by part; a part that is not seen has none."""

    number: int
    picture: Path
    masks: dict[str, Path]


@dataclass(frozen=True)
class ParsedFace:
    """A picture with the class of every pixel.

    Attributes:
        image: (H, W, 3) uint8 sRGB, as large as the masks.
        labels: (H, W) uint8, index in `PARSING_CLASSES`.
    """

    image: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class CelebAMaskFolder:
    """The faces of the set that have a picture and a mask of the skin, by number.

    Attributes:
        root: the folder of the set.
        faces: by number.
        sides: "labelled": left and right as the files are named; "exchanged": the other way round, see `left_is_left`.
    """

    root: Path
    faces: list[MaskedFace]
    sides: Sides = "labelled"

    def __len__(self) -> int:
        return len(self.faces)

    def item(self, index: int) -> ParsedFace:
        """A face.

        Raises:
            LifemaskError: a file cannot be read; UsageError "bad-mask": masks of different sizes.
        """
        face = self.faces[index]
        labels: np.ndarray | None = None
        for part, name in CLASS_OF_PART.items():
            if part not in face.masks:
                continue
            inside = load_photograph(face.masks[part]).image[..., 0] > 0
            labels = np.zeros(inside.shape, np.uint8) if labels is None else labels
            if inside.shape != labels.shape:
                raise UsageError("bad-mask", f"The mask {face.masks[part]} is not as large as the face's other masks.")
            labels[inside] = PARSING_CLASSES.index(self._side(name))
        height, width = labels.shape
        image = load_photograph(face.picture).image
        return ParsedFace(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), labels)

    def left_is_left(self, most: int = 64) -> float:
        """The share of faces whose left eye, as `item` labels it, is the subject's own: in the right of the picture.

        Near 1 the set's names mean what `PARSING_CLASSES` does; near 0 its sides should be exchanged.

        Args:
            most: so many faces, spread over the set, are looked at.

        Raises:
            UsageError: "no-eyes": no face shows both.
        """
        right_of = []
        for index in np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(int)):
            labels = self.item(int(index)).labels
            columns = [np.nonzero(labels == PARSING_CLASSES.index(f"{side}_eye"))[1] for side in ("left", "right")]
            if all(column.size for column in columns):
                right_of.append(columns[0].mean() > columns[1].mean())
        if not right_of:
            raise UsageError("no-eyes", f"None of the faces of {self.root} that were looked at shows both eyes.")
        return float(np.mean(right_of))

    def _side(self, name: str) -> str:
        if self.sides == "exchanged":
            for side, other in (("left_", "right_"), ("right_", "left_")):
                if name.startswith(side):
                    return other + name.removeprefix(side)
        return name


def open_celebamask(root: Path, sides: Sides = "labelled") -> CelebAMaskFolder:
    """The faces of a folder.

    Args:
        root: see `TREE`.
        sides: see `CelebAMaskFolder`.

    Raises:
        UsageError: "no-such-folder"; "wrong-data-folder", with the tree that was expected and what is there.
    """
    given = existing_folder(root, "CelebAMask-HQ")
    root = next((path for path in (given, given / "CelebAMask-HQ") if (path / MASKS).is_dir()), given)
    masks: dict[int, dict[str, Path]] = {}
    for path in sorted((root / MASKS).rglob("*.png")):
        found = MASK_NAME.fullmatch(path.name)
        if found and found[2] in CLASS_OF_PART:
            masks.setdefault(int(found[1]), {})[found[2]] = path
    faces = [MaskedFace(number, root / PICTURES / f"{number}.jpg", parts) for number, parts in sorted(masks.items())]
    faces = [face for face in faces if "skin" in face.masks and face.picture.is_file()]
    if not faces:
        raise wrong_folder(given, f"{given} is not laid out as CelebAMask-HQ: no face has a picture and masks.", TREE)
    return CelebAMaskFolder(root, faces, sides)
