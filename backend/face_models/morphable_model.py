"""What every face model offers: a mean, identity modes, a neutral head for a person, and that head's shape keys.

Model space: metres, right-handed, +Y up, +Z out of the face, +X towards the subject's left; the origin lies midway
between the eyeball centres of the neutral head.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from backend.code_measurement import CodeMeasurement
from backend.lid_rig import LidRig


@dataclass(frozen=True)
class Licence:
    """Under which terms a model, and a head made with it, may be used.

    Attributes:
        name: SPDX identifier or the licence's own name.
        sentence: what it means for the person.
        commercial: whether results may be used commercially.
    """

    name: str
    sentence: str
    commercial: bool


@dataclass(frozen=True)
class Topology:
    """Faces and texture coordinates, the same for every head of a model.

    Attributes:
        faces: (F, 4) int32, counter-clockwise seen from outside; -1 in the last column marks a triangle.
        uv: (T, 2) float32, v up as in OBJ files.
        face_uv: (F, 4) int32, rows of `uv`, -1 as in `faces`.
        part_names: P names: "skin", "eyeball_left", …
        part_faces: (P, 2) int32, half-open ranges of rows of `faces`.
    """

    faces: np.ndarray
    uv: np.ndarray
    face_uv: np.ndarray
    part_names: tuple[str, ...]
    part_faces: np.ndarray

    @cached_property
    def triangles(self) -> np.ndarray:
        """(T, 3) int64: every quad (a, b, c, d) as (a, b, c) and, right after it, (a, c, d)."""
        return split_quads(self.faces)

    @cached_property
    def triangle_uv(self) -> np.ndarray:
        """(T, 3) int64, rows of `uv` for the corners of `triangles`."""
        return split_quads(self.face_uv)

    @cached_property
    def triangle_face(self) -> np.ndarray:
        """(T,) int64, the row of `faces` each triangle comes from."""
        corners = np.repeat(np.arange(len(self.faces)), 2)
        keep = np.ones(len(corners), bool)
        keep[1::2] = self.faces[:, 3] >= 0
        return corners[keep]

    def part(self, name: str) -> slice:
        """The rows of `faces` that belong to a part.

        Raises:
            KeyError: the model has no such part.
        """
        if name not in self.part_names:
            raise KeyError(f"There is no part '{name}'; there are {', '.join(self.part_names)}.")
        start, end = self.part_faces[self.part_names.index(name)]
        return slice(int(start), int(end))

    def part_vertices(self, name: str) -> np.ndarray:
        """(N,) int64, ascending: the vertices used by a part's faces."""
        used = np.unique(self.faces[self.part(name)])
        return used[used >= 0].astype(np.int64)


