"""Real photographs made ready for training: faces cut out with room, their landmarks and masks, one set of files each.

A folder of `python3 -m training prepare` holds `prepared.json`, which says how it was made, `left_out.csv` with what
was left out and why, and below `faces/` for every face NAME.jpg, NAME.parsing.png and NAME.labels.npy (written last, so
that a face whose labels are there is whole).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from backend.aligned_crop import AlignedCrop
from backend.errors import UsageError
from training.data import description
from training.data.pictures import Item, in_crop

DESCRIPTION = "prepared.json"
FACES = "faces"
LABELS = ".labels.npy"
FORMAT = 1
ROOM = 1.5
"""Side of the stored picture over that of the aligned crop."""
JPEG_QUALITY = 95

FIELDS = [
    ("landmarks68", "<f4", (68, 2)),
    ("visible68", "?", (68,)),
    ("landmarks478", "<f4", (478, 2)),
    ("visible478", "?", (478,)),
    ("crop", "<f8", (3,)),
]
"""Of NAME.labels.npy: points in pixels of the stored picture; the crop's scale, left and top in the photograph."""


@dataclass(frozen=True)
class PreparedSettings:
    """How a folder was made.

    Attributes:
        landmarks: name of the landmark source.
        size: side of the stored pictures, pixels; the aligned crop in their middle has `size / ROOM`.
    """

    landmarks: str
    size: int


@dataclass(frozen=True)
class PreparedFace:
    """One face.

    Attributes:
        image: (S, S, 3) uint8 sRGB; parsing: (S, S) uint8, index in `PARSING_CLASSES`, drawn from the landmarks.
        crop: where it lies in the photograph; photograph_size: width and height of that, pixels.
        landmarks68: (68, 2) pixels of `image`; landmarks478: (478, 2), or None where the source finds none.
    """

    image: np.ndarray
    parsing: np.ndarray
    crop: AlignedCrop
    photograph_size: tuple[int, int]
    landmarks68: np.ndarray
    landmarks478: np.ndarray | None


def describe(folder: Path, settings: PreparedSettings) -> None:
    """Begins a folder, or raises UsageError "prepared-otherwise" where it was begun with other settings."""
    path = folder / DESCRIPTION
    if path.exists():
        there = read_description(folder)
        if there != settings:
            raise UsageError(
                "prepared-otherwise",
                f"{folder} was prepared with landmarks of {there.landmarks} at {there.size} px, not of "
                f"{settings.landmarks} at {settings.size} px. Name another folder, or the same settings.",
            )
        return
    (folder / FACES).mkdir(parents=True, exist_ok=True)
    description.write_description(path, FORMAT, settings)


def read_description(folder: Path) -> PreparedSettings:
    """How a folder was made.

    Raises:
        UsageError: "not-prepared": it is no folder of `python3 -m training prepare`.
    """
    try:
        return description.read_description(Path(folder) / DESCRIPTION, FORMAT, PreparedSettings)
    except (OSError, ValueError) as error:
        raise UsageError(
            "not-prepared",
            f"{folder} is no folder of prepared photographs ({DESCRIPTION}: {error}). Expected:\n"
            f"  {folder}/\n    {DESCRIPTION}\n    left_out.csv\n    {FACES}/\n"
            "Make one with: python3 -m training prepare PHOTOGRAPHS --output FOLDER",
        ) from error


def is_written(folder: Path, name: str) -> bool:
    """Whether the face of that name is there, whole."""
    return (folder / FACES / f"{name}{LABELS}").exists()


def write_face(folder: Path, name: str, face: PreparedFace) -> None:
    """Writes the files of one face; the labels last."""
    size = face.image.shape[0]
    least, most = face.crop.points_in([0, 0]).clip(0), face.crop.points_in(face.photograph_size).clip(max=size)
    labels = np.zeros((), FIELDS)
    for count, points in (("68", face.landmarks68), ("478", face.landmarks478)):
        if points is not None:
            labels[f"landmarks{count}"] = points
            labels[f"visible{count}"] = ((points >= least) & (points < most)).all(-1)
    labels["crop"] = face.crop.scale, face.crop.left, face.crop.top
    target = folder / FACES / f"{name}{LABELS}"
    target.parent.mkdir(parents=True, exist_ok=True)
    jpeg = cv2.imencode(".jpg", face.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    target.with_name(_name(target) + ".jpg").write_bytes(jpeg.tobytes())
    target.with_name(_name(target) + ".parsing.png").write_bytes(cv2.imencode(".png", face.parsing)[1].tobytes())
    draft = target.with_name(_name(target) + ".part.npy")
    np.save(draft, labels)
    draft.replace(target)


class PreparedPictures:
    """The faces of a prepared folder, cropped for a regressor, each time a little differently; see `Pictures`.

    Args:
        folder: of `python3 -m training prepare`.
        size: side of the pictures in pixels.
        names: of the faces to give, in their order; None for all.

    Raises:
        UsageError: "not-prepared", or "no-faces" where none was found in the photographs.
    """

    face_model = ""
    """Nobody knows the codes of a photograph."""
    framing = "prepared"
    """Of the stored pictures, see `in_crop`."""

    def __init__(self, folder: Path, size: int, names: Sequence[str] | None = None) -> None:
        read_description(folder)
        self.size = size
        faces = Path(folder) / FACES
        self.files = (
            sorted(faces.rglob(f"*{LABELS}")) if names is None else [faces / f"{name}{LABELS}" for name in names]
        )
        if not self.files:
            raise UsageError("no-faces", f"{folder} holds no face. Its left_out.csv says why.")

    def __len__(self) -> int:
        return len(self.files)

    def read(self, position: int, generator: np.random.Generator) -> Item:
        path = self.files[position]
        labels = np.load(path, allow_pickle=False)
        item = {name: np.array(labels[name]) for name in labels.dtype.names if name != "crop"}
        item["image"] = cv2.imread(str(path.with_name(_name(path) + ".jpg")), cv2.IMREAD_COLOR)[..., ::-1].copy()
        item["parsing"] = cv2.imread(str(path.with_name(_name(path) + ".parsing.png")), cv2.IMREAD_UNCHANGED)
        return in_crop(item, self.size, self.framing, generator)


def _name(labels: Path) -> str:
    return labels.name.removesuffix(LABELS)
