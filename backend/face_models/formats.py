"""Which face model a file or folder is, and how it is read: one entry a format.

To add a face model, write a module with a function that returns `ModelArrays`, and add an entry here and in
`backend.asset_catalogue`.
"""

import mmap
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scipy.io import whosmat

from backend.errors import UsageError
from backend.face_models import bfm, flame, flame_landmarks, gnm, ict_files
from backend.face_models.bfm_conversion import BASEL, can_convert, convert_bfm
from backend.face_models.bfm_conversion import FILES as BASEL_FILES
from backend.face_models.ict import LICENCE as ICT_LICENCE
from backend.face_models.model_arrays import ModelArrays
from backend.face_models.morphable_model import Licence

BFM_FRONT = "BFM_model_front.mat"
FLAME_NAMES = (*flame.FILES.values(), "male_model.pkl", "female_model.pkl", "flame2023_no_jaw.pkl")
PICKLES, MESHES = (".pkl", ".pickle"), (".obj", ".ply", ".stl", ".fbx", ".glb", ".gltf")
HDF5, GZIP, ZIP = b"\x89HDF\r\n\x1a\n", b"\x1f\x8b", b"PK"
MASKS = (b"left_eye_region", b"scalp")


@dataclass(frozen=True)
class Format:
    """A face model that can be added.

    Attributes:
        name: as on the command line: "flame2020".
        label: for people.
        licence: of the model.
        source: where its owner gives it out, for people.
        expected: which file or folder a person gives, in words.
        recognises: whether a file or folder is one; reads little and never raises.
        read: the model in it; raises UsageError.
        files: those that `read` reads, all in one folder, as far as they are there.
    """

    name: str
    label: str
    licence: Licence
    source: str
    expected: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], ModelArrays]
    files: Callable[[Path], list[Path]] = lambda path: [Path(path)]


def identify(path: Path) -> Format:
    """The format of a file or folder, without reading more of it than that takes. Nothing in it is run.

    Raises:
        UsageError: "no-face-model-file": there is nothing, or nothing in it; "bad-face-model-file": it is something
            else, and the sentence says what was expected and where its owner gives it out.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError("no-face-model-file", f"There is no file or folder {path}. {_expected()}")
    for form in FORMATS:
        if form.recognises(path):
            return form
    raise _refused(path)


def _flame_edition(path: Path) -> str | None:
    """Which FLAME a file is, by the names that are in it; None if it is none."""
    if not path.is_file():
        return None
    if path.suffix.lower() in PICKLES and _holds(path, b"v_template", b"shapedirs", b"posedirs"):
        return flame.edition_of(path, _holds(path, flame.OPEN_MARK.encode()))
    # a damaged file, or another of the same owner: reading it says so
    return flame.edition_of(path, False) if path.name.lower() in map(str.lower, FLAME_NAMES) else None


def _is_flame(edition: str) -> Callable[[Path], bool]:
    return lambda path: _flame_edition(Path(path)) == edition


def _is_bfm(path: Path) -> bool:
    path = Path(path)
    if path.is_dir():
        return (path / BFM_FRONT).is_file() or can_convert(path)
    if path.name in (BFM_FRONT, BASEL):
        return path.is_file()
    if not path.is_file() or path.suffix.lower() != ".mat":
        return False
    return bool({"idBase", "exBase", "shapePC"} & _matrices(path))


def _read_bfm(path: Path) -> ModelArrays:
    """From `BFM_model_front.mat`, or from the folder or the file that it is made of."""
    front, folder = _bfm_place(path)
    if front is not None:
        return bfm.bfm_arrays(front)
    with tempfile.TemporaryDirectory() as made:
        return bfm.bfm_arrays(convert_bfm(folder, Path(made) / BFM_FRONT))


def _bfm_files(path: Path) -> list[Path]:
    front, folder = _bfm_place(path)
    return [front] if front is not None else [file for name in BASEL_FILES if (file := folder / name).is_file()]


def _bfm_place(path: Path) -> tuple[Path | None, Path]:
    """The front's file, None where it must be made, and the folder."""
    path = Path(path)
    if path.is_dir():
        front = path / BFM_FRONT
        return (front if front.is_file() else None), path
    return (None if path.name == BASEL or "shapePC" in _matrices(path) else path), path.parent


