"""The open head laid on another face model: how people of any whole head get the open head's skin, hair and clothes.

What the generator paints and dresses is made for the open head: skins in its texture's layout, hair combed on its
skull, glasses on its ears, shoulders below its neck. Another model's registration says which point of its skin is which
point of the open head. So a person of that model is drawn with its own mesh, whose corners lie on the open head's
texture; and what is worn is fitted to an open head that has taken the person's shape.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.face_models.correspondence import is_registered, laid_open_head, trusted_skin
from backend.face_models.morphable_model import MorphableModel
from backend.face_models.open_head import EYE_SIDES, OpenHead
from backend.face_models.registration import skin_triangles
from backend.surface import OrientedSurface, barycentric_coordinates, mesh_normals

LEAST_TRUST = 0.3
"""Mean trust of the registration on a region below which the other model has no such region."""
NEEDED = ("scalp", "ears", "neck", "face")
STRETCHED = 4.0
"""Times the usual length on the texture from which on an edge is taken to cross a seam."""
MOUTH, TEETH = ("mouth_inside", "tongue"), ("teeth_upper", "teeth_lower")
BELOW_RIM_M = 0.001
RIM_TUCK_M = (0.003, 0.0008)
"""How far the rim that the shoulders hang on lies above and inside the neck's surface, so that no gap shows."""
MOUTH_PARTS = ("mouth_inside", "teeth_upper", "teeth_lower", "tongue")
IN_A_MOUTH = ("mouth_inside", "teeth", "tongue", "gums")
"""How the names of parts begin that a model with an inside of the mouth has."""


def can_be_drawn(model: MorphableModel) -> bool:
    """Whether pictures of people can be made of a face model: `OpenHeadOn` takes it."""
    return model.name == "open_head" or (is_registered(model) and not _missing(model))


