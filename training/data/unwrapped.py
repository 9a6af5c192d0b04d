"""Faces unwrapped into the texture's layout: what skin detail is learnt from. Pictures only, no known relief.

`python3 -m training unwrap PICTURES --output FOLDER` makes them once: of shards of synthetic people (whose coarse heads
are known; their wrinkles are not looked at) or of a folder of photographs (to which heads are fitted). A folder holds
`unwrapped.json`, which says how it was made, and below `faces/` one file a picture, written whole or not at all.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from tqdm import tqdm

from backend.detail_layout import DetailLayout, layout_of, unwrapped
from backend.errors import PhotoError, UsageError
from backend.face_models import load_face_model
from backend.face_models.open_head import OpenHead
from backend.face_parsing import PARSING_CLASSES, SHIPPED, FaceParser, read_face_parser
from backend.fitting import FittedHead
from backend.identity_crop import FACE_SIZE, identity_region
from backend.photographs import load_photograph
from backend.picture_regions import Picture
from backend.rendering.camera import Camera
from backend.rendering.interpolation import barycentric_interpolate
from backend.rendering.rasterizer import Fragments
from backend.rendering.shading import harmonic_basis, rasterize_with, srgb_to_linear
from backend.texture_evidence import Evidence, HeadRegions, TextureView
from backend.unwrapped_face import UnwrappedFace, texels, unwrap
from training.data import description
from training.data.batches import HELD_OUT_SHARE, Batches, BatchLoader
from training.data.generator import SyntheticPeople
from training.data.person_batches import grouped
from training.data.pictures import Item
from training.data.sample import Sample
from training.data.shards import ShardFolder
from training.settings import DataSettings

DESCRIPTION, FACES, FORMAT = "unwrapped.json", "faces", 1
KINDS = ("shards", "photographs")
LIGHT_RIDGE = 0.02
LIGHT_TEXELS = 8
"""The light is found from every eighth texel across and down."""
ALONG_X = (3, 4, 7)
"""Spherical harmonics that change their sign in a mirror."""
PAIR = 2
BARE = ("skin", "nose")


@dataclass(frozen=True)
class UnwrappedSettings:
    """How a folder was made.

    Attributes:
        kind: out of `KINDS`.
        size: side of the whole texture that the window is of.
    """

    kind: str
    size: int


def main(arguments: list[str]) -> int:
    """`python3 -m training unwrap PICTURES --output FOLDER [--kind shards|photographs]`."""
    parser = argparse.ArgumentParser(prog="python3 -m training unwrap", description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path, help="folder of shards (synthesise), or of photographs")
    parser.add_argument("--output", type=Path, required=True, help="folder to write; may have been begun before")
    parser.add_argument("--kind", choices=KINDS, default="shards")
    parser.add_argument("--size", type=int, default=512, help="side of the whole texture, texels")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    if options.size < 64 or options.size % 64 or options.processes < 1:
        raise UsageError("bad-number", "--size must be a multiple of 64, --processes at least 1.")
    begin(options.output, UnwrappedSettings(options.kind, options.size))
    names = names_in(options.pictures, options.kind)
    left = [name for name in names if not (options.output / FACES / f"{name}.npz").exists()]
    make = partial(_make, options.pictures, options.kind, options.output, options.size)
    outcomes = list(tqdm(_made(make, left, options.processes), total=len(left), desc="faces", mininterval=2))
    without = [name for name, found in zip(left, outcomes, strict=True) if not found]
    print(f"{len(left) - len(without)} faces unwrapped, {len(names) - len(left)} were there. Folder: {options.output}")
    if without:
        print(f"Left out, because no face was found: {', '.join(without)}")
    return 0


def _made(make: Callable[[str], bool], names: list[str], processes: int) -> Iterator[bool]:
    """What `make` says of each name."""
    if processes == 1:
        yield from map(make, names)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _start_process) as pool:
        yield from pool.map(make, names, chunksize=4)


def begin(folder: Path, settings: UnwrappedSettings) -> None:
    """Makes a folder, or raises UsageError "unwrapped-otherwise" where it was begun with other settings."""
    path = folder / DESCRIPTION
    if path.exists():
        there = read_settings(folder)
        if there != settings:
            raise UsageError(
                "unwrapped-otherwise",
                f"{folder} was unwrapped of {there.kind} at {there.size} texels, not of {settings.kind} at "
                f"{settings.size}. Name another folder, or the same settings.",
            )
        return
    (folder / FACES).mkdir(parents=True, exist_ok=True)
    description.write_description(path, FORMAT, settings)


def read_settings(folder: Path) -> UnwrappedSettings:
    """How a folder was made. Raises UsageError "not-unwrapped"."""
    try:
        return description.read_description(Path(folder) / DESCRIPTION, FORMAT, UnwrappedSettings)
    except (OSError, ValueError) as error:
        raise UsageError(
            "not-unwrapped",
            f"{folder} is no folder of unwrapped faces ({DESCRIPTION}: {error}). Make one with: python3 -m training "
            "unwrap SHARDS --output FOLDER",
        ) from error


def names_in(pictures: Path, kind: str) -> list[str]:
    """Of the pictures, sorted; a name begins with the person's number. Raises UsageError where there are none."""
    if kind == "shards":
        folder = ShardFolder(pictures)
        return [f"{person:06d}-{index:08d}" for person, index in zip(folder.persons, folder.indices, strict=True)]
    files = photographs_in(pictures)
    people = {who: number for number, who in enumerate(sorted({_who(path) for path in files}))}
    return [f"{people[_who(path)]:06d}-{path.relative_to(pictures).as_posix().replace('/', '~')}" for path in files]


