"""Face models as torch modules: codes to vertices, colours and landmarks, with gradients.

For training and for networks; what a person gets is made by the numpy models, whose lids are solved exactly. One
interface for all models: the open head, heads that were added, and the files of licensed models as they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.face_models.albedo import AlbedoBasis
from backend.face_models.bfm import BfmFront, read_bfm_front
from backend.face_models.formats import identify
from backend.face_models.lid_apertures import LidApertures
from backend.face_models.linear_shape import LinearShape
from backend.face_models.linearised import (
    Bases,
    Expression,
    albedo_of,
    linearised,
    linearised_by_name,
    names_a_file,
)
from backend.face_models.model_arrays import ContourLandmarks, ModelArrays, Skinning
from backend.face_models.morphable_model import MorphableModel, SurfacePoints, split_quads
from backend.face_models.skinning import JointRig
from backend.rendering.shading import srgb_to_linear

DARKEST_BYTE = 1.0
"""Of an albedo in bytes: below it the way to linear light has next to no slope."""
PLAIN_SKIN = (0.48, 0.28, 0.20)
"""Linear colour of models without an albedo."""
UNKNOWN = "no-such-face-model"
"""Codes of errors that mean: there is no model of this name."""
CONTOUR_POINTS = 17
"""Of the 68 landmarks, the first: the line of the jaw."""
BROWS, CHIN = (18, 19, 20, 23, 24, 25), 8
FOREHEAD_SHARE = 0.35
"""How far over the brows the skin of the face is taken to reach, of the height from chin to brows."""


class DifferentiableModel(nn.Module):
    """A face model: codes in, geometry and colour out. Everything it holds is a buffer that no state dict holds.

    Where the model has joints, geometry may be turned by a pose, (B, J, 3) axis-angle of each joint against its parent
    in radians, the root first (FLAME: root, neck, jaw, left eye, right eye); without one all joints are at rest. Lids
    and keys move before any joint turns, see `skinning`.

    Attributes:
        name: "open_head", "flame2020", "bfm" …
        identity_size, expression_size, albedo_size: lengths of the codes; identity and albedo in standard deviations.
        expression_names: of the expression coefficients, in order; empty where it is the model's own expression.
        expression_is_bounded: whether they are key weights in [0, 1] (else standard deviations).
        joint_names: J names; empty without joints.
        shuts_lids: whether `lid_closure` can be given.
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
        skinning: Skinning | None = None,
        contour: ContourLandmarks | None = None,
        lid_columns: tuple[int, int] | None = None,
        expression_size: int | None = None,
    ):
        """Arguments as the attributes, and:

        Args:
            shape: of all vertices.
            surface_points: by name, (L, 3) vertices and (L, 3) barycentric weights; "landmarks68" must be there.
            mean_albedo: (V, 3), albedo_basis: (A, V, 3); linear, or sRGB bytes with `albedo_is_bytes`.
            skinning: of the joints, where there are any; contour: landmarks that slide as the head turns.
            lid_columns: of the shape's expression, left and right: the weights of the blinks.
            expression_size: how many of the shape's expression coefficients are codes; None for all.
        """
        super().__init__()
        self.name, self.expression_names, self.expression_is_bounded = name, expression_names, bool(expression_names)
        self.identity_size = shape.identity_size
        self.expression_size = shape.expression_size if expression_size is None else expression_size
        self.albedo_size = len(albedo_basis)
        self.shape, self.lids, self._albedo_is_bytes = shape, lids, albedo_is_bytes
        self.shuts_lids = lid_columns is not None
        self._keep("_lid_columns", None if lid_columns is None else np.asarray(lid_columns, np.int64))
        self._keep("faces", np.ascontiguousarray(faces, np.int64))
        self._keep("face_skin", np.asarray(face_skin, bool))
        self._keep("vertex_skin", np.asarray(vertex_skin, bool))
        flat = np.ascontiguousarray(albedo_basis, np.float32).reshape(self.albedo_size, 3 * len(vertex_skin))
        self._keep("_albedo_basis", flat)
        self._keep("_albedo_mean", np.ascontiguousarray(mean_albedo, np.float32).reshape(-1))
        self.point_sets = tuple(surface_points)
        self._sets = nn.ModuleDict({name: shape.at(*places) for name, places in surface_points.items()})
        for name, (corners, weights) in surface_points.items():
            self._keep(f"_corners_{name}", np.asarray(corners, np.int64))
            self._keep(f"_weights_{name}", np.asarray(weights, np.float32))
        self.joint_names = () if skinning is None else tuple(skinning.names)
        if skinning is not None:
            self._keep_joints(shape, skinning, surface_points)
        self._keep("_contour_yaw", None if contour is None else np.asarray(contour.yaw, np.float32))
        if contour is not None:
            self._keep("_contour_corners", np.stack([points.vertices for points in contour.points]).astype(np.int64))
            shares = np.stack([points.barycentric for points in contour.points])
            self._keep("_contour_weights", shares.astype(np.float32))

    def _keep(self, name: str, values: np.ndarray | None) -> None:
        self.register_buffer(name, None if values is None else torch.from_numpy(values), persistent=False)

    def _keep_joints(self, shape: LinearShape, skinning: Skinning, surface_points: dict) -> None:
        """Joints are linear in the codes too: no head need be made to find them."""
        basis = shape.basis.numpy().reshape(shape.identity_size + shape.expression_size, -1, 3)
        if self.expression_is_bounded:  # keys do not move joints
            basis = np.concatenate([basis[: shape.identity_size], np.zeros_like(basis[shape.identity_size :])])
        base = skinning.regressor @ shape.base.numpy().reshape(-1, 3)
        joints = np.einsum("jv,kvc->kjc", skinning.regressor, basis, optimize=True)
        self._joints = LinearShape(base, joints[: shape.identity_size], joints[shape.identity_size :])
        self._rig = JointRig(skinning)
        # A point's corners are turned, each its own way, before the point is mixed from them.
        self._corner_shapes, self._corner_rigs = nn.ModuleDict(), nn.ModuleDict()
        for name, (corners, _) in surface_points.items():
            used, place = np.unique(corners, return_inverse=True)
            alone = np.tile([1.0, 0.0, 0.0], (len(used), 1))
            self._corner_shapes[name] = shape.at(np.repeat(used[:, None], 3, axis=1), alone)
            self._corner_rigs[name] = JointRig(skinning, used)
            self._keep(f"_places_{name}", place.reshape(corners.shape).astype(np.int64))

    def vertices(
        self, identity: Tensor, expression: Tensor, pose: Tensor | None = None, lid_closure: Tensor | None = None
    ) -> Tensor:
        """The posed head.

        Args:
            identity: (B, I); expression: (B, E).
            pose: (B, J, 3) radians, of models with joints.
            lid_closure: (B, 2) weights of the blinks, left then right, 0 open and 1 shut; with keys they take the place
                of eyeBlinkLeft and eyeBlinkRight.

        Returns:
            (B, V, 3) float32, metres in model space (+Y up, +Z out of the face).

        Raises:
            ValueError: a pose for a model without joints, a closure for one whose lids do not shut.
        """
        codes = self._codes(expression, lid_closure)
        points = self.shape(identity, codes)
        return points if pose is None else self._turned(self._rig_of(), points, identity, codes, pose)

    def points(
        self,
        name: str,
        identity: Tensor,
        expression: Tensor,
        pose: Tensor | None = None,
        lid_closure: Tensor | None = None,
    ) -> Tensor:
        """Some surface points alone, much faster than all vertices: (B, L, 3) float32 metres.

        Args:
            name: one of `point_sets`: "landmarks68"; models with lids and MediaPipe's points also have "lids" and
                "landmarks478".
            identity, expression, pose, lid_closure: as for `vertices`.
        """
        codes = self._codes(expression, lid_closure)
        if pose is None:
            return self._sets[name](identity, codes)
        self._rig_of()
        corners = self._corner_shapes[name](identity, codes)
        corners = self._turned(self._corner_rigs[name], corners, identity, codes, pose)
        weights = getattr(self, f"_weights_{name}")
        return (corners[:, getattr(self, f"_places_{name}")] * weights[..., None]).sum(dim=2)

    def joints(self, identity: Tensor, expression: Tensor) -> Tensor:
        """Where the joints are, before any turns: (B, J, 3) metres. ValueError for models without."""
        self._rig_of()
        return self._joints(identity, self._codes(expression, None))

    def _codes(self, expression: Tensor, lid_closure: Tensor | None) -> Tensor:
        """The expression as `shape` takes it."""
        if missing := self.shape.expression_size - self.expression_size:
            expression = torch.cat([expression, expression.new_zeros(len(expression), missing)], dim=1)
        if lid_closure is None:
            return expression
        if not self.shuts_lids:
            raise ValueError(f"The lids of {self.name} cannot be shut: they are one surface with the eyes.")
        return expression.index_copy(1, self._lid_columns, lid_closure.to(expression.dtype))

    def _rig_of(self) -> JointRig:
        if not self.joint_names:
            raise ValueError(f"The face model {self.name} has no joints to turn.")
        return self._rig

    def _turned(self, rig: JointRig, points: Tensor, identity: Tensor, codes: Tensor, pose: Tensor) -> Tensor:
        return rig(points, self._joints(identity, codes), pose)

    def points_of(self, name: str, vertices: Tensor) -> Tensor:
        """The same from all vertices: (B, V, 3) to (B, L, 3)."""
        corners, weights = getattr(self, f"_corners_{name}"), getattr(self, f"_weights_{name}")
        return (vertices[:, corners] * weights[..., None]).sum(dim=2)

    def landmarks68(self, vertices: Tensor, yaw: Tensor | None = None) -> Tensor:
        """The 68 points in the order of iBUG 300-W: (B, V, 3) to (B, 68, 3).

        Args:
            vertices: (B, V, 3), of `vertices`.
            yaw: (B,) degrees, positive when the camera is on the subject's left: the contour is taken where it is seen
                from there, of models that have a table of it. Without it the contour's points are fixed.
        """
        points = self.points_of("landmarks68", vertices)
        if yaw is None or self._contour_yaw is None:
            return points
        row = (yaw.detach()[:, None] - self._contour_yaw).abs().argmin(dim=1)
        corners, weights = self._contour_corners[row], self._contour_weights[row]  # (B, 17, 3)
        head = torch.arange(len(vertices), device=vertices.device)[:, None, None]
        contour = (vertices[head, corners] * weights[..., None]).sum(dim=2)
        return torch.cat([contour, points[:, CONTOUR_POINTS:]], dim=1)

    def landmarks478(self, vertices: Tensor) -> Tensor:
        """MediaPipe's 478 points, of models that have them: (B, V, 3) to (B, 478, 3)."""
        return self.points_of("landmarks478", vertices)

    def albedo(self, codes: Tensor) -> Tensor:
        """Colour of the vertices: (B, A) to (B, V, 3) float32, linear, not clipped (but above 0 for byte albedos)."""
        with torch.autocast(codes.device.type, enabled=False):
            colours = torch.addmm(self._albedo_mean, codes.float(), self._albedo_basis).view(len(codes), -1, 3)
            return srgb_to_linear(colours.clamp(min=DARKEST_BYTE) / 255.0) if self._albedo_is_bytes else colours


