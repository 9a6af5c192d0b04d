"""Which point of another face model is which point of the open head.

Three steps. A detector finds its 478 points on renders of both mean heads, from the front and from the sides: pairs of
points that are the same by name, with the detector's errors cancelling. Through them a smooth warp (thin-plate splines)
brings the open head near the other surface. Then the open head is drawn onto it: every vertex towards the closest point
that faces the same way, neighbours kept together by a stiffness that is lowered step by step (after Amberg et al.,
"Optimal Step Nonrigid ICP Algorithms for Surface Registration", CVPR 2007, with displacements in place of affine maps).
Where the other model has no surface, the open head stays as the warp left it, and is not trusted.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.interpolate import RBFInterpolator
from scipy.sparse.linalg import splu

from backend.alignment import similarity
from backend.face_mesh_points import FIRST_IRIS
from backend.face_models.morphable_model import SurfacePoints
from backend.face_models.open_head import OpenHead
from backend.face_models.rendered_landmarks import detect_on_head, embed_points, plain_colours, portrait_camera
from backend.lid_rig import mesh_edges
from backend.rendering.camera import Camera
from backend.surface import OrientedSurface, mesh_normals

YAWS = (0.0, -35.0, 35.0)
OWN_CENTRE = np.array([0.0, -0.03, 0.0])
"""Of the open head's pictures, metres."""
LEAST_FACING = 0.35
"""Cosine between the normal and the line of sight below which a detected point says little of the place."""
WARP_SMOOTHING = 2e-3
STIFFNESSES = (30.0, 12.0, 5.0, 2.0, 1.0, 0.5, 0.3, 0.3)
PAIR_WEIGHTS = (1.0, 0.6, 0.3, 0.1, 0.05, 0.02, 0.01, 0.01)
TANGENTIAL = 0.05
"""How much a vertex is drawn to the closest point along the surface, against square to it."""
FARTHEST_M = (0.02, 0.004)
"""From which distance on a closest point is not believed: in the first step, and in the last."""
LEAST_COSINE = 0.5
TRUSTED_M = (0.0015, 0.004)
"""Distances from the other surface from which on a vertex is trusted less, and not at all."""
FRAMED_HEIGHT_M = 0.26
"""A mesh that is higher than this is a whole head; its face is looked for below its top."""
FACE_BELOW_TOP_M = 0.135


@dataclass(frozen=True)
class BareHead:
    """What registration needs of a model.

    Attributes:
        mean: (V, 3) float64 metres, model space, any origin.
        triangles: (T, 3) int64 of the skin.
        colours: (V, 3) uint8 sRGB, for the detector to look at.
        all_triangles: (U, 3) int64, eyeballs and the rest included: what a picture shows.
    """

    mean: np.ndarray
    triangles: np.ndarray
    colours: np.ndarray
    all_triangles: np.ndarray


@dataclass(frozen=True)
class Registration:
    """The open head brought onto another model's mean head.

    Attributes:
        warped: (S, 3) float64 metres, all vertices of the open head in the other model's axes and origin.
        place: for every vertex of the open head the point of the other model's skin that it became.
        trust: (S,) float32 in [0, 1]: 0 where the other model has no such surface.
        source_place: for every vertex of the other model the point of the open head that became it.
        source_trust: (V,) float32 the same way round; 0 off the other model's skin too.
        similarity_scale: how much larger the other mean head is.
    """

    warped: np.ndarray
    place: SurfacePoints
    trust: np.ndarray
    source_place: SurfacePoints
    source_trust: np.ndarray
    similarity_scale: float


def register(source: OpenHead, target: BareHead) -> Registration:
    """Registers the open head to the mean head of another model.

    Raises:
        ValueError: the detector finds no face on renders of the other model.
    """
    skin = skin_triangles(source)
    pairs = _pairs(source, target)
    scale, rotation, shift = similarity(*pairs)
    aligned = scale * source.mean.astype(np.float64) @ rotation.T + shift
    start = _warp(source, pairs, aligned)
    warped = _drawn_onto(source, start, skin, target, pairs)
    return _maps(source, warped, skin, target, scale)


