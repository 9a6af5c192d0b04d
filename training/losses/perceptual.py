"""Likeness of the rendered face to the photographed one, as a network for recognising people sees it."""

import torch
from torch import Tensor
from torch.nn import functional

FACE_SIZE = 112
TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Where ArcFace networks want the eyes, the nose and the corners of the mouth, pixels of a picture of 112."""


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


def face_crop(image: Tensor, landmarks68: Tensor) -> Tensor:
    """The face as ArcFace networks want it: upright, 112 x 112 pixels, in [-1, 1].

    Args:
        image: (B, 3, H, W) float sRGB in [0, 1].
        landmarks68: (B, 68, 2) float, pixels of `image`.

    Returns:
        (B, 3, 112, 112) float. Gradients reach the image, not the landmarks.
    """
    height, width = image.shape[-2:]
    template = torch.tensor(TEMPLATE).to(landmarks68)
    points = five_of_68(landmarks68.detach())
    # The similarity from template to picture, as complex numbers: p = a t + b, least squares.
    t = torch.view_as_complex((template - template.mean(0)).contiguous())
    p = torch.view_as_complex((points - points.mean(1, keepdim=True)).contiguous())
    factor = (p * t.conj()).sum(1) / (t * t.conj()).sum()
    steps = torch.arange(FACE_SIZE, device=image.device, dtype=landmarks68.dtype) + 0.5
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    grid = torch.stack([across, down], -1) - template.mean(0)
    turned = torch.view_as_real(factor[:, None, None] * torch.view_as_complex(grid.contiguous()))
    place = turned + points.mean(1)[:, None, None]
    place = place * 2 / place.new_tensor([width, height]) - 1
    crop = functional.grid_sample(image, place.to(image.dtype), mode="bilinear", align_corners=False)
    return crop * 2 - 1


def perceptual_loss(rendered: Tensor, wanted: Tensor) -> Tensor:
    """One minus the cosine of the two embeddings (Deng et al. 2019, equation 4; weight 0.17 in Eye Motion).

    Args:
        rendered, wanted: (B, E) float, of any length.

    Returns:
        () float, 0 to 2.
    """
    return (1 - functional.cosine_similarity(rendered, wanted, dim=1, eps=1e-6)).mean()
