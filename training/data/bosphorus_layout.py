"""Bosphorus: 4,666 scans of 105 people with photographs, of which DF-MVR's comparison takes a neutral and two turned.

Savran et al., "Bosphorus Database for 3D Face Analysis", BIOID 2008. For research, by a signed agreement
(bosphorus.ee.boun.edu.tr). A scan is a grid of points (.bnt) with a photograph (.png) and labelled points (.lm3), in
millimetres, x to the right, y up, z towards the camera. There is no mesh: points are joined by a Delaunay
triangulation as the camera sees them, as in the paper.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.alignment import similarity
from backend.errors import UsageError
from training.data.folders import existing_folder, wrong_folder
from training.data.triples import Scan, Triple, TripleFolder

SUBJECT = re.compile(r"bs\d{3}")
RIGHT_ANGLES = (10, 20, 30, 45, 90)
"""Degrees of the set's views R; of L there are 45 and 90."""
LEFT_ANGLE = 45
LONGEST_SIDE_MM = 10.0
"""Of a triangle: longer ones bridge holes and the edge of the face. Neighbouring points lie under 1 mm apart."""
LEAST_SHARED = 4
"""Labelled points that a turned and the frontal scan need in common."""
EYE_CORNERS = ("Outer left eye corner", "Inner left eye corner", "Inner right eye corner", "Outer right eye corner")
NOSE_TIP, MOUTH_CORNERS = "Nose tip", ("Left mouth corner", "Right mouth corner")
HEADER, COUNT = struct.Struct("<HHdH"), struct.Struct("<I")
COLUMNS = 5
"""Of a point: x, y, z, and its place in the photograph."""
LARGEST_SCAN_BYTES = 200_000_000
TREE = """\
  ROOT/                              at any depth, such as BosphorusDB_p1/bs000/
    bs000/
      bs000_N_N_0.bnt  .png  .lm3    neutral, from the front: points, photograph, labelled points
      bs000_YR_L45_0.png  .lm3       turned by 45 degrees
      bs000_YR_R45_0.png  .lm3       turned to the other side by 10, 20, 30, 45 or 90 degrees
    bs001/ ..."""


@dataclass(frozen=True)
class PointGrid:
    """A scan as the set has it.

    Attributes:
        points: (N, 3) float64 millimetres, those of the face.
        rows, columns: of the grid, background included.
    """

    points: np.ndarray
    rows: int
    columns: int


class BosphorusFolder(TripleFolder):
    """The triples of Bosphorus; see `TripleFolder`. The scan is that of the frontal view."""

    def scan(self, triple: Triple) -> Scan:
        front = triple.pictures[1]
        points = read_bnt(front.with_suffix(".bnt")).points
        return Scan(points, delaunay_triangles(points), seven_landmarks(front.with_suffix(".lm3")))


def open_bosphorus(root: Path, right_angle: int = 45) -> BosphorusFolder:
    """One triple for each subject: the neutral face from the front, turned left by 45 degrees and turned right.

    Args:
        root: see `TREE`.
        right_angle: degrees, of `RIGHT_ANGLES`; the paper varies it.

    Raises:
        UsageError: "no-such-folder"; "wrong-data-folder", with the tree that was expected and what is there;
            "bad-angle"; "no-triples", which says what the first subject lacks.
    """
    if right_angle not in RIGHT_ANGLES:
        known = ", ".join(map(str, RIGHT_ANGLES))
        raise UsageError("bad-angle", f"Bosphorus has no right views of {right_angle} degrees; it has {known}.")
    root = existing_folder(root, "Bosphorus")
    named = (path for path in [root, *root.rglob("bs*")] if SUBJECT.fullmatch(path.name) and path.is_dir())
    # Others of this name are not the set's: those of triples that were prepared, say.
    subjects = sorted(path for path in named if any(path.glob(f"{path.name}_*")))
    if not subjects:
        raise wrong_folder(root, f"{root} has no folders of Bosphorus's subjects, bs000 to bs104.", TREE)
    triples, left_out = [], {}
    for folder in subjects:
        found = _triple(folder, right_angle)
        if isinstance(found, Triple):
            triples.append(found)
        else:
            left_out[folder.name] = found
    if not triples:
        name, why = next(iter(left_out.items()))
        raise UsageError(
            "no-triples",
            f"None of the {len(left_out)} subjects in {root} can be used. {name}: {why}. Expected:\n{TREE}",
        )
    return BosphorusFolder(root, triples, left_out)