def skin_triangles(model: OpenHead) -> np.ndarray:
    """(T, 3) int64: skin, eye sockets and the lining of the mouth, which hang together."""
    topology = model.topology
    inside = np.zeros(len(topology.faces), bool)
    for part in ("skin", "mouth_inside"):
        inside[topology.part(part)] = True
    return topology.triangles[inside[topology.triangle_face]]


def outer_skin(model: OpenHead) -> np.ndarray:
    """(S,) bool: what can be seen of the skin; sockets and the mouth's lining are left out."""
    return model.masks["outer_skin"] & ~model.masks["eye_socket"]


@dataclass(frozen=True)
class _Pairs:
    """Points that are the same on both heads.

    Attributes:
        source: places on the open head; of_source, of_target: (N, 3) metres; weight: (N,).
    """

    source: SurfacePoints
    of_source: np.ndarray
    of_target: np.ndarray
    weight: np.ndarray

    def __iter__(self):
        return iter((self.of_source, self.of_target, self.weight))


def _pairs(source: OpenHead, target: BareHead) -> _Pairs:
    centre = _face_centre(target.mean)
    normals = mesh_normals(target.mean, target.triangles)
    corners, shares, of_target, weight = [], [], [], []
    for yaw in YAWS:
        own = _open_head_seen(source, yaw)
        camera = portrait_camera(centre, yaw)
        others = _seen(target.mean, target.all_triangles, target.triangles, target.colours, normals, camera)
        if yaw == 0.0:
            centre = _refined_centre(own, others)
        seen_well = np.minimum(own.facing, others.facing)
        kept = seen_well > LEAST_FACING
        corners.append(own.places.vertices[kept])
        shares.append(own.places.barycentric[kept])
        of_target.append(others.points[kept])
        weight.append(seen_well[kept])
    places = SurfacePoints(np.concatenate(corners), np.concatenate(shares))
    of_source = places.apply(source.mean.astype(np.float64))
    return _Pairs(places, of_source, np.concatenate(of_target), np.concatenate(weight))


@dataclass(frozen=True)
class _Seen:
    """What the detector finds on a picture of a head: places on its skin, (N, 3) metres, (N,) how far they face it."""

    places: SurfacePoints
    points: np.ndarray
    facing: np.ndarray


@lru_cache(maxsize=len(YAWS))
def _open_head_seen(source: OpenHead, yaw: float) -> _Seen:
    """Kept, as a process that prepares several models looks at the same open head each time."""
    skin = skin_triangles(source)
    camera = portrait_camera(OWN_CENTRE, yaw)
    normals = mesh_normals(source.mean, skin)
    return _seen(source.mean, source.topology.triangles, skin, plain_colours(source.masks), normals, camera)


def _seen(
    mean: np.ndarray, shown: np.ndarray, skin: np.ndarray, colours: np.ndarray, normals: np.ndarray, camera: Camera
) -> _Seen:
    head = np.asarray(mean, np.float64)
    face, _ = detect_on_head(head, shown, colours, camera)
    places = SurfacePoints(*embed_points(face.points[:FIRST_IRIS], head, skin, camera))
    return _Seen(places, places.apply(head), -(places.apply(normals) @ camera.rotation[2]))


def _refined_centre(own: _Seen, others: _Seen) -> np.ndarray:
    """What of the other head lies where the open head's picture is centred."""
    scale, rotation, shift = similarity(own.points, others.points)
    return scale * rotation @ OWN_CENTRE + shift


def _face_centre(mean: np.ndarray) -> np.ndarray:
    low, high = mean.min(axis=0), mean.max(axis=0)
    middle = (low + high) / 2
    if high[1] - low[1] > FRAMED_HEIGHT_M:
        middle[1] = high[1] - FACE_BELOW_TOP_M
    return middle


