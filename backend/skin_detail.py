"""The skin detail of a fitted head: from its photographs to displacement maps, and what to say about it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from backend.detail_trust import detail_trust
from backend.displacement_file import write_displacement
from backend.face_models.morphable_model import MorphableModel
from backend.face_parsing import SHIPPED
from backend.fitting import FittedHead
from backend.methods.attribute_detail import AttributeDetail, DisplacementMaps
from backend.photographs import Photograph
from backend.result_folder import DISPLACEMENT_FOLDER, DisplacementFacts, displacement_file
from backend.texture_evidence import Evidence
from backend.unwrapped_face import texels, unwrap
from backend.wrinkle_groups import WRINKLE_GROUPS

logger = logging.getLogger(__name__)

NOTHING_SEEN = 0.02
"""Mean trust below which a head gets no detail from its photographs, and is told so."""


@dataclass(frozen=True)
class SkinDetail:
    """The maps of a head.

    Attributes:
        maps: see `DisplacementMaps`.
        weights: name to origin of what was learnt.
        warnings: sentences for a person.
    """

    maps: DisplacementMaps
    weights: dict[str, str]
    warnings: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> DisplacementFacts:
        """Writes the maps below a result folder. Raises OSError."""
        (folder / DISPLACEMENT_FOLDER).mkdir()
        maps = self.maps.by_name()
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: write_displacement(folder / displacement_file(name), maps[name]), maps))
        groups = {name: {"left": group.left, "right": group.right} for name, group in WRINKLE_GROUPS.items()}
        return DisplacementFacts(len(self.maps.neutral), groups)


def make_detail(
    head: FittedHead, pictures: Sequence[Photograph], evidence: Sequence[Evidence], size: int, device: str = "cpu"
) -> SkinDetail:
    """The displacement maps of a head.

    Args:
        head: fitted, of the open head.
        pictures: its photographs.
        evidence: what each of them shows, see `texture_evidence`.
        size: side of the maps, texels.
        device: where the network runs.

    Raises:
        UsageError: the weights cannot be used.
    """
    method = _method(head.model, device)
    faces, warnings = [], []
    for photograph, picture, seen in zip(head.photographs, pictures, evidence, strict=True):
        points, normals = texels(method.layout, photograph.posed)
        trust, remarks = detail_trust(
            head.model,
            photograph.posed,
            photograph.camera,
            picture.image,
            points.reshape(-1, 3),
            normals.reshape(-1, 3),
            name=picture.path.name,
            evidence=seen,
        )
        trust = trust.reshape(points.shape[:2])
        logger.info("%s: %.0f %% of the face can be trusted for detail", picture.path.name, 100 * trust.mean())
        faces.append(
            unwrap(method.layout, points, trust, photograph.posed, head.neutral, photograph.camera, picture.image)
        )
        warnings += [remark.sentence for remark in remarks]
    if not warnings and max(float(face.trust.mean()) for face in faces) < NOTHING_SEEN:
        warnings.append("The skin was seen too little for any detail. A sharper photograph from the front should help.")
    weights = {**method.weights, "face-parsing": SHIPPED}
    return SkinDetail(method.maps(head.model, faces, head.keys, size), weights, warnings)


@lru_cache(maxsize=2)
def _method(model: MorphableModel, device: str) -> AttributeDetail:
    return AttributeDetail.load(model, device=device)
