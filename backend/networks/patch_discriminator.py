"""PatchGAN: real or made, said of each patch of a picture.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017, section 3.2.2.
"""

from __future__ import annotations

from torch import Tensor, nn

from backend.networks.pix2pix import WIDEST, Normalisation, bias_before, normalisation, start_small


class PatchDiscriminator(nn.Module):
    """One number a patch, without a sigmoid, for `training.losses.least_squares_gan`.

    4 x 4 convolutions with LeakyReLU 0.2 between: `layers` of stride 2, then two of stride 1. A number sees 70 x 70
    pixels with 3 layers, 34 x 34 with 2, 16 x 16 with 1.

    Args:
        in_channels: of the picture; of a conditional one, those of picture and condition together.
        width: of the first layer; 2, 4, 8, 8, … times that in the next.
        layers: of stride 2.
        norm: of all layers but the first and the last.
    """

    def __init__(self, in_channels: int, width: int = 64, layers: int = 3, norm: Normalisation = "batch"):
        super().__init__()
        widths = [width * min(2**layer, WIDEST) for layer in range(layers + 1)]
        modules = [nn.Conv2d(in_channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for layer, (before, after) in enumerate(zip(widths, widths[1:], strict=False), start=1):
            stride = 2 if layer < layers else 1
            modules += [
                nn.Conv2d(before, after, 4, stride, 1, bias=bias_before(norm)),
                normalisation(norm, after),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.layers = nn.Sequential(*modules, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.least_side = 3 * 2**layers
        start_small(self)

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) float -> (B, 1, H / 2^layers - 2, W / 2^layers - 2), rounded down.

        Raises:
            ValueError: a picture that is too small for one patch.
        """
        if min(image.shape[-2:]) < self.least_side:
            raise ValueError(
                f"Expected sides of at least {self.least_side} pixels, got {image.shape[-1]} x {image.shape[-2]}."
            )
        return self.layers(image)
