"""The face as networks see it that recognise people: upright, 112 pixels, its five points where ArcFace wants them.

Deng et al., "ArcFace", CVPR 2019, section 3.1: the similarity (turn, scale and shift) that lays eyes, nose and corners
of the mouth on a template, by least squares.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from backend.aligned_crop import five_points
from backend.picture_regions import Picture, Region

FACE_SIZE = 112
TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Where ArcFace networks want the eyes, the nose and the corners of the mouth, pixels of a picture of 112."""


def identity_region(landmarks68: np.ndarray) -> Region:
    """The square of a photograph that becomes the face.

    Args:
        landmarks68: (68, 2) pixels of the photograph, iBUG order.

    Raises:
        ValueError: the landmarks are not (68, 2) finite numbers, or lie on one another.
    """
    landmarks68 = np.asarray(landmarks68, dtype=np.float64)
    if landmarks68.shape != (68, 2) or not np.isfinite(landmarks68).all():
        raise ValueError(f"A face needs (68, 2) finite landmarks, not {landmarks68.shape}.")
    factor, shift = similarity(torch.from_numpy(five_points(landmarks68))[None])
    factor, shift = complex(factor), complex(shift)
    if abs(factor) < 1e-6:
        raise ValueError("The landmarks of a face lie on one another.")
    centre = factor * (0.5 + 0.5j) * FACE_SIZE + shift
    return Region(np.array([centre.real, centre.imag]), abs(factor) * FACE_SIZE, float(np.angle(factor)))


def identity_crop(photograph: np.ndarray, landmarks68: np.ndarray) -> np.ndarray:
    """The face of a photograph, evenly filtered.

    Args:
        photograph: (H, W, 3) uint8 sRGB.
        landmarks68: (68, 2) pixels of it, iBUG order.

    Returns:
        (112, 112, 3) uint8 sRGB; black beyond the photograph's border, as recognisers were trained.

    Raises:
        ValueError: as `identity_region`.
    """
    return Picture(photograph).crop(identity_region(landmarks68), FACE_SIZE, cv2.BORDER_CONSTANT)


def network_input(faces: np.ndarray) -> Tensor:
    """(B, 112, 112, 3) uint8 sRGB -> (B, 3, 112, 112) float32, (x - 127.5) / 127.5, red first."""
    return (torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2).float() - 127.5) / 127.5


def face_crop(image: Tensor, landmarks68: Tensor) -> Tensor:
    """The faces of a batch of small pictures (no larger than a few times 112 pixels: nothing is filtered).

    Args:
        image: (B, 3, H, W) float sRGB in [0, 1].
        landmarks68: (B, 68, 2) float, pixels of `image`.

    Returns:
        (B, 3, 112, 112) float in [-1, 1]. Gradients reach the image, not the landmarks.
    """
    height, width = image.shape[-2:]
    factor, shift = similarity(five_of_68(landmarks68.detach()))
    steps = torch.arange(FACE_SIZE, device=image.device, dtype=landmarks68.dtype) + 0.5
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    place = torch.view_as_real(factor[:, None, None] * torch.complex(across, down) + shift[:, None, None])
    place = place * 2 / place.new_tensor([width, height]) - 1
    crop = functional.grid_sample(image, place.to(image.dtype), mode="bilinear", align_corners=False)
    return crop * 2 - 1


def five_of_68(landmarks68: Tensor) -> Tensor:
    """(B, 68, 2) to (B, 5, 2): middle of the eye in the left of the picture, of the other one, nose, mouth corners."""
    return torch.stack(
        [
            landmarks68[:, [36, 39]].mean(1),
            landmarks68[:, [42, 45]].mean(1),
            landmarks68[:, 30],
            landmarks68[:, 48],
            landmarks68[:, 54],
        ],
        dim=1,
    )


def similarity(points: Tensor) -> tuple[Tensor, Tensor]:
    """From the template to the picture, as complex numbers: p = a t + b, least squares.

    Args:
        points: (B, 5, 2) float, pixels.

    Returns:
        a, b: (B,) complex.
    """
    template = torch.tensor(TEMPLATE).to(points)
    middle, centre = template.mean(0), points.mean(1, keepdim=True)
    t = torch.view_as_complex((template - middle).contiguous())
    p = torch.view_as_complex((points - centre).contiguous())
    factor = (p * t.conj()).sum(1) / (t * t.conj()).sum()
    return factor, torch.view_as_complex(centre[:, 0].contiguous()) - factor * torch.view_as_complex(middle)
