"""How right skin detail is, on synthetic people whose wrinkles are known: what `ablate` writes down and tables print.

Angles are between normals, degrees, over the texels of the face that the picture shows. "coarse" is the face without
detail, "refined" with that of the network. Heads are those that the pictures were made of, so that what is measured is
the detail; `fitted_errors` measures with heads that are fitted to the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from backend.detail_layout import DetailLayout
from backend.face_models.open_head import OpenHead
from backend.methods.attribute_detail import AttributeDetail
from backend.rendering.displacement import displaced_normals
from backend.unwrapped_face import UnwrappedFace
from backend.wrinkle_groups import WRINKLE_GROUPS
from training.data.generator import SyntheticPeople
from training.data.person import Person
from training.data.sample import Sample
from training.data.unwrapped import unwrapped_sample

if TYPE_CHECKING:
    from training.methods.attribute_detail import AttributeDetailTraining

SEED = 8_000_003
"""Of the people; no training has it."""
PEOPLE = 48
PICTURE_SIZE = 512
SEEN, DETAILED = 0.5, 0.5
"""Trust and `DetailLayout.allowed` above which a texel counts."""
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
        layout: to unwrap them in; its texture should be the generator's, 512.
        count: of the pictures, each of another person.
        seed: of the people.
    """

    def __init__(self, layout: DetailLayout, count: int = PEOPLE, seed: int = SEED) -> None:
        self.layout, self.count = layout, count
        self.people = SyntheticPeople(seed, PICTURE_SIZE, framing="aligned", dense=True, pictures_per_person=1)
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
        scale = len(whole) / self.layout.size
        if scale != 1:
            raise ValueError(f"The relief of synthetic people has {len(whole)} texels, not {self.layout.size}.")
        return whole[self.layout.rows, self.layout.columns]


def held_out_figures(method: AttributeDetailTraining) -> dict[str, float]:
    """`detail_figures` of a method in training."""
    was_training = method.training
    ready = AttributeDetail(method.network, method.layout, device=method.device)
    figures = detail_figures(ready)
    method.train(was_training)
    return figures


def detail_figures(method: AttributeDetail, count: int = PEOPLE) -> dict[str, float]:
    """Errors of normals, means over people.

    Returns:
        "coarse_degrees", "refined_degrees": of the expression in the picture. "depth_correlation": of the relief with
        the true one. Of expressions that the picture does not show (`WRINKLE_GROUPS`, one at a time, where they wrinkle
        the skin): "unseen_coarse_degrees", "unseen_copied_degrees" with the relief of the picture, "unseen_degrees"
        with what the network says of that expression.
    """
    faces = KnownFaces(method.layout, count)
    rows: list[dict[str, float]] = []
    for known in faces:
        counted = _counted(method.layout, known.face)
        if counted.mean() < 0.1:
            continue
        attributes = method.attributes(known.face)
        own = method.displacement(attributes, [known.face.posed - known.face.neutral])[0]
        surface = Surface(method.layout, known.face.posed)
        truth = surface.normals(known.relief)
        row = {
            "coarse_degrees": angle(surface.coarse, truth)[counted].mean(),
            "refined_degrees": angle(surface.normals(own), truth)[counted].mean(),
            "depth_correlation": np.corrcoef(own[counted], known.relief[counted])[0, 1] if own[counted].any() else 0.0,
        }
        unseen = [unseen_errors(method, faces, known, attributes, own, counted, group) for group in WRINKLE_GROUPS]
        unseen = [errors for errors in unseen if errors]
        row |= {name: float(np.mean([errors[name] for errors in unseen])) for name in unseen[0]}
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} | {"people": float(len(rows))}


def unseen_errors(
    method: AttributeDetail,
    faces: KnownFaces,
    known: KnownFace,
    attributes,
    copied: np.ndarray,
    counted: np.ndarray,
    group: str,
) -> dict[str, float]:
    """The three "unseen" figures of one group of keys; {} where it wrinkles next to nothing."""
    neutral = known.face.neutral
    weights = dict.fromkeys(WRINKLE_GROUPS[group].keys, 1.0)
    posed = faces.model.key_offsets(neutral).apply(neutral, weights)
    relief, rest = faces.relief(known.person, weights), faces.relief(known.person, {})
    wrinkled = counted & (np.abs(relief - rest) > WRINKLED_MM / 1000)
    if wrinkled.sum() < 50:
        return {}
    surface = Surface(method.layout, posed)
    truth = surface.normals(relief)
    said = method.displacement(attributes, [posed - neutral])[0]
    return {
        "unseen_coarse_degrees": float(angle(surface.coarse, truth)[wrinkled].mean()),
        "unseen_copied_degrees": float(angle(surface.normals(copied), truth)[wrinkled].mean()),
        "unseen_degrees": float(angle(surface.normals(said), truth)[wrinkled].mean()),
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


def _counted(layout: DetailLayout, face: UnwrappedFace) -> np.ndarray:
    """(height, width) bool: what a picture shows of the part of the face that may have detail."""
    return (face.trust > SEEN) & (layout.allowed.numpy() > DETAILED)
