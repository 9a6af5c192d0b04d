"""Where the pictures of a training come from, each as the same dictionary of arrays: shards, or fresh from the
generator."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from backend.aligned_crop import AlignedCrop, align
from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.face_models.lid_keys import BLINK_CORRECTIVES
from backend.face_models.linearised import albedo_of, names_a_file
from backend.view_order import SLOTS
from training.data.sample import Sample
from training.data.shards import ShardFolder, read_description

if TYPE_CHECKING:
    from training.data.generator import SyntheticPeople

Item = dict[str, np.ndarray]
"""One picture: the names of `training.data.batches`, without the batch dimension. `image` is uint8 (H, W, 3)."""

SCALE_JITTER = 0.10
SHIFT_JITTER = 0.045
"""How far, in parts of its side, a crop lies from where the landmarks would have it; as the generator's own crops."""
FRESH_PICTURES_PER_PERSON = 2
"""A batch from the generator holds few pictures of one person, so that its people differ."""


class Pictures(Protocol):
    """Pictures by their position, 0 to len - 1.

    Attributes:
        face_model: whose codes their labels are; "" where nobody knows any.
    """

    face_model: str

    def __len__(self) -> int: ...

    def read(self, position: int, generator: np.random.Generator) -> Item:
        """One picture with its labels. The generator chooses what is chosen anew each time it is read."""
        ...


@lru_cache(maxsize=4)
def label_shapes(face_model: str = "open_head") -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and type of every label of a face model's people: what pictures without truth have zeros of."""
    model = load_face_model(face_model)
    albedo = albedo_of(model)
    return {
        "identity": ((model.identity_size,), np.float32),
        "key_weights": ((len(_expression_columns(face_model)),), np.float32),
        "albedo": ((0 if albedo is None else albedo.size,), np.float32),
        "rotation": ((3, 3), np.float32),
        "translation": ((3,), np.float32),
        "intrinsics": ((4,), np.float32),
        "light": ((9, 3), np.float32),
        "closure": ((2,), np.float32),
        "gaze": ((2, 2), np.float32),
        "yaw": ((), np.float32),
        "pitch": ((), np.float32),
        "landmarks68": ((68, 2), np.float32),
        "visible68": ((68,), np.bool_),
        "landmarks478": ((478, 2), np.float32),
        "visible478": ((478,), np.bool_),
        "person": ((), np.int64),
        "has_truth": ((), np.bool_),
        "identity_known": ((), np.bool_),
    }


@lru_cache(maxsize=4)
def _expression_columns(face_model: str) -> list[int]:
    """The model's keys without the correctives, which follow from the others."""
    correctives = set(BLINK_CORRECTIVES.values())
    return [number for number, name in enumerate(load_face_model(face_model).key_names) if name not in correctives]


class ShardPictures:
    """Pictures of a folder of shards, as large as `size`.

    Args:
        folder: of `python3 -m training synthesise`.
        size: side of the pictures in pixels; larger ones are reduced.
        positions: (N,) the ones to give, by their position in the folder; None for all.
    """

    def __init__(self, folder: ShardFolder, size: int, positions: np.ndarray | None = None) -> None:
        self.folder, self.size, self.face_model = folder, size, folder.settings.face_model
        self.positions = np.arange(len(folder)) if positions is None else positions

    def __len__(self) -> int:
        return len(self.positions)

    def read(self, position: int, generator: np.random.Generator) -> Item:
        place = int(self.positions[position])
        labels = self.folder.labels(place)
        item = {name: np.array(labels[name]) for name in label_shapes(self.face_model) if name in labels.dtype.names}
        item["key_weights"] = item["key_weights"][_expression_columns(self.face_model)]
        item |= {"image": self.folder.image(place), "parsing": self.folder.parsing(place), "has_truth": np.array(True)}
        return in_crop(item, self.size, self.folder.settings.framing, generator)


