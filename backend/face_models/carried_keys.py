"""ARKit's 52 shape keys on any face model: carried over from the open head, skin and what lies behind it."""

from collections.abc import Mapping

import numpy as np
from scipy.spatial import cKDTree

from backend.alignment import similarity
from backend.face_models.deformation_transfer import TransferSource, transfer_keys
from backend.face_models.mesh_pieces import connected_pieces, mirror_images, used_vertices
from backend.face_models.morphable_model import KeyOffsets, split_quads
from backend.face_models.open_head import OpenHead
from backend.face_models.registration import Registration, skin_triangles
from backend.lid_rig import mesh_edges

MOVES_M = 2e-5
MIRRORED_M = 0.0015
"""Keys of the two sides are made alike where a vertex has another this near to its mirror image."""
JAW, SEAL = "jawOpen", "mouthClose"
LIPS_SHARE = (0.1, 0.4)
"""Of the largest movement of the key that shuts the mouth: from where on, and from where on wholly, a point belongs to
what shuts."""
UPPER_INNER_LIP = (61, 62, 63)
"""Of the 68 landmarks."""
SEALS_TRIED, MEETING_M = 41, 0.0003
TEETH = ("teeth_upper", "teeth_lower")
IN_THE_MOUTH = ("teeth_upper", "teeth_lower", "tongue", "mouth_inside")
INNER_PARTS = {"lashes": ("lashes",), "tongue": ("tongue",)}
"""Which parts of the open head say how a part of another model moves; others in the mouth: all that are there."""
NEIGHBOURS, BLEND_M, SMOOTHINGS = 24, 0.003, 12
"""Gums and tongue may be one mesh: they follow so many vertices of the open head, weighted over this distance, and are
then smoothed so often over their own edges."""


def carried_keys(
    open_head: OpenHead,
    registration: Registration,
    mean: np.ndarray,
    faces: np.ndarray,
    parts: Mapping[str, np.ndarray],
    skin: np.ndarray,
    own: Mapping[str, np.ndarray],
) -> KeyOffsets:
    """The keys of the average head.

    Args:
        open_head, registration: of the open head to the model.
        mean: (V, 3) metres; faces: (F, 4); parts: name -> rows of `faces`; eyeballs are left as they are.
        skin: (T, 3) triangles of the skin, which hang together.
        own: name -> (V, 3) metres, keys that the model has itself: they stay.

    Returns:
        All keys of the open head, in its order.
    """
    names = tuple(open_head.data["key_names"].tolist())
    stored = KeyOffsets(names, open_head.data["key_index"], open_head.data["key_q"] * open_head.data["key_step"])
    missing = [number for number, name in enumerate(names) if name not in own or name == SEAL]
    keys = stored.dense(len(open_head.mean)).astype(np.float64)
    if JAW in own:
        keys[names.index(SEAL)] += keys[names.index(JAW)]  # the shut mouth of a jaw that has dropped, as a whole
    keys = keys[missing]
    rotation = similarity(open_head.mean.astype(np.float64), registration.warped)[1]
    source = TransferSource(
        open_head.mean.astype(np.float64),
        skin_triangles(open_head),
        registration.source_place,
        registration.source_trust,
        rotation,
        registration.similarity_scale,
    )
    carried = transfer_keys(source, keys, mean, skin)
    turned = registration.similarity_scale * keys @ rotation.T
    in_skin = np.unique(skin)
    jaws = _jaws(faces, parts)
    for part, rows in parts.items():
        if part.startswith("eyeball"):
            continue
        vertices = np.setdiff1d(used_vertices(faces[rows]), np.concatenate([in_skin, *jaws]))
        if not len(vertices):
            continue
        carried[:, vertices] = _followed(open_head, registration, part, mean[vertices], turned)
        if part not in INNER_PARTS:
            _smooth(carried, vertices, faces[rows])
    for piece in jaws:
        carried[:, piece] = _rigid(open_head, registration, mean[piece], turned)
    result = np.zeros((len(names), len(mean), 3), np.float32)
    result[missing] = carried
    middle = (mean.max(axis=0) + mean.min(axis=0)) * [0.5, 0, 0]
    _make_sides_alike(result, names, missing, *mirror_images(mean - middle, split_quads(faces)))
    for number, name in enumerate(names):
        if name in own and name != SEAL:
            result[number] = own[name]
    if JAW in own:
        wanted = result[names.index(SEAL)] - own[JAW]
        result[names.index(SEAL)] = _sealing(wanted, own, mean, _LipGap(open_head, registration))
    return KeyOffsets.from_dense(names, result, MOVES_M)


