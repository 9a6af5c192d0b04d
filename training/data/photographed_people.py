"""Synthetic people who have the faces of photographed ones: head and skin are fitted to a photograph; hair, glasses,
expression, light, camera and all the rest are chance, as `training.data.generator` has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import torch

from backend.rendering.shading import srgb_to_linear
from training.data.fitted_portraits import FittedPortrait
from training.data.generator import SyntheticPeople
from training.data.glasses import random_glasses
from training.data.hair import random_hair
from training.data.person import Person
from training.data.scene import texture_layers

GLASSES_SHARE = 0.2
PORTRAIT_STREAM = 17
"""What a number of the seed sequence stands for, apart from those of the generator."""


class PhotographedPeople(SyntheticPeople):
    """An album of photographed people: picture `index` shows the person of portrait `index // pictures_per_person`.

    Identity and albedo coefficients of its samples are those of another person: only the pictures, the landmarks and
    the lids are meant to be used.

    Args:
        seed: of everything that is chance.
        portrait: number to the fitted photograph.
        size: side of the square pictures in pixels.
        pictures_per_person: how many pictures of a person follow each other.
    """

    def __init__(
        self, seed: int, portrait: Callable[[int], FittedPortrait], size: int = 224, *, pictures_per_person: int = 8
    ) -> None:
        super().__init__(seed, size, pictures_per_person=pictures_per_person)
        self._portrait = portrait
        self._photographed: Person | None = None

    def person(self, number: int) -> Person:
        """The person of that portrait; the last one asked for is kept."""
        if self._photographed is None or self._photographed.number != number:
            self._photographed = self._with_face(super().person(number), self._portrait(number))
        return self._photographed

    def _with_face(self, person: Person, portrait: FittedPortrait) -> Person:
        generator = np.random.default_rng([self.seed, PORTRAIT_STREAM, person.number])
        keys = self.model.key_offsets(portrait.neutral)
        look = person.attributes
        colour = np.array([look["hair_red"], look["hair_green"], look["hair_blue"]], np.float32)
        attachments = random_hair(self.model, portrait.neutral, generator, colour)
        if generator.random() < GLASSES_SHARE:
            attachments = [*attachments, *random_glasses(self.model, portrait.neutral, generator)]
        side = len(person.layers[0])
        texture = cv2.resize(portrait.texture, (side, side), interpolation=cv2.INTER_AREA)
        albedo = srgb_to_linear(torch.as_tensor(texture).float() / 255).numpy()
        return replace(
            person,
            neutral=portrait.neutral.astype(np.float32),
            keys=keys.dense(len(portrait.neutral)).reshape(len(keys.names), -1),
            layers=texture_layers(albedo, person.layers[0][..., 3]),
            attachments=tuple(attachments),
        )