def differentiable_model(
    source: str | Path | MorphableModel | ModelArrays = "open_head", expression: Expression | None = None
) -> DifferentiableModel:
    """A face model for training: a new module each time, so that one may be on a graphics card.

    Args:
        source: "open_head", the name of a face model that was added, such a model itself, the path of a model's file
            or folder as its owner gives it out (see `formats`), or what that holds.
        expression: "keys" or "own"; None for the keys of models that have some, else the model's own.

    Raises:
        UsageError: no such model, the file is not what it should be, or the model lacks what is asked for.
        SetupError: a file that comes with the project is missing.
    """
    if isinstance(source, ModelArrays):
        return _of_arrays(source, expression)
    if isinstance(source, MorphableModel):
        chosen = _expression_of(source, expression)
        return _of_head(source, linearised(source, chosen))
    if names_a_file(source):
        return _of_file(Path(source), expression)
    chosen = _expression_of(_by_name(str(source)), expression)
    return _of_head(*linearised_by_name(str(source), chosen))


def _by_name(name: str) -> MorphableModel:
    try:
        return load_face_model(name)
    except UsageError as error:
        if error.code != UNKNOWN:
            raise  # there is such a model, and this says what is wrong with it
        from backend.asset_store import installed

        there = ", ".join(["open_head", *(asset.name for asset in installed() if asset.kind == "face_model")])
        raise UsageError(
            UNKNOWN,
            f"There is no face model '{name}' to train with. There is: {there}; or give the path of a "
            "model's file, such as BFM_model_front.mat or FLAME's .pkl. To add a model: python3 -m backend assets add "
            "FILE.",
        ) from error


