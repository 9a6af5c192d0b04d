"""The folders of the NoW challenge: its list of photographs, its scans, and predictions as its evaluation takes them.

The layout of predictions is that of the challenge's own evaluation (github.com/soubhiksanyal/now_evaluation,
`compute_error.py`): for the photograph SUBJECT/CHALLENGE/NAME.jpg of the list a mesh SUBJECT/CHALLENGE/NAME.obj or .ply
and its seven landmarks, rows of x y z, in NAME.npy or NAME.txt beside it. Scans and their landmarks are in millimetres.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.errors import UsageError
from training.data.folders import NOW_CHALLENGES, NOW_TREE, existing_folder, wrong_folder
from training.data.mesh_files import write_obj

LISTS = {"validation": "imagepathsvalidation.txt", "test": "imagepathstest.txt"}
LARGEST_TEXT_BYTES = 5_000_000
PREDICTIONS_TREE = """\
  PREDICTIONS/
    SUBJECT/multiview_neutral/IMG_0001.obj     or .ply, for every photograph of the list
    SUBJECT/multiview_neutral/IMG_0001.npy     or .txt: seven landmarks, (7, 3)"""
POINT = re.compile(r"<point\b[^>]*>")
ATTRIBUTE = re.compile(r"\b(x|y|z|name|active)\s*=\s*\"([^\"]*)\"")


@dataclass(frozen=True)
class NowPhotograph:
    """A photograph of the list.

    Attributes:
        subject: such as "FaMoS_180424_03335_TA".
        challenge: one of `NOW_CHALLENGES`.
        file: its file name with the ending, such as "IMG_0053.jpg".
    """

    subject: str
    challenge: str
    file: str

    @property
    def name(self) -> str:
        """ "SUBJECT/CHALLENGE/IMG_0053", without the ending."""
        return f"{self.subject}/{self.challenge}/{Path(self.file).stem}"


@dataclass(frozen=True)
class NowFolder:
    """What of the challenge is on this computer.

    Attributes:
        root: as the person gave it.
        photographs: of the list, in its order.
        scans: by subject, the scan's file; subjects of the test set have none.
        scan_landmarks: by subject, the file of picked points.
    """

    root: Path
    photographs: list[NowPhotograph]
    scans: dict[str, Path]
    scan_landmarks: dict[str, Path]

    def picture(self, photograph: NowPhotograph) -> Path:
        """Where the picture of a photograph should be; it need not be there."""
        release = next((path for path in _releases(self.root) if (path / "iphone_pictures").is_dir()), self.root)
        return release / "iphone_pictures" / photograph.subject / photograph.challenge / photograph.file


def open_now(root: Path, images: str | Path | None = None) -> NowFolder:
    """Reads the list of photographs and finds the scans.

    Args:
        root: the folder that holds the list, `scans` and `scans_lmks_onlypp`.
        images: "validation" or "test" for the set's own list, or a list of one's own; None for the validation list and,
            where there is none, the test list.

    Raises:
        UsageError: "no-such-folder", "wrong-data-folder" with the tree that was expected and what is there,
            "bad-image-list".
    """
    root = existing_folder(root, "the NoW challenge")
    names = list(LISTS.values()) if images is None else [LISTS.get(str(images), str(images))]
    places = [place / name for name in names for place in (root, *_releases(root))]
    found = next((place for place in (*places, Path(names[0])) if place.is_file()), None)
    if found is None:
        raise wrong_folder(root, f"{root} has no list of photographs ({' or '.join(names)}).", NOW_TREE)
    scans, landmarks = {}, {}
    photographs = read_image_list(found)
    for subject in dict.fromkeys(photograph.subject for photograph in photographs):
        for kind, folder, endings in (
            (scans, "scans", (".obj", ".ply")),
            (landmarks, "scans_lmks_onlypp", (".pp", ".npy", ".txt")),
        ):
            for place in (root, *_releases(root)):
                below = place / folder / subject
                files = sorted(path for path in below.glob("*") if path.suffix.lower() in endings)
                if files:
                    kind.setdefault(subject, files[0])
    return NowFolder(root, photographs, scans, landmarks)


def read_image_list(path: Path) -> list[NowPhotograph]:
    """The photographs of a list: lines that end in SUBJECT/CHALLENGE/FILE. Empty lines are passed over.

    Raises:
        UsageError: "bad-image-list", with the line.
    """
    photographs = []
    for number, line in enumerate(_text(path, "bad-image-list").splitlines(), 1):
        if not line.strip():
            continue
        parts = line.strip().replace("\\", "/").split("/")
        if len(parts) < 3 or parts[-2] not in NOW_CHALLENGES or any(part in ("", ".", "..") for part in parts[-3:]):
            raise UsageError(
                "bad-image-list",
                f"Line {number} of {path} is '{line.strip()[:100]}'. Lines should be SUBJECT/CHALLENGE/FILE, and the "
                f"challenge one of {', '.join(NOW_CHALLENGES)}.",
            )
        photographs.append(NowPhotograph(*parts[-3:]))
    if not photographs:
        raise UsageError("bad-image-list", f"The list {path} names no photograph.")
    return list(dict.fromkeys(photographs))


def find_prediction(predictions: Path, photograph: NowPhotograph) -> tuple[Path | None, Path | None]:
    """The files of mesh and landmarks of a photograph, None for each that is not there."""
    base = predictions / photograph.name
    found = []
    for endings in ((".obj", ".ply", ".stl"), (".npy", ".txt")):
        files = (base.with_name(base.name + ending) for ending in endings)
        found.append(next((file for file in files if file.is_file()), None))
    return found[0], found[1]


def write_prediction(
    predictions: Path, photograph: NowPhotograph, vertices: np.ndarray, triangles: np.ndarray, landmarks: np.ndarray
) -> Path:
    """Writes a predicted neutral head as the challenge takes it.

    Args:
        predictions: folder of all predictions; made where it is not there.
        photograph: whose head it is.
        vertices: (V, 3) in metres; triangles: (T, 3) int.
        landmarks: (7, 3) metres, in the order of `now.seven_landmarks`.

    Returns:
        The mesh file. Landmarks are written first, so that a mesh that is there has its landmarks.
    """
    if np.shape(landmarks) != (7, 3):
        raise ValueError(f"The challenge takes seven landmarks, (7, 3), not {np.shape(landmarks)}.")
    base = predictions / photograph.name
    base.parent.mkdir(parents=True, exist_ok=True)
    np.save(base.with_name(base.name + ".npy"), np.asarray(landmarks, np.float32))
    mesh = base.with_name(base.name + ".obj")
    partial = base.with_name(f".{base.name}.partial")
    write_obj(partial, vertices, triangles)
    partial.replace(mesh)
    return mesh


def read_landmarks(path: Path) -> np.ndarray:
    """Landmarks of a file: (7, 3), (51, 3) or (68, 3) float64, in the file's unit.

    Args:
        path: .npy, .txt (rows of x y z) or .pp (points picked in MeshLab, as NoW gives them with its scans).

    Raises:
        UsageError: "bad-landmarks": unreadable, another number of points, or coordinates that are no numbers.
    """
    ending = path.suffix.lower()
    try:
        if ending == ".npy":
            points = np.asarray(np.load(path, allow_pickle=False), np.float64)
        elif ending == ".pp":
            points = _picked_points(path)
        else:
            rows = [line.replace(",", " ").split() for line in _text(path, "bad-landmarks").splitlines()]
            points = np.array([[float(word) for word in row] for row in rows if row])
    except (ValueError, TypeError, EOFError, OSError) as error:
        raise UsageError("bad-landmarks", f"The landmarks {path} cannot be read: {error}.") from error
    if points.ndim == 3 and points.shape[0] == 1:
        points = points[0]
    if points.shape not in ((7, 3), (51, 3), (68, 3)):
        raise UsageError(
            "bad-landmarks",
            f"The landmarks {path} are {points.shape}. NoW wants seven points with three coordinates, (7, 3): "
            "four eye corners from the subject's right to left, nose base, corners of the mouth, right and left.",
        )
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(1))[0])
        raise UsageError("bad-landmarks", f"Landmark {row + 1} of {path} has a coordinate that is no number.")
    return points


def _picked_points(path: Path) -> np.ndarray:
    """The active points of a MeshLab file in their order; without an XML parser, which could be made to explode."""
    points = []
    for element in POINT.findall(_text(path, "bad-landmarks")):
        values = dict(ATTRIBUTE.findall(element))
        if values.get("active", "1") != "0":
            points.append([float(values.get(axis, "nan")) for axis in "xyz"])
    return np.array(points, np.float64).reshape(-1, 3)


def _text(path: Path, code: str) -> str:
    if path.stat().st_size > LARGEST_TEXT_BYTES:
        raise UsageError(
            code, f"{path} is larger than {LARGEST_TEXT_BYTES // 1_000_000} MB, which such a file never is."
        )
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(code, f"{path} is no text file.") from None


def _releases(root: Path) -> tuple[Path, ...]:
    return root / "NoW_Dataset/final_release_version", root / "final_release_version"
