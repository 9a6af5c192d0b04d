"""Trains skin detail that follows the expression: Yang et al., "Detailed 3D Face Reconstruction from Single Images Via
Self-supervised Attribute Learning", SIGGRAPH Asia 2020 Posters.

Learnt from pictures alone: a face with its detail, lit as its photograph is, should look like the photograph. What the
poster leaves open is a setting here; docs/methods/attribute-detail.md says what each preset uses, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from backend.detail_layout import DetailLayout, layout_of
from backend.embedding_files import SHIPPED, read_embedding
from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.methods.attribute_detail import region_colours
from backend.methods.attribute_detail_network import (
    SEEN,
    AttributeDetailNetwork,
    FacialAttributes,
    Generator,
    Head,
)
from backend.networks.patch_discriminator import PatchDiscriminator
from backend.unwrapped_face import seen_by_network
from training.data.unwrapped import UnwrappedPairs
from training.losses.detail import annealed, detail_regularisation, masked_pixel_loss, roughness
from training.losses.least_squares_gan import least_squares_discriminator_loss, least_squares_generator_loss
from training.losses.perceptual import perceptual_loss
from training.methods.base import Batch, Outputs, TrainingMethod
from training.methods.detail_rendering import LitFaces, compared, render
from training.settings import LossWeights, NetworkSettings, RunSettings, Section, Weight

FACES_SHOWN = 4
SHADED_LIGHT = (0.35, 0.5, 0.8)
"""Towards the lamp of the pictures that show the relief alone, model axes."""
OF_WHOLE = ("perceptual", "adversarial", "discriminator")
"""Losses that look at whole faces only, and so not in every step: other networks judge there, which takes its time."""
OUTSIDE = 1.5
"""Places beyond this show nothing of the window."""
FIRST_MOMENT = 0.5


class AttributeDetailNetworkSettings(NetworkSettings):
    """The network, see `AttributeDetailNetwork`, and those that judge it.

    Attributes:
        discriminator_width: channels of the PatchGAN's first layer, 64 in pix2pix.
        identity_embedding: weights of the network of the perceptual loss, see `backend.embedding_files`.
    """

    sees: tuple[Literal["texture", "fine", "trust", "normals", "expression"], ...] = tuple(SEEN)
    generator: Generator = "unet"
    width: int = Field(64, ge=4)
    levels: int = Field(6, ge=1)
    norm: Literal["batch", "instance", "group"] = "group"
    embedding: int = Field(16, ge=1)
    regions: int = Field(8, ge=1)
    kernel: int = Field(3, ge=1)
    head: Head = "filters-times-embedding"
    constant: bool = True
    albedo: bool = False
    weighs_fine: bool = True
    gate: float | None = None
    largest_mm: float = Field(3.0, gt=0)
    discriminator_width: int = Field(64, ge=4)
    identity_embedding: str = SHIPPED

    def of_generator(self) -> dict[str, Any]:
        """The keywords of `AttributeDetailNetwork`."""
        return self.model_dump(exclude={"discriminator_width", "identity_embedding"})


class AttributeDetailLosses(LossWeights):
    """The published four (the adversarial one with its discriminator), then ours; the poster gives no weights.

    pixel: section 2.5.1; perceptual: 2.5.2; adversarial and discriminator: 2.5.3, LSGAN; detail_regularisation: 2.5.4.
    swapped: the pixel loss with the attributes of one picture and the expression of another of the same person: what
    makes detail that can be animated (as the detail consistency of DECA does). roughness: total variation.
    """

    pixel: Weight = 1.0
    perceptual: Weight = 0.02
    adversarial: Weight = 0.01
    discriminator: Weight = 1.0
    detail_regularisation: Weight = 1.0
    swapped: Weight = 0.0
    roughness: Weight = 0.0


class DetailAnnealing(Section):
    """How the coefficient of the detail regularisation falls.

    Attributes:
        shape: "linear" or "exponential" to nothing; "constant" never falls (the ablation).
        until: part of the run at which nothing is left of it.
        floor: share of the coefficient that stays.
    """

    shape: Literal["linear", "exponential", "constant"] = "exponential"
    until: float = Field(0.33, ge=0, le=1)
    floor: float = Field(0.0, ge=0, le=1)


class DetailRenderingSettings(Section):
    """How faces are lit and compared.

    Attributes:
        albedo_mm: finer than this nothing in a photograph is taken for albedo, see `detail_rendering.render`.
        colour_tolerance: a texel whose colour differs from its surroundings by this much counts half; 0 counts all
            alike.
        part: of the window's sides that a step looks at, once the network has seen all of it: skin looks much the same
            in all of its parts, and what is lit and judged costs by the texel.
        whole_every: steps between two that look at the whole window. Only these have the losses `OF_WHOLE`.
    """

    albedo_mm: float = Field(8.0, gt=0)
    colour_tolerance: float = Field(0.05, ge=0)
    part: float = Field(1.0, gt=0, le=1)
    whole_every: int = Field(1, ge=1)

    def mask(self, layout: DetailLayout, texture: Tensor, trust: Tensor) -> Tensor:
        """How much each texel counts, see `detail_rendering.compared`."""
        tolerance = self.colour_tolerance
        return compared(texture, trust, layout.allowed, layout.millimetres_per_texel, self.albedo_mm, tolerance)


class AttributeDetailSettings(RunSettings):
    """All settings of a run. `data.shards` names unwrapped faces; `data.size` is the side of the texture they are of,
    `data.batch_size` counts pairs of pictures of a person."""

    network: AttributeDetailNetworkSettings = AttributeDetailNetworkSettings()
    losses: AttributeDetailLosses = AttributeDetailLosses()
    annealing: DetailAnnealing = DetailAnnealing()
    rendering: DetailRenderingSettings = DetailRenderingSettings()


class AttributeDetailTraining(TrainingMethod):
    """The network with its losses, see `TrainingMethod`. Batches are those of `training.data.unwrapped`."""

    name = "attribute-detail"
    Settings = AttributeDetailSettings
    learns_from = (
        "Pictures of synthetic people of this project (docs/synthetic-people.md), made from CC0 data, and of the "
        "same people in the same light with skin of one colour; the known shape of their wrinkles is not used. No "
        "photographs."
    )

    def __init__(self, settings: AttributeDetailSettings):
        super().__init__(settings)
        if settings.face_model != "open_head":
            raise UsageError(
                "detail-of-another-model",
                f"Skin detail is learnt in the texture layout of the open head, not of {settings.face_model}. Set "
                "face_model=open_head.",
            )
        self.layout: DetailLayout = layout_of(load_face_model("open_head"), settings.data.size)
        network = settings.network
        self.network = AttributeDetailNetwork(**network.of_generator())
        if self.layout.height % self.network.multiple or self.layout.width % self.network.multiple:
            raise UsageError(
                "size-and-levels",
                f"The window of a texture of {settings.data.size} has {self.layout.height} x {self.layout.width} "
                f"texels, no multiples of {self.network.multiple}. Set another data.size or fewer network.levels.",
            )
        self.discriminator: nn.Module | None = None
        if self.wants("adversarial") or self.wants("discriminator"):
            self.discriminator = PatchDiscriminator(6, network.discriminator_width, norm="instance")
        # In a tuple, so that it is neither trained nor saved.
        self._embedding = (_frozen(network.identity_embedding),) if self.wants("perceptual") else ()

    def data(self, settings: AttributeDetailSettings) -> LightningDataModule:
        return UnwrappedPairs.from_settings(settings.data)

    def prepared(self, batch: Batch) -> Batch:
        """A batch with the geometry of its texels: "points", "normals", "expression" and the loss's "mask".

        In training most steps look at a part of the window, the same of all faces, which is "part".
        """
        layout, chosen = self.layout, self.settings.rendering
        self._check(batch)
        with torch.no_grad():
            points, normals = layout.surface(batch["posed"])
            expression = layout.expression_map(batch["posed"] - batch["neutral"])
            mask = chosen.mask(layout, batch["even"], batch["trust"])
        part = self._part()
        return {
            **batch, "points": points, "normals": normals, "expression": expression, "mask": mask, "part": part
        }  # fmt: skip

    def _part(self) -> tuple[slice, slice]:
        """Rows and columns that a step looks at."""
        sides, chosen = (self.layout.height, self.layout.width), self.settings.rendering
        if not self.training or self.global_step % chosen.whole_every == 0:
            return slice(0, sides[0]), slice(0, sides[1])
        kept = [round(chosen.part * side) for side in sides]
        starts = [int(torch.randint(side - keep + 1, ())) for side, keep in zip(sides, kept, strict=True)]
        return tuple(slice(start, start + keep) for start, keep in zip(starts, kept, strict=True))

    def outputs(self, batch: Batch) -> Outputs:
        """ "displacement" (B, H, W) metres, in the step's part of the window, and "faces", what it looks like.

        The attributes are those of the first picture of each pair; the second one is seen with them, too, and with its
        own expression.
        """
        rows, columns = batch["part"]
        attributes = self.attributes(batch).within(rows, columns)
        expression = batch["expression"][..., rows, columns].unflatten(0, (-1, 2))
        displacement = self.network.displacement(attributes, expression).flatten(0, 1).float()
        displacement = displacement * self.layout.allowed[rows, columns]
        albedo = None if attributes.albedo is None else attributes.albedo.repeat_interleave(2, 0).float()
        return {"displacement": displacement, "faces": self._rendered(batch, displacement, albedo)}

    def attributes(self, batch: Batch) -> FacialAttributes:
        """What the network takes from the first picture of each pair."""
        first = {name: batch[name][::2] for name in ("texture", "trust", "normals", "expression", "rotation")}
        return self.network.attributes(seen_by_network(self.layout, **first))

    def losses(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        rows, columns = batch["part"]
        faces, mask = outputs["faces"], batch["mask"][:, rows, columns]
        first, second = slice(0, None, 2), slice(1, None, 2)
        displacement, trust = outputs["displacement"], batch["trust"][:, rows, columns]

        def pixel(chosen: slice) -> Tensor:
            return masked_pixel_loss(faces.refined[chosen], faces.photograph[chosen], mask[chosen])

        terms = {
            "pixel": lambda: pixel(first),
            "swapped": lambda: pixel(second),
            "perceptual": lambda: self._perceptual(batch, faces),
            "adversarial": lambda: self._adversarial(faces, mask),
            "discriminator": lambda: self._discriminating(faces, mask),
            "detail_regularisation": lambda: self.regularisation_share() * detail_regularisation(displacement),
            "roughness": lambda: roughness(displacement, trust),
        }
        whole = mask.shape == batch["mask"].shape
        return {name: term() for name, term in terms.items() if self.wants(name) and (whole or name not in OF_WHOLE)}

    def regularisation_share(self) -> float:
        """What is left of the detail regularisation's coefficient at this step."""
        chosen = self.settings.annealing
        return max(annealed(self.progress(self.global_step), chosen.until, chosen.shape), chosen.floor)

    def _perceptual(self, batch: Batch, faces: LitFaces) -> Tensor:
        """Of the first picture of each pair, drawn into its photograph."""
        (embedding,) = self._embedding
        embedding = embedding.to(faces.refined.device)
        place, crop = batch["place"][::2], batch["crop"][::2]
        shown = functional.grid_sample(faces.refined[::2], place, mode="bilinear", align_corners=False)
        rendered = torch.where((place[..., 0] < OUTSIDE).unsqueeze(1), shown, crop)
        with torch.no_grad():
            wanted = embedding(crop * 2 - 1)
        return perceptual_loss(embedding(rendered * 2 - 1), wanted)

    def _judged(self, faces: LitFaces, picture: Tensor, mask: Tensor) -> Tensor:
        """The discriminator on pairs of a coarse render and a picture, both only where the photograph is trusted."""
        pair = torch.cat([faces.coarse[::2].detach() * 2 - 1, picture[::2] * 2 - 1], dim=1)
        return self.discriminator(pair * mask[::2].unsqueeze(1))

    def _adversarial(self, faces: LitFaces, mask: Tensor) -> Tensor:
        with _held(self.discriminator):
            return least_squares_generator_loss(self._judged(faces, faces.refined, mask))

    def _discriminating(self, faces: LitFaces, mask: Tensor) -> Tensor:
        real = self._judged(faces, faces.photograph, mask)
        return least_squares_discriminator_loss(real, self._judged(faces, faces.refined.detach(), mask))

    def metrics(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        """Photometric errors in steps of 255, coarse and refined: of faces with their own attributes, and ("swapped_")
        with those of another picture of the same person; and how deep the detail is."""
        faces, mask = outputs["faces"], batch["mask"]

        def error(shown: Tensor, first: int) -> Tensor:
            return 255 * masked_pixel_loss(shown[first::2], faces.photograph[first::2], mask[first::2])

        return {
            "photometric_error_coarse": error(faces.coarse, 0),
            "photometric_error_refined": error(faces.refined, 0),
            "swapped_photometric_error_coarse": error(faces.coarse, 1),
            "swapped_photometric_error_refined": error(faces.refined, 1),
            "displacement_mm": detail_regularisation(outputs["displacement"]),
        }

    def configure_optimizers(self) -> dict[str, Any]:
        """As for all methods, with the first moment of pix2pix where there is an adversary."""
        made = super().configure_optimizers()
        if self.discriminator is not None:
            for group in made["optimizer"].param_groups:
                group["betas"] = (FIRST_MOMENT, 0.999)
        return made

    def pictures(self, batch: Batch, outputs: Outputs) -> np.ndarray:
        """A row a face: photograph, coarse, refined, relief in white plaster, regions of the attributes."""
        faces, count = outputs["faces"], min(FACES_SHOWN, len(batch["texture"]))
        rows, columns = batch["part"]
        with torch.no_grad():
            mask = self.attributes(batch).within(rows, columns).regions.mask.argmax(dim=1)
        lamp = functional.normalize(torch.tensor(SHADED_LIGHT), dim=0).to(faces.refined)
        plaster = (faces.refined_normals[:count] @ lamp).clamp(min=0.0).unsqueeze(1).expand(-1, 3, -1, -1)
        regions = region_colours(self.settings.network.regions)[mask.repeat_interleave(2, 0)[:count].cpu()]
        shown = [faces.photograph[:count], faces.coarse[:count], faces.refined[:count], plaster]
        tiles = torch.cat([tile.detach().cpu() for tile in shown] + [regions.permute(0, 3, 1, 2)], dim=3)
        tiles = tiles.permute(0, 2, 3, 1).flatten(0, 1)
        return (tiles.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()

    def exported(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self.network.state_dict(), {"network": self.network.facts(), "size": self.settings.data.size}

    def ablation_figures(self) -> dict[str, float]:
        from training.evaluation.detail_figures import held_out_figures

        return held_out_figures(self)

    def _rendered(self, batch: Batch, displacement: Tensor, albedo: Tensor | None) -> LitFaces:
        rows, columns = batch["part"]
        with torch.autocast(displacement.device.type, enabled=False):
            return render(
                displacement,
                batch["points"][:, rows, columns],
                batch["normals"][:, rows, columns],
                batch["light"],
                batch["even"][..., rows, columns],
                batch["trust"][:, rows, columns],
                self.layout.covered[rows, columns],
                self.layout.millimetres_per_texel,
                self.settings.rendering.albedo_mm,
                albedo,
            )

    def _check(self, batch: Batch) -> None:
        sides = tuple(batch["trust"].shape[-2:])
        if sides != (self.layout.height, self.layout.width):
            raise UsageError(
                "faces-of-another-size",
                f"The unwrapped faces have {sides[0]} x {sides[1]} texels, data.size={self.settings.data.size} wants "
                f"{self.layout.height} x {self.layout.width}. Unwrap them anew (--size), or set data.size.",
            )


def _frozen(name: str) -> nn.Module:
    return read_embedding(name).eval().requires_grad_(False)


@contextmanager
def _held(network: nn.Module) -> Iterator[None]:
    """Lets gradients pass through a network but not into it."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