def _expression_of(model: MorphableModel, expression: Expression | None) -> Expression:
    if expression == "own" and getattr(model, "expression_basis", None) is None:
        raise UsageError(
            "no-own-expression", f"The face model {model.name} has no expression but its keys: expression=keys."
        )
    return expression or "keys"


def _of_head(model: MorphableModel, bases: Bases) -> DifferentiableModel:
    """A model that has been prepared: its masks, landmarks and lids are known."""
    shape = LinearShape(bases.base, bases.identity, bases.expression, bases.blinks)
    topology, albedo = model.topology, albedo_of(model) or _plain(len(model.mean))
    points = {"landmarks68": _places(model.points68), "landmarks478": _places(model.points478)}
    lids = None
    if bases.lid_columns is not None:
        lids = LidApertures(model.rig)
        points["lids"] = _vertices_alone(lids.vertices.numpy())
    skin = model.masks["face"] & model.masks["outer_skin"]
    part, of_skin = topology.part("skin"), np.zeros(len(topology.faces), bool)
    of_skin[part] = True  # the lining of the mouth shares the vertices of the lips' edge
    return DifferentiableModel(
        model.name,
        shape,
        topology.triangles,
        skin[topology.triangles].all(axis=1) & of_skin[topology.triangle_face],
        skin,
        points,
        albedo.mean,
        albedo.basis,
        expression_names=bases.names,
        lids=lids,
        skinning=getattr(model, "skinning", None),
        contour=getattr(model, "contour", None),
        lid_columns=bases.lid_columns,
        expression_size=bases.expression_size,
    )


