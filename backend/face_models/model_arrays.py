"""What the file of a face model holds, in one form for all of them; a file format is a function that returns it.

Model space: metres, right-handed, +Y up, +Z out of the face, +X towards the subject's left; counted from 0. What the
file does not hold (UVs, lids that shut, ARKit's shapes, where a detector's landmarks lie) is made from it once, when
the model is added: `backend.face_models.preparation`.
"""

from dataclasses import dataclass, field

import numpy as np

from backend.face_models.albedo import AlbedoBasis
from backend.face_models.morphable_model import Licence, SurfacePoints


@dataclass(frozen=True)
class Skinning:
    """Joints that turn parts of a head: linear blend skinning with pose correctives.

    Attributes:
        names: J names, the root first.
        parents: (J,) int64, -1 for the root; a parent comes before its children.
        weights: (V, J) float32, rows sum to 1.
        regressor: (J, V) float32: joints from the vertices of the person's neutral head.
        pose_basis: (9 (J - 1), V, 3) float32 metres, for the entries of (rotation - identity) of all joints but the
            root, row by row; None without correctives.
    """

    names: tuple[str, ...]
    parents: np.ndarray
    weights: np.ndarray
    regressor: np.ndarray
    pose_basis: np.ndarray | None = None


@dataclass(frozen=True)
class ContourLandmarks:
    """The 17 points of the jaw's line, which slide over the surface as the head turns.

    Attributes:
        yaw: (Y,) float64 degrees, ascending; positive when the camera is on the subject's left.
        points: Y times the 17 first of the 68 landmarks.
    """

    yaw: np.ndarray
    points: tuple[SurfacePoints, ...]

    def at(self, yaw: float) -> SurfacePoints:
        """Those of the nearest yaw in the table, degrees."""
        return self.points[int(np.abs(self.yaw - yaw).argmin())]


@dataclass(frozen=True)
class ModelArrays:
    """A face model as its file has it.

    Attributes:
        name: as on the command line: "flame2020", "bfm2009", "ict", "gnm" …
        label: for people: "FLAME 2020".
        licence: of the model.
        source: where its owner gives it out, for people.
        mean: (V, 3) float32 metres, neutral, eyes open, mouth shut; any origin.
        faces: (F, 4) int32, counter-clockwise from outside, -1 in the last column marks a triangle.
        identity_basis: (K, V, 3), expression_basis: (E, V, 3) float32 metres for a coefficient of 1.
        metres_per_unit: what the file's unit of length is.
        albedo: linear colours of the vertices; None where the file has none.
        skinning: None where the model has no joints.
        landmarks68: the model's own 68 points; None where the file has none.
        contour: the model's own sliding points; None where the file has none.
        uv: (T, 2) float32, v up, and face_uv: (F, 4) int32; None where the file has none.
        part_faces: part name -> (N,) int64 rows of `faces`: "skin", "eyeball_left", "eyeball_right", "teeth_upper",
            "teeth_lower", "teeth", "tongue", "gums", "mouth_inside", "lashes", "eye_socket_left", … as far as the file
            says; rows that no part names are told by their connected pieces.
        keys: ARKit name -> (V, 3) float32 metres at weight 1, where the model has such shapes of its own.
    """

    name: str
    label: str
    licence: Licence
    source: str
    mean: np.ndarray
    faces: np.ndarray
    identity_basis: np.ndarray
    expression_basis: np.ndarray
    metres_per_unit: float
    albedo: AlbedoBasis | None = None
    skinning: Skinning | None = None
    landmarks68: SurfacePoints | None = None
    contour: ContourLandmarks | None = None
    uv: np.ndarray | None = None
    face_uv: np.ndarray | None = None
    part_faces: dict[str, np.ndarray] = field(default_factory=dict)
    keys: dict[str, np.ndarray] = field(default_factory=dict)