def _warp(source: OpenHead, pairs: _Pairs, aligned: np.ndarray) -> np.ndarray:
    """The aligned open head bent by thin-plate splines so that the pairs meet, about: (S, 3)."""
    at = pairs.source.apply(aligned)
    _, unique = np.unique(at.round(4), axis=0, return_index=True)
    bend = RBFInterpolator(
        at[unique], (pairs.of_target - at)[unique], kernel="thin_plate_spline", smoothing=WARP_SMOOTHING, degree=1
    )
    face = source.masks["face"] | source.masks["ears"]
    middle = at.mean(axis=0)
    reach = np.linalg.norm(at - middle, axis=1).max()
    away = np.linalg.norm(aligned - middle, axis=1) / reach
    fade = np.clip(1.6 - 0.6 * away, 0.0, 1.0)  # splines run away beyond their points
    fade[face] = 1.0
    return aligned + fade[:, None] * bend(aligned)


def _drawn_onto(source: OpenHead, start: np.ndarray, skin: np.ndarray, target: BareHead, pairs: _Pairs) -> np.ndarray:
    """The warped open head (S, 3) drawn onto the other surface."""
    count = len(start)
    edges = mesh_edges(np.concatenate([skin, np.full((len(skin), 1), -1)], axis=1))
    length = np.linalg.norm(start[edges[:, 0]] - start[edges[:, 1]], axis=1)
    stiff = np.median(length) / np.maximum(length, np.median(length) / 5)
    rows = np.arange(len(edges))
    difference = sparse.csr_matrix(
        (np.concatenate([stiff**0.5, -(stiff**0.5)]), (np.tile(rows, 2), edges.T.reshape(-1))), (len(edges), count)
    )
    laplacian = difference.T @ difference
    place = pairs.source
    pair_rows = np.repeat(np.arange(len(place.vertices)), 3)
    embed = sparse.csr_matrix(
        (place.barycentric.reshape(-1), (pair_rows, place.vertices.reshape(-1))), (len(place.vertices), count)
    )
    surface, rim = OrientedSurface(target.mean, target.triangles), _rim(target.triangles, len(target.mean))
    drawn = np.flatnonzero(outer_skin(source))
    used = np.unique(skin)
    displacement = np.zeros((count, 3))
    steps = len(STIFFNESSES)
    for step, (stiffness, pair_weight) in enumerate(zip(STIFFNESSES, PAIR_WEIGHTS, strict=True)):
        now = start + displacement
        normals = mesh_normals(now, skin)
        corners, shares, cosine = surface.closest(now[drawn], normals[drawn])
        closest = np.einsum("nc,ncd->nd", shares, target.mean[corners])
        way = closest - now[drawn]
        farthest = FARTHEST_M[0] * (FARTHEST_M[1] / FARTHEST_M[0]) ** (step / (steps - 1))
        on_rim = (rim[corners] & (shares > 0.02)).sum(axis=1) >= (shares > 0.02).sum(axis=1)
        weight = ((np.linalg.norm(way, axis=1) < farthest) & (cosine > LEAST_COSINE) & ~on_rim).astype(float)
        direction = np.einsum("nc,ncd->nd", shares, mesh_normals(target.mean, target.triangles)[corners])
        direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-12)
        block = weight[:, None, None] * (
            (1 - TANGENTIAL) * direction[:, :, None] * direction[:, None, :] + TANGENTIAL * np.eye(3)
        )
        wanted = closest - start[drawn]
        matrix = sparse.kron(
            stiffness * laplacian + pair_weight * (embed.T @ sparse.diags(pairs.weight) @ embed), sparse.eye(3)
        )
        matrix = matrix + _blocks(drawn, block, count) + 1e-6 * sparse.eye(3 * count)
        right = pair_weight * (embed.T @ (pairs.weight[:, None] * (pairs.of_target - embed @ start)))
        right[drawn] += np.einsum("nij,nj->ni", block, wanted)
        columns = (3 * used[:, None] + np.arange(3)).reshape(-1)
        solved = splu(matrix.tocsc()[columns][:, columns]).solve(right.reshape(-1)[columns])
        displacement = np.zeros((count, 3))
        displacement[used] = solved.reshape(-1, 3)
    return _with_inner_parts(source, start, start + displacement, used)


