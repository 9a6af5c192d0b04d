"""The spectral autoencoder of meshes: a head as a few numbers that say its structure.

CoMA (Ranjan et al., "Generating 3D Faces using Convolutional Mesh Autoencoders", ECCV 2018), as the 3D encoder of the
spectral method (section 3.1) needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.networks.chebyshev import ChebyshevConvolution, SparseMatrix, scaled_laplacian
from backend.networks.mesh_levels import MeshLevels

WIDTHS = (16, 16, 16, 32)
LATENT = 8
ORDER = 6
LEAST_DEVIATION = 1e-5
"""Metres: what varies less is taken to vary so much, or rounding would be learnt."""
ACTIVATIONS = {"relu": functional.relu, "elu": functional.elu}

Activation = Literal["relu", "elu"]
LatentActivation = Literal["linear", "relu"]


class MeshAutoencoder(nn.Module):
    """Heads of one topology to codes and back.

    At FLAME's sizes it has 11,640 + 18,416 = 30,056 parameters as first published, whose last convolution has no
    bias, and 30,059 with that bias, as in the port to PyTorch that trains best.

    Args:
        levels: of the mesh; one more than there are `widths`.
        latent: numbers of a code.
        widths: filters of the encoder's convolutions; the decoder has the same in reverse.
        order: K, Chebyshev polynomials of a filter.
        activation: after every convolution but the last.
        latent_activation: "linear". The first published code has "relu", under which codes have no negative parts, so
            that the cosine of two of them is never below 0 and undefined where all are 0: only to show that.
        last_bias: whether the last convolution has a bias.

    Attributes:
        mean, deviation: (3 V,) float32 metres, by which vertices are normalised; see `normalise_as`.
    """

    def __init__(
        self,
        levels: MeshLevels,
        latent: int = LATENT,
        widths: Sequence[int] = WIDTHS,
        order: int = ORDER,
        activation: Activation = "relu",
        latent_activation: LatentActivation = "linear",
        last_bias: bool = False,
    ):
        super().__init__()
        if len(levels.selection) != len(widths):
            raise ValueError(f"{len(widths)} convolutions need {len(widths) + 1} levels, not {len(levels.sizes)}")
        self.sizes, self.widths = levels.sizes, tuple(widths)
        self._activation, self._latent_activation = ACTIVATIONS[activation], latent_activation
        self.register_buffer("mean", torch.from_numpy(levels.vertices.reshape(-1).copy()))
        self.register_buffer("deviation", torch.ones(levels.vertices.size))
        self.laplacians = nn.ModuleList(
            scaled_laplacian(faces, size) for faces, size in zip(levels.faces[:-1], levels.sizes, strict=False)
        )
        self.upsampling = nn.ModuleList(_upsampling(levels, number) for number in range(len(widths)))
        for number, kept in enumerate(levels.selection):
            self.register_buffer(f"selection_{number}", torch.from_numpy(kept), persistent=False)

        into = (3, *widths[:-1])
        self.encoder = nn.ModuleList(
            ChebyshevConvolution(*channels, order) for channels in zip(into, widths, strict=True)
        )
        self.to_code = nn.Linear(self.sizes[-1] * widths[-1], latent)
        self.from_code = nn.Linear(latent, self.sizes[-1] * widths[-1])
        back = tuple(reversed(widths))
        self.decoder = nn.ModuleList(
            ChebyshevConvolution(*channels, order) for channels in zip((back[0], *back[:-1]), back, strict=True)
        )
        self.last = ChebyshevConvolution(back[-1], 3, order, has_bias=last_bias)

    def normalise_as(self, mean: Tensor, deviation: Tensor) -> None:
        """Takes (V, 3) mean and standard deviation, metres, of the heads that are learnt from."""
        self.mean.copy_(mean.reshape(-1))
        self.deviation.copy_(deviation.reshape(-1).clamp(min=LEAST_DEVIATION))

    @property
    def is_normalised(self) -> bool:
        """Whether `normalise_as` was called, here or before the parameters were saved."""
        return not bool((self.deviation == 1).all())

    def whiten_codes(self, codes: Tensor) -> None:
        """Moves and turns codes so that these (N, latent) get mean 0 and unit covariance; heads come back as before.

        Both layers beside the code are linear, so that this is one more linear map in the first and its inverse in the
        second. ValueError where the code is not linear.
        """
        if self._latent_activation != "linear":
            raise ValueError("only linear codes can be whitened")
        codes = codes.detach().double()
        mean = codes.mean(dim=0)
        covariance = (codes - mean).T @ (codes - mean) / len(codes)
        values, directions = torch.linalg.eigh(covariance)
        deviation = values.clamp(min=1e-12 * float(values.max())).sqrt()
        forth = (directions / deviation).T  # (latent, latent)
        back = directions * deviation
        into, out = self.to_code, self.from_code
        with torch.no_grad():
            into.bias.copy_(forth @ (into.bias.double() - mean))
            into.weight.copy_(forth @ into.weight.double())
            out.bias.copy_(out.bias.double() + out.weight.double() @ mean)
            out.weight.copy_(out.weight.double() @ back)

    def normalised(self, vertices: Tensor) -> Tensor:
        """(B, V, 3) metres to (B, V, 3) in standard deviations of every vertex and axis."""
        mean, deviation = self.mean.view(-1, 3), self.deviation.view(-1, 3)
        return (vertices.to(mean.dtype) - mean) / deviation

    def forward(self, vertices: Tensor) -> Tensor:
        """(B, V, 3) metres to the same after encoding and decoding."""
        return self.decode(self.encode(vertices))

    def encode(self, vertices: Tensor) -> Tensor:
        """(B, V, 3) metres, in the pose and place of the heads that were learnt from, to (B, latent) float32.

        Raises:
            ValueError: a mesh with another number of vertices.
        """
        if vertices.shape[1:] != (self.sizes[0], 3):
            raise ValueError(f"a mesh of {self.sizes[0]} vertices is encoded, not {tuple(vertices.shape[1:])}")
        with torch.autocast(vertices.device.type, enabled=False):
            features = self.normalised(vertices).transpose(0, 1)
            for number, convolution in enumerate(self.encoder):
                features = self._activation(convolution.by_vertex(features, self.laplacians[number]))
                features = features[getattr(self, f"selection_{number}")]
            code = self.to_code(features.transpose(0, 1).flatten(1))
            return functional.relu(code) if self._latent_activation == "relu" else code

    def decode(self, codes: Tensor) -> Tensor:
        """(B, latent) to (B, V, 3) float32 metres."""
        return self.in_metres(self.decode_normalised(codes))

    def in_metres(self, normalised: Tensor) -> Tensor:
        """The opposite of `normalised`."""
        return normalised * self.deviation.view(-1, 3) + self.mean.view(-1, 3)

    def decode_normalised(self, codes: Tensor) -> Tensor:
        """(B, latent) to (B, V, 3) in standard deviations: what is compared in training."""
        with torch.autocast(codes.device.type, enabled=False):
            codes = codes.to(self.from_code.weight.dtype)
            features = self.from_code(codes).view(len(codes), self.sizes[-1], self.widths[-1]).transpose(0, 1)
            for number, convolution in zip(reversed(range(len(self.widths))), self.decoder, strict=True):
                coarse, batch, channels = features.shape
                features = self.upsampling[number](features.reshape(coarse, -1)).view(-1, batch, channels)
                features = self._activation(convolution.by_vertex(features, self.laplacians[number]))
            return self.last.by_vertex(features, self.laplacians[0]).transpose(0, 1)  # on the finest level


def _upsampling(levels: MeshLevels, number: int) -> SparseMatrix:
    """From level `number + 1` to level `number`."""
    rows = np.repeat(np.arange(levels.sizes[number]), 3)
    columns, shares = levels.corners[number].reshape(-1), levels.shares[number].reshape(-1)
    used = shares > 0
    return SparseMatrix(rows[used], columns[used], shares[used], (levels.sizes[number], levels.sizes[number + 1]))
