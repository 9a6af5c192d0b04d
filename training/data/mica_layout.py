"""Registered scans with photographs as MICA lays them out: one item is one actor, K photographs and one fitted head.

Zielonka et al., "Towards Metrical Reconstruction of Human Faces", ECCV 2022, unified eight sets of scans in FLAME's
topology; the spectral encoder's paper trains on four of them. Each set's zip holds FLAME parameters and registered
meshes; the photographs come from the set's own owner and are made ready by MICA's scripts. Nothing is downloaded here.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.errors import LifemaskError, UsageError
from backend.photographs import load_photograph
from training.data.folders import MICA_PICTURES as PICTURES
from training.data.folders import SUFFIXES, existing_folder, wrong_folder
from training.data.mesh_files import read_mesh
from training.suggestions import unknown

logger = logging.getLogger(__name__)

IDENTITY, EXPRESSION, POSE = 300, 100, 15
FLAME_VERTICES, FLAME_TRIANGLES = 5023, 9976
LARGEST_PARAMETERS_BYTES = 10_000_000
PARAMETERS, REGISTRATIONS = "FLAME_parameters", "registrations"


@dataclass(frozen=True)
class MicaSet:
    """A set of MICA's.

    Attributes:
        title: as its owner calls it.
        owner: where it is asked for.
        actors, images: of MICA's training lists.
    """

    title: str
    owner: str
    actors: int
    images: int


SETS = {
    "FACEWAREHOUSE": MicaSet("FaceWarehouse", "kunzhou.net/zjugaps/facewarehouse", 150, 3_000),
    "LYHM": MicaSet("Liverpool-York Head Model", "www-users.cs.york.ac.uk/~nep/research/LYHM", 1_211, 2_422),
    "STIRLING": MicaSet("Stirling/ESRC 3D", "pics.stir.ac.uk/ESRC", 96, 649),
    "FLORENCE": MicaSet("Florence 2D/3D", "micc.unifi.it/resources/datasets/florence-3d-faces", 53, 14_207),
}
"""The four of the spectral encoder's paper; 1,510 actors, 20,278 photographs."""

TREE = """\
  ROOT/
    {name}/
      FLAME_parameters/ACTOR/*.npz     betas (400) and pose (15): from MICA's makers
      registrations/ACTOR/*.obj        5,023 vertices: from MICA's makers
      arcface_input/ACTOR/*.jpg        or .png, at any depth: from the set's owner, by MICA's scripts"""


@dataclass(frozen=True)
class FlameParameters:
    """A head fitted to a scan.

    Attributes:
        identity: (300,) float32, FLAME's shape coefficients.
        expression: (100,) float32.
        pose: (6,) float32, axis-angle of the head and of the jaw, radians.
    """

    identity: np.ndarray
    expression: np.ndarray
    pose: np.ndarray


@dataclass(frozen=True)
class Actor:
    """One person of a set.

    Attributes:
        name: of the person's folders.
        pictures: of the person, sorted.
        parameters: files of fitted heads, sorted, at least one.
        registrations: registered meshes, sorted; may be none.
    """

    name: str
    pictures: tuple[Path, ...]
    parameters: tuple[Path, ...]
    registrations: tuple[Path, ...]


@dataclass(frozen=True)
class ActorItem:
    """What one item of training is made from.

    Attributes:
        actor: whose.
        pictures: K of the actor's pictures, each at most once.
        images: K pictures (H, W, 3) uint8 sRGB.
        parameters: of one fitted head, the same for all K.
    """

    actor: Actor
    pictures: tuple[Path, ...]
    images: list[np.ndarray]
    parameters: FlameParameters


