"""Where things are on the open head's texture: places, parts, soft regions, the margins of the lids, the brows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from backend.face_models.open_head import EYE_SIDES, OpenHead
from backend.rendering.uv_baking import texel_map
from training.data.labels import LEFT_BROW, RIGHT_BROW

FAR_M = 1.0
"""Distance to a lid of what is nowhere near it."""
NEAR_LIDS_M = 0.035
MARGIN_POINTS = 60
LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
"""The outline of the lips in MediaPipe's points."""
LIP_BORDER_M = 0.0007
BLOBS = {
    "cheek": ((0.041, -0.033, 0.008), (0.019, 0.015, 0.03)),
    "apple": ((0.030, -0.030, 0.020), (0.011, 0.009, 0.03)),
    "nose tip": ((0.0, -0.030, 0.042), (0.013, 0.010, 0.014)),
    "nose wing": ((0.013, -0.036, 0.022), (0.006, 0.007, 0.012)),
    "chin": ((0.0, -0.098, 0.016), (0.015, 0.011, 0.03)),
    "forehead": ((0.0, 0.045, 0.020), (0.040, 0.022, 0.05)),
    "between brows": ((0.0, 0.018, 0.024), (0.010, 0.012, 0.03)),
    "mouth corner": ((0.027, -0.068, 0.015), (0.006, 0.006, 0.012)),
    "below eye": ((0.027, -0.0145, 0.014), (0.013, 0.0055, 0.02)),
    "inner eye": ((0.014, -0.006, 0.012), (0.005, 0.007, 0.012)),
    "below lip": ((0.0, -0.087, 0.020), (0.013, 0.004, 0.02)),
    "temple": ((0.060, 0.012, -0.015), (0.014, 0.016, 0.03)),
}
"""Name -> middle on the mean head, of the subject's left half, and half axes, metres."""


@dataclass(frozen=True)
class Window:
    """A part of a texture that something is painted in.

    Attributes:
        rows, columns: of the texture.
        share: (rows, columns) float32 in [0, 1].
    """

    rows: slice
    columns: slice
    share: np.ndarray

    @classmethod
    def around(cls, field: np.ndarray, least: float = 0.004, border: int = 2) -> Window:
        """The smallest window that holds all of a field (S, S) above `least`."""
        row, column = np.nonzero(field > least)
        rows = slice(max(int(row.min()) - border, 0), int(row.max()) + border + 1)
        columns = slice(max(int(column.min()) - border, 0), int(column.max()) + border + 1)
        return cls(rows, columns, np.ascontiguousarray(field[rows, columns], np.float32))

    def of(self, texture: np.ndarray) -> np.ndarray:
        """A view of a texture (S, S, ...)."""
        return texture[self.rows, self.columns]


