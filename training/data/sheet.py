"""Contact sheets of synthetic people, plain or with their labels drawn in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from backend.errors import UsageError
from training.data.generator import SyntheticPeople
from training.data.parsing_pictures import coloured_by_class
from training.data.sample import Sample

SHEET_ASPECT = 1.6
JPEG, QUALITIES = (".jpg", ".jpeg"), (95, 90, 85, 80, 75, 70, 60, 50)


def tiles(album: SyntheticPeople, first: int, count: int, with_labels: bool, triples: bool) -> list[np.ndarray]:
    """Pictures for a sheet, each (H, W', 3) uint8: of `count` people one each, or the views of `count` people side by
    side; with labels, the views that `labelled` gives follow each picture."""
    shown = []
    for number in tqdm(range(count), desc="sheet", mininterval=2):
        if triples:
            samples = album.triple(first + number)
        else:
            samples = (album.photograph(first + number * (album.pictures_per_person + 1)),)
        views = [view for sample in samples for view in (labelled(sample) if with_labels else [sample.image])]
        shown.append(np.concatenate(views, axis=1))
    return shown


def labelled(sample: Sample) -> list[np.ndarray]:
    """The picture, its landmarks (green seen, red hidden), its parsing, and its normals where they are known."""
    scale = max(1, round(320 / sample.image.shape[0]))
    large = cv2.resize(sample.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    for points, visible, radius in (
        (sample.landmarks478, sample.visible478, 0),
        (sample.landmarks68, sample.visible68, 1),
    ):
        for (x, y), seen in zip(points * scale, visible, strict=True):
            if np.isfinite([x, y]).all() and abs(x) < 10_000 and abs(y) < 10_000:
                cv2.circle(large, (int(x), int(y)), radius, (60, 255, 60) if seen else (255, 60, 60), -1)
    points = cv2.resize(large, sample.image.shape[1::-1], interpolation=cv2.INTER_AREA)
    parsing = coloured_by_class(sample.image, sample.parsing)
    views = [sample.image, points, parsing]
    if sample.dense is not None:
        towards_us = sample.dense.normals * [1.0, -1.0, -1.0]
        views.append(np.where(sample.dense.depth[..., None] > 0, 127.5 + 127.5 * towards_us, 0).astype(np.uint8))
    return views


def write(path: Path, shown: list[np.ndarray], largest_bytes: int | None = None) -> None:
    """Puts equally large pictures into rows and writes them as the file's ending says.

    Args:
        path: of the file.
        shown: (H, W, 3) uint8 sRGB each.
        largest_bytes: of a JPEG file: the best quality that is not larger.

    Raises:
        UsageError: "output-not-writable".
    """
    height, width = shown[0].shape[:2]
    columns = max(1, round(np.sqrt(len(shown) * SHEET_ASPECT * height / width)))
    empty = [np.zeros_like(shown[0])] * (-len(shown) % columns)
    rows = [np.concatenate((shown + empty)[start : start + columns], 1) for start in range(0, len(shown), columns)]
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for quality in QUALITIES:
            how = [cv2.IMWRITE_JPEG_QUALITY, quality]
            encoded = cv2.imencode(path.suffix or ".png", np.concatenate(rows)[..., ::-1], how)[1]
            if largest_bytes is None or path.suffix not in JPEG or len(encoded) <= largest_bytes:
                break
        path.write_bytes(encoded.tobytes())
    except (OSError, cv2.error) as error:
        raise UsageError(
            "output-not-writable", f"The sheet {path} cannot be written. Name a .png or .jpg file in another folder."
        ) from error
