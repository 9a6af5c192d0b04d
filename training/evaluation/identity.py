"""Does a network tell people apart? `python3 -m training evaluate identity`.

Verification: are two pictures of one person? On synthetic people whom no training has seen, all pairs of pictures, the
cosine of their embeddings against a threshold. The threshold that is best for one half of the people is used on the
other half and the other way round; the accuracy is the mean over pairs of one person and pairs of two, so that guessing
gives a half. The area under the ROC curve is the share of (pair of one person, pair of two) whose cosines are in the
right order.

Identification: whose picture is it? London's 24 people smiling, each to be found among the 24 neutral (rank 1). Lisa
from 15 to 60 cm and before a phone, to be found among London's neutral people and one of herself. A photograph in which
no face is found counts as wrong. None of these photographs is in what shipped weights have learnt from.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from backend.embedding_files import SHIPPED, read_embedding
from backend.errors import PhotoError
from backend.identity_crop import identity_crop, network_input
from backend.landmarks68 import landmarks68_from_478
from training.evaluation.data_folder import data_folder

logger = logging.getLogger(__name__)

SEED = 9_024_006
"""Of the synthetic people; no training uses it."""
PEOPLE = 64
PICTURES_PER_PERSON = 8
SYNTHETIC_SIZE = 128
FRONTAL_DEGREES = 30.0
LONDON, LISA = "photos/london", "photos/lisa"
LISA_KNOWN = "60cm"
BATCH = 64

Embed = Callable[[np.ndarray], np.ndarray]
"""Faces (N, 112, 112, 3) uint8 to embeddings (N, E) of unit length."""


@dataclass(frozen=True)
class Verification:
    """How well pairs of one person and of two are told apart.

    Attributes:
        accuracy: with a threshold from other people, mean over both kinds of pairs; nan with fewer than 4 people.
        auc: area under the ROC curve.
        same, different: mean cosine of both kinds.
        same_pairs, different_pairs: how many.
    """

    accuracy: float
    auc: float
    same: float
    different: float
    same_pairs: int
    different_pairs: int


@dataclass(frozen=True)
class Identification:
    """How often the nearest of a gallery is the right one.

    Attributes:
        right: probes whose nearest is of the same person; total: probes, those without a face among them.
        missed: probes or their counterparts in which no face was found.
        gallery: people among whom is searched.
        auc, same, different: as of `Verification`, over all (probe, gallery) pairs.
    """

    right: int
    total: int
    missed: int
    gallery: int
    auc: float
    same: float
    different: float


def embedder(network: nn.Module) -> Embed:
    """Faces to embeddings, by a network as `backend.embedding_files.read_embedding` gives it."""
    network = network.eval()

    def embed(faces: np.ndarray) -> np.ndarray:
        found = []
        with torch.inference_mode():
            for start in range(0, len(faces), BATCH):
                found.append(functional.normalize(network(network_input(faces[start : start + BATCH]))))
        return torch.cat(found).numpy() if found else np.zeros((0, 1), np.float32)

    return embed


def roc_auc(same: np.ndarray, different: np.ndarray) -> float:
    """The share of (same, different) in the right order, ties as half; nan where there are none.

    Args:
        same, different: (N,), (M,) likenesses.
    """
    if not len(same) or not len(different):
        return float("nan")
    ordered = np.sort(different)
    below, not_above = np.searchsorted(ordered, same, "left"), np.searchsorted(ordered, same, "right")
    return float((below + not_above).mean() / 2 / len(different))


def best_threshold(same: np.ndarray, different: np.ndarray) -> float:
    """The likeness from which pairs should be taken for one person, for the highest mean accuracy of both kinds."""
    values = np.unique(np.concatenate([same, different]))
    # A threshold half way between two values; the outermost leave everything on one side.
    places = np.concatenate([[values[0] - 1], (values[:-1] + values[1:]) / 2, [values[-1] + 1]])
    hits = 1 - np.searchsorted(np.sort(same), places, "left") / len(same)
    rejections = np.searchsorted(np.sort(different), places, "left") / len(different)
    return float(places[np.argmax(hits + rejections)])


def accuracy(same: np.ndarray, different: np.ndarray, threshold: float) -> float:
    """Mean of the shares of pairs of one person at or above and of pairs of two below a threshold."""
    return float(((same >= threshold).mean() + (different < threshold).mean()) / 2)


def pairs(embeddings: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of all pairs of pictures: of one person (N,), of two (M,).

    Args:
        embeddings: (P, E) of unit length; people: (P,) who is shown.
    """
    first, second = np.triu_indices(len(people), 1)
    cosines = (embeddings @ embeddings.T)[first, second]
    is_same = people[first] == people[second]
    return cosines[is_same], cosines[~is_same]


