"""Adversarial losses that are squares: Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017.

Equation 9: the discriminator says 1 of real pictures and 0 of made ones, the generator wants 1. The factors are those
of pix2pix's code: 0.5 for the discriminator, 1 for the generator.
"""

from torch import Tensor


def least_squares_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Half the mean square of what is missing to 1 of real pictures and to 0 of made ones: ().

    Args:
        real, fake: of any shape, float, what the discriminator says; the made pictures detached from what made them.
    """
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def least_squares_generator_loss(fake: Tensor) -> Tensor:
    """Mean square of what is missing to 1 in what the discriminator says of made pictures (any shape, float): ()."""
    return (fake - 1).square().mean()
