"""The picture grid of a training of Eye Motion: photograph, coded face, difference, landmarks and lids."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from backend.methods.eye_motion import DecodedCodes
from training.methods.base import Batch
from training.methods.face_rendering import FaceRenderer

FACES, SIDE = 8, 160
TRUE_COLOUR, FOUND_COLOUR = (60, 220, 60), (250, 60, 60)
OUTLINES = (range(36, 42), range(42, 48), range(48, 60), range(60, 68))
EYES = range(36, 48)


def picture_grid(renderer: FaceRenderer, batch: Batch, codes: DecodedCodes, landmarks68: Tensor) -> np.ndarray:
    """A row for each of the first faces of a batch: photograph, face drawn over it, difference, landmarks, eyes.

    Args:
        renderer: of the training.
        batch: of `training.data.batches`.
        codes, landmarks68: what the network made of it, the latter (B, 68, 2) pixels.

    Returns:
        (8 * 160, 5 * 160, 3) uint8, fewer rows for fewer faces. Wanted points are green, found ones red.
    """
    with torch.no_grad():
        few = DecodedCodes(*(values[:FACES].detach().float() for values in vars(codes).values()))
        rendered = renderer(few, SIDE)
        images = batch["image"][:FACES].float()
        factor = SIDE / images.shape[-1]
        photographs = torch.nn.functional.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)
        shown = torch.where(rendered.covered.unsqueeze(1), rendered.image, photographs)
        different = (shown - photographs).abs().clamp(max=0.5) * 2
        columns = [_bytes(values) for values in (photographs, shown, different)]
        found = (landmarks68[:FACES].detach().float() * factor).cpu().numpy()
        wanted = (batch["landmarks68"][:FACES].float() * factor).cpu().numpy()
    rows = []
    for photograph, face, difference, points, true in zip(*columns, found, wanted, strict=True):
        marked = _with_outlines(photograph, true, points, 1)
        rows.append(np.hstack([photograph, face, difference, marked, _eyes(photograph, true, points)]))
    return np.vstack(rows)


def _bytes(images: Tensor) -> np.ndarray:
    """(B, 3, H, W) in [0, 1] to (B, H, W, 3) uint8."""
    return (images.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def _with_outlines(image: np.ndarray, wanted: np.ndarray, found: np.ndarray, factor: float) -> np.ndarray:
    image = np.ascontiguousarray(image)
    for points, colour in ((wanted, TRUE_COLOUR), (found, FOUND_COLOUR)):
        for outline in OUTLINES:
            line = np.round(points[list(outline)] * factor).astype(np.int32)
            cv2.polylines(image, [line], True, colour, 1, cv2.LINE_AA)
        for x, y in np.round(points[:36] * factor).astype(int):
            cv2.circle(image, (int(x), int(y)), 1, colour, -1)
    return image


def _eyes(image: np.ndarray, wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Both eyes twice as large, with the outlines of their lids."""
    twice = cv2.resize(image, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC)
    twice = _with_outlines(twice, wanted, found, 2)
    x, y = np.round(2 * wanted[list(EYES)].mean(0) - SIDE / 2).astype(int).clip(0, SIDE)
    return twice[y : y + SIDE, x : x + SIDE]