class OpenHeadOn:
    """The open head on a face model. On the open head itself everything is as it is.

    Args:
        model: the face model, with a registration unless it is the open head.

    Raises:
        UsageError: the model is no whole head, or it is not known what of it is what of the open head.

    Attributes:
        model, head: the face model and the open head.
        uv: (U, 2) float32, v up: places on the open head's texture.
        triangle_uv: (T, 3) int64, rows of `uv` for the corners of all the model's triangles.
        vertex_uv: (V, 2) float32, one place for each vertex.
        triangle: (T, 3) int64, on which of the open head's triangles each corner lies, and corner: (T, 3) int64, which
            of that triangle's corners is nearest.
        drawn: (D,) int64, the model's triangles that are drawn: no lashes, nothing below the open head's neck.
        rim: (N,) int64, the model's vertices next to the rim of the open head's neck.
        mouth: (M, 3) int64, the open head's triangles that stand for the inside of a mouth that the model has not.
    """

    def __init__(self, model: MorphableModel) -> None:
        self.model = model
        if model.name == "open_head":
            self.head: OpenHead = model
            self._as_it_is()
            self.rim, self.mouth = self.head.data["neck_loop"], np.zeros((0, 3), np.int64)
            return
        self.head = load_face_model("open_head")
        if not is_registered(model):
            raise UsageError(
                "not-registered",
                f"People of the face model {model.name} cannot be drawn: it is not known which point of it is which "
                "of the open head. Add the model anew (python3 -m backend assets add FILE).",
            )
        if missing := _missing(model):
            raise UsageError(
                "no-whole-head",
                f"People of the face model {model.name} cannot be drawn: it has no {' and no '.join(missing)}. "
                "Pictures are made of models that are whole heads; leave the choice out for the open head.",
            )
        self._laid = laid_open_head(model, self.head)
        self._at_mean = model.place.apply(model.mean.astype(np.float64))
        self._lay_out()
        self.drawn = np.flatnonzero(~self._of_part("lashes") & ~self._below_the_neck())
        rim = self.vertices(model.mean)[self.head.data["neck_loop"]]
        self.rim = cKDTree(model.mean).query(rim)[1]
        has_mouth = any(name.startswith(IN_A_MOUTH) for name in model.topology.part_names)
        self.mouth = _triangles_of(self.head, MOUTH_PARTS)[: 0 if has_mouth else None]

    def _as_it_is(self) -> None:
        topology = self.model.topology
        self.uv, self.triangle_uv = topology.uv.astype(np.float32), topology.triangle_uv
        self.vertex_uv = np.zeros((len(self.model.mean), 2), np.float32)
        self.vertex_uv[topology.triangles.reshape(-1)] = self.uv[self.triangle_uv.reshape(-1)]
        count = len(topology.triangles)
        self.triangle = np.repeat(np.arange(count)[:, None], 3, axis=1)
        self.corner = np.tile(np.arange(3), (count, 1))
        self.drawn = np.flatnonzero(~self._of_part("lashes"))

    def texels(self, size: int) -> np.ndarray:
        """(V, 2) float32: the texel of each of the model's vertices in textures of `size`, whole at their centres."""
        return (self.vertex_uv * [size, -size] + [-0.5, size - 0.5]).astype(np.float32)

    def vertices(self, vertices: np.ndarray) -> np.ndarray:
        """An open head (S, 3) float32 with the shape of a head (V, 3) of the model, metres."""
        if self.model is self.head:
            return vertices
        place = self.model.place
        moved = place.apply(np.asarray(vertices, np.float64)) - self._at_mean
        result = self._laid + moved[self._followed]
        for side, centre in zip(EYE_SIDES, self.model.eye_centres(vertices), strict=True):
            result[self.head.eyeballs[side]] = centre + self._balls[side]
        loop = self.head.data["neck_loop"]
        inwards = (result[loop].mean(axis=0) - result[loop]) * [1.0, 0.0, 1.0]
        inwards /= np.linalg.norm(inwards, axis=1, keepdims=True)
        result[loop] += RIM_TUCK_M[1] * inwards + [0.0, RIM_TUCK_M[0], 0.0]
        return result.astype(np.float32)

    @cached_property
    def _followed(self) -> np.ndarray:
        """(S,): itself, or the nearest vertex whose place on the model is known."""
        known = trusted_skin(self.model, self.head)
        followed = known[cKDTree(self._laid[known]).query(self._laid)[1]]
        followed[known] = known
        return followed

    @cached_property
    def _balls(self) -> dict[str, np.ndarray]:
        """The open head's eyeballs about their centres, as large as the model's."""
        result = {}
        for side in EYE_SIDES:
            own = self.head.mean[self.head.eyeballs[side]]
            size = np.ptp(self.model.mean[self.model.eyeballs[side]][:, 0]) / np.ptp(own[:, 0])
            result[side] = (own - (own.min(axis=0) + own.max(axis=0)) / 2) * size
        return result

    def _of_part(self, *beginnings: str) -> np.ndarray:
        """(T,) bool: triangles of the parts whose names begin so."""
        topology = self.model.topology
        inside = np.zeros(len(topology.faces), bool)
        for name in topology.part_names:
            if name.startswith(beginnings):
                inside[topology.part(name)] = True
        return inside[topology.triangle_face]

    def _lay_out(self) -> None:
        """Places every corner of the model's triangles on the open head's texture."""
        topology, head, mean = self.model.topology, self.head, self.model.mean.astype(np.float64)
        count = len(topology.triangles)
        self.triangle, self.corner = np.zeros((count, 3), np.int64), np.zeros((count, 3), np.int64)
        self.triangle_uv = np.zeros((count, 3), np.int64)
        self.vertex_uv = np.zeros((len(mean), 2), np.float32)
        self._parts_of_uv: list[np.ndarray] = []
        eyes = {side: self._of_part(f"eyeball_{side}") for side in EYE_SIDES}
        teeth, mouth = self._of_part("teeth"), self._of_part("tongue", "gums")
        skin = ~(eyes["left"] | eyes["right"] | teeth | mouth | self._of_part("lashes"))
        warped, own = self._laid, head.mean.astype(np.float64)
        self._place(np.flatnonzero(skin), mean, warped, skin_triangles(head))
        for rows, parts in ((teeth, TEETH), (mouth, MOUTH)):
            self._place(np.flatnonzero(rows), mean, warped, _triangles_of(head, parts))
        centres = self.model.eye_centres(mean)
        for number, side in enumerate(EYE_SIDES):
            ball = head.eyeballs[side]
            around = own - (own[ball].min(axis=0) + own[ball].max(axis=0)) / 2
            self._place(
                np.flatnonzero(eyes[side]), _unit(mean - centres[number]), _unit(around),
                _triangles_of(head, (f"eyeball_{side}",)),
            )  # fmt: skip
        self.uv = np.concatenate(self._parts_of_uv).astype(np.float32)

    def _place(self, rows: np.ndarray, points: np.ndarray, onto: np.ndarray, triangles: np.ndarray) -> None:
        """The model's triangles `rows` on the open head's `triangles`; both meshes' vertices in the same space."""
        if not len(rows):
            return
        head, corners = self.head.topology, self.model.topology.triangles[rows]
        surface, number = OrientedSurface(onto, triangles), _numbers_of(head.triangles)
        used, place = np.unique(corners, return_inverse=True)
        place = place.reshape(corners.shape)
        normals = mesh_normals(points, corners)

        found, weights, _ = surface.closest(points[used], normals[used])
        triangle = number(found)
        uv = np.einsum("nc,ncd->nd", weights, head.uv[head.triangle_uv[triangle]].astype(np.float64))
        self.triangle[rows], self.corner[rows] = triangle[place], weights.argmax(axis=1)[place]
        self.vertex_uv[used] = uv
        first = sum(len(part) for part in self._parts_of_uv)
        self.triangle_uv[rows] = first + place
        self._parts_of_uv.append(uv)

        # Triangles that lie across a seam take their colours from the one under their middle: beyond the seam there is
        # something else on the texture.
        chart = _charts(head.triangle_uv)[self.triangle[rows]]
        length = np.linalg.norm(uv[place] - np.roll(uv[place], 1, axis=1), axis=2).max(axis=1)
        size = np.linalg.norm(points[corners] - np.roll(points[corners], 1, axis=1), axis=2).max(axis=1)
        across = (np.ptp(chart, axis=1) > 0) | (length > STRETCHED * np.median(length / size) * size)
        cut = np.flatnonzero(across)
        if not len(cut):
            return
        middle = points[corners[cut]].mean(axis=1)
        under = number(surface.closest(middle, normals[corners[cut]].mean(axis=1))[0])
        plane = onto[head.triangles[under]]
        weights = barycentric_coordinates(points[corners[cut]].reshape(-1, 3), np.repeat(plane, 3, axis=0))
        weights = np.clip(weights, 0.0, 1.0)
        weights /= weights.sum(axis=1, keepdims=True)
        corner_uv = np.repeat(head.uv[head.triangle_uv[under]].astype(np.float64), 3, axis=0)
        first = sum(len(part) for part in self._parts_of_uv)
        self.triangle_uv[rows[cut]] = first + np.arange(3 * len(cut)).reshape(-1, 3)
        self.triangle[rows[cut]] = under[:, None]
        self.corner[rows[cut]] = weights.reshape(-1, 3, 3).argmax(axis=2)
        self._parts_of_uv.append(np.clip(np.einsum("nc,ncd->nd", weights, corner_uv), 0.0, 1.0))

    def _below_the_neck(self) -> np.ndarray:
        """(T,) bool: triangles below the rim that the shoulders hang on."""
        rim = self.vertices(self.model.mean)[self.head.data["neck_loop"]]
        middle = rim.mean(axis=0)

        def around(points: np.ndarray) -> np.ndarray:
            return np.arctan2(points[:, 0] - middle[0], points[:, 2] - middle[2])

        order = np.argsort(around(rim))
        level = np.interp(around(self.model.mean), around(rim)[order], rim[order, 1], period=2 * np.pi)
        below = self.model.mean[:, 1] < level - RIM_TUCK_M[0] - BELOW_RIM_M
        return below[self.model.topology.triangles].sum(axis=1) >= 2


