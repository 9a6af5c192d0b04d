"""Labels of a rendered picture: which points are seen, and the ten classes of DF-MVR."""

from __future__ import annotations

import cv2
import numpy as np

from backend.face_models.open_head import OpenHead
from backend.rendering.camera import Camera
from training.data.open_head_on import OpenHeadOn
from training.data.renderer import Rendering
from training.data.sample import PARSING_CLASSES
from training.data.scene import interpolate

VISIBLE_WITHIN_M = 0.005
"""A point is seen if the picture shows nothing nearer than this in front of it."""
PARSING_TEXELS = 512
LEFT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
"""Outlines of the brows in MediaPipe's points; left is the subject's."""


def visible(points: np.ndarray, camera: Camera, rendering: Rendering, hidden: np.ndarray | None = None) -> np.ndarray:
    """Which points of the surface a picture shows.

    Args:
        points: (N, 3) metres, model space.
        camera: of the picture.
        rendering: what was drawn.
        hidden: (H, W) bool, where something was put in front afterwards.

    Returns:
        (N,) bool: inside the picture, and nothing in front.
    """
    height, width = camera.image_size
    place = camera.project(points)
    inside = (place >= 0).all(axis=1) & (place < [width, height]).all(axis=1)
    column, row = np.clip(np.nan_to_num(place), 0, [width - 1, height - 1]).astype(int).T
    # The farthest of the neighbours: at a silhouette, the pixel itself may show what lies behind or in front.
    depth = np.where(rendering.part < 0, np.float32(np.inf), rendering.depth)
    farthest = cv2.dilate(depth, np.ones((3, 3), np.uint8))
    seen = inside & (camera.to_camera(points)[:, 2] <= farthest[row, column] + VISIBLE_WITHIN_M)
    if hidden is not None:
        seen &= ~hidden[row, column]
    return seen


class FaceParsing:
    """Which class each place of a head belongs to.

    Brows and lips are outlined by landmarks in UV space, eyes are the eyeballs, the mouth is what lies between the
    lips; skin is the face without ears, neck and scalp. Another model's places are those of the open head there.

    Args:
        laid: the open head on the face model.
    """

    def __init__(self, laid: OpenHeadOn) -> None:
        model = laid.head
        topology = model.topology
        self._triangle_uv, self._uv = laid.triangle_uv[laid.drawn], laid.uv
        label = {name: number for number, name in enumerate(PARSING_CLASSES)}
        of_vertex = np.zeros(len(model.mean), np.uint8)
        of_vertex[model.masks["face"]] = label["skin"]
        for mask in ("forehead", "cheeks", "lids"):
            of_vertex[model.masks[mask] & model.masks["outer_skin"]] = label["skin"]
        of_vertex[model.masks["ears"] | model.masks["neck"] | model.masks["scalp"]] = label["background"]
        of_vertex[model.masks["nose"]] = label["nose"]
        of_vertex[model.masks["lip_upper"]] = label["upper_lip"]
        of_vertex[model.masks["lip_lower"]] = label["lower_lip"]
        of_corner = of_vertex[topology.triangles]  # (T, 3)
        part = np.repeat(np.arange(len(topology.part_names)), np.diff(topology.part_faces, axis=1)[:, 0])
        part = part[topology.triangle_face]
        for number, name in enumerate(topology.part_names):
            if name.startswith("eyeball"):
                of_corner[part == number] = label[f"{name.removeprefix('eyeball_')}_eye"]
            elif name.startswith(("mouth", "teeth", "tongue")):
                of_corner[part == number] = label["mouth"]
        self._of_corner = of_corner[laid.triangle, laid.corner][laid.drawn]
        self._brows = self._paint_brows(model)
        self._mouth = label["mouth"]
        self._brow_label = np.array([0, label["left_brow"], label["right_brow"]], np.uint8)
        self._skin = label["skin"]

    @staticmethod
    def _paint_brows(model: OpenHead) -> np.ndarray:
        """(S, S) float32 in UV space: 1 inside the left brow, 2 inside the right one."""
        drawn = np.zeros((PARSING_TEXELS, PARSING_TEXELS), np.float32)
        vertices, barycentric = model.points478.vertices, model.points478.barycentric
        topology = model.topology
        uv_of_vertex = np.zeros((len(model.mean), 2), np.float32)
        uv_of_vertex[topology.triangles[::-1].reshape(-1)] = topology.uv[topology.triangle_uv[::-1].reshape(-1)]
        for number, outline in ((1, LEFT_BROW), (2, RIGHT_BROW)):
            rows = np.array(outline)
            place = np.einsum("lcd,lc->ld", uv_of_vertex[vertices[rows]], barycentric[rows])
            pixels = place * [PARSING_TEXELS, -PARSING_TEXELS] + [0, PARSING_TEXELS]
            cv2.fillPoly(drawn, [np.round(pixels).astype(np.int32)], float(number))
        return drawn

    def of(self, rendering: Rendering, mouth_part: int | None = None) -> np.ndarray:
        """Labels of a picture.

        Args:
            rendering: whose first part are the triangles `laid.drawn`.
            mouth_part: number of the part that is nothing but the inside of the mouth, if there is one.

        Returns:
            (H, W) uint8, index in `PARSING_CLASSES`; what lies in front of the face is background.
        """
        result = np.zeros(rendering.part.shape, np.uint8)
        if mouth_part is not None:
            result[rendering.part == mouth_part] = self._mouth
        row, column = np.nonzero(rendering.part == 0)
        triangle = rendering.triangle[row, column]
        found = _heaviest(self._of_corner[triangle], rendering.barycentric[row, column])
        uv = interpolate(self._uv, self._triangle_uv[triangle], rendering.barycentric[row, column])
        texel = np.clip((uv * [1, -1] + [0, 1]) * PARSING_TEXELS, 0, PARSING_TEXELS - 1).astype(int)
        brow = self._brows[texel[:, 1], texel[:, 0]].astype(int)
        found = np.where((brow > 0) & (found == self._skin), self._brow_label[brow], found)
        result[row, column] = found
        return result


def _heaviest(classes: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(N,) of the classes (N, 3) at a triangle's corners the one with most of the weights (N, 3)."""
    a, b, c = classes.T
    u, v, w = weight.T
    alike = (a == b, b == c, c == a)
    total = np.stack(
        [u + v * alike[0] + w * alike[2], v + u * alike[0] + w * alike[1], w + v * alike[1] + u * alike[2]]
    )
    return classes[np.arange(len(classes)), total.argmax(axis=0)]
