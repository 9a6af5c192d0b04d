"""Light on skin with fine relief, texel by texel: what makes detail visible to a loss.

The poster's authors suspect that "the detail geometry has little effect on rendered image": a mesh is far coarser than
a wrinkle. So everything is shaded where the detail is, in the texture's layout, by normals of the displaced surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from backend.rendering.displacement import displaced_normals
from backend.rendering.shading import harmonic_basis, linear_to_srgb

CAVITY_MM = 1.1
"""A hollow this deep, on the scale of `CAVITY_BLUR_MM`, loses the light that comes from everywhere."""
CAVITY_BLUR_MM = 1.4
CAVITY_RANGE = (0.25, 1.15)
CAVITY_POWER = 0.5
"""Lamps reach into a hollow farther than the sky does."""
DARKEST_SHARE = 0.05
"""Of the mean light: what is darker is taken for so dark."""
DARKEST = 1e-3
FEWER = 4
"""The albedo's broad colours are found from one texel in this many squared."""
LEAST_KNOWN = 1e-3
BRIGHTNESS = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class LitFaces:
    """Coarse and refined renders of B faces in the texture's layout, sRGB in [0, 1].

    Attributes:
        coarse, refined, photograph: (B, 3, height, width).
        refined_normals: (B, height, width, 3), unit, model axes.
    """

    coarse: Tensor
    refined: Tensor
    photograph: Tensor
    refined_normals: Tensor


def light_on(normals: Tensor, light: Tensor) -> Tensor:
    """Light (B, height, width, 3) on unit normals, of `HarmonicLight.coefficients` (B, 9, 3), not quite black."""
    shade = torch.einsum("bhwk,bkc->bhwc", harmonic_basis(normals), light)
    lit = shade.mean(dim=(1, 2), keepdim=True).clamp(min=DARKEST)
    return torch.maximum(shade, DARKEST_SHARE * lit)


def openness(displacement: Tensor, millimetres_per_texel: float) -> Tensor:
    """How much of the light from everywhere reaches a relief: 1 on flat skin, less in hollows, a little more on ridges.

    Dark is deep: with a lamp beside the camera neither side of a wrinkle turns away, and all that shows is that less
    light gets in (Beeler et al., "High-Quality Single-Shot Capture of Facial Geometry", SIGGRAPH 2010, section 6).

    Args:
        displacement: (B, height, width) metres.
        millimetres_per_texel: of the map.
    """
    around = blurred(displacement.unsqueeze(1), CAVITY_BLUR_MM / millimetres_per_texel).squeeze(1)
    hollow = (around - displacement) * (1000.0 / CAVITY_MM)
    return (1.0 - hollow).clamp(*CAVITY_RANGE) ** CAVITY_POWER


def broad(values: Tensor, weight: Tensor, sigma_texels: float) -> Tensor:
    """What is broad of values (B, C, height, width): weighted means (B, 1, height, width) over a Gaussian."""
    small, of_weight = functional.avg_pool2d(values * weight, FEWER), functional.avg_pool2d(weight, FEWER)
    total = blurred(of_weight, sigma_texels / FEWER)
    mean = blurred(small, sigma_texels / FEWER) / total.clamp(min=LEAST_KNOWN)
    return functional.interpolate(mean, values.shape[-2:], mode="bilinear", align_corners=False)


