"""Skin detail as local filters over an expression map: the network of attribute learning.

Yang et al., "Detailed 3D Face Reconstruction from Single Images Via Self-supervised Attribute Learning", SIGGRAPH Asia
2020 Posters, section 2.2: a pixel-to-pixel generator makes an attribute embedding of the unwrapped photograph, a layer
of dynamic region-aware convolution makes regions and filters of it, and these are convolved over the expression map.
What the poster leaves open is an argument here; docs/methods/attribute-detail.md says what was chosen and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from backend.networks.dynamic_region_conv import DynamicRegionConvolution, RegionAttributes
from backend.networks.pix2pix import ResNetGenerator, UNetGenerator

Generator = Literal["unet", "resnet"]
Head = Literal["filters", "filters-times-embedding"]
SEEN = {"texture": 3, "fine": 1, "trust": 1, "normals": 3, "expression": 3}
"""What a generator can be shown, and in how many channels: the unwrapped photograph from -1 to 1, its fine brightness
alone, how far it is to be trusted, normals in viewer axes (x right, y up, z out of the picture), the expression map of
the photograph."""
MILLIMETRE = 1e-3
LARGEST_ALBEDO = 0.7
"""Logarithm: half or twice as bright as the skin around it."""
FIRST_SHARE = 0.5
"""By which the generator's last layer starts smaller than in pix2pix: an untrained network makes little detail, while
its filters have their full size. Were both small, neither would tell the other how to grow."""


@dataclass(frozen=True)
class FacialAttributes:
    """What the network takes from a photograph, whatever the face does in it.

    Attributes:
        embedding: (B, A, H, W) float in [-1, 1].
        regions: masks and filters, see `DynamicRegionConvolution`.
        albedo: (B, H, W) float, logarithm of the fine brightness of the skin's own colour; None where the network does
            not say it.
    """

    embedding: Tensor
    regions: RegionAttributes
    albedo: Tensor | None = None

    def within(self, rows: slice, columns: slice) -> FacialAttributes:
        """Those of a part of the map."""
        mask = self.regions.mask[..., rows, columns]
        albedo = None if self.albedo is None else self.albedo[..., rows, columns]
        return FacialAttributes(
            self.embedding[..., rows, columns], RegionAttributes(mask, self.regions.filters), albedo
        )


class AttributeDetailNetwork(nn.Module):
    """From a photograph in the face's texture space to displacement for any expression.

    Args:
        sees: what the generator is shown, names of `SEEN`; the poster's sees the texture.
        generator: "unet" or "resnet", pix2pix's two.
        width: channels of the generator's first layer, 64 in pix2pix.
        levels: halvings of the U-Net; or blocks of the ResNet.
        norm: of the generator: "batch", "instance" or "group".
        embedding: A, channels of the attribute embedding.
        regions: of the dynamic region-aware convolution, 8 in its paper; 1 is a convolution with one filter for the
            whole face (the ablation).
        kernel: side of its filters in texels.
        head: "filters": they answer the displacement (the poster). "filters-times-embedding": they answer A channels,
            which are summed with the embedding as weights. Hard regions alone leave steps where they meet, and filters
            over a smooth map make nothing finer than the regions; the embedding is as fine as the photograph. Either
            is linear in the expression map but for the bound.
        constant: a further channel of the expression map that is 1 everywhere, so that a face at rest may have detail;
            without it (the poster) a neutral face has none.
        albedo: whether the embedding has one more channel, which answers fine brightness of the skin's own colour. It
            serves training: freckles, stubble and moles are the same in every light and every expression and need not
            be explained by relief (HRN "de-retouches" its albedo for the same reason). Not in the poster.
        weighs_fine: whether the second half of the embedding are weights, about 1, of the photograph's fine brightness
            instead of answers of their own. What is dark is mostly deep: it need not be found out from nothing.
        gate: HRN's way to begin with little detail: a trained factor on all of it that starts here, in HRN at 0.01;
            None has no such factor.
        largest_mm: bound of the displacement, millimetres; 10 in DECA.
    """

    def __init__(
        self,
        sees: Sequence[str] = tuple(SEEN),
        generator: Generator = "unet",
        width: int = 64,
        levels: int = 6,
        norm: str = "group",
        embedding: int = 16,
        regions: int = 8,
        kernel: int = 3,
        head: Head = "filters-times-embedding",
        constant: bool = True,
        albedo: bool = False,
        weighs_fine: bool = True,
        gate: float | None = None,
        largest_mm: float = 3.0,
    ):
        super().__init__()
        self.settings: dict[str, Any] = {
            "sees": list(sees),
            "generator": generator,
            "width": width,
            "levels": levels,
            "norm": norm,
            "embedding": embedding,
            "regions": regions,
            "kernel": kernel,
            "head": head,
            "constant": constant,
            "albedo": albedo,
            "weighs_fine": weighs_fine,
            "gate": gate,
            "largest_mm": largest_mm,
        }
        if weighs_fine and "fine" not in sees:
            raise ValueError("A network that weighs the fine brightness must be shown it.")
        channels = sum(SEEN[name] for name in sees)
        if generator == "unet":
            self.generator: nn.Module = UNetGenerator(channels, embedding + albedo, levels, width, norm)
        else:
            self.generator = ResNetGenerator(channels, embedding + albedo, levels, width)
        last = self.generator.up[0] if generator == "unet" else self.generator.layers[-2]
        with torch.no_grad():
            for parameter in last.parameters():
                parameter.mul_(FIRST_SHARE)
        self.gate = None if gate is None else nn.Parameter(torch.tensor(float(gate)))
        answers = embedding if head == "filters-times-embedding" else 1
        self.filters = DynamicRegionConvolution(embedding, 3 + constant, answers, regions, kernel)

    @property
    def multiple(self) -> int:
        """The sides of what the generator is shown must be multiples of this."""
        return 2 ** self.settings["levels"] if self.settings["generator"] == "unet" else 4

    def attributes(self, seen: dict[str, Tensor]) -> FacialAttributes:
        """What is to be known of a face to wrinkle it.

        Args:
            seen: by the names of `SEEN`, each (B, C, H, W) float.
        """
        answer = self.generator(torch.cat([seen[name] for name in self.settings["sees"]], dim=1))
        embedding, albedo = answer, None
        if self.settings["weighs_fine"]:
            half = self.settings["embedding"] // 2
            fine = (1 + answer[:, half : 2 * half]) * seen["fine"]
            answer = torch.cat([answer[:, :half], fine, answer[:, 2 * half :]], dim=1)
            embedding = answer
        if self.settings["albedo"]:
            embedding, albedo = answer[:, :-1], LARGEST_ALBEDO * answer[:, -1]
        return FacialAttributes(embedding, self.filters.regions_and_filters(embedding), albedo)

    def displacement(self, attributes: FacialAttributes, expression: Tensor) -> Tensor:
        """Displacement of B faces for N expressions each.

        Args:
            attributes: of the B faces.
            expression: (B, N, 3, H, W) expression maps, see `DetailLayout.expression_map`.

        Returns:
            (B, N, H, W) metres outwards, within `largest_mm`.
        """
        if self.settings["constant"]:
            expression = torch.cat([expression, torch.ones_like(expression[:, :, :1])], dim=2)
        answers = self.filters.apply_to(attributes.regions, expression)
        if self.settings["head"] == "filters":
            millimetres = answers.squeeze(2)
        else:
            millimetres = (answers * attributes.embedding.unsqueeze(1)).mean(dim=2)
        if self.gate is not None:
            millimetres = self.gate * millimetres
        largest = self.settings["largest_mm"]
        return largest * MILLIMETRE * torch.tanh(millimetres / largest)

    def facts(self) -> dict[str, Any]:
        """The keywords that make this network again."""
        return dict(self.settings)
