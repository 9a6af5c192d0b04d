"""What is found wrong with scans and predictions before they are measured: unit, order of landmarks, topology.

Each of these mistakes gives a figure that looks like a bad method (some 4 mm where 1 mm would be right), or no figure
at all, and is said in a sentence instead.
"""

from functools import cache
from itertools import permutations

import numpy as np
from scipy.spatial import cKDTree

from backend.errors import UsageError
from backend.face_models.morphable_model import MorphableModel, split_quads
from training.evaluation.now import MILLIMETRES, procrustes, seven_landmarks

METRES_OF = {
    "um": 1e-6,
    "mm": 1e-3,
    "cm": 1e-2,
    "dm": 1e-1,
    "m": 1.0,
    "inch": 0.0254,
    "tenths of a millimetre": 1e-4,
    "hundredths of a millimetre": 1e-5,
    "decametres": 10.0,
    "hectometres": 100.0,
    "kilometres": 1000.0,
}
WORDS = {"um": "micrometres", "mm": "millimetres", "cm": "centimetres", "dm": "decimetres", "m": "metres"}
WORDS |= {"inch": "inches"}
UNITS = ("m", "dm", "cm", "mm", "um", "inch")
"""That a person can name on the command line."""
EYE_CORNERS_M = (0.05, 0.17)
"""Between the outer corners of a person's eyes: some 80 to 100 mm in adults, with room for poor predictions."""
SEVEN = (
    "outer corner of the right eye",
    "inner corner of the right eye",
    "inner corner of the left eye",
    "outer corner of the left eye",
    "nose base",
    "right corner of the mouth",
    "left corner of the mouth",
)
MIRRORED = (3, 2, 1, 0, 4, 6, 5)
BETTER_ORDER = 0.6
"""Of the misfit, that another order has at most where the given one is wrong. On pairs of random heads with 4 mm of
noise on every coordinate no other order came below 0.9; mirrored landmarks without noise come to 0.2."""
MISFIT, LARGEST_MISFIT = 0.05, 0.25
"""Of the distance of the outer eye corners: misfit from which on the order is doubted; that no two faces have."""
OFF_THE_SCAN, OFF_THE_MESH = 0.15, 0.3
"""Of the distance of the outer eye corners, that a landmark may lie from the nearest point or vertex."""


def check_unit(landmarks: np.ndarray, unit: str, what: str, option: str) -> None:
    """Refuses landmarks of a face that has no human size in the unit it is said to be in.

    Args:
        landmarks: see `seven_landmarks`, in `unit`.
        unit: a key of `METRES_OF`.
        what: whose they are, the begin of a sentence: "The scan a.obj".
        option: that says the unit on the command line.

    Raises:
        UsageError: "wrong-unit", with the unit that it seems to be in.
    """
    points = seven_landmarks(landmarks)
    apart = float(np.linalg.norm(points[3] - points[0]))
    if EYE_CORNERS_M[0] <= apart * METRES_OF[unit] <= EYE_CORNERS_M[1]:
        return
    low, high = (MILLIMETRES * bound for bound in EYE_CORNERS_M)
    fitting = [name for name, metres in METRES_OF.items() if EYE_CORNERS_M[0] <= apart * metres <= EYE_CORNERS_M[1]]
    shown = _length(apart * METRES_OF[unit])
    if apart == 0:
        advice = "All its landmarks seem to be one point."
    elif not fitting:
        advice = "No unit makes that a face: the landmarks belong to something else, or are in the wrong order."
    elif fitting[0] in UNITS:
        advice = f"It seems to be in {WORDS[fitting[0]]}: say {option} {fitting[0]}."
    else:
        advice = f"It seems to be in {fitting[0]}: scale it to one of {', '.join(UNITS)}."
    raise UsageError(
        "wrong-unit",
        f"{what} is said to be in {WORDS[unit]}, but then the outer corners of the eyes are {shown} apart; in people "
        f"they are {low:.0f} to {high:.0f} mm. {advice}",
    )