def _plain(count: int) -> AlbedoBasis:
    return AlbedoBasis(np.tile(np.float32(PLAIN_SKIN), (count, 1)), np.zeros((0, count, 3), np.float32))


def _places(points: SurfacePoints) -> tuple[np.ndarray, np.ndarray]:
    return points.vertices, points.barycentric


def _vertices_alone(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(vertices[:, None], 3, axis=1), np.tile([1.0, 0.0, 0.0], (len(vertices), 1))


def _of_arrays(arrays: ModelArrays, expression: Expression | None) -> DifferentiableModel:
    """A model as its file has it: its own expression, no lids that shut."""
    if expression == "keys" and not arrays.keys:
        raise UsageError(
            "no-keys",
            f"The file of {arrays.label} has no ARKit keys. Add the model first (python3 -m backend assets add FILE), "
            "which makes them, and name it; or set expression=own.",
        )
    if arrays.landmarks68 is None:
        raise UsageError(
            "no-landmarks",
            f"The file of {arrays.label} does not say where its 68 landmarks are. Add the model first (python3 -m "
            "backend assets add FILE), which finds them, and name it.",
        )
    names = tuple(arrays.keys) if expression == "keys" else ()
    rows = np.stack([arrays.keys[name] for name in names]) if names else arrays.expression_basis
    triangles = split_quads(arrays.faces)
    skin = front_skin(arrays.mean, triangles, arrays.landmarks68.apply(arrays.mean))
    albedo = arrays.albedo or _plain(len(arrays.mean))
    return DifferentiableModel(
        arrays.name,
        LinearShape(arrays.mean, arrays.identity_basis, rows),
        triangles,
        skin[triangles].all(axis=1),
        skin,
        {"landmarks68": _places(arrays.landmarks68)},
        albedo.mean,
        albedo.basis,
        expression_names=names,
        skinning=arrays.skinning,
        contour=arrays.contour,
    )


def front_skin(mean: np.ndarray, triangles: np.ndarray, landmarks68: np.ndarray) -> np.ndarray:
    """The skin of a face whose file does not name it: inside the jaw's line and up to the forehead, seen from in front.

    Args:
        mean: (V, 3) metres; triangles: (T, 3); landmarks68: (68, 3) on the mean.

    Returns:
        (V,) bool, of the surface that the tip of the nose belongs to; eyeballs, teeth and the like are others.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import Delaunay, cKDTree

    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), edges.T), (len(mean), len(mean)))
    piece = connected_components(graph, directed=False)[1]
    same = piece == piece[cKDTree(mean).query(landmarks68[30])[1]]
    brows = landmarks68[list(BROWS), :2]
    height = brows[:, 1].mean() - landmarks68[CHIN, 1]
    outline = np.concatenate([landmarks68[:, :2], brows + [0.0, FOREHEAD_SHARE * height]])
    inside = Delaunay(outline).find_simplex(mean[:, :2]) >= 0
    ends = landmarks68[[0, 16], 2].mean()
    return same & inside & (mean[:, 2] > ends)


def _bfm(model: BfmFront) -> DifferentiableModel:
    shape = LinearShape(model.mean, model.identity_basis, model.expression_basis)
    return DifferentiableModel(
        "bfm",
        shape,
        model.faces,
        model.front_faces,
        model.skin,
        {"landmarks68": _vertices_alone(model.landmarks68)},
        model.mean_albedo,
        model.albedo_basis,
        albedo_is_bytes=True,
    )


def _of_file(path: Path, expression: Expression | None) -> DifferentiableModel:
    if path.suffix.lower() != ".mat" or not path.is_file():
        return _of_arrays(identify(path).read(path), expression)
    if expression == "keys":
        raise UsageError(
            "no-keys",
            f"{path.name} has no ARKit keys. Add the model first (python3 -m backend assets add FILE), which makes "
            "them, and name it; or set expression=own.",
        )
    return _bfm(read_bfm_front(path))  # its colours are exact here, see `bfm_arrays`
