"""Names regions of the head: bool masks over the vertices, alike on both sides.

Lips, eyes and parts follow from the mesh itself; ears from MakeHuman's own ear sliders; brows, nose, face and forehead
from where the detector sees them on the mean head.
"""

import numpy as np

from training.open_head.head_mesh import PART_NAMES, HeadMesh
from training.open_head.lip_seal import lip_sides
from training.open_head.makehuman import MakeHumanData

LIP_RINGS = 8
"""Rings of quads between the inner lip line, where the mouth's inside begins, and the border of the red."""
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
"""Mesh points round the subject's left brow, in order."""
NASION, SUBNASALE, LEFT_ALA, LEFT_INNER_CANTHUS, FOREHEAD_TOP, CHIN = 168, 2, 358, 362, 10, 152


def base_masks(data: MakeHumanData, head: HeadMesh, mean: np.ndarray) -> dict[str, np.ndarray]:
    """What follows from the mesh: parts, outer skin, sockets, eyes, irises, lips and ears; see `region_masks`."""
    count = len(mean)
    x, y, z = mean.T

    def used(faces: np.ndarray) -> np.ndarray:
        mask = np.zeros(count, bool)
        mask[np.unique(faces)] = True
        return mask

    parts = {name: used(head.part(name)) for name in PART_NAMES}
    outer_faces = head.outer_skin
    outer = used(outer_faces)
    masks = {f"part_{name}": mask for name, mask in parts.items()}
    masks["outer_skin"] = outer
    masks["eye_socket"] = used(head.faces[head.socket_faces]) & ~outer
    for name in ("iris", "pupil"):
        masks[name] = np.zeros(count, bool)
    for ball in head.eyeballs:
        masks["iris"][ball[head.eyeball.iris]] = True
        masks["pupil"][ball[head.eyeball.pupil]] = True
    masks["sclera"] = (parts["eyeball_left"] | parts["eyeball_right"]) & ~masks["iris"] & ~masks["pupil"]
    masks["lips"] = grown(parts["mouth_inside"] & outer, outer_faces, LIP_RINGS)
    sides = lip_sides(head.mean, outer_faces, head.part("mouth_inside"))
    masks["lip_upper"], masks["lip_lower"] = sides == 1, sides == -1
    centre = mean[head.eyeballs[0]].mean(axis=0)
    off_axis = np.hypot((x - centre[0]) / 0.026, (y - centre[1]) / 0.019)
    near = outer & (z > centre[2] - 0.008)
    masks["eye_left"] = near & (off_axis < 1)
    masks["eye_right"] = masks["eye_left"][head.mirror]
    lid = near & (np.hypot((x - centre[0]) / 0.0185, (y - centre[1]) / 0.0125) < 1)
    masks["lids"] = lid | lid[head.mirror]
    ear = _moved(data, head, "ears/l-ear-trans-up", 0.8)
    masks["ears"] = (ear | ear[head.mirror]) & outer
    return masks


def region_masks(data: MakeHumanData, head: HeadMesh, mean: np.ndarray, points478: np.ndarray) -> dict[str, np.ndarray]:
    """Region name -> (V,) bool.

    Args:
        mean: (V, 3) metres, recentred between the eyeballs.
        points478: (478, 3) metres, the detector's points on that head.
    """
    masks = base_masks(data, head, mean)
    outer, ears = masks["outer_skin"], masks["ears"]
    eyes = masks["eye_left"] | masks["eye_right"]
    x, y, z = np.abs(mean[:, 0]), mean[:, 1], mean[:, 2]
    front = outer & (z > -0.03)

    brow = _inside(np.stack([x, y], axis=1), _widened(points478[list(LEFT_BROW), :2], 0.001))
    masks["brows"] = front & brow & (x > 0.006)

    nasion, base, ala = points478[NASION], points478[SUBNASALE], points478[LEFT_ALA]
    bridge = abs(points478[LEFT_INNER_CANTHUS, 0]) * 0.55
    width = np.interp(y, [base[1], ala[1], nasion[1]], [abs(ala[0]) + 0.001, abs(ala[0]) + 0.002, bridge])
    masks["nose"] = front & (x < width) & (y < nasion[1] + 0.002) & (y > base[1] - 0.001) & ~masks["lips"]

    ear_front = z[ears].max()
    lobe = mean[ears][mean[ears][:, 1].argmin()]
    chin = points478[CHIN]
    along = np.clip((chin[2] - z) / (chin[2] - lobe[2]), -0.5, 1.0)
    jaw = chin[1] - 0.012 + along * (lobe[1] - 0.012 - (chin[1] - 0.012))
    top = points478[FOREHEAD_TOP, 1] + 0.015
    masks["face"] = outer & ~ears & (z > ear_front - 0.006) & (y > jaw) & (y < top)
    masks["neck"] = outer & ~ears & ~masks["face"] & (y < np.where(z > lobe[2], jaw + 0.002, lobe[1] - 0.015))
    masks["scalp"] = outer & ~ears & ~masks["face"] & ~masks["neck"]
    brow_top = y[masks["brows"]].max()
    masks["forehead"] = masks["face"] & (y > brow_top - 0.004) & ~masks["brows"] & ~eyes
    corner = mean[masks["lips"]][:, 0].max()
    masks["cheeks"] = (
        masks["face"]
        & (y < -0.014)
        & (y > points478[13, 1] - 0.004)
        & (x > np.interp(y, [points478[13, 1], base[1], 0.0], [corner + 0.008, abs(ala[0]) + 0.008, 0.022]))
        & ~eyes
        & ~masks["nose"]
        & ~masks["lips"]
    )
    for name in [name for name in masks if not name.endswith(("left", "right"))]:
        masks[name] = masks[name] | masks[name][head.mirror]
    return masks


def grown(mask: np.ndarray, faces: np.ndarray, steps: int) -> np.ndarray:
    """A mask (V,) and its neighbours, `steps` rings of quads further."""
    for _ in range(steps):
        wider = mask.copy()
        wider[np.unique(faces[mask[faces].any(axis=1)])] = True
        mask = wider
    return mask


def _moved(data: MakeHumanData, head: HeadMesh, name: str, part: float) -> np.ndarray:
    """Vertices that a target moves by at least `part` of its largest offset."""
    offset = data.target(data.folder / f"mpfb2/targets/{name}.target.gz").dense(len(data.base.vertices))
    length = np.linalg.norm(head.binding @ offset, axis=1)
    return length >= part * length.max()


def _widened(polygon: np.ndarray, metres: float) -> np.ndarray:
    """A polygon (N, 2) whose corners are moved away from its middle."""
    arm = polygon - polygon.mean(axis=0)
    return polygon + metres * arm / np.linalg.norm(arm, axis=1, keepdims=True)


def _inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """(N,) bool: which points (N, 2) lie in a polygon (M, 2), by the number of edges to their right."""
    result = np.zeros(len(points), bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        straddles = (ay > points[:, 1]) != (by > points[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = ax + (points[:, 1] - ay) / (by - ay) * (bx - ax)
        result ^= straddles & (points[:, 0] < crossing)
    return result
