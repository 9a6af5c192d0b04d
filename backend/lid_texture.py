"""Lids of plain skin in a texture that was read from photographs of open eyes.

A photograph of an open eye shows little of its upper lid, foreshortened, between dark lashes and the dark fold above.
Stretched over the lid when it shuts these become stripes, and a shut eye looks like a narrow one that is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np

from backend.lid_rig import SIDES, SKIN, LidRig
from backend.lids import aperture
from backend.rendering.uv_baking import TexelMap
from backend.texture_evidence import smoothstep
from backend.texture_parts import part_texels

if TYPE_CHECKING:
    from backend.face_models.morphable_model import MorphableModel

UPPER_M, LOWER_M = (0.007, 0.013), (0.0025, 0.006)
"""From the margin: up to the first all is replaced, from the second on nothing; at the corners something between."""
UPPER_FROM = (0.35, 0.65)
"""How much of the upper margin a point follows where it begins to belong to the upper lid, and where it wholly does."""
LASH_LINE_M = (0.0008, 0.0020)
"""The line of the lashes, dark on shut eyes too: up to the first it stays, from the second on nothing of it."""
SHUT = (0.5, 0.8)
"""Closures of an eye in a photograph from which on its lids are believed, up to wholly."""
COARSE = 512
REACHES = (0.004, 0.008, 0.016, 0.032)
"""Of the texture's side: how far skin is fetched from, the nearest where there is enough of it."""
ENOUGH = 0.1


def with_plain_lids(
    model: MorphableModel,
    texture: np.ndarray,
    rig: LidRig,
    amount: Mapping[str, float] | None = None,
    *,
    keeps_lash_line: bool = True,
) -> np.ndarray:
    """The texture with the colour of the skin round the eyes on the lids, smooth.

    Args:
        model: whose texture it is.
        texture: (T, T, 3) uint8 sRGB.
        rig: the model's lids.
        amount: {"left", "right"}, 0 to 1: how much of it; None for all.
        keeps_lash_line: leaves the upper lid's margin and the lower lid as they are.

    Returns:
        A new texture.
    """
    amount = amount or dict.fromkeys(SIDES, 1.0)
    lids = _lids(model, rig, amount, keeps_lash_line)
    coarse = min(len(texture), COARSE)
    whole = _lids(model, rig, dict.fromkeys(SIDES, 1.0), False)
    masks = _in_texture(model, np.stack([whole, _skin_to_take(model)], axis=1), coarse)
    filled = _filled(cv2.resize(texture, (coarse, coarse), interpolation=cv2.INTER_AREA), masks)
    replaced = _in_texture(model, lids[:, None], len(texture))[..., 0]
    rows, columns = (np.flatnonzero(replaced.any(axis=axis)) for axis in (1, 0))
    result = texture.copy()
    if len(rows):
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        filled = cv2.resize(filled, texture.shape[1::-1], interpolation=cv2.INTER_LINEAR)[box]
        share = replaced[box][..., None]
        result[box] = (share * filled + (1 - share) * texture[box] + 0.5).clip(0, 255)
    return result


def open_share(model: MorphableModel, rig: LidRig, views: list[np.ndarray]) -> dict[str, float]:
    """How much of the lids is to be plain: 1 where no photograph shows them shut. `views`: heads (V, 3) as posed."""
    result = {}
    for side in SIDES:
        own = aperture(model.mean, rig, side)
        closures = [1 - aperture(vertices, rig, side) / own for vertices in views]
        result[side] = float(1 - smoothstep(*SHUT, np.array(max(closures, default=1.0))))
    return result


def _filled(colours: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """(S, S, 3) float32: everywhere the colours of the trusted skin round about; `masks` (S, S, 2): lids, skin."""
    size = len(colours)
    trusted = ((masks[..., 1] > 0.98) & (masks[..., 0] < 0.02)).astype(np.float32)
    weighted = colours.astype(np.float32) * trusted[..., None]
    filled, missing = np.zeros((size, size, 3), np.float32), np.ones((size, size, 1), np.float32)
    for reach in REACHES:
        weight = cv2.GaussianBlur(trusted, (0, 0), reach * size)[..., None]
        found = cv2.GaussianBlur(weighted, (0, 0), reach * size) / np.maximum(weight, 1e-6)
        share = missing * np.clip(weight / ENOUGH, 0, 1) if reach < REACHES[-1] else missing
        filled += share * found
        missing = missing - share
    return filled


def _lids(model: MorphableModel, rig: LidRig, amount: Mapping[str, float], keeps_lash_line: bool) -> np.ndarray:
    """(V,) float32: how much of the skin is replaced."""
    result = np.zeros(len(model.mean), np.float32)
    for side in SIDES:
        eye = rig.eye(side)
        skin = eye.kind == SKIN
        upper = smoothstep(*UPPER_FROM, eye.share[skin, 1 : eye.outer].sum(axis=1))
        low, high = (upper * above + (1 - upper) * below for above, below in zip(UPPER_M, LOWER_M, strict=True))
        replaced = 1 - smoothstep(low, high, eye.distance[skin])
        if keeps_lash_line:
            replaced *= upper * smoothstep(*LASH_LINE_M, eye.distance[skin])
        else:
            result[eye.loop] = amount[side]
        result[eye.followers[skin]] = amount[side] * replaced
    if "brows" in model.masks:
        result[model.masks["brows"]] = 0.0
    return result


def _skin_to_take(model: MorphableModel) -> np.ndarray:
    """(V,) float32: 1 on skin that is no brow."""
    result = np.zeros(len(model.mean), np.float32)
    result[model.topology.part_vertices("skin")] = 1.0
    if "brows" in model.masks:
        result[model.masks["brows"]] = 0.0
    return result


def _in_texture(model: MorphableModel, values: np.ndarray, size: int) -> np.ndarray:
    """(V, C) of the skin as a texture (size, size, C), 0 elsewhere."""
    topology = model.topology
    rows = topology.part("skin")
    triangles = np.flatnonzero((topology.triangle_face >= rows.start) & (topology.triangle_face < rows.stop))
    texels = part_texels(topology, triangles, size)
    wanted = (values[topology.triangles] != 0).any(axis=(1, 2))[texels.triangle]
    some = TexelMap(size, texels.texel[wanted], texels.triangle[wanted], texels.barycentric[wanted])
    result = np.zeros((size * size, values.shape[1]), np.float32)
    result[some.texel] = some.interpolate(values, topology.triangles).clip(0, 1)
    return result.reshape(size, size, -1)