FORMATS: tuple[Format, ...] = (
    *(
        Format(
            edition,
            flame.LABELS[edition],
            flame.LICENCES[edition],
            flame.SOURCE,
            flame.FILES[edition],
            _is_flame(edition),
            flame.flame_arrays,
            flame.files,
        )
        for edition in (flame.FLAME_2020, flame.FLAME_2023, flame.FLAME_2023_OPEN)
    ),
    Format(
        bfm.NAME,
        bfm.LABEL,
        bfm.LICENCE,
        bfm.SOURCE,
        f"{BFM_FRONT} or the folder of {BASEL}",
        _is_bfm,
        _read_bfm,
        _bfm_files,
    ),
    Format(
        ict_files.NAME,
        ict_files.LABEL,
        ICT_LICENCE,
        ict_files.SOURCE,
        f"the folder {ict_files.FOLDER}",
        ict_files.recognises,
        ict_files.ict_arrays,
        ict_files.files,
    ),
    Format(gnm.NAME, gnm.LABEL, gnm.LICENCE, gnm.SOURCE, gnm.GNM_FILE.name, gnm.recognises, gnm.gnm_arrays),
)
"""All of them; the first that recognises a file reads it."""


def _expected() -> str:
    files: dict[str, list[str]] = {}
    for form in FORMATS:
        files.setdefault(form.source, []).append(form.expected)
    places = [f"{', '.join(names)} (from {source})" for source, names in files.items()]
    return f"Lifemask reads {'; '.join(places[:-1])}; or {places[-1]}."


def _refused(path: Path) -> UsageError:
    """Why something is no face model that can be added, and what was expected."""
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir())
        inside = [name for name in names if any(form.recognises(path / name) for form in FORMATS)]
        if not names:
            return UsageError("no-face-model-file", f"The folder {path} is empty. {_expected()}")
        if inside:
            return UsageError("bad-face-model-file", f"{path} is a folder: give {' or '.join(inside)} in it.")
        return UsageError("bad-face-model-file", f"There is no face model in the folder {path}. {_expected()}")
    try:
        with path.open("rb") as file:
            begin = file.read(8)
    except OSError as error:
        return UsageError("no-face-model-file", f"{path} cannot be read: {error.strerror or error}.")
    what = _what(path, begin)
    return UsageError("bad-face-model-file", f"{path} is no face model that can be added: {what}. {_expected()}")


def _what(path: Path, begin: bytes) -> str:
    """What a file is instead, as far as its first bytes, its name and its content tell."""
    suffix = path.suffix.lower()
    if not begin:
        return "it is empty; get it anew"
    if begin == HDF5:
        return (
            "it is a file of HDF5, as the Basel Face Model of 2017 and 2019 are; give the model of 2009, for which "
            f"there is a form of its own at {bfm.SOURCE}"
        )
    if suffix in MESHES:
        return "it is a mesh, one head that does not vary"
    if begin.startswith(GZIP) or (begin.startswith(ZIP) and suffix != ".npz"):
        models = [name for name in _members(path) if Path(name).suffix.lower() in (*PICKLES, ".mat", ".npz")]
        return f"it is an archive; unpack it and give {models[0] if models else 'the model in it'}"
    if suffix in (".npy", *PICKLES):
        if path.name in (flame_landmarks.EMBEDDING, flame_landmarks.DYNAMIC) or _holds(path, b"lmk_face"):
            return "it says where landmarks lie on FLAME; leave it beside FLAME's model and give that"
        if _holds(path, *MASKS):
            return "it is the list of FLAME's regions; give FLAME's model"
        return "it holds no head with directions in which it varies, or was cut short"
    if suffix == ".mat":
        return "it holds neither idBase and exBase nor shapePC, or was cut short"
    if suffix == ".npz":
        return "it holds neither GNM Head nor ICT-FaceKit, or was cut short"
    return "files of this kind are none"


def _holds(path: Path, *texts: bytes) -> bool:
    """Whether all these texts are somewhere in a file; a file that cannot be read holds nothing."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(text) >= 0 for text in texts)
    except (OSError, ValueError):  # ValueError: an empty file
        return False


def _matrices(path: Path) -> set[str]:
    """The names of what a MATLAB file holds; none if it cannot be read."""
    try:
        return {name for name, _, _ in whosmat(path)}
    except Exception:  # damaged files fail in every way there is
        return set()


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return sorted(archive.namelist())
    except Exception:  # damaged files fail in every way there is
        return []
