"""Which of a person's three views a network is shown in training: all, or some, the others' slots filled with those.

Zhao et al., "From 2D Images to 3D Model: Weakly Supervised Multi-View Face Reconstruction with Deep Fusion", ICME 2025,
section 5.3: two times in three the whole triple, else one photograph three times.
"""

from __future__ import annotations

from itertools import product
from typing import Literal

import torch
from torch import Tensor

from backend.methods.deep_fusion_network import fill_slots
from backend.view_order import SLOTS
from training.data.mirroring import Mirror
from training.methods.base import Batch

Missing = Literal["published", "any"]
VIEWS = len(SLOTS)
FRONT = SLOTS.index("front")
ALL_SHOWN = 2 / 3

FORMS = torch.tensor(sorted(product((False, True), repeat=VIEWS), key=sum)[1:])
"""(7, 3) bool, which views there are: one, two, at last all three."""
FILLED = torch.tensor([fill_slots([view if form[view] else None for view in range(VIEWS)]) for form in FORMS.tolist()])
"""(7, 3) int64: which view stands in each slot."""


def form_probabilities(missing: Missing) -> Tensor:
    """(7,) of `FORMS`: two thirds for the triple, the rest shared by those of one view, or of one or two."""
    counts = FORMS.sum(1)
    others = counts == 1 if missing == "published" else counts < VIEWS
    return torch.where(counts == VIEWS, ALL_SHOWN, others * ((1 - ALL_SHOWN) / others.sum()))


def shown_as(batch: Batch, forms: Tensor) -> Batch:
    """A batch of which only some views are shown.

    Args:
        batch: with "views" (B, 3, ...) and, for networks that see landmarks, "detected" (B, 3, 478, 2).
        forms: (B,) int64, rows of `FORMS`.

    Returns:
        "present" (B, 3) bool, and "views" and "detected" with what each slot shows. Labels are still the slots' own.
    """
    slots = FILLED.to(forms.device)[forms]
    people = torch.arange(len(forms), device=forms.device)[:, None]
    seen = {name: batch[name][people, slots] for name in ("views", "detected") if name in batch}
    return {**batch, **seen, "present": FORMS.to(forms.device)[forms]}


def form_of(shown: tuple[bool, bool, bool]) -> int:
    """The row of `FORMS` with these views."""
    return FORMS.tolist().index(list(shown))


def flat(batch: Batch) -> Batch:
    """A batch of (3 B, ...) single views, in the layout of `training.data.batches`."""
    views = {
        name: values.flatten(0, 1)
        for name, values in batch.items()
        if name not in ("person", "present") and values.shape[1:2] == (VIEWS,)
    }
    return views | {"person": batch["person"].repeat_interleave(VIEWS)}


def mirrored(batch: Batch, mirror: Mirror, chosen: Tensor) -> Batch:
    """The people `chosen` (B,) bool seen in a mirror: each view, and left and right views in each other's place."""
    single = mirror(flat(batch), chosen.repeat_interleave(VIEWS))
    seen = {name: values.unflatten(0, (-1, VIEWS)) for name, values in single.items() if name != "person"}
    swapped = {
        name: torch.where(chosen.view(-1, *[1] * (values.ndim - 1)), values.flip(1), values)
        for name, values in seen.items()
    }
    return {**batch, **swapped}
