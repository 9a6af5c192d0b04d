"""How good a trained regressor of Eye Motion is on synthetic people that it has never seen: what `ablate` writes down.

Lids and lips: the gap between the points of each pair of the local dynamic loss, on the posed mesh, over the width of
that eye or mouth, against the same on the true mesh; in millimetres of the true width. Scan error: the NoW protocol
(`now.py`), the neutral head of one picture of each person against points of that person's true head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from backend.face_models import load_face_model
from training.evaluation.held_out import look_at_held_out
from training.evaluation.now import pooled, scan_error
from training.evaluation.shape import skin_triangles
from training.losses.local_dynamic import relative_gaps, widths_of_pairs

if TYPE_CHECKING:
    from training.methods.base import Batch, Outputs
    from training.methods.eye_motion import EyeMotionTraining

BATCHES = 30
SCANNED_PEOPLE = 40
LID_PAIRS = slice(0, 4)
LIP_PAIRS = slice(4, 7)


def held_out_figures(method: EyeMotionTraining) -> dict[str, float]:
    """Lid and lip aperture error, landmark error and scan error over the validation data of a method's run.

    Returns:
        "lid_aperture_error_mm", "lip_aperture_error_mm", "aperture_error_mm" (mean over all pairs),
        "landmark_error_px" (of a crop of 224), "scan_median_mm", "scan_mean_mm", "scan_std_mm", "pictures", "people".
    """
    gaps, landmark_errors = [], []

    def look(batch: Batch, outputs: Outputs) -> None:
        codes = outputs["codes"]
        found = method.model.points("landmarks68", codes.identity, codes.expression)
        true = method.model.points("landmarks68", batch["identity"], batch["key_weights"])
        gaps.append(aperture_errors_mm(found, true).cpu())
        landmark_errors.append(method.metrics(batch, outputs)["landmark_error_px"])

    heads = look_at_held_out(method, BATCHES, look)
    errors = torch.cat(gaps)
    chosen = list(heads.values())[:SCANNED_PEOPLE]
    scans = scan_summary(chosen)
    return {
        "lid_aperture_error_mm": float(errors[:, LID_PAIRS].mean()),
        "lip_aperture_error_mm": float(errors[:, LIP_PAIRS].mean()),
        "aperture_error_mm": float(errors.mean()),
        "landmark_error_px": float(torch.stack(landmark_errors).mean()),
        "scan_median_mm": scans.median,
        "scan_mean_mm": scans.mean,
        "scan_std_mm": scans.std,
        "pictures": len(errors),
        "people": len(chosen),
    }


def aperture_errors_mm(found: Tensor, true: Tensor) -> Tensor:
    """(B, 7): how wrong the gap of each pair is, of (B, 68, 3) landmarks in metres; a head's size does not matter."""
    widths = widths_of_pairs(true)
    wrong = relative_gaps(found, widths_of_pairs(found)) - relative_gaps(true, widths)
    return wrong.abs() * widths * 1000.0


def scan_summary(heads: list[tuple[np.ndarray, np.ndarray]]):
    """NoW's figures of neutral heads, each given as the identity found and the true one (K,)."""
    model = load_face_model("open_head")
    triangles = skin_triangles(model)
    scanned = np.unique(triangles)
    errors = []
    for found, true in heads:
        neutral, scan = model.neutral(found), model.neutral(true)
        errors.append(
            scan_error(neutral, triangles, model.landmarks68(neutral), scan[scanned], model.landmarks68(scan))
        )
    return pooled(errors)
