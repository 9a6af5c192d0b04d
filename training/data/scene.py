"""What a picture is drawn from: meshes, what lies on them in UV space, veils, and all of them as one mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from training.data.depth_buffer import facing, vertex_normals


@dataclass(frozen=True)
class Part:
    """A mesh to draw.

    Attributes:
        vertices: (N, 3) float32 metres, model space, posed.
        triangles: (M, 3) int64.
        colours: (N, 3) float32 linear albedo.
        gloss: (N,) float32 in [0, 1].
        openness: (N,) float32 in [0, 1], how much of the light from everywhere gets here.
        closed: seen from outside alone, so that triangles that face away can be left out.
        skin: light wraps round it.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colours: np.ndarray
    gloss: np.ndarray
    openness: np.ndarray
    closed: bool
    skin: bool


@dataclass(frozen=True)
class SurfaceTexture:
    """What lies on the first part in UV space.

    Attributes:
        layers: (S, S, 4) float32, linear albedo and gloss, first row at v = 1; then the same at half the size, …
        displacement: (S, S) float32 metres outwards.
        uv: (U, 2) float32; triangle_uv: (M, 3) int64, for the triangles of the first part.
    """

    layers: tuple[np.ndarray, ...]
    displacement: np.ndarray
    uv: np.ndarray
    triangle_uv: np.ndarray


def texture_layers(albedo: np.ndarray, gloss: np.ndarray, count: int = 4) -> tuple[np.ndarray, ...]:
    """Albedo (S, S, 3) and gloss (S, S) as the `layers` of a `SurfaceTexture`."""
    layers = [np.concatenate([albedo, gloss[..., None]], axis=-1)]
    while len(layers) < count:
        side = len(layers[-1]) // 2
        layers.append(cv2.resize(layers[-1], (side, side), interpolation=cv2.INTER_AREA))
    return tuple(layers)


@dataclass(frozen=True)
class Veil:
    """A mesh that hides what is behind it in part.

    Attributes:
        vertices: (N, 3) float32 metres, model space; triangles: (M, 3) int64.
        colour: (3,) float32 linear, light on it included.
        coverage: (N,) float32, the share that it hides.
        strand: (N,) float32, counts hairs across the mesh: coverage is high at whole numbers, low between.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colour: np.ndarray
    coverage: np.ndarray
    strand: np.ndarray


class Scene:
    """All parts as one mesh.

    Attributes:
        vertices: (V, 3) float32; triangles: (T, 3) int64.
        part: (T,) int32 the part of a triangle; first: (parts,) the first triangle of a part.
        attributes: (V, 11) float32: place, normal, colour, gloss, openness.
        closed, skin: (T,) bool.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        count = np.cumsum([0] + [len(part.vertices) for part in parts])
        lengths = [len(part.triangles) for part in parts]
        self.vertices = np.concatenate([part.vertices for part in parts]).astype(np.float32)
        self.triangles = np.concatenate([part.triangles + start for part, start in zip(parts, count, strict=False)])
        self.part = np.repeat(np.arange(len(parts), dtype=np.int32), lengths)
        self.first = np.cumsum([0] + lengths[:-1])
        normals = vertex_normals(self.vertices, self.triangles)
        rest = [np.concatenate([p.colours, p.gloss[:, None], p.openness[:, None]], axis=1) for p in parts]
        self.attributes = np.concatenate([self.vertices, normals, np.concatenate(rest)], axis=1).astype(np.float32)
        self.closed = np.array([part.closed for part in parts])[self.part]
        self.skin = np.array([part.skin for part in parts])[self.part]

    @property
    def normals(self) -> np.ndarray:
        """(V, 3) unit."""
        return self.attributes[:, 3:6]

    def facing(self, seen: np.ndarray, parallel: bool = False) -> np.ndarray:
        """Rows (K,) of the triangles that can be seen, with the vertices (V, 3) in the viewer's coordinates."""
        return facing(seen, self.triangles, self.closed, parallel)


@dataclass(frozen=True)
class SeenPixels:
    """What N pixels of the fine drawing see.

    Attributes:
        triangle: (N,) int64, row in the scene's triangles; weight: (N, 3) float32 barycentric.
        metres: side of a pixel at the head, for the choice of the texture's size.
    """

    triangle: np.ndarray
    weight: np.ndarray
    metres: float


def interpolate(values: np.ndarray, corners: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Values (V, C) at places given by vertices (N, 3) and weights (N, 3): (N, C) float32."""
    result = values[corners[:, 0]] * weight[:, :1]
    result += values[corners[:, 1]] * weight[:, 1:2]
    result += values[corners[:, 2]] * weight[:, 2:]
    return result


def sample(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """An image (H, W[, C]) float32 between its pixels at points (N, 2), whole numbers at their centres: (N[, C])."""
    row = 256
    padded = np.zeros((-(-len(points) // row) * row, 2), np.float32)
    padded[: len(points)] = points
    found = cv2.remap(
        image, padded.reshape(-1, row, 2), None, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return found.reshape(len(padded), *image.shape[2:])[: len(points)]
