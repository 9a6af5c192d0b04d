"""Folders of published data sets, as their makers lay them out, and plain folders of photographs.

Nothing is downloaded here: each set is had from its owner under the owner's terms. See docs/datasets.md.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from backend.errors import LifemaskError, UsageError
from backend.photographs import load_photograph

logger = logging.getLogger(__name__)

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif", ".mpo")
)
NOW_CHALLENGES = ("multiview_neutral", "multiview_expressions", "multiview_occlusions", "selfie")

PLAIN_TREE = """\
  FOLDER/
    any names, at any depth: .jpg .png .webp .tif ..."""
FFHQ_TREE = """\
  FOLDER/
    images1024x1024/          or thumbnails128x128/ or in-the-wild-images/
      00000.png               or 00000/00000.png, in blocks of a thousand
      ..."""
CEW_TREE = """\
  FOLDER/
    closed/                   or ClosedFace/, ...
      closed_eye_0001.jpg ...
    open/                     or OpenFace/, ...
      ..."""
NOW_TREE = """\
  FOLDER/
    imagepathsvalidation.txt  or imagepathstest.txt, lines such as SUBJECT/multiview_neutral/IMG_0001.jpg
    NoW_Dataset/final_release_version/
      iphone_pictures/SUBJECT/multiview_neutral/IMG_0001.jpg
      detected_face/SUBJECT/multiview_neutral/IMG_0001.npy
    scans/SUBJECT/NAME.obj                   (validation only)
    scans_lmks_onlypp/SUBJECT/NAME_picked_points.pp"""
MICA_PICTURES = "arcface_input"
MICA_TREE = f"""\
  FOLDER/
    LYHM/                     and other sets; or FOLDER is one of them
      {MICA_PICTURES}/ACTOR/*.jpg    or .png, at any depth"""


@dataclass(frozen=True)
class Item:
    """One picture of a set.

    Attributes:
        path: of the picture.
        name: unique in the folder, with "/" between its parts, without the ending; where files differ in their ending
            only, with it.
        labels: what the set knows of it: "shut" (bool) in CEW; "subject", "challenge" and, where they are there, "box",
            "scan" and "scan_landmarks" (paths) in NoW.
    """

    path: Path
    name: str
    labels: dict[str, str | bool | Path] = field(default_factory=dict)


@dataclass
class PhotographFolder:
    """A folder of pictures of one kind.

    Attributes:
        kind: a key of `KINDS`.
        folder: its root.
        items: all pictures, in the order of their names.
        left_out: filled while `images` reads: the name of each picture that could not be read, and why.
    """

    kind: str
    folder: Path
    items: list[Item]
    left_out: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def images(self) -> Iterator[tuple[Item, np.ndarray]]:
        """Every picture that can be read, (H, W, 3) uint8 sRGB upright; the others are counted in `left_out`."""
        for item in self.items:
            try:
                image = load_photograph(item.path).image
            except LifemaskError as error:
                self.left_out[item.name] = error.sentence
                logger.warning("left out: %s", error.sentence)
                continue
            yield item, image
        if self.left_out:
            logger.warning("%d of %d pictures could not be read", len(self.left_out), len(self.items))


def open_folder(folder: Path, kind: str = "photographs") -> PhotographFolder:
    """The pictures of a folder.

    Args:
        folder: as its maker lays it out.
        kind: "photographs" (any pictures at any depth), "ffhq", "cew", "now" or "mica".

    Raises:
        UsageError: "no-such-folder"; "wrong-data-folder", which shows the tree that was expected;
            "no-such-kind".
    """
    folder = Path(folder)
    if kind not in KINDS:
        raise UsageError("no-such-kind", f"There is no kind of folder '{kind}'. There are: {', '.join(KINDS)}.")
    existing_folder(folder, "the pictures")
    layout = KINDS[kind]
    items = layout.items(folder)
    if not items:
        raise wrong_folder(folder, f"{folder} is not laid out as {layout.what}.", layout.tree)
    return PhotographFolder(kind, folder, items)


def existing_folder(folder: Path, whose: str) -> Path:
    """The folder, where there is one; `whose` says what it is of: "the pictures".

    Raises:
        UsageError: "no-such-folder".
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError("no-such-folder", f"The folder {folder} {what}. Name the folder of {whose}.")
    return folder


def wrong_folder(folder: Path, sentence: str, tree: str, found: str | None = None) -> UsageError:
    """An error to raise, "wrong-data-folder": a folder that is laid out in another way than a set's maker has it.

    Args:
        folder: as the person gave it.
        sentence: what is wrong with it.
        tree: what was expected.
        found: what is there; None for the first entries of the folder.
    """
    there = first_entries(folder) if found is None else found
    return UsageError("wrong-data-folder", f"{sentence} Expected:\n{tree}\nFound:\n{there}")


def _plain(folder: Path) -> list[Item]:
    return _named(folder, _pictures(folder))


def _ffhq(folder: Path) -> list[Item]:
    for name in ("images1024x1024", "in-the-wild-images", "thumbnails128x128"):
        below = folder / name
        if below.is_dir():
            return _named(folder, [path for path in _pictures(below) if path.stem.isdigit()])
    if folder.name in ("images1024x1024", "in-the-wild-images", "thumbnails128x128"):
        return _named(folder, [path for path in _pictures(folder) if path.stem.isdigit()])
    return []


def _cew(folder: Path) -> list[Item]:
    """The whole faces; the set's crops of single eyes, in folders such as closedLeftEyes, are not taken."""
    items = {}
    for word, shut in (("close", True), ("open", False)):
        below = [
            path
            for path in sorted(folder.rglob("*"))
            if path.is_dir() and path.name.lower().startswith(word) and not path.name.lower().endswith("eyes")
        ]
        pictures = [picture for path in below for picture in _pictures(path)]
        if not pictures:
            return []
        items |= {item.path: Item(item.path, item.name, {"shut": shut}) for item in _named(folder, pictures)}
    return sorted(items.values(), key=lambda item: item.name)


def _now(folder: Path) -> list[Item]:
    release = next(
        (path for path in (folder / "NoW_Dataset/final_release_version", folder / "final_release_version", folder)
         if (path / "iphone_pictures").is_dir()),
        None,
    )  # fmt: skip
    if release is None:
        return []
    pictures = release / "iphone_pictures"
    items = []
    for path in _listed(folder, release, pictures) or _pictures(pictures):
        parts = path.relative_to(pictures).parts
        if len(parts) != 3 or parts[1] not in NOW_CHALLENGES:
            continue
        labels: dict[str, str | bool | Path] = {"subject": parts[0], "challenge": parts[1]}
        box = release / "detected_face" / Path(*parts).with_suffix(".npy")
        if box.is_file():
            labels["box"] = box
        for label, name, ending in (("scan", "scans", "obj"), ("scan_landmarks", "scans_lmks_onlypp", "pp")):
            files = [
                file for root in (folder, release) for file in sorted((root / name / parts[0]).glob(f"*.{ending}"))
            ]
            if files:
                labels[label] = files[0]
        items.append(Item(path, Path(*parts).with_suffix("").as_posix(), labels))
    return sorted(items, key=lambda item: item.name)


def _mica(folder: Path) -> list[Item]:
    sets = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    return _named(folder, [picture for path in sets for picture in _pictures(path / MICA_PICTURES)])


def _listed(folder: Path, release: Path, pictures: Path) -> list[Path]:
    """The pictures that the set's own list names, where there is one."""
    for root in (folder, release):
        for name in ("imagepathsvalidation.txt", "imagepathstest.txt"):
            if (root / name).is_file():
                lines = (root / name).read_text("utf-8").split("\n")
                return [pictures / line.strip() for line in lines if line.strip()]
    return []


@dataclass(frozen=True)
class Layout:
    """How a set's folder looks: in words, as a tree, and what finds its pictures (nothing where it is another)."""

    what: str
    tree: str
    items: Callable[[Path], list[Item]]


KINDS = {
    "photographs": Layout("a folder of photographs", PLAIN_TREE, _plain),
    "ffhq": Layout("Flickr-Faces-HQ (FFHQ)", FFHQ_TREE, _ffhq),
    "cew": Layout("Closed Eyes in the Wild (CEW)", CEW_TREE, _cew),
    "now": Layout("the NoW data set", NOW_TREE, _now),
    "mica": Layout("scans with photographs as MICA has them", MICA_TREE, _mica),
}


def _pictures(folder: Path) -> list[Path]:
    """Files that look like pictures, at any depth, hidden ones left out."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _named(folder: Path, paths: list[Path]) -> list[Item]:
    short = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    count = Counter(short)
    return [
        Item(path, path.relative_to(folder).as_posix() if count[name] > 1 else name)
        for path, name in zip(paths, short, strict=True)
    ]


def first_entries(folder: Path, most: int = 8) -> str:
    """The first entries of a folder, for a message."""
    entries = sorted(folder.iterdir())
    lines = [f"    {path.name}{'/' if path.is_dir() else ''}" for path in entries[:most]]
    if len(entries) > most:
        lines.append(f"    ... and {len(entries) - most} more")
    return "\n".join([f"  {folder}/", *(lines or ["    (nothing)"])])
