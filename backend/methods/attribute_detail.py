"""Displacement maps of a fitted head: what its photographs show of the skin, and how it wrinkles in other expressions.

Yang et al., "Detailed 3D Face Reconstruction from Single Images Via Self-supervised Attribute Learning", SIGGRAPH Asia
2020 Posters. The network is in `attribute_detail_network.py`; docs/methods/attribute-detail.md has the differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from backend.detail_layout import DetailLayout, layout_of
from backend.errors import UsageError
from backend.face_models.morphable_model import KeyOffsets
from backend.face_models.open_head import OpenHead
from backend.methods.attribute_detail_network import AttributeDetailNetwork, FacialAttributes
from backend.options import DETAILED_FACE_MODEL
from backend.unwrapped_face import UnwrappedFace, seen_by_network, texels
from backend.weights import load_weights
from backend.wrinkle_groups import WRINKLE_GROUPS

METHOD = "attribute-detail"
DEFAULT_WEIGHTS = "attribute-detail-open-small"
SEEN_TRUST = 0.02
"""Texels that no photograph is trusted at more than this have no detail."""


@dataclass(frozen=True)
class DisplacementMaps:
    """Displacement in the texture's layout, each (S, S) float32 metres outwards, first row at v = 1.

    Attributes:
        photo: of the expression in the first photograph; neutral: of the face at rest.
        groups: by the names of `WRINKLE_GROUPS`, with all keys of the group at 1 and no others.
    """

    photo: np.ndarray
    neutral: np.ndarray
    groups: dict[str, np.ndarray]

    def by_name(self) -> dict[str, np.ndarray]:
        """All maps by the names of their files."""
        return {"photo": self.photo, "neutral": self.neutral, **self.groups}


class AttributeDetail:
    """The method of the poster, ready for use.

    Args:
        network: trained.
        layout: of the texture that it was trained on.
        weights: name to origin of what was learnt, for the result's head.json.
        device: where the network runs.
    """

    def __init__(
        self,
        network: AttributeDetailNetwork,
        layout: DetailLayout,
        weights: dict[str, str] | None = None,
        device: str | torch.device = "cpu",
    ):
        self.network, self.layout, self.device = network.to(device).eval(), layout, torch.device(device)
        self.weights = weights or {}

    @classmethod
    def load(cls, model: OpenHead, weights: str | Path = DEFAULT_WEIGHTS, device: str = "cpu") -> AttributeDetail:
        """The method with the weights of that name or file.

        Raises:
            UsageError: they are missing, damaged or of something else.
        """
        loaded = load_weights(weights, METHOD, DETAILED_FACE_MODEL)
        try:
            network, size = AttributeDetailNetwork(**loaded.facts["network"]), int(loaded.facts["size"])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                "weights-do-not-fit", f"The weights {loaded.name} do not say which network they are of: {error}."
            ) from error
        loaded.load_into(network)
        return cls(network, layout_of(model, size), {METHOD: loaded.name}, device)

    def attributes(self, face: UnwrappedFace) -> FacialAttributes:
        """What the network takes from a photograph that is laid out in `layout`."""
        with torch.inference_mode():
            texture = torch.from_numpy(face.texture).permute(2, 0, 1)[None].float() / 255
            offsets = torch.from_numpy(face.posed - face.neutral)[None]
            _, normals = texels(self.layout, face.posed)
            seen = seen_by_network(
                self.layout,
                texture,
                torch.from_numpy(face.trust)[None],
                torch.from_numpy(normals)[None],
                self.layout.expression_map(offsets),
                torch.from_numpy(face.rotation)[None],
            )
            return self.network.attributes({name: value.to(self.device) for name, value in seen.items()})

    def displacement(self, attributes: FacialAttributes, offsets: Sequence[np.ndarray]) -> np.ndarray:
        """Displacement of one person in several expressions, whether a photograph shows the place or not.

        Args:
            attributes: of that person.
            offsets: (V, 3) float metres each, how far an expression moves the vertices.

        Returns:
            (N, height, width) float32 metres in `layout`; 0 where detail is not allowed.
        """
        allowed, result = self.layout.allowed.numpy(), []
        with torch.inference_mode():
            for moved in offsets:  # one by one: together they take more memory than they save time
                shown = self.layout.expression_map(torch.as_tensor(moved, dtype=torch.float32)[None])
                found = self.network.displacement(attributes, shown[:, None].to(self.device))
                result.append(found[0, 0].float().cpu().numpy() * allowed)
        return np.stack(result)

    def maps(self, model: OpenHead, faces: Sequence[UnwrappedFace], keys: KeyOffsets, size: int) -> DisplacementMaps:
        """The maps of a person. Photographs share a texel as far as each is trusted there.

        Args:
            model: the open head.
            faces: the photographs of the person in `layout`, the first first.
            keys: of the person's head.
            size: side of the maps, a multiple of 16.
        """
        neutral = faces[0].neutral
        expressions = [faces[0].posed - neutral, np.zeros_like(neutral)]
        expressions += [
            keys.apply(neutral, {key: 1.0 for key in group.keys}) - neutral for group in WRINKLE_GROUPS.values()
        ]
        total = np.zeros((len(expressions), self.layout.height, self.layout.width), np.float32)
        trust = np.zeros((self.layout.height, self.layout.width), np.float32)
        for face in faces:
            if (face.trust > SEEN_TRUST).any():
                total += face.trust * self.displacement(self.attributes(face), expressions)
                trust = trust + face.trust
        # Of several photographs the mean; of one that is half trusted, half of its detail.
        total /= np.maximum(trust, 1.0)
        photo, rest, *groups = self._enlarged(model, total, size)
        return DisplacementMaps(photo, rest, dict(zip(WRINKLE_GROUPS, groups, strict=True)))

    def _enlarged(self, model: OpenHead, windows: np.ndarray, size: int) -> list[np.ndarray]:
        """Windows (N, height, width) as whole maps of another size."""
        whole = layout_of(model, size)
        allowed = whole.allowed.numpy()
        sides = (whole.width, whole.height)
        shrinks = whole.width < self.layout.width
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return [whole.whole(cv2.resize(window, sides, interpolation=how) * (allowed > 0)) for window in windows]


def region_picture(attributes: FacialAttributes) -> np.ndarray:
    """(height, width, 3) uint8: the regions that the network sees in a face, each in a colour of its own."""
    regions = attributes.regions.mask[0].argmax(dim=0).cpu()
    colours = region_colours(attributes.regions.mask.shape[1])[regions]
    return (colours * 255 + 0.5).to(torch.uint8).numpy()


def region_colours(count: int) -> Tensor:
    """(count, 3) colours in [0, 1] that can be told apart."""
    angle = 2 * torch.pi * torch.arange(count) / count
    waves = torch.stack([torch.cos(angle + shift) for shift in (0.0, 2.1, 4.2)], dim=1)
    return 0.5 + 0.4 * waves
