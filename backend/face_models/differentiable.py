"""Face models as torch modules: codes to vertices, colours and landmarks, with gradients.

For training and for networks; what a person gets is made by the numpy models, whose lids are solved exactly.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from backend.errors import UsageError
from backend.face_models.albedo import load_albedo_basis
from backend.face_models.bfm import BfmFront, read_bfm_front
from backend.face_models.lid_apertures import LidApertures
from backend.face_models.linear_shape import BlinkBasis, LinearShape
from backend.face_models.open_head import BLINK_CORRECTIVES, EYE_SIDES, OpenHead
from backend.lids import LidMotion, blink_offsets
from backend.rendering.shading import srgb_to_linear

IDENTITY_STEP = 1.0
"""Standard deviations to either side between which a head's dependence on a coefficient is taken as straight."""
DARKEST_BYTE = 1.0
"""Of an albedo in bytes: below it the way to linear light has next to no slope."""


class DifferentiableModel(nn.Module):
    """A face model: codes in, geometry and colour out. Everything it holds is a buffer that no state dict holds.

    Attributes:
        name: "open_head" or "bfm".
        identity_size, expression_size, albedo_size: lengths of the codes; identity and albedo in standard deviations.
        expression_names: of the expression coefficients, in order; empty where the model does not name them.
        expression_is_bounded: whether they are key weights in [0, 1] (else standard deviations).
        faces: (F, 3) int64, counter-clockwise from outside.
        face_skin: (F,) bool, faces of the skin of the face, eyes and inside of the mouth left out.
        vertex_skin: (V,) bool, the same for vertices.
        point_sets: names for `points`.
        lids: (B, 2) apertures from the points "lids"; None where lids and eyes are one surface.
    """

    def __init__(
        self,
        name: str,
        shape: LinearShape,
        faces: np.ndarray,
        face_skin: np.ndarray,
        vertex_skin: np.ndarray,
        surface_points: dict[str, tuple[np.ndarray, np.ndarray]],
        mean_albedo: np.ndarray,
        albedo_basis: np.ndarray,
        expression_names: tuple[str, ...] = (),
        lids: LidApertures | None = None,
        albedo_is_bytes: bool = False,
    ):
        """Arguments as the attributes, and:

        Args:
            shape: of all vertices.
            surface_points: by name, (L, 3) vertices and (L, 3) barycentric weights; "landmarks68" must be there.
            mean_albedo: (V, 3), albedo_basis: (A, V, 3); linear, or sRGB bytes with `albedo_is_bytes`.
        """
        super().__init__()
        self.name, self.expression_names, self.expression_is_bounded = name, expression_names, bool(expression_names)
        self.identity_size, self.expression_size = shape.identity_size, shape.expression_size
        self.albedo_size = len(albedo_basis)
        self.shape, self.lids, self._albedo_is_bytes = shape, lids, albedo_is_bytes
        self.register_buffer("faces", torch.from_numpy(np.ascontiguousarray(faces, np.int64)), persistent=False)
        self.register_buffer("face_skin", torch.from_numpy(np.asarray(face_skin, bool)), persistent=False)
        self.register_buffer("vertex_skin", torch.from_numpy(np.asarray(vertex_skin, bool)), persistent=False)
        flat = torch.from_numpy(np.ascontiguousarray(albedo_basis, np.float32)).reshape(self.albedo_size, -1)
        self.register_buffer("_albedo_basis", flat, persistent=False)
        mean = torch.from_numpy(np.ascontiguousarray(mean_albedo, np.float32)).reshape(-1)
        self.register_buffer("_albedo_mean", mean, persistent=False)
        self.point_sets = tuple(surface_points)
        self._sets = nn.ModuleDict({name: shape.at(*places) for name, places in surface_points.items()})
        for name, (corners, weights) in surface_points.items():
            self.register_buffer(f"_corners_{name}", torch.from_numpy(np.asarray(corners, np.int64)), persistent=False)
            shares = torch.from_numpy(np.asarray(weights, np.float32))
            self.register_buffer(f"_weights_{name}", shares, persistent=False)

    def vertices(self, identity: Tensor, expression: Tensor) -> Tensor:
        """The posed head: (B, I) and (B, E) to (B, V, 3) float32, metres in model space (+Y up, +Z out of the face)."""
        return self.shape(identity, expression)

    def points(self, name: str, identity: Tensor, expression: Tensor) -> Tensor:
        """Some surface points alone, much faster than all vertices: (B, L, 3) float32 metres.

        Args:
            name: one of `point_sets`: "landmarks68"; the open head also has "landmarks478" and "lids".
            identity: (B, I); expression: (B, E).
        """
        return self._sets[name](identity, expression)

    def points_of(self, name: str, vertices: Tensor) -> Tensor:
        """The same from all vertices: (B, V, 3) to (B, L, 3)."""
        corners, weights = getattr(self, f"_corners_{name}"), getattr(self, f"_weights_{name}")
        return (vertices[:, corners] * weights[..., None]).sum(dim=2)

    def landmarks68(self, vertices: Tensor) -> Tensor:
        """The 68 points in the order of iBUG 300-W: (B, V, 3) to (B, 68, 3)."""
        return self.points_of("landmarks68", vertices)

    def landmarks478(self, vertices: Tensor) -> Tensor:
        """MediaPipe's 478 points, of models that have them: (B, V, 3) to (B, 478, 3)."""
        return self.points_of("landmarks478", vertices)

    def albedo(self, codes: Tensor) -> Tensor:
        """Colour of the vertices: (B, A) to (B, V, 3) float32, linear, not clipped (but above 0 for byte albedos)."""
        with torch.autocast(codes.device.type, enabled=False):
            colours = torch.addmm(self._albedo_mean, codes.float(), self._albedo_basis).view(len(codes), -1, 3)
            return srgb_to_linear(colours.clamp(min=DARKEST_BYTE) / 255.0) if self._albedo_is_bytes else colours