def verify(embeddings: np.ndarray, people: np.ndarray) -> Verification:
    """Over all pairs of pictures.

    Args:
        embeddings: (P, E) of unit length; people: (P,) who is shown.
    """
    known = np.unique(people)
    halves = [np.isin(people, known[part::2]) for part in (0, 1)]
    split = [pairs(embeddings[half], people[half]) for half in halves]
    reached = float("nan")
    if all(len(kind) for half in split for kind in half):
        reached = np.mean([accuracy(*split[1 - half], best_threshold(*split[half])) for half in (0, 1)])
    same, different = pairs(embeddings, people)
    return Verification(
        float(reached),
        roc_auc(same, different),
        float(same.mean()) if len(same) else float("nan"),
        float(different.mean()) if len(different) else float("nan"),
        len(same),
        len(different),
    )


def identify(gallery: dict[str, np.ndarray | None], probes: Sequence[tuple[str, np.ndarray | None]]) -> Identification:
    """Looks for each probe's nearest in the gallery.

    Args:
        gallery: person -> embedding (E,) of unit length, None where no face was found.
        probes: (person, embedding or None); a person that the gallery does not have, or has as None, cannot be right.
    """
    names = [name for name, value in gallery.items() if value is not None]
    known = np.array([gallery[name] for name in names])
    same, different, right, missed = [], [], 0, 0
    for person, value in probes:
        if value is None or person not in names:
            missed += 1
            continue
        cosines = known @ value
        right += names[int(cosines.argmax())] == person
        is_same = np.array(names) == person
        same.append(cosines[is_same])
        different.append(cosines[~is_same])
    same, different = (np.concatenate(kind) if kind else np.zeros(0) for kind in (same, different))
    mean = [float(kind.mean()) if len(kind) else float("nan") for kind in (same, different)]
    return Identification(right, len(probes), missed, len(gallery), roc_auc(same, different), *mean)


def synthetic_faces(people: int, seed: int = SEED) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures of synthetic people, cropped by their true landmarks.

    Returns:
        faces (P, 112, 112, 3) uint8, people (P,) int, yaw (P,) degrees.
    """
    from training.data.generator import SyntheticPeople

    album = SyntheticPeople(seed, SYNTHETIC_SIZE, framing="aligned", pictures_per_person=PICTURES_PER_PERSON)
    faces, yaws = [], []
    for number in range(people * PICTURES_PER_PERSON):
        sample = album.photograph(number)
        faces.append(identity_crop(sample.image, sample.landmarks68))
        yaws.append(float(sample.yaw))
    return np.stack(faces), np.repeat(np.arange(people), PICTURES_PER_PERSON), np.array(yaws)


def photographed_faces(paths: Sequence[Path]) -> dict[str, np.ndarray | None]:
    """File name without ending -> face (112, 112, 3) uint8 as the detector finds it, None where it finds none."""
    from backend.detection import find_face

    faces: dict[str, np.ndarray | None] = {}
    for path in paths:
        image = np.asarray(Image.open(path).convert("RGB"))
        try:
            faces[path.stem] = identity_crop(image, landmarks68_from_478(find_face(image, path.name).points))
        except PhotoError as error:
            logger.warning("%s", error.sentence)
            faces[path.stem] = None
    return faces


def embed_found(embed: Embed, faces: dict[str, np.ndarray | None]) -> dict[str, np.ndarray | None]:
    """Embeddings by the faces' names, None where there is no face."""
    names = [name for name, face in faces.items() if face is not None]
    found = embed(np.stack([faces[name] for name in names])) if names else []
    return dict.fromkeys(faces) | dict(zip(names, found, strict=True))