@dataclass(frozen=True)
class MicaFolder:
    """The actors of one set that can be trained on.

    Attributes:
        name: a key of `SETS`.
        actors: with parameters and enough pictures, by name.
        left_out: the other actors' names, and why.
        pictures_per_item: K.
    """

    name: str
    actors: list[Actor]
    left_out: dict[str, str]
    pictures_per_item: int

    def __len__(self) -> int:
        """How many actors, which is how many items."""
        return len(self.actors)

    def item(self, index: int, generator: np.random.Generator) -> ActorItem:
        """One actor with K pictures drawn without replacement and one of the fitted heads.

        A picture that cannot be read is replaced by another of the actor's while there are such.

        Args:
            index: of the actor; generator: draws pictures and head.

        Raises:
            UsageError: "bad-parameters"; "too-few-pictures": fewer than K can be read.
        """
        actor = self.actors[index]
        parameters = read_parameters(actor.parameters[generator.integers(len(actor.parameters))])
        chosen, images, wrong = [], [], None
        for place in generator.permutation(len(actor.pictures)):
            try:
                image = load_photograph(actor.pictures[place]).image
            except LifemaskError as error:
                wrong = error.sentence
                logger.warning("left out: %s", wrong)
                continue
            chosen.append(actor.pictures[place])
            images.append(image)
            if len(chosen) == self.pictures_per_item:
                return ActorItem(actor, tuple(chosen), images, parameters)
        raise UsageError(
            "too-few-pictures",
            f"Of {self.name}'s actor {actor.name} only {len(chosen)} pictures can be read, but "
            f"{self.pictures_per_item} are wanted. {wrong or ''}".strip(),
        )

    def items(self, generator: np.random.Generator) -> Iterator[ActorItem]:
        """Every actor once, in a new order."""
        for index in generator.permutation(len(self.actors)):
            yield self.item(int(index), generator)


def open_mica(root: Path, name: str, pictures_per_item: int = 2) -> MicaFolder:
    """The actors of a set.

    Args:
        root: that holds the set's folder, or the set's folder itself.
        name: a key of `SETS`, in any case.
        pictures_per_item: K of an item; the paper's recipe takes 2.

    Raises:
        UsageError: "unknown-set", "no-such-folder"; "wrong-data-folder", which shows the tree that was expected and
            what is there; "no-actors", which says what the first of them lacks.
    """
    name = name.upper()
    if name not in SETS:
        raise unknown("set", name, SETS, "of MICA's")
    root = existing_folder(root, f"the set {name}")
    folder = next((path for path in (root / name, root) if (path / PARAMETERS).is_dir()), None)
    if folder is None or not _actors(folder / PARAMETERS):
        sentence = f"{root} has no {SETS[name].title} as MICA lays it out."
        raise wrong_folder(root, sentence, TREE.format(name=name), _found(root, name))
    actors, left_out = [], {}
    for actor in _actors(folder / PARAMETERS):
        found = Actor(
            actor,
            _files(folder / PICTURES / actor, SUFFIXES),
            _files(folder / PARAMETERS / actor, {".npz"}),
            _files(folder / REGISTRATIONS / actor, {".obj"}),
        )
        if not found.parameters:
            left_out[actor] = f"no .npz in {PARAMETERS}/{actor}"
        elif len(found.pictures) < pictures_per_item:
            left_out[actor] = f"{len(found.pictures)} pictures in {PICTURES}/{actor}, {pictures_per_item} are wanted"
        else:
            actors.append(found)
    if not actors:
        first, why = next(iter(left_out.items()))
        raise UsageError(
            "no-actors",
            f"None of the {len(left_out)} actors in {folder} can be used. {first}: {why}. The photographs are not "
            f"part of MICA's zip: they come from {SETS[name].owner}. Expected:\n{TREE.format(name=name)}\n"
            f"Found:\n{_found(root, name)}",
        )
    for actor, why in left_out.items():
        logger.warning("%s: actor %s is left out: %s", name, actor, why)
    return MicaFolder(name, actors, left_out, pictures_per_item)


