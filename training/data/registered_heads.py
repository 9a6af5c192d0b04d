"""Heads of one topology, neutral and in one place: sampled from a face model, or a user's registered scans.

Scans lie as MICA keeps them (Zielonka et al., ECCV 2022), a folder a person:

    registrations/<person>/*.obj        with the topology of the face model
    FLAME_parameters/<person>/*.npz     `betas`, whose first numbers are identity coefficients of the face model

A person with both is read from the first. Scans are laid on the face model's mean without scaling.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from backend.errors import UsageError
from backend.face_models import MorphableModel
from backend.face_models.formats import identify
from backend.face_models.linear_shape import LinearShape
from backend.face_models.linearised import linearised_by_name, names_a_file
from backend.face_models.morphable_model import split_quads
from backend.networks.mesh_levels import MeshLevels, mesh_levels

Part = Literal["skin", "all"]
REGISTRATIONS, PARAMETERS = "registrations", "FLAME_parameters"
HEIGHTS_METRES = (0.1, 0.6)
"""Between which the height of a head lies, whatever of its neck is there."""
SAME_TOPOLOGY = 0.9
"""Of the face model's triangles that a scan must have, too."""
HELD_OUT_SHARE = 0.1
VALIDATION_SEED_OFFSET = 1_000_003


@dataclass(frozen=True)
class HeadGeometry:
    """The part of a face model's heads that is learnt.

    Attributes:
        rows: (V,) int64, vertices of the face model.
        template: (V, 3) float32 metres, the mean person's neutral head.
        triangles: (T, 3) int64, of these V vertices.
        identity: (I, V, 3) float32 metres for one standard deviation.
        file_rows: (V,) int64, the same vertices as the model's own file and scans number them.
        file_size: vertices of the model's own file.
    """

    rows: np.ndarray
    template: np.ndarray
    triangles: np.ndarray
    identity: np.ndarray
    file_rows: np.ndarray
    file_size: int

    def shape(self) -> LinearShape:
        """(B, I) identity and (B, 0) expression codes to (B, V, 3) metres, as a torch module."""
        return LinearShape(self.template, self.identity, np.zeros((0, *self.template.shape), np.float32))


@lru_cache(maxsize=2)
def head_geometry(face_model: str, part: Part = "skin") -> HeadGeometry:
    """What of a face model is learnt; made once in a process.

    Args:
        face_model: "open_head", the name of a model that was added, or the path of a model's file.
        part: "skin", without eyes, teeth and the like, or "all".

    Raises:
        UsageError: there is no such model, the file is not what it should be, or it does not say what is skin.
    """
    if names_a_file(face_model):
        arrays = identify(Path(face_model)).read(Path(face_model))
        mean, identity, faces, skin = arrays.mean, arrays.identity_basis, arrays.faces, arrays.part_faces.get("skin")
        file_index, file_size = np.arange(len(mean)), len(mean)
    else:
        model, bases = linearised_by_name(face_model, "keys")
        mean, identity, faces = bases.base, bases.identity, model.topology.faces
        skin = _rows_of_skin(model)
        own = getattr(model, "file_index", None)
        file_index = np.arange(len(mean)) if own is None else np.asarray(own, np.int64)
        file_size = int(file_index.max()) + 1
    if part == "skin":
        if skin is None:
            raise UsageError(
                "no-skin", f"{Path(face_model).name} does not say which of its faces are skin: set data.part=all."
            )
        faces = faces[skin]
    triangles = split_quads(faces)
    rows = np.arange(len(mean)) if part == "all" else np.unique(triangles)
    place = np.zeros(len(mean), np.int64)
    place[rows] = np.arange(len(rows))
    return HeadGeometry(
        rows,
        np.ascontiguousarray(mean[rows], np.float32),
        place[triangles],
        np.ascontiguousarray(identity[:, rows], np.float32),
        file_index[rows],
        file_size,
    )


@lru_cache(maxsize=2)
def head_levels(face_model: str, part: Part = "skin", factors: tuple[int, ...] = (4, 4, 4, 4)) -> MeshLevels:
    """The levels of the part that is learnt; made once in a process. Raises as `head_geometry`."""
    geometry = head_geometry(face_model, part)
    return mesh_levels(geometry.template, geometry.triangles, factors)


