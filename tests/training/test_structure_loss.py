"""The 3D-ID loss: one minus the cosine, also where a code has no length."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.losses.structure import LEAST_NORM, structure_loss


def by_hand(first, second):
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    return 1 - dot / (math.sqrt(sum(a * a for a in first)) * math.sqrt(sum(b * b for b in second)))


@settings(deadline=None)
@given(st.integers(0, 10000))
def test_it_is_one_minus_the_cosine_of_every_row(seed):
    first, second = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(seed))
    found = structure_loss(first, second)
    for row in range(5):
        assert found[row].item() == pytest.approx(by_hand(first[row].tolist(), second[row].tolist()), abs=1e-5)


def test_length_does_not_count_and_direction_does():
    code = torch.randn(3, 8)
    assert structure_loss(code, 7 * code).abs().max() < 1e-6
    assert (structure_loss(code, -code) - 2).abs().max() < 1e-6


def test_a_code_of_no_length_has_a_finite_loss_and_a_gradient_towards_the_other():
    zero, code = torch.zeros(2, 8, requires_grad=True), torch.randn(2, 8)
    loss = structure_loss(zero, code)
    assert torch.equal(loss, torch.ones(2))
    loss.sum().backward()
    assert torch.isfinite(zero.grad).all()
    assert torch.allclose(zero.grad, -code / code.norm(dim=1, keepdim=True) / LEAST_NORM)
    both = torch.zeros(2, 8, requires_grad=True)
    structure_loss(both, torch.zeros(2, 8)).sum().backward()
    assert torch.equal(both.grad, torch.zeros(2, 8))


def test_gradient():
    codes = [torch.randn(4, 8, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(structure_loss, codes)
    small = (torch.full((1, 8), 1e-4, dtype=torch.float64, requires_grad=True), codes[0][:1].detach())
    assert torch.autograd.gradcheck(structure_loss, small)


def test_half_precision_codes_are_compared_in_single():
    with torch.autocast("cpu", torch.bfloat16):
        assert structure_loss(torch.randn(2, 8).bfloat16(), torch.randn(2, 8).bfloat16()).dtype == torch.float32
