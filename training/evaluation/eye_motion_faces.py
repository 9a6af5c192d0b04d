"""Test faces as Eye Motion sees them, to look at: `python3 -m training evaluate eye-motion-faces --output FILE`.

For each face of people that nothing was trained on: the picture, the head of the network's codes alone, and the head
after the fit, drawn over the picture with the light and the albedo that the network found.
"""

import argparse
import logging
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from backend.calibration import load_calibration
from backend.detection import find_face
from backend.errors import PhotoError
from backend.face_models import load_face_model
from backend.face_models.albedo import load_albedo_basis
from backend.fitting import fit
from backend.methods.eye_motion import EyeMotion
from backend.photographs import Photograph, load_photograph
from backend.pipeline import observe, write_picture
from backend.rendering.camera import Camera
from backend.rendering.shading import HarmonicLight, linear_to_srgb, render_head
from training.data.generator import SyntheticPeople

logger = logging.getLogger(__name__)

SEED = 990_001
"""No training has it."""
SIZE, SIDE, ACROSS = 384, 192, 4


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate eye-motion-faces`."""
    parser = argparse.ArgumentParser(prog="evaluate eye-motion-faces", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="PNG or JPEG")
    parser.add_argument("--count", type=int, default=16, help="of faces")
    parser.add_argument("--photographs", type=Path, nargs="+", help="these instead of synthetic people")
    parser.add_argument("--weights", help="name or file of weights; default: those that ship")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    method = EyeMotion.load(options.weights) if options.weights else EyeMotion.load()
    images = _read(options.photographs) if options.photographs else synthetic_faces(options.count)
    write_picture(options.output, sheet([tile(image, method) for image in images]))
    print(f"Written: {options.output}")
    return 0


def synthetic_faces(count: int) -> list[np.ndarray]:
    """(384, 384, 3) uint8: portraits of as many people in which a face is found."""
    album = SyntheticPeople(SEED, SIZE, pictures_per_person=1)
    found: list[np.ndarray] = []
    number = 0
    while len(found) < count:
        image = album.photograph(number).image
        number += 1
        try:
            find_face(image, f"picture {number}", 1)
            found.append(image)
        except PhotoError as error:
            logger.info("%s", error)
    return found


def tile(image: np.ndarray, method: EyeMotion) -> np.ndarray:
    """(192, 3 * 192, 3) uint8: a picture, and over it the network's head and the fitted head."""
    model, basis = load_face_model("open_head"), load_albedo_basis()
    face = find_face(image, "picture", 1)
    codes = method.codes(image, face)
    linear = torch.from_numpy(basis.colours(codes.albedo)).clamp(0.0, 1.0)
    colours = (linear_to_srgb(linear) * 255).to(torch.uint8).numpy()
    light = HarmonicLight(torch.from_numpy(codes.light))
    neutral = model.neutral(codes.measurement.identity.astype(np.float32))
    weights = {name: weight for name, (weight, _) in codes.measurement.keys.items()}
    by_network = model.key_offsets(neutral).apply(neutral, weights)
    seen = observe([Photograph(Path("picture"), image, None, [])], [face], None, method)
    fitted = fit(model, load_calibration(), seen).photographs[0]
    pictures = [image]
    for vertices, camera in ((by_network, codes.camera), (fitted.posed, fitted.camera)):
        pictures.append(_over(image, vertices, camera, colours, light))
    return np.hstack([_square(picture) for picture in pictures])


def _over(
    image: np.ndarray, vertices: np.ndarray, camera: Camera, colours: np.ndarray, light: HarmonicLight
) -> np.ndarray:
    rendered = render_head(vertices, load_face_model("open_head").topology.triangles, camera, colours, light=light)
    alpha = rendered[..., 3:].astype(np.float32) / 255
    return (image * (1 - alpha) + rendered[..., :3] * alpha).astype(np.uint8)


def _square(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return cv2.resize(image[top : top + side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def sheet(tiles: list[np.ndarray]) -> np.ndarray:
    """Tiles in rows of four, the last row filled with black."""
    tiles = tiles + [np.zeros_like(tiles[0])] * (-len(tiles) % ACROSS)
    return np.vstack([np.hstack(tiles[start : start + ACROSS]) for start in range(0, len(tiles), ACROSS)])


def _read(paths: list[Path]) -> list[np.ndarray]:
    return [load_photograph(path).image for path in paths]