def _with_inner_parts(source: OpenHead, start: np.ndarray, drawn: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Eyeballs, teeth, tongue and lashes moved as the skin near them moved; each piece but the lashes as one."""
    result = drawn.copy()
    moved = drawn - start
    for part in source.topology.part_names:
        vertices = np.setdiff1d(source.topology.part_vertices(part), used)
        if not len(vertices):
            continue
        if part == "lashes":
            away = ((start[vertices][:, None] - start[used][None]) ** 2).sum(-1)
            result[vertices] = start[vertices] + moved[used[away.argmin(axis=1)]]
            continue
        middle = start[vertices].mean(axis=0)
        near = used[np.argsort(((start[used] - middle) ** 2).sum(axis=1))[:400]]
        result[vertices] = start[vertices] + np.median(moved[near], axis=0)
    return result


def _blocks(rows: np.ndarray, blocks: np.ndarray, count: int) -> sparse.csr_matrix:
    """A block-diagonal (3 count, 3 count) matrix with blocks (N, 3, 3) at some rows of blocks."""
    index = 3 * rows[:, None] + np.arange(3)
    first = np.repeat(index, 3, axis=1).reshape(-1)
    second = np.tile(index, (1, 3)).reshape(-1)
    return sparse.csr_matrix((blocks.reshape(-1), (first, second)), (3 * count, 3 * count))


def _rim(triangles: np.ndarray, count: int) -> np.ndarray:
    """(V,) bool: vertices on an edge with one triangle only."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    edge, uses = np.unique(edges, axis=0, return_counts=True)
    result = np.zeros(count, bool)
    result[edge[uses == 1]] = True
    return result


def _trust(distance: np.ndarray, cosine: np.ndarray, on_rim: np.ndarray) -> np.ndarray:
    near = np.clip((TRUSTED_M[1] - distance) / (TRUSTED_M[1] - TRUSTED_M[0]), 0, 1)
    return (near * np.clip((cosine - 0.2) / 0.4, 0, 1) * ~on_rim).astype(np.float32)


def _maps(source: OpenHead, warped: np.ndarray, skin: np.ndarray, target: BareHead, scale: float) -> Registration:
    own_normals, normals = mesh_normals(warped, skin), mesh_normals(target.mean, target.triangles)

    def map_of(points, point_normals, used, head, triangles):
        surface, rim = OrientedSurface(head, triangles), _rim(triangles, len(head))
        vertices = np.tile(triangles[:1], (len(points), 1)).astype(np.int64)
        weights = np.tile([1.0, 0.0, 0.0], (len(points), 1))
        trust = np.zeros(len(points), np.float32)
        vertices[used], weights[used], cosine = surface.closest(points[used], point_normals[used])
        found = np.einsum("nc,ncd->nd", weights[used], head[vertices[used]])
        on_rim = (rim[vertices[used]] | (weights[used] < 0.02)).all(axis=1)
        trust[used] = _trust(np.linalg.norm(found - points[used], axis=1), cosine, on_rim)
        return SurfacePoints(vertices.astype(np.int32), weights.astype(np.float32)), trust

    place, trust = map_of(warped, own_normals, np.unique(skin), target.mean, target.triangles)
    back, back_trust = map_of(target.mean, normals, np.unique(target.triangles), warped, skin)
    return Registration(warped, place, trust, back, back_trust, scale)