def identify_london(found: dict[str, np.ndarray | None]) -> Identification:
    """Smiling people among neutral ones, from embeddings by "001_neutral", "001_smiling", …"""
    gallery = {name.split("_")[0]: value for name, value in found.items() if name.endswith("_neutral")}
    probes = [(name.split("_")[0], value) for name, value in found.items() if name.endswith("_smiling")]
    return identify(gallery, probes)


def identify_lisa(lisa: dict[str, np.ndarray | None], london: dict[str, np.ndarray | None]) -> Identification:
    """Lisa's other pictures among London's neutral people and one of hers."""
    gallery = {name: value for name, value in london.items() if name.endswith("_neutral")}
    gallery["lisa"] = lisa.get(LISA_KNOWN)
    return identify(gallery, [("lisa", value) for name, value in lisa.items() if name != LISA_KNOWN])


def table(verified: dict[str, Verification], identified: dict[str, Identification]) -> str:
    """The figures in words and columns."""
    lines = []
    columns = f"{'ROC AUC':>8} {'same':>7} {'other':>7}"
    if verified:
        lines.append(f"{'one person or two':34} {'accuracy':>9} {columns} {'pairs':>15}")
    for name, row in verified.items():
        share = f"{100 * row.accuracy:7.1f} %" if np.isfinite(row.accuracy) else f"{'-':>9}"
        lines.append(f"{name:34} {share} {_columns(row)} {f'{row.same_pairs} + {row.different_pairs}':>15}")
    if identified:
        lines.append(f"{'who is it':34} {'rank 1':>9} {columns} {'no face':>8} {'among':>6}")
    for name, row in identified.items():
        lines.append(f"{name:34} {f'{row.right} of {row.total}':>9} {_columns(row)} {row.missed:8} {row.gallery:6}")
    return "\n".join(lines)


def _columns(row: Verification | Identification) -> str:
    return f"{row.auc:8.4f} {row.same:7.3f} {row.different:7.3f}"


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate identity`."""
    parser = argparse.ArgumentParser(prog="evaluate identity", description=__doc__)
    parser.add_argument("--network", default=SHIPPED, metavar="FILE", help=f"that recognises people; default {SHIPPED}")
    parser.add_argument("--data", type=Path, help="folder of test data; default $LIFEMASK_DATA")
    parser.add_argument("--people", type=int, default=PEOPLE, help="synthetic people, 8 pictures of each")
    parser.add_argument("--only", choices=("synthetic", "photographs"), help="one half of the table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    if options.people < 4:
        parser.error("--people must be 4 or more: a threshold is found on half of them.")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    embed = embedder(read_embedding(options.network))
    verified, identified = {}, {}
    if options.only != "photographs":
        logger.info("Synthetic: %d people, %d pictures of each", options.people, PICTURES_PER_PERSON)
        faces, people, yaws = synthetic_faces(options.people)
        found, frontal = embed(faces), np.abs(yaws) < FRONTAL_DEGREES
        verified["synthetic, any view"] = verify(found, people)
        verified[f"synthetic, yaw below {FRONTAL_DEGREES:.0f} degrees"] = verify(found[frontal], people[frontal])
    if options.only != "synthetic":
        folders = {name: data_folder(options.data, name) / name for name in (LONDON, LISA)}
        paths = {name: sorted(folder.glob("*.jpg")) for name, folder in folders.items()}
        logger.info("London: %d photographs, Lisa: %d", len(paths[LONDON]), len(paths[LISA]))
        london, lisa = (embed_found(embed, photographed_faces(paths[name])) for name in (LONDON, LISA))
        identified["London, smiling among neutral"] = identify_london(london)
        identified["Lisa, near and by phone"] = identify_lisa(lisa, london)
    print(table(verified, identified))
    if options.json:
        record = {name: asdict(row) for name, row in (verified | identified).items()}
        options.json.write_text(json.dumps(record, indent=1), "utf-8")
    return 0