def photographs_in(folder: Path) -> list[Path]:
    """The photographs of a folder and those below it, sorted. Raises UsageError where there are none."""
    files = sorted(path for path in folder.glob("**/*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise UsageError("no-photographs", f"There are no photographs (JPEG, PNG) in {folder}.")
    return files


def _who(path: Path) -> str:
    """Whom a photograph shows, by its name without a last word: 007_neutral and 007_smiling are one person."""
    return str(path.parent / re.sub(r"[_-][A-Za-z]+$", "", path.stem))


@lru_cache(maxsize=1)
def regions_of(model: OpenHead) -> HeadRegions:
    """`HeadRegions.of`, once."""
    return HeadRegions.of(model)


@lru_cache(maxsize=2)
def _tools(size: int) -> tuple[OpenHead, DetailLayout, FaceParser]:
    model = load_face_model("open_head")
    return model, layout_of(model, size), read_face_parser(SHIPPED).eval()


def _start_process() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _make(pictures: Path, kind: str, output: Path, size: int, name: str) -> bool:
    model, layout, parser = _tools(size)
    if kind == "shards":
        face, facts = _of_shards(_shards(pictures), int(name.split("-")[1]), model, layout)
    else:
        try:
            picture = load_photograph(pictures / name.split("-", 1)[1].replace("~", "/"))
            _, face, facts = unwrapped_photograph(picture.image, picture.focal_35mm, layout, parser)
        except PhotoError:
            return False
    target = output / FACES / f"{name}.npz"
    draft = target.with_suffix(f".{os.getpid()}.part")
    with draft.open("wb") as stream:
        np.savez(stream, **_stored(face), **facts)
    draft.replace(target)
    return True


@lru_cache(maxsize=1)
def _shards(folder: Path) -> ShardFolder:
    return ShardFolder(folder)


def _of_shards(
    folder: ShardFolder, index: int, model: OpenHead, layout: DetailLayout
) -> tuple[UnwrappedFace, dict[str, np.ndarray]]:
    position = int(np.searchsorted(folder.indices, index))
    labels, size = folder.labels(position), folder.settings.size
    camera = Camera(*labels["intrinsics"], size, size, labels["rotation"], labels["translation"])
    picture = (
        folder.image(position),
        camera,
        labels["identity"],
        labels["key_weights"],
        folder.parsing(position),
        labels["landmarks68"],
    )
    face, facts = _of_known_head(*picture, model, layout)
    return face, facts | even_skin(folder, index, face, camera, layout)


def even_skin(
    folder: ShardFolder, index: int, face: UnwrappedFace, camera: Camera, layout: DetailLayout
) -> dict[str, np.ndarray]:
    """What a synthetic face would look like if its skin were of one colour.

    Returns:
        "even" (height, width, 3) uint8 sRGB, the unwrapped picture of the same person with the same expression in the
        same light; and "light" as found in it.
    """
    settings = folder.settings
    album = _even_people(settings.seed, settings.size, settings.framing, settings.pictures_per_person)
    points, normals = texels(layout, face.posed)
    shown = unwrapped(album.photograph(index).image, camera, points)
    return {"even": shown, "light": nearest_light(shown, face.trust, normals)}


@lru_cache(maxsize=1)
def _even_people(seed: int, size: int, framing: str, pictures_per_person: int) -> SyntheticPeople:
    return SyntheticPeople(seed, size, framing=framing, pictures_per_person=pictures_per_person, even_skin=True)


def unwrapped_sample(
    sample: Sample, model: OpenHead, layout: DetailLayout
) -> tuple[UnwrappedFace, dict[str, np.ndarray]]:
    """A synthetic picture, laid out by its true head; and "light", "crop" and "place" as `UnwrappedFaces` has them."""
    known = (sample.image, sample.camera, sample.identity, sample.key_weights, sample.parsing, sample.landmarks68)
    return _of_known_head(*known, model, layout)


def _of_known_head(
    image: np.ndarray,
    camera: Camera,
    identity: np.ndarray,
    key_weights: np.ndarray,
    parsing: np.ndarray,
    landmarks68: np.ndarray,
    model: OpenHead,
    layout: DetailLayout,
) -> tuple[UnwrappedFace, dict[str, np.ndarray]]:
    neutral = model.neutral(identity)
    posed = model.key_offsets(neutral).apply(neutral, key_weights)
    bare = np.isin(parsing, [PARSING_CLASSES.index(name) for name in BARE]).astype(np.uint8)
    usable = cv2.erode(bare, np.ones((3, 3), np.uint8)) > 0
    points, normals = texels(layout, posed)
    evidence = Evidence(model, regions_of(model), TextureView(posed, camera, image, usable))
    trust, _ = evidence.shown(points.reshape(-1, 3), normals.reshape(-1, 3))
    return _unwrapped(model, layout, image, camera, posed, neutral, landmarks68, trust)


def unwrapped_photograph(
    image: np.ndarray, focal_35mm: float | None, layout: DetailLayout, parser: FaceParser | None = None
) -> tuple[FittedHead, UnwrappedFace, dict[str, np.ndarray]]:
    """A photograph, laid out by a head that is fitted to it.

    Args:
        image: (H, W, 3) uint8 sRGB, upright.
        focal_35mm: 35 mm equivalent in millimetres, None where unknown.
        layout: of the open head.
        parser: of faces; None is the one that ships.

    Returns:
        The head, the face, and "light", "crop" and "place" as `UnwrappedFaces` has them.

    Raises:
        PhotoError: no face was found.
    """
    from backend.detail_trust import detail_trust
    from backend.pipeline import fit_photographs

    head = fit_photographs([image], [focal_35mm])
    found = head.photographs[0]
    landmarks = found.camera.project(head.model.landmarks68(found.posed))
    points, normals = texels(layout, found.posed)
    trust, _ = detail_trust(
        head.model, found.posed, found.camera, image, points.reshape(-1, 3), normals.reshape(-1, 3), parser
    )
    known = (head.model, layout, image, found.camera, found.posed, head.neutral, landmarks, trust)
    return head, *_unwrapped(*known)


def _unwrapped(
    model: OpenHead,
    layout: DetailLayout,
    image: np.ndarray,
    camera: Camera,
    posed: np.ndarray,
    neutral: np.ndarray,
    landmarks68: np.ndarray,
    trust: np.ndarray,
) -> tuple[UnwrappedFace, dict[str, np.ndarray]]:
    points, normals = texels(layout, posed)
    trust = trust.reshape(layout.height, layout.width)
    face = unwrap(layout, points, trust, posed, neutral, camera, image)
    crop, place = seen_from_the_camera(model, layout, posed, camera, image, landmarks68)
    light = nearest_light(face.texture, face.trust, normals)
    return face, {"light": light, "crop": crop, "place": place}


def nearest_light(texture: np.ndarray, trust: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """The light on a face, as if its skin were of one colour.

    Args:
        texture: (height, width, 3) uint8 sRGB; trust: (height, width); normals: (height, width, 3) model axes.

    Returns:
        (9, 3) float32 `HarmonicLight.coefficients` times the skin's colour, by least squares, twice: what is far off
        the first time (brows, spots, shine) counts little the second time.
    """
    step = slice(None, None, LIGHT_TEXELS)
    weight = trust[step, step].reshape(-1).astype(np.float64)
    basis = harmonic_basis(torch.as_tensor(normals[step, step].reshape(-1, 3))).numpy().astype(np.float64)
    colour = srgb_to_linear(torch.as_tensor(texture[step, step].reshape(-1, 3)).double() / 255).numpy()
    light = np.zeros((9, 3))
    for _ in range(2):
        rows = basis * weight[:, None]
        normal = rows.T @ basis
        ridge = LIGHT_RIDGE * max(np.trace(normal), 1e-3) / 9 * np.diag([0.0] + [1.0] * 8)
        light = np.linalg.solve(normal + ridge + 1e-6 * np.eye(9), rows.T @ colour)
        off = np.abs(colour - basis @ light).mean(axis=1)
        known = weight > 0.1
        usual = max(1.5 * float(np.median(off[known])), 1e-3) if known.any() else 1e-3
        weight = trust[step, step].reshape(-1) / (1.0 + (off / usual) ** 2)
    return light.astype(np.float32)


def seen_from_the_camera(
    model: OpenHead, layout: DetailLayout, posed: np.ndarray, camera: Camera, image: np.ndarray, landmarks68: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The face as a network sees it that recognises people, and which texel each of its pixels shows.

    Returns:
        (112, 112, 3) uint8 sRGB, and (112, 112, 2) float16: column and row in the window from -1 to 1, as
        `grid_sample` takes them; 2 where a pixel shows nothing of the window.
    """
    scale = min(1.0, 3 * FACE_SIZE / max(float(np.ptp(landmarks68[:, 0])), 1.0))
    small = camera.resized(max(round(camera.width * scale), 1), max(round(camera.height * scale), 1))
    place = seen_texels(model, layout, posed, small).place
    region = identity_region(landmarks68)
    crop = Picture(image).crop(region, FACE_SIZE, cv2.BORDER_CONSTANT)
    steps = (np.arange(FACE_SIZE) + 0.5) / FACE_SIZE
    across, down = np.meshgrid(steps, steps)
    inside_region = np.stack([across, down], axis=-1).reshape(-1, 2)
    pixel = region.to_picture(inside_region).reshape(FACE_SIZE, FACE_SIZE, 2) * scale
    nearest = np.floor(pixel).astype(int)
    inside = (nearest >= 0).all(axis=-1) & (nearest < [small.width, small.height]).all(axis=-1)
    nearest = np.clip(nearest, 0, [small.width - 1, small.height - 1])
    seen = np.where(inside[..., None], place[nearest[..., 1], nearest[..., 0]], 2.0)
    return crop, seen.astype(np.float16)


@dataclass(frozen=True)
class SeenTexels:
    """Which texel of a layout each pixel of a picture shows.

    Attributes:
        fragments: what was rasterised, the head without its lashes.
        triangles: (T, 3) int64 vertices, what the fragments' faces are.
        place: (H, W, 2) float32, column and row in the window from -1 to 1, as `grid_sample` takes them; 2 where a
            pixel shows nothing of the window.
    """

    fragments: Fragments
    triangles: Tensor
    place: np.ndarray


def seen_texels(model: OpenHead, layout: DetailLayout, posed: np.ndarray, camera: Camera) -> SeenTexels:
    """What a camera sees of a posed head (V, 3), metres."""
    topology = model.topology
    drawn = np.ones(len(topology.faces), bool)
    drawn[topology.part("lashes")] = False
    rows = np.flatnonzero(drawn[topology.triangle_face])
    triangles = torch.as_tensor(topology.triangles[rows].astype(np.int64))
    with torch.no_grad():
        fragments = rasterize_with(camera, torch.as_tensor(posed, dtype=torch.float32), triangles)
        uv = torch.as_tensor(topology.uv, dtype=torch.float32)[None]
        corners = torch.as_tensor(topology.triangle_uv[rows].astype(np.int64))
        shown = barycentric_interpolate(uv, corners, fragments)[0].permute(1, 2, 0).numpy()
    skin = topology.part("skin")
    face = topology.triangle_face[rows][fragments.face_index[0].numpy()]
    hit = fragments.covered[0].numpy() & (face >= skin.start) & (face < skin.stop)
    column = (shown[..., 0] * layout.size - layout.columns.start) / layout.width * 2 - 1
    row = ((1 - shown[..., 1]) * layout.size - layout.rows.start) / layout.height * 2 - 1
    place = np.stack([column, row], axis=-1)
    place[~hit | (np.abs(place) > 1).any(axis=-1)] = 2.0
    return SeenTexels(fragments, triangles, place)


def _stored(face: UnwrappedFace) -> dict[str, np.ndarray]:
    return {
        "texture": face.texture,
        "trust": (face.trust * 255 + 0.5).astype(np.uint8),
        "posed": face.posed,
        "neutral": face.neutral,
        "rotation": face.rotation,
    }


class UnwrappedFaces:
    """The faces of a folder by their position, see `training.data.pictures.Pictures`.

    Args:
        folder: of `python3 -m training unwrap`.
        names: the ones to give; None for all.

    Raises:
        UsageError: it is no such folder, or has no face.
    """

    face_model = "open_head"

    def __init__(self, folder: Path, names: Sequence[str] | None = None) -> None:
        self.folder, self.settings = Path(folder), read_settings(folder)
        self.names = sorted(path.stem for path in (self.folder / FACES).glob("*.npz")) if names is None else list(names)
        if not self.names:
            raise UsageError("no-faces", f"{folder} holds no unwrapped face. Let `python3 -m training unwrap` finish.")
        self.persons = np.array([int(name.split("-")[0]) for name in self.names])

    def __len__(self) -> int:
        return len(self.names)

    def read(self, position: int, generator: np.random.Generator | None = None) -> Item:
        """One face: the arrays of its file, and "person"."""
        path = self.folder / FACES / f"{self.names[position]}.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                item = {name: stored[name] for name in stored.files}
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise UsageError(
                "damaged-face", f"{path} is damaged. Delete it and run `python3 -m training unwrap` again."
            ) from error
        if "even" not in item:  # a photograph: as it is, it is all there is to compare with
            item |= {"even": item["texture"]}
        return item | {"person": np.array(self.persons[position], np.int64)}


def mirrored(item: Item, mirror: np.ndarray) -> Item:
    """A face seen in a mirror. The texture's layout is symmetric.

    Args:
        item: see `UnwrappedFaces.read`.
        mirror: (V,) int64, the vertex of the other side.
    """
    flip = np.diag([-1.0, 1.0, 1.0]).astype(np.float32)
    light = item["light"].copy()
    light[list(ALONG_X)] *= -1
    place = item["place"][:, ::-1].copy()
    place[..., 0] = np.where(place[..., 0] < 1.5, -place[..., 0], place[..., 0])
    return item | {
        "texture": item["texture"][:, ::-1].copy(),
        "even": item["even"][:, ::-1].copy(),
        "trust": item["trust"][:, ::-1].copy(),
        "posed": item["posed"][mirror] @ flip,
        "neutral": item["neutral"][mirror] @ flip,
        "rotation": flip @ item["rotation"] @ flip,
        "light": light,
        "crop": item["crop"][:, ::-1].copy(),
        "place": place,
    }


class PairBatches(Batches):
    """Pairs of pictures of one person, half of the pairs in a mirror when shuffled.

    A batch's tensors have the pictures of a pair side by side, see `collated_faces`. People of whom there is one
    picture are paired with that picture itself.
    """

    def __init__(
        self,
        pictures: UnwrappedFaces,
        batch_size: int,
        *,
        shuffled: bool,
        real: Sequence[UnwrappedFaces] = (),
        real_share: float = 0.0,
    ) -> None:
        super().__init__(pictures, batch_size, shuffled=shuffled, vary=False, real=real, real_share=real_share)
        self._mirror = load_face_model("open_head").mirror
        self._pairs = {id(source): pairs_of(source.persons) for source in [pictures, *real]}

    def batch(self, number: int, order: np.ndarray) -> dict[str, Tensor]:
        """`batch_size` pairs."""
        generator = np.random.default_rng([self.reading.seed, number, self.reading.rank])
        synthetic = self.batch_size - self.real_count
        first = (number * self.reading.ranks + self.reading.rank) * synthetic
        chosen = [(self.pictures, pair) for pair in order[first : first + synthetic]]
        for _ in range(self.real_count):
            source = self.real[int(generator.integers(len(self.real)))]
            pairs = self._pairs[id(source)]
            chosen.append((source, pairs[int(generator.integers(len(pairs)))]))
        items = []
        for source, pair in chosen:
            faces = [source.read(int(position)) for position in pair]
            if self.shuffled and generator.random() < 0.5:
                faces = [mirrored(face, self._mirror) for face in faces]
            items += faces
        return collated_faces(items)

    def _order(self) -> np.ndarray:
        pairs = self._pairs[id(self.pictures)]
        if self.shuffled:
            generator = np.random.default_rng(self.reading.seed)
            several = grouped(self.pictures.persons, PAIR, generator) if _any_pair(self.pictures.persons) else pairs
            pairs = generator.permutation(np.concatenate([several, pairs[pairs[:, 0] == pairs[:, 1]]]))
        wanted = len(self) * self.reading.ranks * (self.batch_size - self.real_count)
        return np.resize(pairs, (wanted, PAIR))

    def __len__(self) -> int:
        pairs = len(self._pairs[id(self.pictures)])
        return max(pairs // (max(self.batch_size - self.real_count, 1) * self.reading.ranks), 1)


def _any_pair(persons: np.ndarray) -> bool:
    return len(np.unique(persons)) < len(persons)


def pairs_of(persons: np.ndarray) -> np.ndarray:
    """(P, 2) positions of two pictures of one person that follow each other; twice the same of a person with one."""
    pairs = []
    for person in np.unique(persons):
        own = np.flatnonzero(persons == person)
        if len(own) == 1:
            pairs.append((own[0], own[0]))
        pairs += [(own[k], own[k + 1]) for k in range(0, len(own) - 1, PAIR)]
    return np.array(pairs, np.int64)


def collated_faces(items: Sequence[Item]) -> dict[str, Tensor]:
    """A batch of faces.

    Returns:
        "texture" and "even", what a render is compared with, (B, 3, height, width) in [0, 1]; "trust" (B, height,
        width), 0 to 1; "posed" and "neutral" (B, V, 3) metres; "rotation" (B, 3, 3); "light" (B, 9, 3); "crop" (B, 3,
        112, 112) in [0, 1]; "place" (B, 112, 112, 2); "person" (B,).
    """
    stacked = {name: torch.from_numpy(np.stack([item[name] for item in items])) for name in items[0]}
    for name in ("texture", "even", "crop"):
        stacked[name] = stacked[name].permute(0, 3, 1, 2).contiguous().float().div_(255)
    stacked["trust"] = stacked["trust"].float().div_(255)
    stacked["place"] = stacked["place"].float()
    return stacked


class UnwrappedPairs(LightningDataModule):
    """Pairs of pictures of the same people, for training and, of others, for validation.

    Args:
        faces: folder of `python3 -m training unwrap`.
        batch_size: pairs on each device.
        workers: processes that read.
        validation_faces: of held-out people; None holds out the last people of `faces`.
        real_folders: of unwrapped photographs to mix in; real_share: of the pairs.

    Raises:
        UsageError: from `setup`.
    """

    def __init__(
        self,
        faces: Path | str,
        batch_size: int,
        *,
        workers: int = 0,
        validation_faces: Path | str | None = None,
        real_folders: Sequence[Path | str] = (),
        real_share: float = 0.0,
    ) -> None:
        super().__init__()
        self.faces, self.validation_faces, self.batch_size, self.workers = faces, validation_faces, batch_size, workers
        self.real_folders, self.real_share = real_folders, real_share
        self.training: UnwrappedFaces | None = None

    @classmethod
    def from_settings(cls, settings: DataSettings) -> UnwrappedPairs:
        """As the settings of a run say: `shards` names the unwrapped faces."""
        if settings.shards is None:
            raise UsageError(
                "no-faces",
                "Skin detail is learnt from faces that are unwrapped once. Set data.shards=FOLDER, made with: python3 "
                "-m training unwrap SHARDS --output FOLDER",
            )
        return cls(
            settings.shards,
            settings.batch_size,
            workers=settings.workers,
            validation_faces=settings.validation_shards,
            real_folders=settings.real_folders,
            real_share=settings.real_share,
        )

    def setup(self, stage: str | None = None) -> None:
        if self.training is not None:
            return
        everyone = UnwrappedFaces(Path(self.faces))
        if self.validation_faces is not None:
            self.training, self.validation = everyone, UnwrappedFaces(Path(self.validation_faces))
        else:
            people = np.unique(everyone.persons)
            held_out = (
                set(people[-max(round(HELD_OUT_SHARE * len(people)), 1) :].tolist()) if len(people) > 1 else set()
            )
            kept = [n for n, who in zip(everyone.names, everyone.persons, strict=True) if int(who) not in held_out]
            rest = [n for n, who in zip(everyone.names, everyone.persons, strict=True) if int(who) in held_out]
            self.training = UnwrappedFaces(Path(self.faces), kept)
            self.validation = UnwrappedFaces(Path(self.faces), rest or kept)
        self.real = [UnwrappedFaces(Path(folder)) for folder in self.real_folders]

    def train_dataloader(self) -> BatchLoader:
        batches = PairBatches(self.training, self.batch_size, shuffled=True, real=self.real, real_share=self.real_share)
        return BatchLoader(batches, self.workers)

    def val_dataloader(self) -> BatchLoader:
        return BatchLoader(PairBatches(self.validation, self.batch_size, shuffled=False), self.workers)
