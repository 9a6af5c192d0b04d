"""Do reconstructed heads look like the people? `python3 -m training evaluate likeness`.

A head is made from each photograph of London's 24 people, neutral and smiling, and drawn without its expression: every
head from the front by the same camera, in the same light. The head from the smiling photograph is then looked for
among the heads from the neutral ones (rank 1), as the recogniser of `evaluate identity` sees their pictures. A face
that only one of a person's photographs lets find counts as wrong.

For each method:

- codes: by the cosine of the identity codes, without a picture or a recogniser;
- grey: drawn in one grey, eyes and lips included: the shape alone. The recogniser knows no such faces;
- plain skin: drawn in the face model's own skin, the same for all: the shape alone, but with brows, lips and eyes;
- textured: with the texture from the photograph, the head that a person gets;
- head among photographs: the textured head from the smiling photograph, among the neutral photographs themselves.

Above them the photographs themselves: what the recogniser can do at best.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from backend.embedding_files import SHIPPED, read_embedding
from backend.errors import PhotoError, UsageError
from backend.face_models import load_face_model
from backend.face_models.morphable_model import MorphableModel
from backend.fitting import FittedHead
from backend.identity_crop import FACE_SIZE, identity_crop
from backend.options import DEFAULT_FACE_MODEL, METHODS, ReconstructOptions
from backend.photographs import Photograph, load_photograph
from backend.pipeline import fit_photographs, make_albedo
from backend.rendering.camera import Camera
from backend.rendering.shading import HarmonicLight, TextureMap, render_head
from training.evaluation.data_folder import data_folder
from training.evaluation.identity import (
    LONDON,
    Embed,
    Identification,
    embed_found,
    embedder,
    identify_london,
    photographed_faces,
    table,
)

logger = logging.getLogger(__name__)

PICTURE_SIZE, DISTANCE_M, FIELD_M = 288, 1.1, 0.26
"""Side of a picture in pixels, and how far away and how wide what it shows is: the face about twice the size at which
the recogniser sees it."""
MIDDLE_OF_FACE = (0.0, -0.035, 0.0)
CAMERA = Camera.orbit(
    0.0, 0.0, DISTANCE_M, PICTURE_SIZE, focal_pixels=PICTURE_SIZE * DISTANCE_M / FIELD_M, target=MIDDLE_OF_FACE
)
LIGHT = HarmonicLight.directional((0.2, 0.5, 1.0), 0.55, 0.45)
GREY, BACKDROP = (160, 160, 160), 128
TEXTURE_SIZE = 512
TEXTURED = "textured"
GAP = 6
"""Pixels between people on the sheet."""

Paint = Callable[[FittedHead, Photograph], np.ndarray | None]
"""The texture (S, S, 3) uint8 sRGB that a head from a photograph is drawn with; None for grey."""


@dataclass(frozen=True)
class Portrait:
    """A reconstructed head as it is compared.

    Attributes:
        code: (K,) float, its identity in standard deviations of the face model.
        faces: skin -> (112, 112, 3) uint8 sRGB, the picture as recognisers take it.
        seconds: what took how long: "reconstruction" and each skin, its texture and its picture.
    """

    code: np.ndarray
    faces: dict[str, np.ndarray]
    seconds: dict[str, float]


def frontal_face(model: MorphableModel, neutral: np.ndarray, texture: np.ndarray | None) -> np.ndarray:
    """A head from the front, cropped by its own landmarks.

    Args:
        model: the face model; its lashes are left out, as their cards need a transparent texture.
        neutral: (V, 3) metres.
        texture: (S, S, 3) uint8 sRGB, None for grey.

    Returns:
        (112, 112, 3) uint8 sRGB.
    """
    topology = model.topology
    shown = np.ones(len(topology.triangles), bool)
    if "lashes" in topology.part_names:
        lashes = topology.part("lashes")
        shown = (topology.triangle_face < lashes.start) | (topology.triangle_face >= lashes.stop)
    skin = None if texture is None else TextureMap(texture, topology.uv, topology.triangle_uv[shown])
    drawn = render_head(neutral, topology.triangles[shown], CAMERA, GREY, skin, LIGHT, supersampling=2)
    alpha = drawn[..., 3:] / 255.0
    picture = (drawn[..., :3] * alpha + BACKDROP * (1 - alpha)).astype(np.uint8)
    return identity_crop(picture, CAMERA.project(model.landmarks68(neutral)))


def portraits(
    paths: Sequence[Path], reconstruct: Callable[[Photograph], FittedHead], skins: dict[str, Paint]
) -> dict[str, Portrait | None]:
    """File name without ending -> the head from that photograph alone; None where it shows no face.

    Args:
        paths: the photographs.
        reconstruct: a photograph to its head; raises PhotoError where there is no face.
        skins: name -> how the head is painted.
    """
    made: dict[str, Portrait | None] = {}
    for path in paths:
        started = time.perf_counter()
        try:
            photograph = load_photograph(path)
            head = reconstruct(photograph)
        except PhotoError as error:
            logger.warning("%s: %s", path.name, error.sentence)
            made[path.stem] = None
            continue
        faces, seconds = {}, {"reconstruction": time.perf_counter() - started}
        for name, paint in skins.items():
            started = time.perf_counter()
            faces[name] = frontal_face(head.model, head.neutral, paint(head, photograph))
            seconds[name] = time.perf_counter() - started
        made[path.stem] = Portrait(head.identity, faces, seconds)
    return made


def identify_heads(
    embed: Embed, made: dict[str, Portrait | None], photographed: dict[str, np.ndarray | None]
) -> dict[str, Identification]:
    """The rows of one method: smiling people among neutral ones.

    Args:
        made: "001_neutral", "001_smiling", … -> head.
        photographed: the same names -> embedding (E,) of the photograph itself, None where no face was found.
    """
    rows = {"codes": identify_london({name: each and _direction(each.code) for name, each in made.items()})}
    found: dict[str, np.ndarray | None] = {}
    for skin in next((each.faces for each in made.values() if each), {}):
        found = embed_found(embed, {name: each and each.faces[skin] for name, each in made.items()})
        rows[skin] = identify_london(found)
        if skin == TEXTURED:
            known = {name: value for name, value in photographed.items() if name.endswith("_neutral")}
            sought = {name: value for name, value in found.items() if name.endswith("_smiling")}
            rows["head among photographs"] = identify_london(known | sought)
    return rows


def _direction(code: np.ndarray) -> np.ndarray:
    return code / max(float(np.linalg.norm(code)), 1e-12)


def sheet_tiles(
    photographs: dict[str, np.ndarray | None], by_method: dict[str, dict[str, Portrait | None]]
) -> list[np.ndarray]:
    """A picture for each person, (118, 112 N + 6, 3) uint8: the neutral photograph, by each method the textured heads
    from the neutral and from the smiling photograph, and the smiling photograph; black where no face was found.

    Args:
        photographs: "001_neutral", "001_smiling", … -> face (112, 112, 3), as recognisers take it.
        by_method: method -> the same names -> head.
    """
    tiles = []
    for person in sorted({name.split("_")[0] for name in photographs}):
        neutral, smiling = f"{person}_neutral", f"{person}_smiling"
        heads = [made.get(name) for made in by_method.values() for name in (neutral, smiling)]
        shown = [
            photographs.get(neutral),
            *(each and each.faces[TEXTURED] for each in heads),
            photographs.get(smiling),
        ]
        tile = np.zeros((FACE_SIZE + GAP, FACE_SIZE * len(shown) + GAP, 3), np.uint8)
        for number, face in enumerate(shown):
            if face is not None:
                tile[:FACE_SIZE, FACE_SIZE * number : FACE_SIZE * (number + 1)] = face
        cv2.putText(tile, person, (3, 11), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (255, 255, 0), 1, cv2.LINE_AA)
        tiles.append(tile)
    return tiles


def mean_seconds(made: dict[str, Portrait | None]) -> dict[str, float]:
    """What takes how long for one head, seconds by `Portrait.seconds`'s names."""
    taken = [each.seconds for each in made.values() if each]
    return {name: float(np.mean([each[name] for each in taken])) for name in taken[0]} if taken else {}


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate likeness`."""
    parser = argparse.ArgumentParser(prog="evaluate likeness", description=__doc__)
    parser.add_argument("--method", nargs="+", choices=METHODS, default=METHODS, help="how heads are made; default all")
    parser.add_argument("--network", default=SHIPPED, metavar="FILE", help=f"that recognises people; default {SHIPPED}")
    parser.add_argument("--data", type=Path, help="folder of test data; default $LIFEMASK_DATA")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="photographs and heads side by side, to look at")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    embed = embedder(read_embedding(options.network))
    folder = data_folder(options.data, LONDON) / LONDON
    paths = sorted(folder.glob("*_neutral.jpg")) + sorted(folder.glob("*_smiling.jpg"))
    if not paths:
        raise UsageError("no-test-data", f"There are no photographs NNN_neutral.jpg and NNN_smiling.jpg in {folder}.")
    photographs = photographed_faces(paths)
    photographed = embed_found(embed, photographs)
    rows = {"photographs": identify_london(photographed)}
    by_method, seconds = {}, {}
    skins = _skins()
    for method in dict.fromkeys(options.method):
        logger.info("%s: %d heads", method, len(paths))
        by_method[method] = made = portraits(paths, _reconstruct_by(method), skins)
        rows |= {f"{method}, {name}": row for name, row in identify_heads(embed, made, photographed).items()}
        seconds[method] = mean_seconds(made)
    print(table({}, rows))
    for method, taken in seconds.items():
        print(f"{method}, seconds a head: " + ", ".join(f"{name} {value:.2f}" for name, value in taken.items()))
    if options.json:
        record = {name: asdict(row) for name, row in rows.items()}
        options.json.write_text(json.dumps({"identified": record, "seconds": seconds}, indent=1), "utf-8")
    if options.sheet:
        from training.data.sheet import write

        write(options.sheet, sheet_tiles(photographs, by_method))
    return 0


def _reconstruct_by(method: str) -> Callable[[Photograph], FittedHead]:
    return lambda photograph: fit_photographs([photograph.image], [photograph.focal_35mm], method)


def _skins() -> dict[str, Paint]:
    from backend.texture import build_albedo

    plain = build_albedo(load_face_model(DEFAULT_FACE_MODEL), [], TEXTURE_SIZE)
    sized = ReconstructOptions(texture_size=TEXTURE_SIZE)
    return {
        "grey": lambda head, photograph: None,
        "plain skin": lambda head, photograph: plain,
        TEXTURED: lambda head, photograph: make_albedo(head, [photograph], sized),
    }