def _missing(model: MorphableModel) -> list[str]:
    """Regions of a head that a registered model does not have."""
    masks = load_face_model("open_head").masks
    return [name for name in NEEDED if model.trust[masks[name]].mean() < LEAST_TRUST]


def _triangles_of(head: OpenHead, parts: tuple[str, ...]) -> np.ndarray:
    inside = np.zeros(len(head.topology.faces), bool)
    for part in parts:
        inside[head.topology.part(part)] = True
    return head.topology.triangles[inside[head.topology.triangle_face]]


def _numbers_of(triangles: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function from rows of three vertices, as they stand in `triangles`, to the numbers of these rows."""
    count = int(triangles.max()) + 1

    def key(rows: np.ndarray) -> np.ndarray:
        return (rows[:, 0] * count + rows[:, 1]) * count + rows[:, 2]

    keys = key(triangles)
    order = np.argsort(keys)
    return lambda rows: order[np.searchsorted(keys, key(rows), sorter=order)]


def _charts(triangle_uv: np.ndarray) -> np.ndarray:
    """(T,) int: the chart of the texture that each triangle lies in."""
    edges = np.concatenate([triangle_uv[:, [0, 1]], triangle_uv[:, [1, 2]]])
    count = int(triangle_uv.max()) + 1
    graph = coo_matrix((np.ones(len(edges)), edges.T), (count, count))
    return connected_components(graph, directed=False)[1][triangle_uv[:, 0]]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
