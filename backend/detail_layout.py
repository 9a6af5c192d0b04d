"""The part of the open head's texture that shows the face, texel by texel: where skin detail lives.

Everything about detail happens in this window of the UV square, 12 by 14 sixteenths of it: the networks' inputs and
answers, the light, the losses. On the whole texture the rest is zero.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn

from backend.face_models.open_head import EYE_SIDES, OpenHead
from backend.lid_rig import LINING
from backend.rendering.camera import Camera
from backend.rendering.shading import vertex_normals
from backend.surface import mesh_normals
from backend.texture_evidence import smoothstep
from backend.texture_parts import SKIN, part_texels

SIXTEENTHS = (1, 13), (1, 15)
"""Rows and columns of the window in sixteenths of the UV square."""
LID_MARGIN_M = (0.0015, 0.0045)
"""Distance from the margin of a lid, on the mean head, from which and from where on all detail is allowed."""
LIP_BORDER_M = (0.0005, 0.003)
NOSTRIL_M = (0.0005, 0.003)
FACE_BORDER_M = 0.010
"""Over which detail fades towards ears, scalp and neck."""
UNDERSIDE = -0.55
"""Skin of the nose whose normal points down more than this belongs to the nostrils."""
OFFSET_UNIT_M = 0.01
"""Length in the model that is 1 in an expression map."""


class DetailLayout(nn.Module):
    """Texels of the window and what lies under them. Everything it holds is a buffer that no state dict holds.

    Args:
        model: the open head.
        size: S, side of the whole texture; a multiple of 16.

    Attributes:
        height, width: of the window in texels, 12 S / 16 and 14 S / 16.
        rows, columns: where it lies in the whole texture.
        covered: (height, width) bool, texels of skin.
        allowed: (height, width) float in [0, 1], where detail may be: 0 outside the face, on the lips, at the margins
            of the lids and in the nostrils.

    Raises:
        ValueError: a size that is no multiple of 16.
    """

    def __init__(self, model: OpenHead, size: int):
        super().__init__()
        if size % 16:
            raise ValueError(f"The side of a displacement map must be a multiple of 16, not {size}.")
        self.size = size
        self.rows, self.columns = (slice(start * size // 16, end * size // 16) for start, end in SIXTEENTHS)
        self.height, self.width = (part.stop - part.start for part in (self.rows, self.columns))
        topology = model.topology
        skin = topology.part(SKIN)
        of_skin = (topology.triangle_face >= skin.start) & (topology.triangle_face < skin.stop)
        texels = part_texels(topology, np.flatnonzero(of_skin), size)
        row, column = np.divmod(texels.texel, size)
        inside = (row >= self.rows.start) & (row < self.rows.stop)
        inside &= (column >= self.columns.start) & (column < self.columns.stop)
        place = (row[inside] - self.rows.start) * self.width + column[inside] - self.columns.start
        corners = topology.triangles[texels.triangle[inside]]
        covered = np.zeros(self.height * self.width, bool)
        covered[place] = True
        order = np.argsort(place)
        self._keep("covered", covered.reshape(self.height, self.width))
        self._keep("texel", place[order])
        self._keep("corners", corners[order].astype(np.int64))
        self._keep("weights", texels.barycentric[inside][order].astype(np.float32))
        self._keep("triangles", topology.triangles.astype(np.int64))
        allowed = np.clip(self._window(_allowed(model)[:, None])[..., 0], 0.0, 1.0)
        self._keep("allowed", allowed * covered.reshape(self.height, self.width))

    def _keep(self, name: str, value: np.ndarray) -> None:
        self.register_buffer(name, torch.as_tensor(value), persistent=False)

    def _window(self, values: np.ndarray) -> np.ndarray:
        """(V, C) as (height, width, C), 0 where there is no skin."""
        return self(torch.as_tensor(values, dtype=torch.float32)[None])[0].numpy()

    def forward(self, values: Tensor) -> Tensor:
        """Vertex values in the window.

        Args:
            values: (B, V, C) float.

        Returns:
            (B, height, width, C), 0 where there is no skin. Differentiable.
        """
        batch, _, channels = values.shape
        under = (values[:, self.corners] * self.weights[..., None]).sum(dim=2)  # (B, N, C)
        window = values.new_zeros(batch, self.height * self.width, channels)
        return window.index_copy(1, self.texel, under).view(batch, self.height, self.width, channels)

    def surface(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Points (B, height, width, 3) in metres and unit normals of posed heads (B, V, 3); 0 where no skin is."""
        both = self(torch.cat([vertices, vertex_normals(vertices, self.triangles)], dim=-1))
        points, normals = both.split(3, dim=-1)
        return points, torch.nn.functional.normalize(normals, dim=-1, eps=1e-20)

    def expression_map(self, offsets: Tensor) -> Tensor:
        """(B, 3, height, width): how far the expression moves the skin, in units of `OFFSET_UNIT_M`.

        The poster's expression representation-map (section 2.1): differences of the vertices caused by the expression,
        here (B, V, 3) metres.
        """
        return self(offsets).permute(0, 3, 1, 2) / OFFSET_UNIT_M

    def whole(self, window: np.ndarray) -> np.ndarray:
        """(height, width) in its place on the whole texture (S, S), 0 around it."""
        result = np.zeros((self.size, self.size), window.dtype)
        result[self.rows, self.columns] = window
        return result

    @cached_property
    def millimetres_per_texel(self) -> float:
        """On the face, in the mean: 0.28 at 1024."""
        return 0.28 * 1024 / self.size


