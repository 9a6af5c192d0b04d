"""Displacement maps as arrays: mixed by shape-key values as the material mixes them, sampled, made a normal map.

Numpy alone, no bpy. A map is (H, W) float32, metres outwards along the normal of the coarse head; its first row lies at
v = 0, as Blender has pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

PHOTO_MAP, NEUTRAL_MAP = "photo", "neutral"
"""Names of the two maps that are no group's."""

HALF_BAND = 0.02
"""Of u, on either side of u = 0.5: over this band the wrinkles of one half of the face become those of the other."""

DILATED_TEXELS = 4
"""How far a normal map goes on beyond the charts, so that filtering finds no seam."""

FLAT = (0.0, 0.0, 1.0)


@dataclass(frozen=True)
class DisplacementMaps:
    """The maps of one head.

    Attributes:
        pictures: "photo", "neutral" and the name of each group -> (H, W) float32 metres; a group's with all of its
            keys at 1. Only those that are needed are asked for.
        keys: group -> the keys that raise it on the left and on the right half of the face.
        left_is_greater_u: whether the subject's left half lies at u > 0.5.
    """

    pictures: Mapping[str, np.ndarray]
    keys: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    left_is_greater_u: bool = True

    def mixed(self, values: Mapping[str, float], strength: float = 1.0, photograph: float = 0.0) -> np.ndarray:
        """The displacement with these shape-key values.

        strength * lerp(neutral + sum over groups of s_g * (group_g - neutral), photo, photograph), where s_g is the
        greatest value of the group's left keys on the left half and of its right keys on the right half, in 0..1.

        Args:
            values: keys that are not named are at 0.
            strength: of all detail.
            photograph: 0 for the mix, 1 for the photograph's own map.

        Returns:
            (H, W) float32 metres, the size of the neutral map.
        """
        neutral = self.pictures[NEUTRAL_MAP]
        height, width = neutral.shape
        left = left_share((np.arange(width, dtype=np.float32) + 0.5) / width, self.left_is_greater_u)
        mix = neutral.astype(np.float32, copy=True)
        for group, sides in self.keys.items():
            on_left, on_right = (greatest(values, keys) for keys in sides)
            if on_left or on_right:
                share = on_right + (on_left - on_right) * left
                mix += share * (resized(self.pictures[group], (height, width)) - neutral)
        if photograph:
            mix += photograph * (resized(self.pictures[PHOTO_MAP], (height, width)) - mix)
        return np.float32(strength) * mix

    def is_raised_by(self, key: str) -> bool:
        """Whether a shape key changes the displacement."""
        return any(key in (*left, *right) for left, right in self.keys.values())

    def extent(self) -> np.ndarray:
        """(H, W) float32: the largest displacement that any map has at a texel, without sign."""
        largest = np.abs(self.pictures[NEUTRAL_MAP])
        for name in (PHOTO_MAP, *self.keys):
            np.maximum(largest, np.abs(resized(self.pictures[name], largest.shape)), out=largest)
        return largest


def greatest(values: Mapping[str, float], keys: Sequence[str]) -> float:
    """The greatest value of some keys, in 0..1; keys without a value are at 0."""
    return min(max((values.get(key, 0.0) for key in keys), default=0.0), 1.0) if keys else 0.0


def left_share(u: np.ndarray, left_is_greater_u: bool = True) -> np.ndarray:
    """How much of the subject's left half there is at each u, 0..1: a smooth step about u = 0.5."""
    towards = np.clip((u - (0.5 - HALF_BAND)) / (2 * HALF_BAND), 0.0, 1.0)
    share = towards * towards * (3.0 - 2.0 * towards)
    return share if left_is_greater_u else 1.0 - share


