"""How good a trained spectral regressor is on synthetic people that it has never seen: what `ablate` writes down.

Scan errors: the NoW protocol (`now.py`), the neutral head of one picture of each person against points of that person's
true head, with the size free ("scan") and as it is ("metrical").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from backend.face_models import load_face_model
from backend.face_models.linearised import names_a_file
from training.errors import TrainingError
from training.evaluation.now import pooled, scan_error
from training.evaluation.shape import skin_triangles

if TYPE_CHECKING:
    from training.methods.spectral import SpectralTraining

BATCHES = 30
SCANNED_PEOPLE = 40


def held_out_figures(method: SpectralTraining) -> dict[str, float]:
    """Shape, landmark and scan errors over the validation data of a method's run.

    Returns:
        "shape_error_mm", "mean_head_error_mm", "landmark_error_px" (of a picture of 224), "scan_median_mm",
        "scan_mean_mm", "scan_std_mm", the same with "metrical", "pictures", "people".

    Raises:
        TrainingError: the heads of the people in its pictures are not known.
    """
    if not method.truth_is_of_model:
        raise TrainingError(
            "no-truth", f"What {method.face_model_name} codes of people of {method.shown_model} is not known."
        )
    data = method.data(method.settings)
    data.setup()
    measured, pictures = [], 0
    heads: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    was_training = method.training
    method.eval()
    with torch.no_grad():
        for number, batch in enumerate(data.val_dataloader()):
            if number == BATCHES:
                break
            batch = method.prepared({name: values.to(method.device) for name, values in batch.items()})
            outputs = method.outputs(batch)
            measured.append(method.metrics(batch, outputs))
            pictures += len(batch["points"])
            for person, said, known in zip(
                batch["person"].tolist(), outputs["codes"].identity, batch["identity"], strict=True
            ):
                heads.setdefault(person, (said.cpu().numpy(), known.cpu().numpy()))
    method.train(was_training)
    chosen = list(heads.values())[:SCANNED_PEOPLE]
    figures = {name: float(torch.stack([row[name] for row in measured]).mean()) for name in measured[0]}
    return figures | scan_figures(method, chosen) | {"pictures": pictures, "people": len(chosen)}


def scan_figures(method: SpectralTraining, heads: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """NoW's figures of neutral heads, each given as the identity found and the true one (K,)."""
    name = method.settings.face_model
    if names_a_file(name):
        triangles = method.model.faces[method.model.face_skin].cpu().numpy()
    else:
        triangles = skin_triangles(load_face_model(name))
    scanned = np.unique(triangles)
    errors: dict[str, list] = {"scan": [], "metrical": []}
    with torch.no_grad():
        for pair in heads:
            both = method.neutral(torch.from_numpy(np.stack(pair)).to(method.device))
            points = method.model.landmarks68(both).double().cpu().numpy()
            found, true = both.double().cpu().numpy()
            for protocol, rows in errors.items():
                metrical = protocol == "metrical"
                rows.append(scan_error(found, triangles, points[0], true[scanned], points[1], metrical=metrical))
    figures = {}
    for protocol, rows in errors.items():
        summary = pooled(rows)
        figures |= {f"{protocol}_{part}_mm": getattr(summary, part) for part in ("median", "mean", "std")}
    return figures