@lru_cache(maxsize=4)
def layout_of(model: OpenHead, size: int) -> DetailLayout:
    """The layout of a size, made once."""
    return DetailLayout(model, size)


def unwrapped(image: np.ndarray, camera: Camera, points: np.ndarray) -> np.ndarray:
    """What a photograph shows at the texels, whether they are seen or not.

    Args:
        image: (H, W, 3) uint8 sRGB.
        camera: of the photograph, model space to its pixels.
        points: (height, width, 3) float, metres, of the posed head.

    Returns:
        (height, width, 3) uint8 sRGB. A photograph much finer than the texels is averaged, not picked.
    """
    height, width = points.shape[:2]
    pixels = camera.project(points.reshape(-1, 3)).reshape(height, width, 2).astype(np.float32)
    pixels = np.nan_to_num(pixels, nan=-1.0, posinf=-1.0, neginf=-1.0)
    step = np.linalg.norm(np.diff(pixels, axis=1), axis=-1)
    step = float(np.median(step[(step > 1e-3) & (step < 20)])) if (step > 1e-3).any() else 1.0
    scale = 1.0
    if step > 1.5:
        scale = 1.0 / step
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    pixels = pixels * np.float32(scale) - 0.5
    return cv2.remap(image, pixels, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _allowed(model: OpenHead) -> np.ndarray:
    """(V,) float32 in [0, 1]: where on the mean head detail may be."""
    mean, masks = model.mean, model.masks
    normals = mesh_normals(mean, model.topology.triangles)
    skin = masks["outer_skin"]
    face = (masks["face"] | masks["forehead"] | masks["cheeks"] | masks["lids"]) & skin
    face &= ~(masks["ears"] | masks["neck"] | masks["scalp"] | masks["eye_socket"])
    beyond = skin & ~face & (mean[:, 2] > mean[:, 2].min() + 0.02)
    allowed = smoothstep(0.0, FACE_BORDER_M, _distance(mean, mean[beyond])) * face
    allowed *= smoothstep(*LIP_BORDER_M, _distance(mean, mean[masks["lips"]]))
    nostrils = masks["nose"] & ((normals[:, 1] < UNDERSIDE) | ~skin)
    if nostrils.any():
        allowed *= smoothstep(*NOSTRIL_M, _distance(mean, mean[nostrils]))
    for side in EYE_SIDES:
        eye = model.rig.eye(side)
        allowed *= smoothstep(*LID_MARGIN_M, _distance(mean, mean[eye.loop]))
        allowed[eye.followers[eye.kind == LINING]] = 0.0
    return allowed.astype(np.float32)


def _distance(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) metres to the nearest of the others."""
    return cKDTree(others).query(points)[0]
