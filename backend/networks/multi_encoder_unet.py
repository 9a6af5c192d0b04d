"""MulEn-Unet: several views of one thing, each with an encoder of its own, fused by one decoder.

Zhao et al., "From 2D Images to 3D Model: Weakly Supervised Multi-View Face Reconstruction with Deep Fusion", ICME 2025,
section 3.3, after Oktay et al., "Attention U-Net", MIDL 2018. The decoder's last double convolution, which the
published code makes and never calls, is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 5
"""Of the encoders; each halves the sides of the one before."""
SIZES_MULTIPLE = 2 ** (LEVELS - 1)


class MultiEncoderUnet(nn.Module):
    """Views to one map of features as large as they are.

    With one view and without gates it is a U-Net.

    Args:
        views: how many.
        inputs: channels of a view.
        width: of the first level, 64 in the paper; doubled at each later one.
        shared_encoder: whether all views go through one encoder; the paper's are unshared.
        gates: whether the decoder chooses by attention what it takes from the encoders; without, it takes all.
    """

    def __init__(
        self, views: int = 3, inputs: int = 4, width: int = 64, shared_encoder: bool = False, gates: bool = True
    ):
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        self.views = views
        self.encoders = nn.ModuleList(Encoder(inputs, widths) for _ in range(1 if shared_encoder else views))
        self.enlargements, self.gates, self.convolutions = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        below = views * widths[-1]
        for finer in reversed(widths[:-1]):
            self.enlargements.append(nn.ConvTranspose2d(below, finer, 2, stride=2))
            self.gates.append(nn.ModuleList(AttentionGate(finer) for _ in range(views if gates else 0)))
            below = finer
        for finer in reversed(widths[1:-1]):  # nothing follows the finest level
            self.convolutions.append(DoubleConvolution((1 + views) * finer, finer))
        self.outputs = (1 + views) * width

    def forward(self, views: Tensor) -> Tensor:
        """Fused features.

        Args:
            views: (B, V, inputs, H, W) float, in the order of the encoders; sides are multiples of 16.

        Returns:
            (B, (1 + V) width, H, W).

        Raises:
            ValueError: another number of views, or sides that cannot be halved four times.
        """
        if views.shape[1] != self.views or views.shape[-1] % SIZES_MULTIPLE or views.shape[-2] % SIZES_MULTIPLE:
            raise ValueError(
                f"Expected {self.views} views whose sides are multiples of {SIZES_MULTIPLE}, got {tuple(views.shape)}."
            )
        encoders = list(self.encoders) * (self.views if len(self.encoders) < self.views else 1)
        encoded = [encoder(view) for encoder, view in zip(encoders, views.unbind(1), strict=True)]
        features = torch.cat([maps[-1] for maps in encoded], dim=1)
        for step, (enlarge, gates) in enumerate(zip(self.enlargements, self.gates, strict=True)):
            features = enlarge(features)
            skipped = [maps[-2 - step] for maps in encoded]
            if len(gates):
                skipped = [gate(features, maps) for gate, maps in zip(gates, skipped, strict=True)]
            features = torch.cat([features, *skipped], dim=1)
            if step < len(self.convolutions):
                features = self.convolutions[step](features)
        return features


class Encoder(nn.Module):
    """One view to features at all levels."""

    def __init__(self, inputs: int, widths: list[int]):
        super().__init__()
        self.levels = nn.ModuleList(
            DoubleConvolution(before, after) for before, after in zip([inputs, *widths], widths, strict=False)
        )

    def forward(self, view: Tensor) -> list[Tensor]:
        """(B, inputs, H, W) to (B, width, H, W), (B, 2 width, H / 2, W / 2), …"""
        maps = [self.levels[0](view)]
        for level in self.levels[1:]:
            maps.append(level(functional.max_pool2d(maps[-1], 2)))
        return maps


class DoubleConvolution(nn.Sequential):
    """Twice a 3 x 3 convolution, normalisation and ReLU: (B, inputs, H, W) -> (B, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int):
        layers = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class AttentionGate(nn.Module):
    """What an encoder saw, weighted at each place by how much the decoder wants it (Oktay et al., equations 1 and 2).

    x sigmoid(psi(ReLU(W_g g + W_x x))), the 1 x 1 convolutions W to half the channels and psi to one each normalised.

    Args:
        channels: of both.
    """

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.of_decoder = nn.Sequential(nn.Conv2d(channels, half, 1), nn.BatchNorm2d(half))
        self.of_encoder = nn.Sequential(nn.Conv2d(channels, half, 1), nn.BatchNorm2d(half))
        self.weight = nn.Sequential(nn.Conv2d(half, 1, 1), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, decoded: Tensor, encoded: Tensor) -> Tensor:
        """Two (B, channels, H, W) to one: `encoded`, weighted."""
        return encoded * self.weight(functional.relu(self.of_decoder(decoded) + self.of_encoder(encoded)))
