"""Names regions of the head: bool masks over the vertices, symmetric."""

import numpy as np

from training.open_head.head_mesh import PART_NAMES, HeadMesh
from training.open_head.makehuman import MakeHumanData


def _moved(data: MakeHumanData, head: HeadMesh, files: list[str], part: float) -> np.ndarray:
    """Vertices that one of the targets moves by at least `part` of its largest offset."""
    result = np.zeros(len(head.mean), bool)
    for name in files:
        offset = data.target(data.folder / f"mpfb2/targets/{name}.target.gz").dense(len(data.base.vertices))
        length = np.linalg.norm(head.binding @ offset, axis=1)
        result |= length >= part * length.max()
    return result


def _unit(data: MakeHumanData, head: HeadMesh, name: str, metres: float) -> np.ndarray:
    """Vertices that a face unit moves by at least some metres."""
    return np.linalg.norm(head.binding @ data.face_unit(name).dense(len(data.base.vertices)), axis=1) >= metres


def _grown(mask: np.ndarray, faces: np.ndarray, steps: int) -> np.ndarray:
    """A mask and its neighbours, `steps` rings of quads further."""
    for _ in range(steps):
        wider = mask.copy()
        wider[np.unique(faces[mask[faces].any(axis=1)])] = True
        mask = wider
    return mask


def region_masks(data: MakeHumanData, head: HeadMesh, mean: np.ndarray) -> dict[str, np.ndarray]:
    """Region name -> (V,) bool. `mean` (V, 3) metres is the head recentred between the eyeballs."""
    count = len(mean)
    x, y, z = mean.T

    def used(faces: np.ndarray) -> np.ndarray:
        mask = np.zeros(count, bool)
        mask[np.unique(faces)] = True
        return mask

    parts = {name: used(head.part(name)) for name in PART_NAMES}
    socket = used(head.faces[head.socket_faces])
    lining = socket & ~used(np.delete(head.part("skin"), head.socket_faces, axis=0))
    outer = used(np.delete(head.part("skin"), head.socket_faces, axis=0))
    masks = {f"part_{name}": mask for name, mask in parts.items()}
    masks["eye_socket"] = lining
    masks["outer_skin"] = outer
    eyes = np.zeros(count, bool)
    for side, balls, sign in (("left", head.eyeballs[0], 1.0), ("right", head.eyeballs[1], -1.0)):
        centre = mean[balls].mean(axis=0)
        across = (x - centre[0]) / 0.026
        up = (y - centre[1]) / 0.019
        masks[f"eye_{side}"] = outer & (across**2 + up**2 < 1) & (z > centre[2] - 0.008) & (sign * x > 0)
        eyes |= masks[f"eye_{side}"]
        for name, inner in (("iris", head.eyeball.iris), ("pupil", head.eyeball.pupil)):
            masks.setdefault(name, np.zeros(count, bool))[balls[inner]] = True
    masks["sclera"] = (parts["eyeball_left"] | parts["eyeball_right"]) & ~masks["iris"] & ~masks["pupil"]
    blink = _unit(data, head, "eyeBlinkLeft", 0.0015) | _unit(data, head, "eyeBlinkRight", 0.0015)
    masks["lids"] = (blink | blink[head.mirror]) & outer & eyes
    ears = _moved(data, head, ["ears/l-ear-scale-incr", "ears/r-ear-scale-incr"], 0.12)
    masks["ears"] = ears & outer
    nose = _moved(data, head, ["nose/nose-volume-incr", "nose/nose-width1-incr", "nose/nose-flaring-incr"], 0.3)
    masks["nose"] = nose & outer & ~eyes
    lips = _moved(data, head, ["mouth/mouth-upperlip-volume-incr", "mouth/mouth-lowerlip-volume-incr"], 0.15)
    masks["lips"] = lips & outer
    brow = _moved(data, head, ["eyebrows/eyebrows-trans-up"], 0.55)
    masks["brows"] = brow & outer & ~masks["lids"] & (np.abs(x) > 0.008)
    neck_top = -0.105 - 0.55 * (z - 0.0)
    masks["neck"] = outer & ~masks["ears"] & (y < neck_top - 0.02) & (z < 0.0) & (y < -0.06)
    front = outer & ~masks["ears"] & ~masks["neck"]
    masks["face"] = front & (z > -0.055) & (y < 0.065) & (y > -0.16)
    masks["forehead"] = masks["face"] & (y > 0.025) & ~masks["brows"] & ~eyes
    masks["scalp"] = front & ~masks["face"] & (y > -0.06)
    cheeks = _moved(data, head, ["cheek/l-cheek-volume-incr", "cheek/r-cheek-volume-incr"], 0.3)
    masks["cheeks"] = cheeks & masks["face"] & ~masks["nose"] & ~masks["lips"] & ~eyes
    for name in [name for name in masks if not name.endswith(("left", "right"))]:
        masks[name] = masks[name] | masks[name][head.mirror]
    masks["eye_right"] = masks["eye_left"][head.mirror]
    return masks