def differentiable_model(name: str | Path = "open_head") -> DifferentiableModel:
    """A face model for training: a new module each time, so that one may be on a graphics card.

    Args:
        name: "open_head", or the path of a `BFM_model_front.mat`.

    Raises:
        UsageError: no such model, or the file is not what it should be.
        SetupError: a file that comes with the project is missing.
    """
    if str(name) == "open_head":
        return _open_head()
    if Path(name).suffix == ".mat":
        return _bfm(read_bfm_front(Path(name)))
    raise UsageError(
        "unknown-face-model",
        f"There is no face model '{name}' to train with. Give 'open_head', or the path of your BFM_model_front.mat.",
    )


@dataclass(frozen=True)
class _Bases:
    """The arguments of `LinearShape`, and what the rows of the expression are called."""

    base: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    blinks: tuple[BlinkBasis, ...]
    names: tuple[str, ...]


@lru_cache(maxsize=1)
def _linearised_open_head() -> tuple[OpenHead, _Bases]:
    """The open head, and its shape made linear about the mean head.

    A person's eyeballs and lids are solved, not summed, but they depend so smoothly on the identity that central
    differences of the solution come within hundredths of a millimetre of it.
    """
    model = OpenHead()
    count, size = len(model.mean), model.identity_size
    neutral = model.neutral(np.zeros(size))
    keys = model.key_offsets(neutral)
    names = tuple(name for name in keys.names if name not in BLINK_CORRECTIVES.values())
    blink_keys = [f"eyeBlink{side.title()}" for side in EYE_SIDES]
    expression = keys.dense(count)[[keys.names.index(name) for name in names]]
    expression[[names.index(name) for name in blink_keys]] = 0.0  # theirs depend on the person

    identity = np.zeros((size, count, 3), np.float32)
    at_mean = [_blink(model, neutral, side) for side in EYE_SIDES]
    offsets = [np.zeros((1 + size, len(blink.index), 3), np.float32) for blink in at_mean]
    correctives = [np.zeros_like(offset) for offset in offsets]
    for column, blink in enumerate(at_mean):
        offsets[column][0], correctives[column][0] = blink.offset, blink.corrective
    for row in range(size):
        step = np.zeros(size)
        step[row] = IDENTITY_STEP
        above, below = model.neutral(step), model.neutral(-step)
        identity[row] = (above - below) / (2 * IDENTITY_STEP)
        for column, side in enumerate(EYE_SIDES):
            high, low = _blink(model, above, side), _blink(model, below, side)
            offsets[column][1 + row] = (high.offset - low.offset) / (2 * IDENTITY_STEP)
            correctives[column][1 + row] = (high.corrective - low.corrective) / (2 * IDENTITY_STEP)
    blinks = tuple(
        BlinkBasis(names.index(key), blink.index, offset, corrective)
        for key, blink, offset, corrective in zip(blink_keys, at_mean, offsets, correctives, strict=True)
    )
    return model, _Bases(neutral, identity, expression, blinks, names)


def _blink(model: OpenHead, neutral: np.ndarray, side: str) -> LidMotion:
    return blink_offsets(neutral, model.eye_centres(neutral), model.rig_of(neutral), side)


def _open_head() -> DifferentiableModel:
    model, bases = _linearised_open_head()
    shape = LinearShape(bases.base, bases.identity, bases.expression, bases.blinks)
    lids, albedo = LidApertures(model.rig), load_albedo_basis()
    loops = lids.vertices.numpy()
    points = {
        "landmarks68": (model.points68.vertices, model.points68.barycentric),
        "landmarks478": (model.points478.vertices, model.points478.barycentric),
        "lids": (np.repeat(loops[:, None], 3, axis=1), np.tile([1.0, 0.0, 0.0], (len(loops), 1))),
    }
    skin = model.masks["face"] & model.masks["outer_skin"]
    topology = model.topology
    part, of_skin = topology.part("skin"), np.zeros(len(topology.faces), bool)
    of_skin[part] = True  # the lining of the mouth shares the vertices of the lips' edge
    return DifferentiableModel(
        "open_head",
        shape,
        topology.triangles,
        skin[topology.triangles].all(axis=1) & of_skin[topology.triangle_face],
        skin,
        points,
        albedo.mean,
        albedo.basis,
        expression_names=bases.names,
        lids=lids,
    )


def _bfm(model: BfmFront) -> DifferentiableModel:
    shape = LinearShape(model.mean, model.identity_basis, model.expression_basis)
    corners = np.repeat(model.landmarks68[:, None], 3, axis=1)
    points = {"landmarks68": (corners, np.tile([1.0, 0.0, 0.0], (len(corners), 1)))}
    return DifferentiableModel(
        "bfm",
        shape,
        model.faces,
        model.front_faces,
        model.skin,
        points,
        model.mean_albedo,
        model.albedo_basis,
        albedo_is_bytes=True,
    )
