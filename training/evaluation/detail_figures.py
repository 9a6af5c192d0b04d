"""How right skin detail is, on synthetic people whose wrinkles are known: what `ablate` writes down and tables print.

Angles are between normals, degrees, over the texels of the face that the picture shows. "coarse" is the face without
detail, "refined" with that of the network. Heads are those that the pictures were made of, so that what is measured is
the detail; `detail_fitted.py` measures with heads that are fitted to the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from backend.detail_layout import DetailLayout
from backend.errors import UsageError
from backend.face_models.morphable_model import KeyOffsets
from backend.face_models.open_head import OpenHead
from backend.methods.attribute_detail import AttributeDetail
from backend.rendering.displacement import displaced_normals
from backend.unwrapped_face import UnwrappedFace
from backend.wrinkle_groups import WRINKLE_GROUPS
from training.data.generator import SyntheticPeople
from training.data.person import Person
from training.data.sample import Sample
from training.data.unwrapped import unwrapped_sample
from training.evaluation.ablation_tables import mean_figures

if TYPE_CHECKING:
    from training.methods.attribute_detail import AttributeDetailTraining

SEED = 8_000_003
"""Of the people; no training has it."""
PEOPLE = 32
PICTURE_SIZE = 512
SEEN, DETAILED = 0.5, 0.5
"""Trust and `DetailLayout.allowed` above which a texel counts."""
LEAST_SHOWN = 0.1
"""Share of the texels that must count, or a picture is left out."""
LEAST_WRINKLED = 50
"""Texels, or an expression is left out."""
WRINKLED_MM = 0.05
"""A texel wrinkles in an expression if its relief changes by more than this against the face at rest."""


@dataclass(frozen=True)
class KnownFace:
    """A picture of a synthetic person, unwrapped, and the true relief.

    Attributes:
        sample: the picture, its dense labels included.
        person: who it is.
        face: unwrapped with the true head.
        relief: (height, width) float32 metres, of the expression in the picture.
    """

    sample: Sample
    person: Person
    face: UnwrappedFace
    relief: np.ndarray


class KnownFaces:
    """Pictures of people that no training has seen.

    Args:
        layout: to unwrap them in; its texture should be as large as the generator's.
        count: of the pictures, each of another person.
        seed: of the people.
        picture_size: pixels; see `training.data.generator` for how large textures are.
    """

    def __init__(
        self, layout: DetailLayout, count: int = PEOPLE, seed: int = SEED, picture_size: int = PICTURE_SIZE
    ) -> None:
        self.layout, self.count = layout, count
        self.people = SyntheticPeople(seed, picture_size, framing="aligned", dense=True, pictures_per_person=1)
        self.model: OpenHead = self.people.model

    def __iter__(self) -> Iterator[KnownFace]:
        for number in range(self.count):
            sample, person = self.people.photograph(number), self.people.person(number)
            face, _ = unwrapped_sample(sample, self.model, self.layout)
            names = self.model.key_names
            weights = dict(zip(names, sample.key_weights.tolist(), strict=True))
            yield KnownFace(sample, person, face, self.relief(person, weights))

    def relief(self, person: Person, weights: dict[str, float]) -> np.ndarray:
        """(height, width) float32 metres of a person's expression."""
        whole = person.wrinkles.displacement(weights)
        finer = len(whole) // self.layout.size
        if finer * self.layout.size != len(whole):
            raise ValueError(f"The relief of synthetic people has {len(whole)} texels; {self.layout.size} do not fit.")
        whole = whole.reshape(self.layout.size, finer, self.layout.size, finer).mean(axis=(1, 3))
        return whole[self.layout.rows, self.layout.columns]


def held_out_figures(method: AttributeDetailTraining) -> dict[str, float]:
    """`detail_figures` of a method in training."""
    was_training = method.training
    ready = AttributeDetail(method.network, method.layout, device=method.device)
    figures = detail_figures(ready)
    method.train(was_training)
    return figures


def detail_figures(method: AttributeDetail, count: int = PEOPLE) -> dict[str, float]:
    """`MeasuredFace.seen` and, of all groups together, `MeasuredFace.unseen`: means over people, and "people"."""
    rows = []
    for measured in measured_faces(method, KnownFaces(method.layout, count)):
        unseen = [errors for group in WRINKLE_GROUPS if (errors := measured.unseen(group))]
        rows.append(measured.seen() | mean_figures(unseen))
    return mean_figures(rows) | {"people": float(len(rows))}


