"""Light coefficients of other projects, as `HarmonicLight` and back.

Deep3D and DECA write order-2 spherical harmonics in another order, with other signs and with the cosine lobe's factors
in the basis. Both describe what a surface with the *posed* normal (head turned, x right, y up, z towards the viewer)
sends back, and both multiply gamma-encoded albedo; `rotated` brings a light from posed to model axes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .shading import HARMONIC_CONSTANTS, HarmonicLight, harmonic_basis

_C0, _C1, _C2, _C3, _C4 = HARMONIC_CONSTANTS
_OURS = (_C0, _C1, _C1, _C1, _C2, _C2, _C3, _C2, _C4)  # factors of 1, y, z, x, xy, yz, 3z^2 - 1, xz, x^2 - y^2

DEEP3D_AMBIENT = 0.8
"""What Deep3D adds to the first coefficient of each colour."""

_A0, _A1, _A2 = math.pi, 2 * math.pi / math.sqrt(3), 2 * math.pi / math.sqrt(8)
_B0, _B1, _B2 = 1 / math.sqrt(4 * math.pi), math.sqrt(3 / (4 * math.pi)), 3 * math.sqrt(5 / (12 * math.pi))
_DEEP3D = (  # Deng et al. 2019 as in Deep3DFaceRecon_pytorch, models/bfm.py: the polynomials are in our order
    _A0 * _B0,
    -_A1 * _B1,
    _A1 * _B1,
    -_A1 * _B1,
    _A2 * _B2,
    -_A2 * _B2,
    _A2 * _B2 / (2 * math.sqrt(3)),
    -_A2 * _B2,
    _A2 * _B2 / 2,
)

_DECA_ORDER = (0, 3, 1, 2, 4, 7, 5, 8, 6)  # place in our order of DECA's 1, x, y, z, xy, xz, yz, x^2 - y^2, 3z^2 - 1
_LOBE1 = 2 * math.pi / 3 * math.sqrt(3 / (4 * math.pi))
_LOBE2 = math.pi / 4 * 3 * math.sqrt(5 / (12 * math.pi))
_DECA = (  # Feng et al. 2021, decalib/utils/renderer.py, `constant_factor`
    1 / math.sqrt(4 * math.pi),
    _LOBE1,
    _LOBE1,
    _LOBE1,
    _LOBE2,
    _LOBE2,
    _LOBE2,
    _LOBE2 / 2,
    math.pi / 4 / 2 * math.sqrt(5 / (4 * math.pi)),
)


def light_from_deep3d(gamma: Tensor) -> HarmonicLight:
    """Deep3D's light: (27,) or (3, 9) float, nine for red, nine for green, nine for blue, without the ambient 0.8."""
    gamma = gamma.reshape(3, 9).T.clone()
    gamma[0] += DEEP3D_AMBIENT
    return HarmonicLight(gamma * _ratio(_DEEP3D, gamma))


def light_to_deep3d(light: HarmonicLight) -> Tensor:
    """(27,) float: the inverse of `light_from_deep3d`."""
    gamma = light.coefficients / _ratio(_DEEP3D, light.coefficients)
    return torch.cat([gamma[:1] - DEEP3D_AMBIENT, gamma[1:]]).T.reshape(27)


def light_from_deca(coefficients: Tensor) -> HarmonicLight:
    """DECA's light: (27,) or (9, 3) float, the three colours of one harmonic after the other."""
    theirs = coefficients.reshape(9, 3)
    ours = theirs.new_zeros(9, 3).index_copy(0, _deca_order(theirs), theirs * theirs.new_tensor(_DECA).unsqueeze(1))
    return HarmonicLight(ours / ours.new_tensor(_OURS).unsqueeze(1))


def light_to_deca(light: HarmonicLight) -> Tensor:
    """(9, 3) float: the inverse of `light_from_deca`."""
    ours = light.coefficients * light.coefficients.new_tensor(_OURS).unsqueeze(1)
    return ours.index_select(0, _deca_order(ours)) / ours.new_tensor(_DECA).unsqueeze(1)


def rotated(light: HarmonicLight, rotation: Tensor) -> HarmonicLight:
    """The light turned: `rotated(light, R).shade(R @ n)` is `light.shade(n)`.

    Args:
        light: in one frame.
        rotation: (3, 3) float, from that frame to the other; from posed to model axes the inverse of the head's pose.

    Each order of harmonics is closed under rotation, so nine coefficients turn exactly into nine.
    """
    rotation = rotation.to(light.coefficients)
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(40, 3, generator=generator, dtype=torch.float64), dim=-1)
    turned = normals @ rotation.to(device="cpu", dtype=torch.float64).T
    matrix = torch.linalg.pinv(harmonic_basis(turned)) @ harmonic_basis(normals)  # (9, 9)
    return HarmonicLight(matrix.to(light.coefficients) @ light.coefficients)


def _ratio(factors: tuple[float, ...], like: Tensor) -> Tensor:
    return (like.new_tensor(factors) / like.new_tensor(_OURS)).unsqueeze(1)


def _deca_order(like: Tensor) -> Tensor:
    return torch.tensor(_DECA_ORDER, device=like.device)