class SampledHeads(Dataset):
    """People whose identity coefficients are drawn from N(0, 1). An item is {"identity": (I,), "person": ()}.

    Args:
        geometry: of the heads.
        count: people.
        seed: the same one gives the same people.
    """

    def __init__(self, geometry: HeadGeometry, count: int, seed: int):
        self.geometry = geometry
        draws = np.random.default_rng(seed).standard_normal((count, len(geometry.identity)))
        self.codes = torch.from_numpy(draws.astype(np.float32))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"identity": self.codes[index], "person": torch.tensor(index)}

    def spread(self) -> tuple[np.ndarray, np.ndarray]:
        """(3 V,) the mean head and (R, 3 V) a matrix F whose F^T F is the covariance, metres, float32."""
        flat = self.geometry.identity.reshape(len(self.geometry.identity), -1)
        codes = self.codes.numpy().astype(np.float64)
        mean = codes.mean(axis=0)
        root = np.linalg.qr((codes - mean) / np.sqrt(len(codes)), mode="r")
        return self.geometry.template.reshape(-1) + mean.astype(np.float32) @ flat, root.astype(np.float32) @ flat


class ScannedHeads(Dataset):
    """Registered scans. An item is {"vertices": (V, 3) metres, "person": ()}.

    Args:
        vertices: (N, V, 3) float32.
        people: (N,) int64.
    """

    def __init__(self, vertices: np.ndarray, people: np.ndarray):
        self.vertices, self.people = torch.from_numpy(vertices), torch.from_numpy(people)

    def __len__(self) -> int:
        return len(self.vertices)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"vertices": self.vertices[index], "person": self.people[index]}

    def spread(self) -> tuple[np.ndarray, np.ndarray]:
        """As `SampledHeads.spread`."""
        flat = self.vertices.flatten(1).numpy()
        mean = flat.mean(axis=0)
        return mean, (flat - mean) / np.float32(np.sqrt(len(flat)))


class HeadData(LightningDataModule):
    """Heads to learn from and, other people, to validate with.

    Args:
        geometry: of the heads.
        batch_size: on each device.
        heads, held_out: people that are sampled where there are no scans.
        seed: of the people that are sampled.
        scans: folder of registered scans, see the module; None samples.

    Raises:
        UsageError: the folder is not what it should be, or holds a single person.
    """

    def __init__(
        self,
        geometry: HeadGeometry,
        batch_size: int,
        heads: int = 20000,
        held_out: int = 512,
        seed: int = 0,
        scans: Path | str | None = None,
    ):
        super().__init__()
        self.batch_size = batch_size
        if scans is None:
            self.training: SampledHeads | ScannedHeads = SampledHeads(geometry, heads, seed)
            self.validation: SampledHeads | ScannedHeads = SampledHeads(
                geometry, held_out, seed + VALIDATION_SEED_OFFSET
            )
        else:
            self.training, self.validation = read_scans(Path(scans), geometry)

    @property
    def steps_per_epoch(self) -> int:
        """Batches until every head was seen, on each device."""
        ranks = torch.distributed.get_world_size() if _is_distributed() else 1
        return max(len(self.training) // (self.batch_size * ranks), 1)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(
            self.training,
            self.batch_size,
            sampler=_Shares(len(self.training), shuffled=True),
            drop_last=len(self.training) >= self.batch_size * self._ranks(),
        )

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.validation, self.batch_size, sampler=_Shares(len(self.validation), shuffled=False))

    @staticmethod
    def _ranks() -> int:
        return torch.distributed.get_world_size() if _is_distributed() else 1


