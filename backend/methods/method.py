"""What every paper's method offers to the pipeline: codes of the photographs of one person."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from backend.code_measurement import CodeMeasurement
from backend.rendering.camera import Camera

if TYPE_CHECKING:
    from backend.detection import DetectedFace


@dataclass(frozen=True)
class OutputSplit:
    """How many of a network's outputs are what; subclasses name the parts, in the order in which they come."""

    @property
    def total(self) -> int:
        """How many outputs there are."""
        return sum(self.sizes().values())

    def sizes(self) -> dict[str, int]:
        """Name to size, in order."""
        return asdict(self)

    def split(self, outputs: Tensor) -> dict[str, Tensor]:
        """(B, total) to the parts by name, each (B, size).

        Raises:
            ValueError: another number of outputs.
        """
        if outputs.shape[-1] != self.total:
            raise ValueError(f"Expected (B, {self.total}) outputs, got {tuple(outputs.shape)}.")
        sizes = self.sizes()
        return dict(zip(sizes, torch.split(outputs, list(sizes.values()), dim=-1), strict=True))


@dataclass(frozen=True)
class ParameterSplit(OutputSplit):
    """How many of a network's outputs are what, in the order in which they come.

    Attributes:
        identity, expression, albedo: codes of the face model.
        pose: 6: axis-angle, then translation.
        light: 9 of white light, or 27: nine harmonics of three colours, the colours of one harmonic together.
    """

    identity: int
    expression: int
    albedo: int
    pose: int = 6
    light: int = 27


@dataclass(frozen=True)
class Codes:
    """What a method reads from one photograph.

    Attributes:
        measurement: identity and shape keys with their deviations.
        albedo: (A,) float32, standard deviations of the face model's albedo basis.
        camera: of the whole photograph, as the network sees it: with the focal length that it was trained for, so its
            distance is one at which the face has the size that it has.
        light: (9, 3) float32, `HarmonicLight.coefficients`, model axes.
        closure: {"left", "right"}, the subject's own: 0 open, 1 shut; None where the method does not look at the eyes.
        points: (478, 2) float64 pixels, the face's landmarks with those corrected that the method holds for wrong.
    """

    measurement: CodeMeasurement
    albedo: np.ndarray
    camera: Camera
    light: np.ndarray
    closure: dict[str, float] | None
    points: np.ndarray


class ReconstructionMethod(ABC):
    """A paper's network, ready for use.

    Attributes:
        name: as in `reconstruct --method`.
        weights: name to origin of everything learnt, for the result's head.json.
        sees_views_together: whether it looks at several photographs at once, which should then show several sides of
            the face (`backend.view_checks.check_sides`).
    """

    name: ClassVar[str]
    sees_views_together: ClassVar[bool] = False
    weights: dict[str, str]

    @abstractmethod
    def codes(self, image: np.ndarray, face: DetectedFace) -> Codes:
        """What the method reads from a photograph (H, W, 3) uint8 sRGB in which a face was detected."""

    def codes_of(self, images: Sequence[np.ndarray], faces: Sequence[DetectedFace]) -> list[Codes]:
        """What the method reads from all photographs of one person: here from each by itself.

        Args:
            images: (H, W, 3) uint8 sRGB each, in any order.
            faces: the person's, in each of them.

        Returns:
            One for each photograph, in their order.

        Raises:
            PhotoError: none of them shows a side of the face that the method can look at.
        """
        return [self.codes(image, face) for image, face in zip(images, faces, strict=True)]