class SkinFields:
    """The texture's layout.

    Texels that no triangle covers take what the nearest one that is covered has, so that colours go on beyond the
    borders of charts.

    Args:
        model: the head.
        size: S, side of the textures.
    """

    def __init__(self, model: OpenHead, size: int) -> None:
        self.model, self.size = model, size
        topology = model.topology
        self._texels = texel_map(topology.uv, topology.triangle_uv, size)
        self.place = self.spread(model.mean)
        part_of_face = np.repeat(np.arange(len(topology.part_names)), np.diff(topology.part_faces, axis=1)[:, 0])
        self.part = self._texels.image(part_of_face[topology.triangle_face][self._texels.triangle])
        self.skin = self.part == topology.part_names.index("skin")
        uv = np.zeros((len(model.mean), 2), np.float32)
        uv[topology.triangles.reshape(-1)] = topology.uv[topology.triangle_uv.reshape(-1)]
        self._uv = uv

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Vertex values (V, C) as a texture (S, S, C)."""
        return self._texels.image(self._texels.interpolate(values, self.model.topology.triangles))

    def texel_of(self, vertices: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
        """Points of the surface, (N, 3) vertices and weights, as (N, 2) texels, whole numbers at their centres."""
        uv = np.einsum("ncd,nc->nd", self._uv[vertices], barycentric)
        return uv * [self.size, -self.size] + [-0.5, self.size - 0.5]

    @cached_property
    def vertex_texels(self) -> np.ndarray:
        """(V, 2) float32: the texel of each vertex."""
        return (self._uv * [self.size, -self.size] + [-0.5, self.size - 0.5]).astype(np.float32)

    def mask(self, name: str, blur_m: float) -> np.ndarray:
        """(S, S) float32 in [0, 1]: one of the model's vertex masks, with a soft border, on the skin alone."""
        field = self.spread(self.model.masks[name][:, None].astype(np.float32))[..., 0] * self.skin
        return cv2.GaussianBlur(field, (0, 0), max(blur_m * self.texels_per_metre, 0.3)) * self.skin

    @property
    def texels_per_metre(self) -> float:
        """On the face; 1.76 texels a millimetre at 512."""
        return 1760.0 * self.size / 512

    @cached_property
    def mirrored(self) -> np.ndarray:
        """(S, S, 3): places with both halves of the head folded to the subject's left."""
        folded = self.place.copy()
        folded[..., 0] = np.abs(folded[..., 0])
        return folded

    def blob(self, name: str) -> np.ndarray:
        """(S, S) float32 in [0, 1]: one of `BLOBS`, on both sides of the skin."""
        centre, radii = BLOBS[name]
        away = ((self.mirrored - np.float32(centre)) / np.float32(radii)) ** 2
        return np.exp(-0.5 * away.sum(axis=-1)).astype(np.float32) * self.skin

    def lid_distance(self, lid: str) -> np.ndarray:
        """(S, S) float32 metres to the nearest margin of an "upper" or a "lower" lid on the mean head."""
        result = np.full(self.skin.shape, FAR_M, np.float32)
        for side in EYE_SIDES:
            margin = self.model.mean[getattr(self.model.rig.eye(side), lid)]
            line = along(margin, np.linspace(0, 1, MARGIN_POINTS)).astype(np.float32)
            near = self.skin & (np.abs(self.place - line.mean(axis=0)).max(axis=-1) < NEAR_LIDS_M)
            distance = np.linalg.norm(self.place[near][:, None] - line[None], axis=-1).min(axis=1)
            result[near] = np.minimum(result[near], distance)
        return result

    def brow(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        """The lower and the upper edge of the "left" or the "right" brow: (5, 2) texels each, from outside inwards."""
        points = self.model.points478
        rows = np.array({"left": LEFT_BROW, "right": RIGHT_BROW}[side])
        # The outline runs along the lower edge inwards, and back along the upper edge.
        texels = self.texel_of(points.vertices[rows], points.barycentric[rows])
        return texels[:5], texels[5:][::-1]

    @cached_property
    def lips(self) -> np.ndarray:
        """(S, S) float32 in [0, 1]: the red of the lips, by the landmarks' outline."""
        points, rows = self.model.points478, np.array(LIPS)
        outline = self.texel_of(points.vertices[rows], points.barycentric[rows])
        filled = np.zeros(self.skin.shape, np.float32)
        cv2.fillPoly(filled, [np.round(outline * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
        return cv2.GaussianBlur(filled, (0, 0), LIP_BORDER_M * self.texels_per_metre) * self.skin

    def beard(self) -> np.ndarray:
        """(S, S) float32 in [0, 1]: where a beard may grow."""
        x, y, z = np.moveaxis(self.mirrored, -1, 0)
        top = np.interp(
            x,
            [0.0, 0.013, 0.020, 0.033, 0.046, 0.058, 0.064, 0.070],
            [-0.0455, -0.0455, -0.047, -0.057, -0.060, -0.052, -0.035, -0.006],
        )
        region = smooth(0.0, 0.006, top - y) * smooth(-0.066, -0.056, z) * smooth(-0.135, -0.112, y)
        lips = self.lips
        bare = np.exp(-0.5 * (((x - 0.012) / 0.006) ** 2 + ((y + 0.087) / 0.004) ** 2)) * (z > 0)
        region = region * (1 - np.clip(lips * 1.5, 0, 1)) * (1 - 0.6 * bare) * (1 - self.mask("ears", 0.004))
        return cv2.GaussianBlur((region * self.skin).astype(np.float32), (0, 0), 0.0015 * self.texels_per_metre)


def smooth(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, between them without a kink."""
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def along(line: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Points (N, D) on a line (K, D) at shares (N,) of its way from the first to the last of its points."""
    at, knots = np.asarray(share) * (len(line) - 1), np.arange(len(line))
    return np.stack([np.interp(at, knots, line[:, axis]) for axis in range(line.shape[1])], axis=-1)