def check_landmark_order(landmarks: np.ndarray, scan_landmarks: np.ndarray, what: str) -> None:
    """Refuses landmarks that do not lie as those of the scan, in whatever size and pose.

    All 5,040 orders of the seven are tried. Where another fits far better than the one given, that one is wrong.

    Args:
        landmarks, scan_landmarks: see `seven_landmarks`, each in its own unit.
        what: whose they are, the begin of a sentence: "The landmarks a.npy".

    Raises:
        UsageError: "wrong-landmarks".
    """
    own, wanted = seven_landmarks(landmarks), seven_landmarks(scan_landmarks)
    if np.linalg.matrix_rank(own - own.mean(0), tol=1e-3 * max(np.abs(own - own.mean(0)).max(), 1e-30)) < 2:
        raise UsageError("wrong-landmarks", f"{what} all lie on one line or in one point.")
    size = np.linalg.norm(wanted[3] - wanted[0])
    start = procrustes(own, wanted, with_scale=True)
    misfit = float(np.sqrt(((start.apply(own) - wanted) ** 2).sum(1).mean()) / size)
    if misfit <= MISFIT:
        return
    misfits = _misfit_of_orders(own, wanted) / size
    best = int(misfits.argmin())
    if misfits[best] < BETTER_ORDER * misfit:
        order = tuple(_orders()[best].tolist())
        if order == MIRRORED:
            advice = "right and left seem to be exchanged, or the mesh is mirrored (right is the person's own right)"
        else:
            wrong = sorted((place, index) for index, place in enumerate(order) if index != place)
            listed = ", ".join(f"{place + 1}: {SEVEN[index]}" for place, index in wrong)
            advice = f"from the way they lie, number {listed}"
        raise UsageError("wrong-landmarks", f"{what} are not in the order of NoW ({', '.join(SEVEN)}): {advice}.")
    if misfit > LARGEST_MISFIT:
        raise UsageError(
            "wrong-landmarks",
            f"{what} do not lie as on a face: aligned with those of the scan they are {100 * misfit:.0f} % of the "
            f"distance of the outer eye corners off. NoW wants, in this order: {', '.join(SEVEN)}.",
        )


def check_landmarks_on(points: np.ndarray, landmarks: np.ndarray, furthest: float, what: str, where: str) -> None:
    """Refuses landmarks that are not near the points they should lie on.

    Args:
        points: (N, 3) of the scan or vertices of the mesh.
        landmarks: see `seven_landmarks`, in the same unit.
        furthest: `OFF_THE_SCAN` or `OFF_THE_MESH`.
        what, where: for the sentence: "The landmarks a.pp", "the scan a.obj".

    Raises:
        UsageError: "wrong-landmarks".
    """
    seven = seven_landmarks(landmarks)
    away = cKDTree(points).query(seven)[0] / max(np.linalg.norm(seven[3] - seven[0]), 1e-30)
    if away.max() > furthest:
        raise UsageError(
            "wrong-landmarks",
            f"{what} do not lie on {where}: the {SEVEN[int(away.argmax())]} is {away.max():.2g} times the distance of "
            "the outer eye corners away from it. They should be in the same unit and place as the mesh, and its own.",
        )


def check_topology(vertices: np.ndarray, triangles: np.ndarray, model: MorphableModel, what: str) -> None:
    """Refuses a mesh that is not a face model's.

    Args:
        vertices: (V, 3); triangles: (T, 3) int, quads cut along either diagonal; part of the model's faces is enough.
        model: whose topology it should have.
        what: the begin of a sentence: "The mesh a.obj".

    Raises:
        UsageError: "wrong-topology".
    """
    count = len(model.mean)
    if len(vertices) != count:
        raise UsageError(
            "wrong-topology",
            f"{what} has {len(vertices):,} vertices, but the face model {model.name} has {count:,}. It is another "
            "mesh, or was written by a program that splits vertices at texture seams.",
        )
    faces = model.topology.faces
    corners = np.where(faces < 0, faces[:, :1], faces)
    width = corners.shape[1]
    pairs = [corners[:, [i, j]] for i in range(width) for j in range(i + 1, width)]
    own = np.unique(_edge_numbers(np.concatenate([*pairs, split_quads(faces)[:, :2]]), count))
    edges = _edge_numbers(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), count)
    foreign = ~np.isin(edges, own)
    if foreign.any():
        raise UsageError(
            "wrong-topology",
            f"{what} has as many vertices as the face model {model.name}, but {foreign.mean():.0%} of its edges are "
            "not the model's: the vertices are in another order, or it is another edition of the model.",
        )


def _edge_numbers(edges: np.ndarray, count: int) -> np.ndarray:
    edges = np.sort(edges.astype(np.int64), axis=1)
    return edges[:, 0] * count + edges[:, 1]


@cache
def _orders() -> np.ndarray:
    return np.array(list(permutations(range(7))))


def _misfit_of_orders(own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Root mean square distance (5040,) after the best similarity, for `own[order]` against `wanted` (7, 3)."""
    own, wanted = own - own.mean(0), wanted - wanted.mean(0)
    covariance = np.einsum("ki,pkj->pij", wanted, own[_orders()])
    left, values, right = np.linalg.svd(covariance)
    trace = values[:, 0] + values[:, 1] + np.sign(np.linalg.det(left @ right)) * values[:, 2]
    return np.sqrt(np.maximum((wanted**2).sum() - trace**2 / (own**2).sum(), 0) / len(own))


def _length(metres: float) -> str:
    for bound, factor, unit in ((1e-3, 1e6, "micrometres"), (1, 1e3, "mm"), (1e3, 1, "m")):
        if metres < bound:
            return f"{metres * factor:.3g} {unit}"
    return f"{metres / 1000:.3g} km"