def sample(picture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear values of a map; the picture repeats, as it does in a material.

    Args:
        picture: (H, W) float.
        uv: (N, 2) float.

    Returns:
        (N,) float32.
    """
    height, width = picture.shape
    place = uv.astype(np.float64) * (width, height) - 0.5
    corner = np.floor(place)
    along, up = (place - corner).T
    column, row = corner.astype(np.int64).T
    right, above = (column + 1) % width, (row + 1) % height
    column, row = column % width, row % height
    low = picture[row, column] * (1 - along) + picture[row, right] * along
    high = picture[above, column] * (1 - along) + picture[above, right] * along
    return (low * (1 - up) + high * up).astype(np.float32)


def resized(picture: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map at another size, bilinear; the same array where it has that size."""
    if picture.shape == tuple(shape):
        return picture
    height, width = shape
    u, v = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return sample(picture, np.stack([u.ravel(), v.ravel()], axis=1)).reshape(shape)


@dataclass(frozen=True)
class UnwrappedSurface:
    """A mesh as a normal map needs it: N face corners, T triangles of them.

    Attributes:
        uv: (N, 2) float.
        points: (N, 3) float metres.
        normals: (N, 3) unit normals; tangents: (N, 3) unit vectors along u, as MikkTSpace has them.
        signs: (N,) -1 or 1: the bitangent is sign * cross(normal, tangent).
        vertices: (N,) int, which corners are of one vertex.
        triangles: (T, 3) int, indices of corners.
    """

    uv: np.ndarray
    points: np.ndarray
    normals: np.ndarray
    tangents: np.ndarray
    signs: np.ndarray
    vertices: np.ndarray
    triangles: np.ndarray


def normal_map(height: np.ndarray, surface: UnwrappedSurface) -> np.ndarray:
    """The tangent-space normals of a displaced surface, for OpenGL (green is up).

    A surface P(u, v) with normal N, moved by h N, has the normal N - grad h, where grad h = h_u P^u + h_v P^v with the
    vectors P^u, P^v dual to the derivatives of P. (Terms of h times curvature are left out: h is small.)

    Args:
        height: (H, W) float metres.
        surface: in metres.

    Returns:
        (H, W, 3) float32 unit vectors, (0, 0, 1) where nothing is near.
    """
    rows, columns = height.shape
    texel, triangle, weights = covered_texels(surface.uv, surface.triangles, height.shape)
    is_covered = np.zeros(rows * columns, dtype=bool)
    is_covered[texel] = True
    is_covered = is_covered.reshape(rows, columns)
    along_u = (_slope(height, is_covered, axis=1) * columns).ravel()[texel]
    along_v = (_slope(height, is_covered, axis=0) * rows).ravel()[texel]
    result = np.full((rows * columns, 3), FLAT, dtype=np.float32)
    is_sloped = (along_u != 0) | (along_v != 0)
    texel, triangle, weights = texel[is_sloped], triangle[is_sloped], weights[is_sloped]
    along_u, along_v = along_u[is_sloped], along_v[is_sloped]
    corners = surface.triangles[triangle]

    def interpolated(values: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nkc->nc", weights, values[corners])

    dual_u, dual_v = _dual_vectors(surface)
    gradient = along_u[:, None] * interpolated(dual_u) + along_v[:, None] * interpolated(dual_v)
    normal = _unit(interpolated(surface.normals))
    tangent = interpolated(surface.tangents)
    tangent = _unit(tangent - normal * (normal * tangent).sum(axis=1, keepdims=True))
    bitangent = np.cross(normal, tangent) * surface.signs[corners[:, 0], None]
    local = np.ones((len(texel), 3))
    local[:, 0] = -(gradient * tangent).sum(axis=1)
    local[:, 1] = -(gradient * bitangent).sum(axis=1)
    result[texel] = _unit(local)
    return _dilated(result.reshape(rows, columns, 3), is_covered)


def covered_texels(
    uv: np.ndarray, triangles: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which triangle lies on the centre of each texel.

    Args:
        uv: (N, 2) float; triangles: (T, 3) int into it; shape: rows and columns of the picture.

    Returns:
        (M,) flat index of each covered texel, once; (M,) its triangle; (M, 3) float64 barycentric coordinates.
    """
    rows, columns = shape
    place = uv.astype(np.float64)[triangles] * (columns, rows) - 0.5  # (T, 3, 2) in texel centres
    first = np.maximum(np.ceil(place.min(axis=1) - 1e-6), 0).astype(np.int64)
    last = np.minimum(np.floor(place.max(axis=1) + 1e-6), (columns - 1, rows - 1)).astype(np.int64)
    size = np.maximum(last - first + 1, 0)
    count = size[:, 0] * size[:, 1]
    triangle = np.repeat(np.arange(len(triangles)), count)
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    column = first[triangle, 0] + step % np.maximum(size[triangle, 0], 1)
    row = first[triangle, 1] + step // np.maximum(size[triangle, 0], 1)
    a, b, c = place[:, 0], place[:, 1], place[:, 2]
    doubled = _cross(b - a, c - a)
    doubled = np.where(np.abs(doubled) < 1e-12, np.nan, doubled)
    weights = np.empty((len(triangle), 3))
    for corner, (start, side) in enumerate(((a, c - a), (a, a - b)), start=1):  # each is linear in column and row
        on_column, on_row = side[:, 1] / doubled, -side[:, 0] / doubled
        constant = -start[:, 0] * on_column - start[:, 1] * on_row
        weights[:, corner] = column * on_column[triangle] + row * on_row[triangle] + constant[triangle]
    weights[:, 0] = 1.0 - weights[:, 1] - weights[:, 2]
    inside = np.flatnonzero((weights >= -1e-6).all(axis=1))
    owner = np.full(rows * columns, -1, dtype=np.int64)
    owner[row[inside] * columns + column[inside]] = inside
    texel = np.flatnonzero(owner >= 0)
    return texel, triangle[owner[texel]], weights[owner[texel]]


def _dual_vectors(surface: UnwrappedSurface) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) each: the gradients of u and of v on the surface at every corner, per metre.

    In a triangle with edges E = [e1 e2] and the same edges D in UV they are the columns of E (E^T E)^-1 D^T; at a
    corner the mean over the triangles that meet there with the same UV, weighted by area.
    """
    points, uv = surface.points.astype(np.float64)[surface.triangles], surface.uv.astype(np.float64)[surface.triangles]
    first, second = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
    in_uv = np.stack([uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]], axis=1)  # (T, edge, u and v)
    aa, ab, bb = (first * first).sum(1), (first * second).sum(1), (second * second).sum(1)
    determinant = aa * bb - ab * ab
    area = 0.5 * np.sqrt(np.maximum(determinant, 0.0))
    inverse = np.where(determinant > 1e-24, 1.0 / np.maximum(determinant, 1e-24), 0.0)[:, None]
    to_first = (bb[:, None] * first - ab[:, None] * second) * inverse
    to_second = (aa[:, None] * second - ab[:, None] * first) * inverse
    of_triangle = to_first[:, :, None] * in_uv[:, None, 0] + to_second[:, :, None] * in_uv[:, None, 1]  # (T, xyz, uv)
    keys = np.column_stack([surface.vertices, np.round(surface.uv * 1e6)]).astype(np.int64)
    _, shared = np.unique(keys, axis=0, return_inverse=True)
    shared = shared.reshape(-1)
    of_corner = shared[surface.triangles].ravel()
    count = shared.max(initial=-1) + 1
    weight = np.repeat(area, 3)
    total = np.maximum(np.bincount(of_corner, weight, count), 1e-30)
    mean = np.empty((count, 3, 2))
    for axis in range(3):
        for direction in range(2):
            values = np.repeat(of_triangle[:, axis, direction], 3)
            mean[:, axis, direction] = np.bincount(of_corner, weight * values, count) / total
    return mean[shared, :, 0], mean[shared, :, 1]


def _slope(height: np.ndarray, is_covered: np.ndarray, axis: int) -> np.ndarray:
    """Metres a texel along an axis: the mean of the differences to those neighbours that are covered too."""
    step = np.diff(height.astype(np.float64), axis=axis)
    both = is_covered.take(range(1, height.shape[axis]), axis) & is_covered.take(range(height.shape[axis] - 1), axis)
    step = np.where(both, step, 0.0)
    before = [(0, 0), (0, 0)]
    after = [(0, 0), (0, 0)]
    before[axis], after[axis] = (1, 0), (0, 1)
    total = np.pad(step, before) + np.pad(step, after)
    count = np.pad(both, before).astype(np.int8) + np.pad(both, after)
    return total / np.maximum(count, 1)


def _dilated(normals: np.ndarray, is_covered: np.ndarray) -> np.ndarray:
    """The normals carried on beyond the covered texels; flat further out."""
    normals, known = normals.copy(), is_covered.copy()
    for _ in range(DILATED_TEXELS):
        total = np.zeros_like(normals)
        reached = np.zeros_like(known)
        for axis, by in ((0, 1), (0, -1), (1, 1), (1, -1)):
            moved = np.roll(known, by, axis)
            edge = [slice(None), slice(None)]
            edge[axis] = 0 if by > 0 else -1
            moved[tuple(edge)] = False
            total += np.roll(normals, by, axis) * moved[..., None]
            reached |= moved
        new = reached & ~known
        normals[new] = _unit(total[new])
        known |= new
    normals[~known] = FLAT
    return normals


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-20)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
