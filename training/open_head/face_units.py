"""The 52 ARKit shapes of the head, from MakeHuman's face units: skin, teeth, tongue, lashes and eyeballs together."""

import numpy as np

from backend.face_models.eyes import gaze_rotation
from training.open_head.head_mesh import HeadMesh
from training.open_head.makehuman import MakeHumanData

EYE_LOOKS = {
    "eyeLookUpLeft": (0, "Up"),
    "eyeLookDownLeft": (0, "Down"),
    "eyeLookInLeft": (0, "ToRight"),
    "eyeLookOutLeft": (0, "ToLeft"),
    "eyeLookUpRight": (1, "Up"),
    "eyeLookDownRight": (1, "Down"),
    "eyeLookInRight": (1, "ToLeft"),
    "eyeLookOutRight": (1, "ToRight"),
}
"""Key -> row of `HeadMesh.eyeballs`, direction as the subject sees it."""


def key_shapes(data: MakeHumanData, head: HeadMesh, scale: float) -> tuple[list[str], np.ndarray]:
    """Every key's offsets.

    Args:
        scale: metres of the head for a metre of MakeHuman's.

    Returns:
        52 names in ARKit's spelling, sorted; (52, V, 3) float64 metres at weight 1.
    """
    names = data.face_unit_names
    count = len(data.base.vertices)
    shapes = {name: scale * (head.binding @ data.face_unit(name).dense(count)) for name in names}
    balls = np.concatenate(head.eyeballs)
    for name, offsets in shapes.items():
        offsets[balls] = 0.0
        if name in EYE_LOOKS:
            side, direction = EYE_LOOKS[name]
            offsets[head.eyeballs[side]] = head.eyeball.vertices @ (gaze_rotation(direction) - np.eye(3)).T
    return names, np.stack([_both_sides_alike(shapes, name, head.mirror) for name in names])


def _both_sides_alike(shapes: dict[str, np.ndarray], name: str, mirror: np.ndarray) -> np.ndarray:
    """A shape without MakeHuman's slips: keys of the right leave the right lashes behind, some pairs differ by a hair.

    Keys of the subject's right are the mirror images of those of the left; keys of both sides are their own.
    """
    flip = np.array([-1.0, 1.0, 1.0])
    if name.endswith("Right"):
        other = name.removesuffix("Right") + "Left"
        return shapes[other][mirror] * flip
    if name.endswith("Left"):
        return shapes[name]
    return (shapes[name] + shapes[name][mirror] * flip) / 2