def read_bnt(path: Path) -> PointGrid:
    """A scan's points; those of the background are left out.

    Raises:
        UsageError: "bad-scan": no such file, or it is none.
    """
    try:
        if path.stat().st_size > LARGEST_SCAN_BYTES:
            raise ValueError(f"it is larger than {LARGEST_SCAN_BYTES // 1_000_000} MB, which no scan is")
        data = path.read_bytes()
        rows, columns, background, length = HEADER.unpack_from(data)
        (count,) = COUNT.unpack_from(data, HEADER.size + length)
        start = HEADER.size + length + COUNT.size
        if count != rows * columns * COLUMNS or len(data) != start + 8 * count or not count:
            raise ValueError(f"it says {rows} x {columns} points and has {max(len(data) - start, 0) // 8} numbers")
        values = np.frombuffer(data, "<f8", count, start).reshape(COLUMNS, rows * columns)
    except (OSError, ValueError, struct.error) as error:
        raise UsageError("bad-scan", f"The scan {path} cannot be read: {error}.") from error
    points = values[:3].T[values[2] > background]
    if len(points) < 3 or not np.isfinite(points).all():
        raise UsageError("bad-scan", f"The scan {path} has no points of a face, or some that are no numbers.")
    return PointGrid(points, rows, columns)


def read_labelled_points(path: Path) -> dict[str, np.ndarray]:
    """The points of an .lm3 file by name, (3,) float64 millimetres each; a scan has those that it shows.

    Raises:
        UsageError: "bad-landmarks".
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
        start = next(row for row, line in enumerate(lines) if re.fullmatch(r"\d+ landmarks:?", line)) + 1
        names, rows = lines[start::2], [np.array(line.split(), float) for line in lines[start + 1 :: 2]]
        points = dict(zip(names, rows, strict=True))
        if any(point.shape != (3,) or not np.isfinite(point).all() for point in points.values()):
            raise ValueError("a point has other than three numbers")
    except (OSError, ValueError, StopIteration) as error:
        why = "there is no line such as '22 landmarks:'" if isinstance(error, StopIteration) else error
        raise UsageError("bad-landmarks", f"The landmarks {path} cannot be read: {why}.") from error
    return points


def seven_landmarks(path: Path) -> np.ndarray:
    """(7, 3) float64 millimetres of a frontal scan, in the order of `Scan.landmarks`.

    Which side the set's names mean, the picture's or the subject's, is seen from where the points lie: the subject's
    right is at smaller x.

    Raises:
        UsageError: "bad-landmarks": not all seven are labelled.
    """
    points = read_labelled_points(path)
    names = [*EYE_CORNERS, NOSE_TIP, *MOUTH_CORNERS]
    if missing := [name for name in names if name not in points]:
        raise UsageError("bad-landmarks", f"The landmarks {path} have no '{missing[0]}'.")
    step = 1 if points[EYE_CORNERS[0]][0] < points[EYE_CORNERS[-1]][0] else -1
    return np.array([points[name] for name in (*EYE_CORNERS[::step], NOSE_TIP, *MOUTH_CORNERS[::step])])


def delaunay_triangles(points: np.ndarray, longest_side_mm: float = LONGEST_SIDE_MM) -> np.ndarray:
    """Joins points of a scan that one camera saw.

    Args:
        points: (N, 3) float64 millimetres; the camera looks along -z.
        longest_side_mm: triangles with a longer side are left out.

    Returns:
        (T, 3) int64, counter-clockwise as the camera sees them.
    """
    from scipy.spatial import Delaunay

    triangles = Delaunay(points[:, :2]).simplices.astype(np.int64)
    corners = points[triangles]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    first, second = (corners[:, k, :2] - corners[:, 0, :2] for k in (1, 2))
    clockwise = first[:, 0] * second[:, 1] < first[:, 1] * second[:, 0]
    triangles[clockwise] = triangles[clockwise, ::-1]
    return triangles[sides.max(1) <= longest_side_mm]


def _triple(folder: Path, right_angle: int) -> Triple | str:
    """A subject's triple, or what it lacks."""
    kinds = ("N_N", f"YR_L{LEFT_ANGLE}", f"YR_R{right_angle}")
    views = []
    for kind in kinds:
        found = sorted(folder.glob(f"{folder.name}_{kind}_*.png"))
        if not found:
            return f"there is no {folder.name}_{kind}_0.png"
        views.append(found[0])
    front, *turned = views
    if not front.with_suffix(".bnt").is_file():
        return f"there is no {front.with_suffix('.bnt').name}"
    try:
        labelled = [read_labelled_points(path.with_suffix(".lm3")) for path in views]
    except UsageError as error:
        return error.sentence
    yaw = {front: 0.0}
    for path, points, angle in zip(turned, labelled[1:], (LEFT_ANGLE, right_angle), strict=True):
        shared = sorted(labelled[0].keys() & points.keys())
        if len(shared) < LEAST_SHARED:
            return f"{path.with_suffix('.lm3').name} has {len(shared)} points that the frontal one has, too few"
        before, after = (np.array([named[name] for name in shared]) for named in (labelled[0], points))
        forward = similarity(before, after)[1][:, 2]  # of a face that looked along z
        yaw[path] = angle if forward[0] < 0 else -angle
    order = sorted(views, key=lambda path: -yaw[path])
    if order[1] != front:
        return "both turned views show the same side"
    return Triple(folder.name, folder.name, tuple(order), tuple(float(yaw[path]) for path in order))