class _Shares(torch.utils.data.Sampler[int]):
    """Every rank its own share, all of the same length, in an order from torch's global generator."""

    def __init__(self, count: int, *, shuffled: bool):
        self.count, self.shuffled = count, shuffled

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.count) if self.shuffled else torch.arange(self.count)
        rank, ranks = (torch.distributed.get_rank(), HeadData._ranks()) if _is_distributed() else (0, 1)
        return iter(order[rank : len(self) * ranks : ranks].tolist())

    def __len__(self) -> int:
        return max(self.count // HeadData._ranks(), 1)


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def read_scans(folder: Path, geometry: HeadGeometry) -> tuple[ScannedHeads, ScannedHeads]:
    """The registered scans in a folder: those to learn from, and those of the last tenth of the people.

    Raises:
        UsageError: there are none, a file is damaged, of another topology or in another unit, or all are of one person.
    """
    people = sorted(
        {path.name for kind in (REGISTRATIONS, PARAMETERS) for path in (folder / kind).glob("*") if path.is_dir()}
    )
    if not people:
        raise UsageError(
            "no-scans",
            f"There are no scans in {folder}. Expected is a folder a person: {REGISTRATIONS}/<person>/*.obj, or "
            f"{PARAMETERS}/<person>/*.npz.",
        )
    vertices, numbers = [], []
    for number, person in enumerate(people):
        objects = sorted((folder / REGISTRATIONS / person).glob("*.obj"))
        files = objects or sorted((folder / PARAMETERS / person).glob("*.npz"))
        for file in files:
            vertices.append(read_head(file, geometry))
            numbers.append(number)
    if not vertices:
        raise UsageError("no-scans", f"The folders of people in {folder} hold neither .obj nor .npz files.")
    held = max(round(HELD_OUT_SHARE * len(people)), 1)
    heads, numbers = np.stack(vertices), np.array(numbers)
    learnt = numbers < len(people) - held
    if not learnt.any() or learnt.all():
        raise UsageError(
            "too-few-scans", f"{folder} holds scans of {len(set(numbers.tolist()))} person; two are the least."
        )
    return ScannedHeads(heads[learnt], numbers[learnt]), ScannedHeads(heads[~learnt], numbers[~learnt])


def read_head(file: Path, geometry: HeadGeometry) -> np.ndarray:
    """One registered head, (V, 3) float32 metres, where the face model's mean is. Raises UsageError as `read_scans`."""
    if file.suffix == ".npz":
        return _from_coefficients(file, geometry)
    points, triangles = _read_obj(file)
    if len(points) not in (geometry.file_size, len(geometry.rows)):
        raise UsageError(
            "scan-of-another-topology",
            f"{file} has {len(points)} vertices, heads of the face model have {geometry.file_size}. Register the scan "
            "with the face model's topology, or name the face model whose topology it has: face_model=NAME.",
        )
    rows = geometry.file_rows if len(points) == geometry.file_size else np.arange(len(points))
    if triangles is not None:
        there = set(map(tuple, np.sort(triangles, axis=1).tolist()))
        wanted = np.sort(rows[geometry.triangles], axis=1).tolist()
        share = np.mean([tuple(corners) in there for corners in wanted])
        if share < SAME_TOPOLOGY:
            raise UsageError(
                "scan-of-another-topology",
                f"{file} has as many vertices as the face model, but only {100 * share:.0f} % of its triangles: its "
                "vertices are in another order. Export it with the order of vertices kept.",
            )
    return _laid_on(_in_metres(points, file)[rows], geometry.template)


def _from_coefficients(file: Path, geometry: HeadGeometry) -> np.ndarray:
    try:
        with np.load(file, allow_pickle=False) as data:
            betas = np.asarray(data["betas"], np.float32).reshape(-1)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(
            "scan-damaged", f"{file} cannot be read as a file with `betas`, a head's coefficients ({error})."
        ) from error
    size = len(geometry.identity)
    if len(betas) < size:
        raise UsageError(
            "scan-of-another-topology",
            f"{file} has {len(betas)} coefficients, a head of the face model has {size}. Name the face model that they "
            "are of: face_model=NAME.",
        )
    return geometry.template + np.tensordot(betas[:size], geometry.identity, axes=1)


def _read_obj(file: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """(N, 3) float64 and (T, 3) int64 triangles, None where there are no faces."""
    points, faces = [], []
    try:
        for line in file.read_text("utf-8", errors="replace").splitlines():
            words = line.split()
            if words[:1] == ["v"]:
                points.append([float(word) for word in words[1:4]])  # colours may follow
            elif words[:1] == ["f"]:
                corners = [int(word.split("/")[0]) for word in words[1:]]
                faces += [[corners[0], *corners[k : k + 2]] for k in range(1, len(corners) - 1)]
        places = np.array(points, np.float64).reshape(-1, 3)
        if not len(places) or not np.isfinite(places).all():
            raise ValueError("there are no vertices, or some are not finite")
        triangles = np.array(faces, np.int64)
    except (OSError, ValueError, IndexError) as error:
        raise UsageError("scan-damaged", f"{file} cannot be read as a Wavefront OBJ ({error}).") from error
    if not len(triangles):
        return places, None
    return places, np.where(triangles > 0, triangles - 1, triangles + len(places))


def _in_metres(points: np.ndarray, file: Path) -> np.ndarray:
    height = float(np.ptp(points, axis=0).max())
    if not HEIGHTS_METRES[0] <= height <= HEIGHTS_METRES[1]:
        raise UsageError(
            "scan-in-another-unit",
            f"The head in {file} is {height:.4g} m large. Scans are in metres: scale it to them (by 0.001 from "
            "millimetres, by 0.01 from centimetres).",
        )
    return points


def _laid_on(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Turned and moved, not scaled, so that it lies on the template (Kabsch)."""
    middle, wanted = points.mean(axis=0), template.mean(axis=0, dtype=np.float64)
    left, _, right = np.linalg.svd((points - middle).T @ (template - wanted))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    return ((points - middle) @ (left * sign) @ right + wanted).astype(np.float32)


def _rows_of_skin(model: MorphableModel) -> slice | None:
    return model.topology.part("skin") if "skin" in model.topology.part_names else None
