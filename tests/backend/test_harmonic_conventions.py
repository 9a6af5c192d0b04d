"""Lights of Deep3D and DECA against the formulas of those projects, written down once more here."""

import math

import pytest
import torch
from torch import Tensor

from backend.rendering.harmonic_conventions import (
    light_from_deca,
    light_from_deep3d,
    light_to_deca,
    light_to_deep3d,
    rotated,
)
from backend.rendering.shading import HarmonicLight, harmonic_basis

GENERATOR = torch.Generator().manual_seed(0)
NORMALS = torch.nn.functional.normalize(torch.randn(50, 3, generator=GENERATOR, dtype=torch.float64), dim=-1)
COEFFICIENTS = torch.randn(27, generator=GENERATOR, dtype=torch.float64)


def deep3d_shading(gamma: Tensor, normals: Tensor) -> Tensor:
    x, y, z = normals.unbind(-1)
    a = (math.pi, 2 * math.pi / math.sqrt(3.0), 2 * math.pi / math.sqrt(8.0))
    c = (1 / math.sqrt(4 * math.pi), math.sqrt(3.0) / math.sqrt(4 * math.pi))
    c = (*c, 3 * math.sqrt(5.0) / math.sqrt(12 * math.pi))
    basis = torch.stack(
        [
            a[0] * c[0] * torch.ones_like(x),
            -a[1] * c[1] * y,
            a[1] * c[1] * z,
            -a[1] * c[1] * x,
            a[2] * c[2] * x * y,
            -a[2] * c[2] * y * z,
            0.5 * a[2] * c[2] / math.sqrt(3.0) * (3 * z**2 - 1),
            -a[2] * c[2] * x * z,
            0.5 * a[2] * c[2] * (x**2 - y**2),
        ],
        -1,
    )
    start = torch.tensor([0.8] + [0.0] * 8, dtype=gamma.dtype)
    return torch.stack([basis @ (gamma[9 * k : 9 * k + 9] + start) for k in range(3)], -1)


def deca_shading(coefficients: Tensor, normals: Tensor) -> Tensor:
    x, y, z = normals.unbind(-1)
    pi = math.pi
    first, second = 2 * pi / 3 * math.sqrt(3 / (4 * pi)), pi / 4 * 3 * math.sqrt(5 / (12 * pi))
    factors = [1 / math.sqrt(4 * pi), first, first, first, second, second, second]
    factors += [pi / 4 * 1.5 * math.sqrt(5 / (12 * pi)), pi / 4 * 0.5 * math.sqrt(5 / (4 * pi))]
    basis = torch.stack(
        [torch.ones_like(x), x, y, z, x * y, x * z, y * z, x**2 - y**2, 3 * z**2 - 1], -1
    ) * torch.tensor(factors, dtype=x.dtype)
    return basis @ coefficients.view(9, 3)


@pytest.mark.parametrize(
    ("convert", "shade"), [(light_from_deep3d, deep3d_shading), (light_from_deca, deca_shading)], ids=["Deep3D", "DECA"]
)
def test_a_converted_light_shades_as_in_its_own_project(convert, shade):
    found = harmonic_basis(NORMALS) @ convert(COEFFICIENTS).coefficients
    assert torch.allclose(found, shade(COEFFICIENTS, NORMALS), atol=1e-12)


def test_lights_go_there_and_back():
    assert torch.allclose(light_to_deep3d(light_from_deep3d(COEFFICIENTS)), COEFFICIENTS)
    assert torch.allclose(light_to_deca(light_from_deca(COEFFICIENTS)).reshape(27), COEFFICIENTS)


def test_a_turned_light_lights_the_turned_head_as_before():
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=GENERATOR, dtype=torch.float64))[0]
    rotation = rotation * torch.sign(torch.linalg.det(rotation))
    light = HarmonicLight(COEFFICIENTS.view(9, 3))
    assert torch.allclose(rotated(light, rotation).shade(NORMALS @ rotation.T), light.shade(NORMALS), atol=1e-10)


def test_gradients_reach_the_coefficients_of_both():
    for convert in (light_from_deep3d, light_from_deca):
        values = COEFFICIENTS.clone().requires_grad_()
        convert(values).coefficients.sum().backward()
        assert (values.grad != 0).all()
