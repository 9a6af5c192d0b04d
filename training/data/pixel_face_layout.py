"""Pixel-Face: some 8,483 moments of 855 people, each from left, middle and right, with scans and 106 points in space.

Lyu et al., "Pixel-Face: A Large-Scale, High-Resolution Benchmark for 3D Face Reconstruction", 2020. For research, by a
signed agreement (github.com/zyg11/Pixel-Face). Two layouts are read: the owner's, and the one that DF-MVR trains on
(4,173 moments of 419 people; 1,056 of 105 people for validation).

The photographs lie on their side and are mirrored: turned clockwise by a quarter and mirrored, they agree with the
scans. Files are in decimetres. The set does not say from which angle its views are.
"""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np

from backend.errors import UsageError
from backend.photographs import load_photograph
from training.data.folders import existing_folder, wrong_folder
from training.data.landmarks101 import NOT_COMPARED, PIXEL_FACE_POINTS, SEVEN
from training.data.mesh_files import read_mesh
from training.data.triples import Scan, Triple, TripleFolder, numbers_in_rows
from training.suggestions import unknown

VIEWS = ("0", "1", "2")
"""Folders of the left, middle and right view, as the set calls them."""
PICTURES = ("t.jpg", "t.jpeg", "t.bmp", "t.png")
POINTS, REGISTERED = Path("fusion/nicp_106_pts.txt"), Path("fusion/gt.mat")
SPLITS = {"train": "train", "val": "eva"}
"""Ours to the owner's name."""
MILLIMETRES = 100.0
"""In a unit of the files."""
SCAN_KEY = "new_kpt_gt_obj"
TREE = """\
  ROOT/
    train/SUBJECT/SAMPLE/Images/           and val/..., as DF-MVR lays it out
      0/t.jpg 1/t.jpg 2/t.jpg              left, middle and right, lying on their side
      fusion/nicp_106_pts.txt              106 lines of x y z
    val_obj/SUBJECTSAMPLE.obj              scans
  or, as its owner gives it,
  ROOT/
    SAMPLE/0/t.bmp 1/t.bmp 2/t.bmp         at any depth
    SAMPLE/fusion/gt.mat                   scan
    release_id/release_info.txt            lines of subject, sample, ...
    release_id/split/release_train.txt     and release_eva.txt: lines of samples"""


class PixelFaceFolder(TripleFolder):
    """The triples of Pixel-Face; see `TripleFolder`."""

    def image(self, path: Path) -> np.ndarray:
        # a quarter turn clockwise and then a mirror exchange rows and columns
        return np.ascontiguousarray(load_photograph(path).image.transpose(1, 0, 2))

    def points101(self, triple: Triple) -> np.ndarray | None:
        path = _moment(triple) / POINTS
        if path.is_file():
            points = numbers_in_rows(path, PIXEL_FACE_POINTS, 3)
        elif (registered := _moment(triple) / REGISTERED).is_file():
            vertices, _, marked = _read_registered(registered)
            if len(marked) != PIXEL_FACE_POINTS:
                return None
            points = vertices[marked]
        else:
            return None
        return (np.delete(points, NOT_COMPARED, axis=0) * MILLIMETRES).astype(np.float32)

    def scan(self, triple: Triple) -> Scan | None:
        points = self.points101(triple)
        meshes = (self.root / f"{part}_obj" / f"{triple.name.replace('/', '')}.obj" for part in ("val", "train"))
        mesh = next((path for path in meshes if path.is_file()), None)
        if points is None:
            return None
        if mesh is not None:
            read = read_mesh(mesh)
            vertices, triangles = read.vertices, read.triangles
        elif (registered := _moment(triple) / REGISTERED).is_file():
            vertices, triangles, _ = _read_registered(registered)
        else:
            return None
        return Scan(vertices * MILLIMETRES, triangles, points[list(SEVEN)].astype(np.float64))


def open_pixel_face(root: Path, split: str | None = "train") -> PixelFaceFolder:
    """The triples of a folder.

    Args:
        root: see `TREE`.
        split: "train", "val", or None for all.

    Raises:
        UsageError: "no-such-folder"; "wrong-data-folder", with the tree that was expected and what is there;
            "unknown-split"; "no-triples": the split is empty.
    """
    root = existing_folder(root, "Pixel-Face")
    if split is not None and split not in SPLITS:
        raise unknown("split", split, SPLITS, "of Pixel-Face")
    moments = {path.parent.parent for path in root.rglob("t.*") if path.parent.name in VIEWS}
    if not moments:
        raise wrong_folder(root, f"{root} is not laid out as Pixel-Face.", TREE)
    subjects, splits = _release(root)
    triples, left_out = [], {}
    for moment in sorted(moments):
        parts = [part for part in moment.relative_to(root).parts if part != "Images"]
        own_split = parts.pop(0) if parts and parts[0] in SPLITS else splits.get(parts[-1] if parts else "")
        if not parts or (split is not None and own_split != split):
            continue
        name = "/".join(parts)
        pictures = [
            next((moment / view / file for file in PICTURES if (moment / view / file).is_file()), None)
            for view in VIEWS
        ]
        if None in pictures:
            left_out[name] = f"the view {VIEWS[pictures.index(None)]} is missing"
            continue
        triples.append(Triple(subjects.get(parts[-1], parts[0]), name, tuple(pictures), (None, None, None)))
    if not triples:
        raise UsageError(
            "no-triples",
            f"{root} is laid out as Pixel-Face, but holds no complete moment of the split '{split}'. The splits are "
            f"the folders train and val, or the lists in release_id/split. {len(left_out)} moments lack a view.",
        )
    return PixelFaceFolder(root, triples, left_out)


def _moment(triple: Triple) -> Path:
    return triple.pictures[0].parent.parent


def _release(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The owner's lists, where they are: sample to subject, and sample to split."""
    folder = root / "release_id"
    subjects, splits = {}, {}
    for line in _lines(folder / "release_info.txt"):
        words = line.replace(",", " ").split()
        if len(words) > 1:
            subjects[words[1]] = words[0]
    for split, name in SPLITS.items():
        splits |= {PurePath(line).name: split for line in _lines(folder / f"split/release_{name}.txt")}
    return subjects, splits


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [line.strip() for line in path.read_text("utf-8-sig", errors="replace").splitlines() if line.strip()]


def _read_registered(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (V, 3), triangles (T, 3) and rows of the marked vertices of the owner's file.

    Raises:
        UsageError: "bad-scan".
    """
    from scipy.io import loadmat

    try:
        record = loadmat(path, variable_names=[SCAN_KEY])[SCAN_KEY]
        vertices = np.asarray(record["v"][0, 0], np.float64)
        triangles = np.asarray(record["f"][0, 0], np.int64) - 1
        marked = np.asarray(record["kpt_ind"][0, 0], np.int64).reshape(-1) - 1
        if vertices.shape[1:] != (3,) or triangles.shape[1:] != (3,) or not np.isfinite(vertices).all():
            raise ValueError(f"v is {vertices.shape} and f is {triangles.shape}")
        for rows in (triangles, marked):
            if rows.size and not (0 <= rows.min() and rows.max() < len(vertices)):
                raise ValueError("a face or a landmark names a vertex that is not there")
    except Exception as error:  # scipy raises whatever a file makes it stumble over
        raise UsageError(
            "bad-scan", f"{path} is no scan of Pixel-Face, a MATLAB file with {SCAN_KEY} (v, f, kpt_ind): {error}."
        ) from error
    return vertices, triangles, marked
