"""Synthetic pictures in WebDataset shards: tar files that are made once and read many times.

A folder holds `shards.json`, which says what was made, and `pictures-FIRST-LAST.tar`, each with the files
`INDEX.image.jpg`, `INDEX.parsing.png`, `INDEX.labels.npy` (one record, see `label_fields`), `INDEX.attributes.json`
and, where asked for, `INDEX.dense.npz`. Any WebDataset reader can stream them; `ShardFolder` finds each picture by its
place in the file instead, so that training can shuffle everything and go on where it stopped.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import torch
from tqdm import tqdm
from webdataset import TarWriter

from backend.errors import UsageError
from training.data import description
from training.data.disk import in_words
from training.data.sample import Sample

if TYPE_CHECKING:
    from training.data.generator import SyntheticPeople

logger = logging.getLogger(__name__)

DESCRIPTION = "shards.json"
FORMAT = 1
PICTURES_PER_SHARD = 512
PICTURES_PER_PERSON = 8
JPEG_QUALITY = 95
PARTS = ("image.jpg", "parsing.png", "labels.npy", "attributes.json", "dense.npz")
_HEADER_START = 10
"""Bytes of a file of numpy before its header; the last two say how long that is (format 1.0)."""
_NAME = re.compile(r"pictures-(\d{9})-(\d{9})\.tar")


@dataclass(frozen=True)
class ShardSettings:
    """What is the same in all shards of a folder.

    Attributes:
        seed, size, framing, dense, pictures_per_person, face_model, views: as `SyntheticPeople`.
        pictures_per_shard: a multiple of `pictures_per_person`; the first and the last shard may hold fewer.
    """

    seed: int
    size: int
    framing: str
    dense: bool
    pictures_per_person: int = PICTURES_PER_PERSON
    pictures_per_shard: int = PICTURES_PER_SHARD
    face_model: str = "open_head"
    views: str = "any"


class Album(Protocol):
    """What makes pictures: `SyntheticPeople`."""

    def photograph(self, index: int) -> Sample: ...


def people(settings: ShardSettings) -> SyntheticPeople:
    """The generator of a folder's pictures."""
    from training.data.generator import SyntheticPeople  # slow to import, and reading shards does without it

    return SyntheticPeople(
        settings.seed,
        settings.size,
        framing=settings.framing,
        dense=settings.dense,
        pictures_per_person=settings.pictures_per_person,
        face_model=settings.face_model,
        views=settings.views,
    )


def write_shards(
    folder: Path,
    seed: int,
    first: int,
    count: int,
    size: int,
    framing: str = "aligned",
    dense: bool = False,
    processes: int = 1,
    *,
    pictures_per_person: int = PICTURES_PER_PERSON,
    pictures_per_shard: int = PICTURES_PER_SHARD,
    album: Callable[[ShardSettings], Album] = people,
    face_model: str = "open_head",
    views: str = "any",
) -> int:
    """Makes pictures `first` to `first + count`. Shards that are there are kept; a stopped run goes on where it was.

    Args:
        folder: for the shards; made if it is not there.
        processes: how many make pictures at the same time. The files are the same for any number.
        pictures_per_person, pictures_per_shard: see `ShardSettings`.
        album: makes the generator of pictures in each process; a function of a module, so that processes find it.
        face_model, views: see `SyntheticPeople`.

    Returns:
        How many pictures were made now.

    Raises:
        UsageError: "shards-of-another-kind" where the folder holds shards with other settings, "output-not-writable",
            "disk-full".
    """
    folder = Path(folder)
    settings = ShardSettings(seed, size, framing, dense, pictures_per_person, pictures_per_shard, face_model, views)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _describe(folder, settings)
        there = list(shard_files(folder).values())
        wanted = [
            (start, stop)
            for start, stop in _ranges(first, count, pictures_per_shard)
            if not any(low <= start and stop <= high for low, high in there)
        ]
        with tqdm(total=sum(stop - start for start, stop in wanted), desc="pictures", mininterval=2) as bar:
            for written in _written(folder, settings, wanted, processes, album):
                bar.update(written)
        return bar.n
    except OSError as error:
        raise in_words(error, folder) from error


def shard_name(start: int, stop: int) -> str:
    """The file of the pictures `start` to `stop` (not included)."""
    return f"pictures-{start:09d}-{stop - 1:09d}.tar"


def shard_files(folder: Path) -> dict[Path, tuple[int, int]]:
    """The whole shards of a folder in order, each with its first picture and the one after its last."""
    named = {path: match for path in sorted(folder.iterdir()) if (match := _NAME.fullmatch(path.name))}
    return {path: (int(match[1]), int(match[2]) + 1) for path, match in named.items()}


