"""A photograph's texture with lids of plain skin.

A photograph of an open eye shows little of its upper lid, foreshortened, between dark lashes and the dark fold above.
Stretched over a shut lid these become stripes, and a shut eye looks like a narrow one that is open.
"""

from __future__ import annotations

import cv2
import numpy as np

from backend.face_models.open_head import OpenHead
from backend.lid_rig import SIDES, SKIN
from backend.rendering.uv_baking import texel_map
from backend.texture_evidence import smoothstep

UPPER_M, LOWER_M = (0.008, 0.013), (0.0025, 0.006)
"""From the margin: up to the first everything is replaced, from the second on nothing; at the
corners something between."""
REACHES = (0.004, 0.008, 0.016, 0.032)
"""Of the texture's side: how far skin is fetched from, the nearest where there is enough of it."""
ENOUGH = 0.1


def with_plain_lids(model: OpenHead, texture: np.ndarray) -> np.ndarray:
    """The texture with the colour of the skin round the eyes on the lids, smooth.

    Args:
        model: the open head.
        texture: (T, T, 3) uint8 sRGB.

    Returns:
        A new texture.
    """
    size = len(texture)
    masks = _in_texture(model, np.stack([_lids(model), _skin_to_take(model)], axis=1), size)
    replaced, trusted = masks[..., 0], ((masks[..., 1] > 0.98) & (masks[..., 0] < 0.02)).astype(np.float32)
    colours = texture.astype(np.float32)
    filled, missing = np.zeros_like(colours), np.ones((size, size, 1), np.float32)
    for reach in REACHES:
        weight = cv2.GaussianBlur(trusted, (0, 0), reach * size)[..., None]
        found = cv2.GaussianBlur(colours * trusted[..., None], (0, 0), reach * size) / np.maximum(weight, 1e-6)
        share = missing * np.clip(weight / ENOUGH, 0, 1) if reach < REACHES[-1] else missing
        filled += share * found
        missing = missing - share
    replaced = replaced[..., None]
    return (replaced * filled + (1 - replaced) * colours + 0.5).clip(0, 255).astype(np.uint8)


def _lids(model: OpenHead) -> np.ndarray:
    """(V,) float32: how much of the skin is replaced."""
    result = np.zeros(len(model.mean), np.float32)
    for side in SIDES:
        eye = model.rig.eye(side)
        result[eye.loop] = 1.0
        skin = eye.kind == SKIN
        upper = eye.share[skin, 1 : eye.outer].sum(axis=1)
        low, high = (
            upper * of_upper + (1 - upper) * of_lower for of_upper, of_lower in zip(UPPER_M, LOWER_M, strict=True)
        )
        result[eye.followers[skin]] = 1 - smoothstep(low, high, eye.distance[skin])
    return result


def _skin_to_take(model: OpenHead) -> np.ndarray:
    """(V,) float32: 1 on skin that is neither brow nor lash."""
    result = np.zeros(len(model.mean), np.float32)
    result[model.topology.part_vertices("skin")] = 1.0
    result[model.masks["brows"]] = 0.0
    return result


def _in_texture(model: OpenHead, values: np.ndarray, size: int) -> np.ndarray:
    """(V, C) of the skin as a texture (size, size, C), 0 elsewhere."""
    topology = model.topology
    rows = topology.part("skin")
    triangles = np.flatnonzero((topology.triangle_face >= rows.start) & (topology.triangle_face < rows.stop))
    texels = texel_map(topology.uv, topology.triangle_uv[triangles], size)
    result = np.zeros((size * size, values.shape[1]), np.float32)
    result[texels.texel] = texels.interpolate(values, topology.triangles[triangles]).clip(0, 1)
    return result.reshape(size, size, -1)
