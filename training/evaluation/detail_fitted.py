"""Skin detail on heads that are fitted to the pictures, as people get it: normals of synthetic people, pixel by pixel,
and how much more like its photograph a face becomes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from backend.detail_layout import DetailLayout
from backend.errors import PhotoError
from backend.face_models.open_head import OpenHead
from backend.face_parsing import PARSING_CLASSES
from backend.methods.attribute_detail import AttributeDetail
from backend.photographs import load_photograph
from backend.rendering.camera import Camera, focal_to_35mm
from backend.unwrapped_face import UnwrappedFace
from training.data.unwrapped import BARE, SeenTexels, seen_texels, unwrapped_photograph
from training.evaluation.detail_figures import DETAILED, SEEN, KnownFace, Surface, angle
from training.losses.detail import masked_pixel_loss
from training.methods.attribute_detail import DetailRenderingSettings
from training.methods.detail_rendering import LitFaces, render

logger = logging.getLogger(__name__)

LEAST_PIXELS = 2000
"""That must count, or a picture is left out."""
STEPS = 255


def at_pixels(seen: SeenTexels, window: np.ndarray) -> np.ndarray:
    """What lies under the pixels of a picture: (H, W, C) of a window (height, width, C), 0 beside it."""
    values = torch.as_tensor(window, dtype=torch.float32).permute(2, 0, 1)[None]
    place = torch.as_tensor(seen.place, dtype=torch.float32)[None]
    return functional.grid_sample(values, place, align_corners=False)[0].permute(1, 2, 0).numpy()


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) of length 1, zero where they have none."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


class PicturedHead:
    """A posed head as a picture shows it.

    Args:
        model: the open head.
        layout: of relief.
        posed: (V, 3) metres.
        camera: of the picture.

    Attributes:
        seen: which texel each pixel shows.
    """

    def __init__(self, model: OpenHead, layout: DetailLayout, posed: np.ndarray, camera: Camera) -> None:
        self.seen = seen_texels(model, layout, posed, camera)
        self._surface, self._rotation = Surface(layout, posed), camera.rotation

    def normals(self, relief: np.ndarray | None = None) -> np.ndarray:
        """(H, W, 3) unit normals in camera axes, 0 beside the window; relief (height, width) in metres."""
        normals = self._surface.coarse if relief is None else self._surface.normals(relief)
        return unit(at_pixels(self.seen, normals) @ self._rotation.T)


def fitted_errors(method: AttributeDetail, model: OpenHead, known: KnownFace) -> dict[str, float]:
    """Angles between normals in a picture, degrees, over the pixels of skin and nose that are trusted.

    Args:
        method: with the network.
        model: the open head.
        known: a synthetic person. Its lens is told to the fit; everything else the fit has to find.

    Returns:
        Of a fitted head "coarse_degrees", "refined_degrees" with the network's detail, "perfect_degrees" with the
        person's own, where the picture shows it: what is left there is the coarse shape's. "true_head_degrees": of the
        true head with the true detail, what this comparison itself adds. {} where no face was found or too few pixels
        count.
    """
    sample, layout = known.sample, method.layout
    height, width = sample.image.shape[:2]
    # of this picture, which was cut out of a larger one
    focal_35mm = focal_to_35mm(sample.camera.fx, width, height)
    try:
        head, face, _ = unwrapped_photograph(sample.image, focal_35mm, layout)
    except PhotoError as error:
        logger.info("person %d: %s", sample.person, error.sentence)
        return {}
    fitted = PicturedHead(model, layout, face.posed, head.photographs[0].camera)
    true = PicturedHead(model, layout, known.face.posed, sample.camera)
    trust, allowed = at_pixels(fitted.seen, np.stack([face.trust, layout.allowed.numpy()], axis=-1)).transpose(2, 0, 1)
    counted = np.isin(sample.parsing, [PARSING_CLASSES.index(name) for name in BARE])
    counted &= (trust > SEEN) & (allowed > DETAILED) & (true.seen.place < 1.5).all(axis=-1)
    if counted.sum() < LEAST_PIXELS * width * height / 512**2:
        return {}
    own = method.displacement(method.attributes(face), [face.posed - face.neutral])[0]

    def error(normals: np.ndarray) -> float:
        return float(angle(normals, sample.dense.normals)[counted].mean())

    coarse, detailed = fitted.normals(), true.normals(known.relief)
    return {
        "coarse_degrees": error(coarse),
        "refined_degrees": error(fitted.normals(own)),
        # pixel by pixel: on a fitted head a wrinkle lies under other texels than on the true one
        "perfect_degrees": error(unit(coarse + detailed - true.normals())),
        "true_head_degrees": error(detailed),
    }


def photometric_people(
    method: AttributeDetail, photographs: Sequence[Path], rendering: DetailRenderingSettings
) -> dict[str, dict[str, float]]:
    """`photometric_errors` by the names of photographs. Those without a face are left out."""
    found = {}
    for path in tqdm(photographs, desc="photographs", mininterval=2):
        try:
            picture = load_photograph(path)
            _, face, facts = unwrapped_photograph(picture.image, picture.focal_35mm, method.layout)
        except PhotoError as error:
            logger.info("%s: %s", path.name, error.sentence)
            continue
        found[path.stem] = photometric_errors(method, face, facts["light"], rendering)
    return found


def photometric_errors(
    method: AttributeDetail, face: UnwrappedFace, light: np.ndarray, rendering: DetailRenderingSettings
) -> dict[str, float]:
    """How far a face in its light is from its photograph: as in training, by the same mask, in steps of 255.

    Args:
        method: with the network.
        face: laid out in the method's layout.
        light: (9, 3), see `training.data.unwrapped.nearest_light`.
        rendering: how faces are lit and compared.

    Returns:
        "coarse" without detail, "refined" with its relief; and, of a network that says it, "refined_and_albedo" with
        the fine brightness of the skin besides.
    """
    layout, attributes = method.layout, method.attributes(face)
    relief = torch.from_numpy(method.displacement(attributes, [face.posed - face.neutral]))
    texture = torch.from_numpy(face.texture).permute(2, 0, 1)[None].float() / 255
    trust = torch.from_numpy(face.trust)[None]
    with torch.no_grad():
        points, normals = layout.surface(torch.from_numpy(face.posed)[None])
        mask = rendering.mask(layout, texture, trust)

        def shown(fine_albedo: Tensor | None = None) -> LitFaces:
            return render(
                relief,
                points,
                normals,
                torch.from_numpy(light)[None],
                texture,
                trust,
                layout.covered,
                layout.millimetres_per_texel,
                rendering.albedo_mm,
                fine_albedo,
            )

        faces = shown()
        pictures = {"coarse": faces.coarse, "refined": faces.refined}
        if attributes.albedo is not None:
            pictures["refined_and_albedo"] = shown(attributes.albedo.float().cpu()).refined
        return {
            name: STEPS * float(masked_pixel_loss(picture, faces.photograph, mask))
            for name, picture in pictures.items()
        }