class FreshPictures:
    """Pictures that are made when they are read; they differ from one reading to the next only in their crop.

    Args:
        seed: of the people.
        size: side of the pictures in pixels.
        count: how many there are.
        face_model: what the people are made of.
        views: "any", or "triples" of views, see `SyntheticPeople`.
    """

    def __init__(self, seed: int, size: int, count: int, face_model: str = "open_head", views: str = "any") -> None:
        self.seed, self.size, self.count, self.face_model, self.views = seed, size, count, face_model, views
        self._album: SyntheticPeople | None = None

    def __len__(self) -> int:
        return self.count

    def read(self, position: int, generator: np.random.Generator) -> Item:
        if self._album is None:  # in the process that reads, and only there; slow to import
            from training.data.generator import SyntheticPeople

            self._album = SyntheticPeople(
                self.seed,
                self.size,
                framing="aligned",
                pictures_per_person=len(SLOTS) if self.views == "triples" else FRESH_PICTURES_PER_PERSON,
                face_model=self.face_model,
                views=self.views,
            )
        return item_of(self._album.photograph(position), self.face_model)

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_album": None}


def shown_model(face_model: str, shards: str | None) -> str:
    """The face model whose people a run's pictures show.

    Args:
        face_model: of the run, a name or a file.
        shards: folder of its pictures; None where they are made while training: then of the run's own face model, if
            people can be drawn of it, else of the open head.

    Raises:
        UsageError: "no-shards".
    """
    if shards is not None:
        return read_description(Path(shards)).face_model
    if face_model == "open_head" or names_a_file(face_model):
        return "open_head"
    from training.data.open_head_on import can_be_drawn

    return face_model if can_be_drawn(load_face_model(face_model)) else "open_head"


def item_of(sample: Sample, face_model: str = "open_head") -> Item:
    """A sample of the generator, of a person of the face model."""
    cameras = ("rotation", "translation", "intrinsics")
    item = {
        name: np.asarray(getattr(sample.camera if name in cameras else sample, name), kind)
        for name, (_, kind) in label_shapes(face_model).items()
        if name not in ("has_truth", "identity_known", "key_weights")
    }
    item["key_weights"] = sample.key_weights[_expression_columns(face_model)].astype(np.float32)
    return item | {"image": sample.image, "parsing": sample.parsing, "has_truth": np.array(True)}


def in_crop(item: Item, size: int, framing: str, generator: np.random.Generator) -> Item:
    """The picture at the wanted size; portraits are cropped as `backend.aligned_crop` does, up to a jitter.

    Args:
        item: `image`, `parsing` and labels in pixels of the stored picture.
        size: side of the wanted square, pixels.
        framing: of the stored picture: "aligned" is only resized.
        generator: chooses the jitter of a portrait's crop.
    """
    height, width = item["image"].shape[:2]
    if framing != "aligned":
        crop = jittered(align(item["landmarks68"], size), generator)
        image, parsing = crop.image(item["image"]), crop.labels(item["parsing"])
    elif (height, width) == (size, size):
        return item
    else:
        crop = AlignedCrop(size / width, 0.0, 0.0, size)
        image = cv2.resize(item["image"], (size, size), interpolation=cv2.INTER_AREA)
        parsing = cv2.resize(item["parsing"], (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    changed = {"image": image, "parsing": parsing}
    for count in ("68", "478"):
        points = crop.points_in(item[f"landmarks{count}"]).astype(np.float32)
        inside = ((points >= 0) & (points < size)).all(-1)
        changed |= {f"landmarks{count}": points, f"visible{count}": item[f"visible{count}"] & inside}
    if "intrinsics" in item:
        focal, centre = item["intrinsics"][:2] * crop.scale, crop.points_in(item["intrinsics"][2:])
        changed["intrinsics"] = np.concatenate([focal, centre]).astype(np.float32)
    return item | changed


def jittered(crop: AlignedCrop, generator: np.random.Generator) -> AlignedCrop:
    """A crop a little off, as much as the generator's own."""
    scale = crop.scale * generator.uniform(1 - SCALE_JITTER, 1 + SCALE_JITTER)
    middle = np.array([crop.left, crop.top]) + crop.size / crop.scale / 2
    middle += generator.uniform(-SHIFT_JITTER, SHIFT_JITTER, 2) * crop.size / scale
    left, top = middle - crop.size / scale / 2
    return AlignedCrop(scale, float(left), float(top), crop.size)


def open_shards(folder: Path, size: int) -> ShardFolder:
    """The shards of a folder, if they are large enough.

    Raises:
        UsageError: "no-shards", or "shards-too-small".
    """
    shards = ShardFolder(folder)
    if shards.settings.size < size:
        raise UsageError(
            "shards-too-small",
            f"The pictures in {folder} are {shards.settings.size} px, the training wants {size} px. Make larger ones "
            f"(python3 -m training synthesise --size {size}) or set data.size={shards.settings.size}.",
        )
    return shards