def open_sets(root: Path, pictures_per_item: int = 2) -> list[MicaFolder]:
    """All of `SETS` whose folders are in a root, or the one that is the root.

    Raises:
        UsageError: as `open_mica`; "no-scans", which shows the tree that was expected and what is there.
    """
    root = existing_folder(root, "MICA's sets")
    names = [name for name in SETS if name == root.name.upper() or (root / name).is_dir()]
    if not names:
        *others, last = SETS
        raise UsageError(
            "no-scans",
            f"{root} holds none of the sets {', '.join(others)} and {last}. Expected, for one or several of them:\n"
            f"{TREE.format(name=last)}\nFound:\n{_found(root, last)}",
        )
    return [open_mica(root, name, pictures_per_item) for name in names]


def read_parameters(path: Path) -> FlameParameters:
    """The fitted head of a file: `betas` (400) are 300 of identity and 100 of expression; of `pose` (15) the head's and
    the jaw's rotation count, 0 to 2 and 6 to 8.

    Raises:
        UsageError: "bad-parameters": no such file, other arrays, or numbers that are none.
    """
    try:
        if path.stat().st_size > LARGEST_PARAMETERS_BYTES:
            raise ValueError("it is too large to be the parameters of one head")
        with np.load(path, allow_pickle=False) as arrays:
            if missing := [key for key in ("betas", "pose") if key not in arrays]:
                there = ", ".join(sorted(arrays.files)[:8]) or "nothing"
                raise ValueError(f"it has no {' and no '.join(missing)}, but {there}")
            betas, pose = (np.asarray(arrays[key], np.float32).reshape(-1) for key in ("betas", "pose"))
    except (OSError, ValueError, TypeError, EOFError, AttributeError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError("bad-parameters", f"The FLAME parameters {path} cannot be read: {error}.") from error
    if betas.shape != (IDENTITY + EXPRESSION,) or pose.shape != (POSE,):
        raise UsageError(
            "bad-parameters",
            f"The FLAME parameters {path} have betas ({betas.size}) and pose ({pose.size}); MICA's have "
            f"({IDENTITY + EXPRESSION}) and ({POSE}).",
        )
    if not (np.isfinite(betas).all() and np.isfinite(pose).all()):
        raise UsageError("bad-parameters", f"The FLAME parameters {path} hold values that are no numbers.")
    return FlameParameters(betas[:IDENTITY], betas[IDENTITY:], np.concatenate([pose[:3], pose[6:9]]))


def read_registration(path: Path) -> np.ndarray:
    """The vertices (5023, 3) float64 of a registered mesh, in the file's unit (metres) and in FLAME's order.

    Raises:
        UsageError: as `read_mesh`; "wrong-topology": not as many vertices and triangles as FLAME has.
    """
    mesh = read_mesh(path)
    if (len(mesh.vertices), len(mesh.triangles)) != (FLAME_VERTICES, FLAME_TRIANGLES):
        raise UsageError(
            "wrong-topology",
            f"The registration {path} has {len(mesh.vertices):,} vertices and {len(mesh.triangles):,} triangles; FLAME "
            f"has {FLAME_VERTICES:,} and {FLAME_TRIANGLES:,}. It is another mesh, or was split at texture seams.",
        )
    return mesh.vertices


def _actors(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path, endings: frozenset[str] | set[str]) -> tuple[Path, ...]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in endings and path.is_file())
    return tuple(sorted(path for path in found if not path.name.startswith("."))) if folder.is_dir() else ()


def _found(root: Path, name: str, most: int = 8) -> str:
    """The first entries of the root and of the set's folder, for a message."""
    lines = [f"  {root}/"]
    for folder, indent in ((root, 4), (root / name, 6)):
        if folder.is_dir():
            entries = sorted(folder.iterdir())
            if folder is not root:
                lines.append(f"    {name}/ holds")
            lines += [f"{'':{indent}}{path.name}{'/' if path.is_dir() else ''}" for path in entries[:most]]
            lines += [f"{'':{indent}}... and {len(entries) - most} more"] if len(entries) > most else []
            lines += [f"{'':{indent}}(nothing)"] if not entries else []
    return "\n".join(lines)