class _LipGap:
    """How far the inner edge of the upper lip is from the lower lip at most, metres, for a head (V, 3) of a model."""

    def __init__(self, open_head: OpenHead, registration: Registration):
        points, place = open_head.points68, registration.place
        corners = points.vertices[list(UPPER_INNER_LIP)]  # (3, 3)
        self._vertices = place.vertices[corners]  # (3, 3, 3)
        self._weights = points.barycentric[list(UPPER_INNER_LIP)][..., None] * place.barycentric[corners]
        back = registration.source_place
        of_lip = (open_head.masks["lip_lower"][back.vertices] * back.barycentric).sum(axis=1)
        self._lower_lip = np.flatnonzero((of_lip > 0.5) & (registration.source_trust > 0.5))

    def __call__(self, head: np.ndarray) -> float:
        upper = (head[self._vertices] * self._weights[..., None]).sum(axis=(1, 2))
        return float(cKDTree(head[self._lower_lip]).query(upper)[0].max())


def _sealing(wanted: np.ndarray, own: Mapping[str, np.ndarray], mean: np.ndarray, gap: _LipGap) -> np.ndarray:
    """The key (V, 3) that lays the lips on each other over the model's own dropped jaw, its own key away from them.

    Args:
        wanted: (V, 3), what takes the dropped jaw's mouth to that which was carried over.
        own: the model's keys; where it has one that shuts the mouth, as little of it is taken as makes the lips meet.
        mean: (V, 3), the head at rest.
        gap: of the lips.
    """
    if SEAL not in own:
        return wanted
    own_seal = own[SEAL]
    strength = np.linalg.norm(own_seal, axis=1)
    share = np.clip((strength / strength.max() - LIPS_SHARE[0]) / (LIPS_SHARE[1] - LIPS_SHARE[0]), 0, 1)[:, None]
    mixed = own_seal + share * share * (3 - 2 * share) * (wanted - own_seal)
    tried = [mixed + amount * (own_seal - mixed) for amount in np.linspace(0, 1, SEALS_TRIED)]
    gaps = np.array([gap(mean + own[JAW] + key) for key in tried])
    meeting = np.flatnonzero(gaps <= max(gap(mean), gaps.min()) + MEETING_M)
    return tried[meeting[0]]


def _jaws(faces: np.ndarray, parts: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Vertices (N,) of what moves as one: each connected piece of teeth, with the gums that hang together with it."""
    rows = [rows for name, rows in parts.items() if name.startswith("teeth") or name == "gums"]
    if not rows:
        return []
    together = faces[np.concatenate(rows)]
    teeth = [used_vertices(faces[rows]) for name, rows in parts.items() if name.startswith("teeth")]
    pieces = [used_vertices(together[piece]) for piece in connected_pieces(together)]
    return [piece for piece in pieces if any(np.isin(piece, tooth).any() for tooth in teeth)]


def _rigid(open_head: OpenHead, registration: Registration, piece: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(K, N, 3): a tooth, or a jaw's teeth, turns and moves as one, with the open head's row that is nearer to it."""
    rows = [open_head.topology.part_vertices(part) for part in TEETH]
    away = [cKDTree(registration.warped[row]).query(piece)[0].mean() for row in rows]
    row = rows[int(np.argmin(away))]
    rest = registration.warped[row]
    middle = rest.mean(axis=0)
    moved = np.empty((len(keys), len(piece), 3))
    for number, key in enumerate(keys[:, row]):
        shift = key.mean(axis=0)
        moved[number] = (piece - middle) @ similarity(rest, rest + key)[1].T + middle + shift - piece
    return moved


def _followed(
    open_head: OpenHead, registration: Registration, part: str, points: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    """(K, N, 3): how points move: as what lies round them on the open head, the nearest counting most."""
    names = INNER_PARTS.get(part, IN_THE_MOUTH)
    vertices = np.unique(np.concatenate([open_head.topology.part_vertices(name) for name in names]))
    distance, index = cKDTree(registration.warped[vertices]).query(points, k=NEIGHBOURS)
    weight = np.exp(-0.5 * ((distance - distance[:, :1]) / BLEND_M) ** 2)
    weight /= weight.sum(axis=1, keepdims=True)
    return np.einsum("nc,kncd->knd", weight, keys[:, vertices[index]])


def _smooth(keys: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> None:
    """Means over neighbours of a part's own vertices, in place."""
    edges = mesh_edges(faces)
    edges = edges[np.isin(edges, vertices).all(axis=1)]
    start, end = np.concatenate([edges, edges[:, ::-1]]).T
    count = np.maximum(np.bincount(start, minlength=keys.shape[1]), 1)[vertices]
    for _ in range(SMOOTHINGS):
        for key in keys:
            for axis in range(3):
                mean = np.bincount(start, key[end, axis], minlength=len(key))[vertices] / count
                key[vertices, axis] = 0.5 * (key[vertices, axis] + mean)


def _make_sides_alike(
    keys: np.ndarray, names: tuple[str, ...], chosen: list[int], mirror: np.ndarray, away: np.ndarray
) -> None:
    """Means of each key and the mirror image of its partner of the other side: each has its own errors."""
    paired = away < MIRRORED_M
    before = keys.copy()
    for number in chosen:
        name = names[number]
        other = name.replace("Left", "Right") if "Left" in name else name.replace("Right", "Left")
        partner = before[names.index(other)][mirror] * [-1, 1, 1]
        keys[number][paired] = (0.5 * (before[number] + partner))[paired]