def measured_faces(method: AttributeDetail, faces: KnownFaces) -> Iterator[MeasuredFace]:
    """The faces of which the picture shows something.

    Raises:
        UsageError: there is none.
    """
    found = 0
    for known in faces:
        measured = MeasuredFace(method, faces, known)
        if measured.counted.mean() >= LEAST_SHOWN:
            found += 1
            yield measured
    if not found:
        raise UsageError("too-few-people", "No picture shows enough of a face. Measure more people: --people.")


class MeasuredFace:
    """What a network makes of a known face, beside the truth.

    Args:
        method: with the network.
        faces: the known faces.
        known: one of them.

    Attributes:
        counted: (height, width) bool: what the picture shows of the part of the face that may have detail.
    """

    def __init__(self, method: AttributeDetail, faces: KnownFaces, known: KnownFace) -> None:
        self._method, self._faces, self.known = method, faces, known
        self.counted = (known.face.trust > SEEN) & (method.layout.allowed.numpy() > DETAILED)
        self._attributes = method.attributes(known.face)
        self._own = method.displacement(self._attributes, [known.face.posed - known.face.neutral])[0]

    @cached_property
    def _keys(self) -> KeyOffsets:
        return self._faces.model.key_offsets(self.known.face.neutral)

    def seen(self) -> dict[str, float]:
        """Of the expression in the picture: "coarse_degrees", "refined_degrees", and "depth_correlation", of the relief
        with the true one."""
        counted, own, relief = self.counted, self._own, self.known.relief
        surface = Surface(self._method.layout, self.known.face.posed)
        truth = surface.normals(relief)
        return {
            "coarse_degrees": float(angle(surface.coarse, truth)[counted].mean()),
            "refined_degrees": float(angle(surface.normals(own), truth)[counted].mean()),
            "depth_correlation": float(np.corrcoef(own[counted], relief[counted])[0, 1]) if own.any() else 0.0,
        }

    def unseen(self, group: str) -> dict[str, float]:
        """Of an expression that the picture does not show, all keys of a group of `WRINKLE_GROUPS` at 1, where it
        wrinkles the skin: "unseen_coarse_degrees", "unseen_copied_degrees" with the relief of the picture, and
        "unseen_degrees" with what the network says of that expression; {} where it wrinkles next to nothing."""
        faces, known, neutral = self._faces, self.known, self.known.face.neutral
        weights = dict.fromkeys(WRINKLE_GROUPS[group].keys, 1.0)
        relief, rest = faces.relief(known.person, weights), faces.relief(known.person, {})
        wrinkled = self.counted & (np.abs(relief - rest) > WRINKLED_MM / 1000)
        if wrinkled.sum() < LEAST_WRINKLED:
            return {}
        posed = self._keys.apply(neutral, weights)
        said = self._method.displacement(self._attributes, [posed - neutral])[0]
        surface = Surface(self._method.layout, posed)
        truth = surface.normals(relief)

        def error(normals: np.ndarray) -> float:
            return float(angle(normals, truth)[wrinkled].mean())

        return {
            "unseen_coarse_degrees": error(surface.coarse),
            "unseen_copied_degrees": error(surface.normals(self._own)),
            "unseen_degrees": error(surface.normals(said)),
        }


class Surface:
    """A posed head in the layout.

    Args:
        layout: of the texels.
        posed: (V, 3) metres.

    Attributes:
        coarse: (height, width, 3) float32, its normals without relief.
    """

    def __init__(self, layout: DetailLayout, posed: np.ndarray) -> None:
        self._layout = layout
        self._points, self._normals = layout.surface(torch.as_tensor(posed, dtype=torch.float32)[None])
        self.coarse = self._normals[0].numpy()

    def normals(self, relief: np.ndarray) -> np.ndarray:
        """(height, width, 3) float32 unit normals with a relief (height, width) in metres."""
        raised = torch.as_tensor(relief, dtype=torch.float32)[None]
        return displaced_normals(self._points, self._normals, raised, self._layout.covered)[0].numpy()


def angle(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Degrees between unit vectors (..., 3)."""
    return np.degrees(np.arccos(np.clip((first * second).sum(axis=-1), -1.0, 1.0)))
