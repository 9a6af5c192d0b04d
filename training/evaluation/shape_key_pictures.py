"""Pictures to look at a face model's shape keys by: error maps, every key, shut lids, mouths."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from backend.face_models.morphable_model import MorphableModel, split_quads
from backend.face_models.rendered_landmarks import plain_colours
from backend.rendering.camera import Camera
from backend.rendering.shading import render_head
from training.evaluation.lids import contact_sheet, random_identity
from training.evaluation.shape import skin_triangles
from training.evaluation.shape_keys import ARKIT_NAMES, GROUPS, Mirror, group_of, mirror_distance, mirror_pairs

BACKGROUND = 110
DISTANCE = 1.0
WORST_ASYMMETRY_MM, WORST_TRANSFER_MM = 1.0, 4.0
"""What is drawn in the reddest red."""
RAMP = np.array([[200, 200, 205], [240, 220, 70], [235, 120, 30], [200, 10, 20]], float)
MOUTHS = {
    "rest": {},
    "jawOpen": {"jawOpen": 1.0},
    "jawOpen + mouthClose": {"jawOpen": 1.0, "mouthClose": 1.0},
    "mouthPucker": {"mouthPucker": 1.0},
    "jawOpen + tongueOut": {"jawOpen": 0.7, "tongueOut": 1.0},
    "mouthSmile": {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0},
}


def draw(
    model: MorphableModel, folder: Path, own: Mapping[str, np.ndarray], carried: Mapping[str, np.ndarray]
) -> list[Path]:
    """Writes the pictures into a folder that is there, and returns their files.

    Args:
        own, carried: name -> (V, 3) metres, see `shape_keys.transferred`; empty to leave that map out.
    """
    sheets = {
        "asymmetry": asymmetry_map(model),
        "keys": key_sheet(model),
        "lids": contact_sheet(model, 5),
        "mouths": mouth_sheet(model),
    }
    if own:
        sheets["transfer"] = transfer_map(model, own, carried)
    paths = []
    for name, sheet in sheets.items():
        paths.append(folder / f"{model.name}-{name}.png")
        cv2.imwrite(str(paths[-1]), sheet[..., ::-1])
    return paths


def asymmetry_map(model: MorphableModel) -> np.ndarray:
    """A group of keys in each tile: how far left keys, mirrored, are from the right ones, on the mean head."""
    neutral = model.neutral(np.zeros(model.identity_size))
    keys = model.key_offsets(neutral)
    offsets = dict(zip(keys.names, keys.dense(len(neutral)), strict=True))
    mirror = Mirror(model.mean, skin_triangles(model))
    tiles = []
    for group in GROUPS:
        pairs = [pair for pair in mirror_pairs(keys.names) if group_of(pair[0]) == group]
        error = np.zeros(len(neutral))
        for left, right in pairs:
            away = mirror_distance(offsets[left], offsets[right], mirror)[0]
            error[mirror.vertices] = np.maximum(error[mirror.vertices], away)
        tiles.append(_labelled(_error_tile(model, neutral, 1000 * error / WORST_ASYMMETRY_MM), f"{group}: worst pair"))
    return _sheet(tiles, 3, f"left mirrored - right, grey 0 to red {WORST_ASYMMETRY_MM:.0f} mm and more")


def transfer_map(model: MorphableModel, own: Mapping[str, np.ndarray], carried: Mapping[str, np.ndarray]) -> np.ndarray:
    """A group of keys in each tile: how far those carried over are from the model's own, the mean over the group."""
    neutral = model.neutral(np.zeros(model.identity_size))
    tiles = []
    for group in GROUPS:
        names = [name for name in own if group_of(name) == group]
        if names:
            error = np.mean([np.linalg.norm(own[name] - carried[name], axis=1) for name in names], axis=0)
            tile = _error_tile(model, neutral, 1000 * error / WORST_TRANSFER_MM)
            tiles.append(_labelled(tile, f"{group}: mean of {len(names)}"))
    return _sheet(tiles, 3, f"carried over - own, grey 0 to red {WORST_TRANSFER_MM:.0f} mm and more")


def key_sheet(model: MorphableModel) -> np.ndarray:
    """Every key at 1 on the mean head."""
    neutral = model.neutral(np.zeros(model.identity_size))
    keys = model.key_offsets(neutral)
    tiles = []
    for name in ARKIT_NAMES:
        if name in keys.names:
            tiles.append(_labelled(_portrait(model, keys.apply(neutral, {name: 1.0}), 190, 15, 0.19), name))
    return _sheet(tiles, 9)


def mouth_sheet(model: MorphableModel, people: int = 3) -> np.ndarray:
    """Mouths from the front and from aside: the mean head and random people, a row each."""
    tiles = []
    for number in range(people + 1):
        identity = np.zeros(model.identity_size) if number == 0 else random_identity(number, model.identity_size)
        neutral = model.neutral(identity)
        keys = model.key_offsets(neutral)
        for name, weights in MOUTHS.items():
            posed = keys.apply(neutral, weights)
            middle = model.landmarks68(posed)[[48, 54, 51, 57]].mean(axis=0)
            for yaw in (0, 45):
                tiles.append(_labelled(_portrait(model, posed, 180, yaw, 0.085, middle), name if yaw == 0 else ""))
    return _sheet(tiles, 2 * len(MOUTHS))


def _error_tile(model: MorphableModel, vertices: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The head with errors (V,), 1 the reddest, painted on."""
    at = np.clip(error, 0, 1) * (len(RAMP) - 1)
    low = np.minimum(at.astype(int), len(RAMP) - 2)
    share = (at - low)[:, None]
    return _portrait(model, vertices, 380, 0, 0.21, colours=(RAMP[low] * (1 - share) + RAMP[low + 1] * share))


def _portrait(
    model: MorphableModel,
    vertices: np.ndarray,
    size: int,
    yaw: float,
    width_metres: float,
    middle: np.ndarray | None = None,
    colours: np.ndarray | None = None,
) -> np.ndarray:
    """One head, lashes left out, (size, size, 3) uint8: `yaw` degrees, `width_metres` across at `middle`."""
    topology = model.topology
    shown = [topology.faces[topology.part(name)] for name in topology.part_names if name != "lashes"]
    painted = plain_colours(model.masks) if colours is None else colours.astype(np.uint8)
    target = (0.0, -0.035, 0.0) if middle is None else tuple(middle)
    camera = Camera.orbit(
        np.radians(yaw), 0.0, DISTANCE, size, focal_pixels=size * DISTANCE / width_metres, target=target
    )
    picture = render_head(vertices, split_quads(np.concatenate(shown)), camera, painted, supersampling=2)
    alpha = picture[..., 3:] / 255.0
    return (picture[..., :3] * alpha + BACKGROUND * (1 - alpha)).astype(np.uint8)


def _labelled(tile: np.ndarray, text: str) -> np.ndarray:
    tile = np.ascontiguousarray(tile)
    cv2.putText(tile, text, (5, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return tile


def _sheet(tiles: list[np.ndarray], columns: int, title: str = "") -> np.ndarray:
    while len(tiles) % columns:
        tiles.append(np.full_like(tiles[0], BACKGROUND))
    rows = [np.concatenate(tiles[at : at + columns], axis=1) for at in range(0, len(tiles), columns)]
    if title:
        rows.insert(0, _labelled(np.full((22, rows[0].shape[1], 3), 40, np.uint8), title))
    return np.concatenate(rows, axis=0)