def split_quads(faces: np.ndarray) -> np.ndarray:
    """(F, 4) quads, or triangles with -1 last, to (T, 3) int64 triangles in the same order."""
    faces = np.asarray(faces, dtype=np.int64)
    both = np.stack([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
    return both[both[:, 2] >= 0]


@dataclass(frozen=True)
class KeyOffsets:
    """The shape keys of one person's head, sparse.

    Attributes:
        names: K names; ARKit's own spelling, left is the subject's left.
        index: (N, 2) int32, pairs (key, vertex), sorted.
        offset: (N, 3) float32, metres at weight 1.
    """

    names: tuple[str, ...]
    index: np.ndarray
    offset: np.ndarray

    @classmethod
    def from_dense(cls, names: Sequence[str], offsets: np.ndarray, smallest: float = 1e-6) -> "KeyOffsets":
        """From (K, V, 3) metres; offsets whose every component is below `smallest` metres are left out."""
        index = np.argwhere(np.abs(offsets).max(axis=2) >= smallest).astype(np.int32)
        return cls(tuple(names), index, offsets[index[:, 0], index[:, 1]].astype(np.float32))

    def dense(self, vertices: int) -> np.ndarray:
        """(K, vertices, 3) float32, metres at weight 1."""
        result = np.zeros((len(self.names), vertices, 3), np.float32)
        result[self.index[:, 0], self.index[:, 1]] = self.offset
        return result

    def apply(self, vertices: np.ndarray, weights: Mapping[str, float] | np.ndarray) -> np.ndarray:
        """The head with keys set: (V, 3) float32 metres from the neutral (V, 3).

        Args:
            vertices: (V, 3), the neutral head these keys belong to.
            weights: (K,) in the order of `names`, or weights by name with the rest 0.

        Raises:
            KeyError: a name that is no key.
        """
        if isinstance(weights, Mapping):
            values = np.zeros(len(self.names), np.float32)
            for name, value in weights.items():
                if name not in self.names:
                    raise KeyError(f"There is no shape key '{name}'.")
                values[self.names.index(name)] = value
        else:
            values = np.asarray(weights, np.float32)
        result = np.array(vertices, np.float32)
        moved = values[self.index[:, 0]] != 0
        rows = self.index[moved]
        np.add.at(result, rows[:, 1], values[rows[:, 0], None] * self.offset[moved])
        return result


@dataclass(frozen=True)
class SurfacePoints:
    """Points that stay on the surface: L points as vertices and barycentric weights.

    Attributes:
        vertices: (L, 3) int32.
        barycentric: (L, 3) float32, rows sum to 1.
    Points that are means of several such have more than three vertices each.
    """

    vertices: np.ndarray
    barycentric: np.ndarray

    def apply(self, vertices: np.ndarray) -> np.ndarray:
        """Their places on a head: (..., V, 3) to (..., L, 3)."""
        return np.einsum("...lcd,lc->...ld", vertices[..., self.vertices, :], self.barycentric)


@dataclass(eq=False)
class MorphableModel(ABC):
    """A head that varies with identity and moves with named keys.

    Attributes:
        name: as given to `load_face_model`.
        licence: of the model.
        topology: faces, texture coordinates and parts.
        mean: (V, 3) float32, metres.
        identity_basis: (K, V, 3) float32, metres for one standard deviation.
        key_names: names of the face model's own keys, in ARKit's spelling where it means the same.
        mirror: (V,) int32, the vertex on the other side of the face; its own mirror on the middle line.
        masks: region name -> (V,) bool.
    """

    name: str
    licence: Licence
    topology: Topology
    mean: np.ndarray
    identity_basis: np.ndarray
    key_names: tuple[str, ...]
    mirror: np.ndarray
    masks: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def identity_size(self) -> int:
        """How many identity coefficients the model has."""
        return len(self.identity_basis)

    @abstractmethod
    def neutral(self, identity: np.ndarray) -> np.ndarray:
        """A person's neutral head, eyes open, mouth shut, recentred between the eyeballs.

        Args:
            identity: (K,) or fewer (the rest are 0), in standard deviations.

        Returns:
            (V, 3) float32, metres.
        """

    @abstractmethod
    def key_offsets(self, neutral: np.ndarray) -> KeyOffsets:
        """The shape keys of the person whose neutral head (V, 3) this is."""

    @abstractmethod
    def eye_centres(self, vertices: np.ndarray) -> np.ndarray:
        """Centres of the eyeballs of a neutral head (V, 3), subject's left first: (2, 3) metres."""

    @abstractmethod
    def rig_of(self, neutral: np.ndarray) -> LidRig:
        """The lids of the person whose neutral head (V, 3) this is."""

    @abstractmethod
    def landmarks68(self, vertices: np.ndarray) -> np.ndarray:
        """The 68 points in the order of iBUG 300-W: (..., V, 3) to (..., 68, 3), metres."""

    def from_open_head(self, points: SurfacePoints) -> tuple[SurfacePoints, np.ndarray]:
        """Where points of the open head lie on this model: L points on its surface, and (L,) trust in [0, 1] in them.

        The landmark calibrations are made for the open head; this is how they serve every other model.
        """
        return points, np.ones(len(points.vertices))

    def own_measurement(self, measured: CodeMeasurement) -> CodeMeasurement:
        """What a network that learnt on the open head says, in this model's codes."""
        return measured

    def shape(self, identity: np.ndarray) -> np.ndarray:
        """Mean and identity modes alone, (V, 3) float32: linear, eyes not yet fitted, not recentred."""
        identity = np.asarray(identity, np.float32)
        return self.mean + np.tensordot(identity, self.identity_basis[: len(identity)], axes=1)