def _ranges(first: int, count: int, per_shard: int) -> list[tuple[int, int]]:
    """Cut at multiples of `per_shard`, so that the same picture is always in the same shard."""
    cuts = [first, *range((first // per_shard + 1) * per_shard, first + count, per_shard), first + count]
    return [(start, stop) for start, stop in zip(cuts, cuts[1:], strict=False) if start < stop]


def _describe(folder: Path, settings: ShardSettings) -> None:
    path = folder / DESCRIPTION
    if path.exists():
        there = read_description(folder)
        if there != settings:
            before, now = asdict(there), asdict(settings)
            words = ", ".join(
                f"{name} {before[name]} instead of {now[name]}" for name in now if before[name] != now[name]
            )
            raise UsageError(
                "shards-of-another-kind",
                f"The folder {folder} holds shards of another kind: {words}. Name another folder, or the same "
                "settings.",
            )
        return
    description.write_description(path, FORMAT, settings)


def read_description(folder: Path) -> ShardSettings:
    """What the shards of a folder are.

    Raises:
        UsageError: "no-shards": there is no such folder, or it is not one of shards.
    """
    try:
        return description.read_description(Path(folder) / DESCRIPTION, FORMAT, ShardSettings)
    except (OSError, ValueError) as error:
        raise UsageError(
            "no-shards",
            f"{folder} is no folder of shards ({DESCRIPTION}: {error}). Expected:\n"
            f"  {folder}/\n    {DESCRIPTION}\n    pictures-000000000-000000511.tar\n    ...\n"
            f"Make one with: python3 -m training synthesise --count 20000 --output {folder}",
        ) from error


def _written(
    folder: Path,
    settings: ShardSettings,
    ranges: list[tuple[int, int]],
    processes: int,
    album: Callable[[ShardSettings], Album],
) -> Iterator[int]:
    if processes <= 1 or len(ranges) <= 1:
        maker = album(settings) if ranges else None
        for start, stop in ranges:
            yield _write_shard(folder, start, stop, maker)
        return
    with ProcessPoolExecutor(
        min(processes, len(ranges)), get_context("spawn"), _start_process, (album, settings)
    ) as pool:
        futures = [pool.submit(_write_in_process, folder, start, stop) for start, stop in ranges]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_album: Album | None = None
"""Of a worker process."""


def _start_process(album: Callable[[ShardSettings], Album], settings: ShardSettings) -> None:
    global _album
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _album = album(settings)


def _write_in_process(folder: Path, start: int, stop: int) -> int:
    return _write_shard(folder, start, stop, _album)


def _write_shard(folder: Path, start: int, stop: int, album: Album) -> int:
    """One shard under another name, then moved, so that a shard that is there is whole."""
    target = folder / shard_name(start, stop)
    draft = target.with_suffix(f".{os.getpid()}.part")
    try:
        with draft.open("wb") as stream, TarWriter(stream, encoder=False, mtime=0) as writer:
            for index in range(start, stop):
                writer.write({"__key__": f"{index:09d}", **encode(album.photograph(index))})
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    for path, (low, high) in shard_files(folder).items():
        if path != target and start <= low and high <= stop:  # the end of an earlier, shorter run
            path.unlink()
    return stop - start


def label_fields(sample: Sample) -> list[tuple]:
    """The fields of `labels.npy`: name, type, shape."""
    return [
        ("seed", "<i8"),
        ("index", "<i8"),
        ("person", "<i8"),
        ("identity", "<f4", sample.identity.shape),
        ("key_weights", "<f4", sample.key_weights.shape),
        ("albedo", "<f4", sample.albedo.shape),
        ("rotation", "<f4", (3, 3)),
        ("translation", "<f4", (3,)),
        ("intrinsics", "<f4", (4,)),
        ("light", "<f4", (9, 3)),
        ("closure", "<f4", (2,)),
        ("gaze", "<f4", (2, 2)),
        ("yaw", "<f4"),
        ("pitch", "<f4"),
        ("landmarks68", "<f4", (68, 2)),
        ("visible68", "?", (68,)),
        ("landmarks478", "<f4", (478, 2)),
        ("visible478", "?", (478,)),
    ]


def encode(sample: Sample) -> dict[str, bytes]:
    """A sample as the files of a shard, by the end of their names."""
    labels = np.zeros((), label_fields(sample))
    cameras = ("rotation", "translation", "intrinsics")
    for name in labels.dtype.names:
        labels[name] = getattr(sample.camera if name in cameras else sample, name)
    stream = io.BytesIO()
    np.save(stream, labels)
    words = {**sample.attributes, "eye_state": list(sample.eye_state)}
    bgr = cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR)
    parts = {
        "image.jpg": cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes(),
        "parsing.png": cv2.imencode(".png", sample.parsing)[1].tobytes(),
        "labels.npy": stream.getvalue(),
        "attributes.json": json.dumps(words, default=float).encode(),
    }
    if sample.dense is not None:
        stream = io.BytesIO()
        np.savez_compressed(
            stream,
            depth=sample.dense.depth,
            normals=sample.dense.normals.astype(np.float16),
            displacement=sample.dense.displacement.astype(np.float16),
        )
        parts["dense.npz"] = stream.getvalue()
    return parts


class ShardFolder:
    """The pictures of a folder, each at hand by its position; nothing is read before it is asked for.

    May be handed to other processes. Not for several threads.

    Args:
        folder: written by `write_shards`.

    Raises:
        UsageError: "no-shards" where it is none, or has no shard yet; "damaged-shard".
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.settings = read_description(self.folder)
        files = shard_files(self.folder)
        self._files = list(files)
        if not files:
            raise UsageError(
                "no-shards", f"The folder {folder} holds no whole shard. Let `python3 -m training synthesise` finish."
            )
        indices = [np.arange(start, stop) for start, stop in files.values()]
        self.indices, self._order = np.unique(np.concatenate(indices), return_index=True)
        """(N,) int64: `Sample.index` of every picture, ascending."""
        self.persons = self.indices // self.settings.pictures_per_person
        """(N,) int64: `Sample.person` of every picture."""
        self._starts = np.cumsum([0, *map(len, indices)])
        self._places: dict[int, list[dict[str, tuple[int, int]]]] = {}
        self._open: dict[int, tuple[int, io.BufferedReader]] = {}
        self._kinds: dict[bytes, np.dtype] = {}

    def __len__(self) -> int:
        return len(self.indices)

    def part(self, position: int, name: str) -> bytes:
        """One file, such as "image.jpg", of the picture at a position. Raises KeyError where there is none."""
        place = self._order[position]
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        start, length = self._places_in(number)[place - self._starts[number]][name]
        stream = self._stream(number)
        stream.seek(start)
        return stream.read(length)

    def image(self, position: int) -> np.ndarray:
        """(H, W, 3) uint8 sRGB."""
        encoded = np.frombuffer(self.part(position, "image.jpg"), np.uint8)
        return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def parsing(self, position: int) -> np.ndarray:
        """(H, W) uint8, see `Sample.parsing`."""
        return cv2.imdecode(np.frombuffer(self.part(position, "parsing.png"), np.uint8), cv2.IMREAD_UNCHANGED)

    def labels(self, position: int) -> np.ndarray:
        """The record of numbers by their names; see `label_fields`."""
        stored = self.part(position, "labels.npy")
        start = _HEADER_START + int.from_bytes(stored[_HEADER_START - 2 : _HEADER_START], "little")
        header = stored[:start]
        if header not in self._kinds:  # numpy takes longer to read it than everything else here
            self._kinds[header] = np.load(io.BytesIO(stored), allow_pickle=False).dtype
        return np.frombuffer(stored, self._kinds[header], offset=start)[0]

    def attributes(self, position: int) -> dict[str, float | str | list[str]]:
        """`Sample.attributes`, and "eye_state": left then right."""
        return json.loads(self.part(position, "attributes.json"))

    def dense(self, position: int) -> dict[str, np.ndarray]:
        """ "depth", "normals" and "displacement" as in `DenseLabels`. KeyError where the shards have none."""
        with np.load(io.BytesIO(self.part(position, "dense.npz")), allow_pickle=False) as arrays:
            return {name: arrays[name].astype(np.float32) for name in arrays.files}

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_open": {}}

    def _places_in(self, number: int) -> list[dict[str, tuple[int, int]]]:
        """Where in a shard each picture's files start and how long they are."""
        if number not in self._places:
            path, count = self._files[number], self._starts[number + 1] - self._starts[number]
            places: dict[str, dict[str, tuple[int, int]]] = {}
            try:
                with tarfile.open(path, "r:") as archive:
                    for member in archive:
                        key, _, part = member.name.partition(".")
                        places.setdefault(key, {})[part] = (member.offset_data, member.size)
            except (tarfile.TarError, OSError) as error:
                raise _damaged(path) from error
            if len(places) != count:
                raise _damaged(path)
            self._places[number] = [places[key] for key in sorted(places)]
        return self._places[number]

    def _stream(self, number: int) -> io.BufferedReader:
        """Open files belong to one process: a fork shares the place in the file."""
        process, stream = self._open.get(number, (0, None))
        if process != os.getpid():
            stream = self._files[number].open("rb")
            self._open[number] = (os.getpid(), stream)
        return stream


def _damaged(path: Path) -> UsageError:
    return UsageError(
        "damaged-shard", f"The shard {path} is damaged. Delete it and run `python3 -m training synthesise` again."
    )
