"""The least squares of Mao et al.: their values, and where they send discriminator and generator."""

import pytest
import torch

from training.losses.least_squares_gan import least_squares_discriminator_loss, least_squares_generator_loss


def test_the_losses_are_equation_9():
    real, fake = torch.tensor([[0.5, 2.0]]), torch.tensor([[-1.0], [0.0], [3.0], [0.5]])
    of_real = ((0.5 - 1) ** 2 + (2 - 1) ** 2) / 2
    of_fake = (1 + 0 + 9 + 0.25) / 4
    assert least_squares_discriminator_loss(real, fake).item() == pytest.approx(0.5 * (of_real + of_fake))
    assert least_squares_generator_loss(fake).item() == pytest.approx((4 + 1 + 4 + 0.25) / 4)


def test_a_discriminator_that_is_right_loses_nothing_and_its_generator_all():
    assert least_squares_discriminator_loss(torch.ones(2, 1, 3, 3), torch.zeros(2, 1, 3, 3)) == 0
    assert least_squares_generator_loss(torch.zeros(2, 1, 3, 3)) == 1
    assert least_squares_generator_loss(torch.ones(2, 1, 3, 3)) == 0


def test_both_pull_at_made_pictures_in_opposite_directions():
    fake = torch.full((2, 1, 2, 2), 0.5, requires_grad=True)
    (of_discriminator,) = torch.autograd.grad(least_squares_discriminator_loss(torch.ones(1), fake), fake)
    (of_generator,) = torch.autograd.grad(least_squares_generator_loss(fake), fake)
    assert (of_discriminator > 0).all() and (of_generator < 0).all()