def render(
    displacement: Tensor,
    points: Tensor,
    normals: Tensor,
    light: Tensor,
    texture: Tensor,
    trust: Tensor,
    covered: Tensor,
    millimetres_per_texel: float,
    albedo_mm: float,
    fine_albedo: Tensor | None = None,
) -> LitFaces:
    """Faces with their detail, each in the light and in the broad colours of its photograph.

    The albedo is what is broad in the photograph once the light is taken out of it; finer than `albedo_mm` it is
    smooth, and what is finer in the photograph is left to the relief. (The albedo basis of the poster's face model is
    smoother still; a basis cannot know where this person's cheeks are red.)

    Args:
        displacement: (B, height, width) metres.
        points, normals: (B, height, width, 3), of the coarse face, metres and unit, model axes.
        light: (B, 9, 3).
        texture: (B, 3, height, width) sRGB in [0, 1]; trust: (B, height, width).
        covered: (height, width) bool, texels of skin.
        millimetres_per_texel: of the maps.
        albedo_mm: standard deviation of the Gaussian beyond which colour is albedo.
        fine_albedo: (B, height, width), logarithm of the brightness of what is finer, for the refined face.
    """
    weight = trust.unsqueeze(1)
    coarse_light = light_on(normals, light).permute(0, 3, 1, 2)
    raised = displaced_normals(points, normals, displacement, covered)
    refined_light = light_on(raised, light).permute(0, 3, 1, 2) * openness(
        displacement, millimetres_per_texel
    ).unsqueeze(1)
    photograph = texture.clamp(DARKEST, 1.0)
    linear = torch.where(photograph <= 0.04045, photograph / 12.92, ((photograph + 0.055) / 1.055) ** 2.4)
    sigma = albedo_mm / millimetres_per_texel

    def shown(lit: Tensor, fine: Tensor | None = None) -> Tensor:
        log_light = torch.log(lit.clamp(min=1e-5))
        if fine is not None:
            log_light = log_light + fine.unsqueeze(1)
        log_albedo = broad(torch.log(linear.clamp(min=DARKEST)) - log_light, weight, sigma)
        return linear_to_srgb(torch.exp(log_albedo + log_light).clamp(DARKEST, 1.0))

    return LitFaces(shown(coarse_light), shown(refined_light, fine_albedo), photograph, raised)


def colour_differs(photograph: Tensor, trust: Tensor, millimetres_per_texel: float, albedo_mm: float) -> Tensor:
    """(B, height, width): how far a texel's colour, its brightness apart, is from that around it; 0.1 is a lot.

    Light and hollows change all colours alike; spots, moles, brows and lips do not.
    """
    logarithm = torch.log(photograph.clamp(min=0.02))
    apart = logarithm - (logarithm * logarithm.new_tensor(BRIGHTNESS).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    apart = blurred(apart, 1.0)
    away = apart - broad(apart, trust.unsqueeze(1), albedo_mm / millimetres_per_texel)
    return away.square().sum(dim=1).sqrt()


def compared(
    texture: Tensor,
    trust: Tensor,
    allowed: Tensor,
    millimetres_per_texel: float,
    albedo_mm: float,
    colour_tolerance: float,
) -> Tensor:
    """(B, height, width) in [0, 1]: how much a texel counts where a render is compared with its photograph.

    Args:
        texture: (B, 3, height, width) sRGB in [0, 1]; trust: (B, height, width).
        allowed: (height, width), where detail may be.
        millimetres_per_texel: of the maps.
        albedo_mm: see `render`.
        colour_tolerance: by so much a colour differs from its surroundings that the texel counts half, see
            `colour_differs`; 0 counts all alike.
    """
    mask = trust * allowed
    if not colour_tolerance:
        return mask
    differs = colour_differs(texture, trust, millimetres_per_texel, albedo_mm)
    return mask / (1 + (differs / colour_tolerance).square())


def blurred(values: Tensor, sigma: float) -> Tensor:
    """(B, C, H, W) under a Gaussian of `sigma` pixels; the border is repeated."""
    radius = max(1, round(3 * sigma))
    steps = torch.arange(-radius, radius + 1, device=values.device, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(values.shape[1], 1, -1)
    channels = values.shape[1]
    padded = functional.pad(values, (radius, radius, 0, 0), mode="replicate")
    across = functional.conv2d(padded, kernel.unsqueeze(2), groups=channels)
    padded = functional.pad(across, (0, 0, radius, radius), mode="replicate")
    return functional.conv2d(padded, kernel.unsqueeze(3), groups=channels)
