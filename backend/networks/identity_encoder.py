"""One photograph of a face to codes, through the features by which a network tells people apart.

"3DFace" (WWW 2024), section 3.2, which follows MICA (Zielonka et al., ECCV 2022, section 3.1): an IResNet-100 that
ArcFace (Deng et al., CVPR 2019) has taught to recognise people, of which only the last three residual blocks and what
follows them go on learning, and a small mapping network.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.networks.iresnet import IResNet, iresnet
from backend.networks.mapping import MappingNetwork

FROZEN_STAGES = 3
STEM = ("conv1", "bn1", "prelu")


class IdentityEncoder(nn.Module):
    """A recogniser, mostly frozen, and a mapping network.

    The stem and the first stages are frozen: they pass no gradient, and their normalisations keep the statistics that
    they were trained with, also after `train()`. The last stage, `bn2`, `fc` and `features` learn (of IResNet-100 the
    last stage is the "last three ResNet blocks" of the paper).

    Args:
        recogniser: of faces; by default an IResNet-100 with random weights. `backend.embedding_files.read_embedding`
            reads trained ones.
        outputs: length of the codes, 486 in the paper.
        width, hidden: of the `MappingNetwork`.
        frozen_stages: of the recogniser's stages, from the first; -1 freezes nothing, not even the stem.
    """

    def __init__(
        self,
        recogniser: IResNet | None = None,
        outputs: int = 486,
        width: int = 300,
        hidden: int = 3,
        frozen_stages: int = FROZEN_STAGES,
    ):
        super().__init__()
        self.recogniser = iresnet(100) if recogniser is None else recogniser
        if not -1 <= frozen_stages <= self.recogniser.stages:
            raise ValueError(f"Of {self.recogniser.stages} stages {frozen_stages} cannot be frozen.")
        self.mapping = MappingNetwork(self.recogniser.embedding_size, outputs, width, hidden)
        stages = [f"layer{stage + 1}" for stage in range(max(frozen_stages, 0))]
        self.frozen_names = (*STEM, *stages) if frozen_stages >= 0 else ()
        for module in self.frozen():
            module.requires_grad_(False)
        self.train(self.training)

    def frozen(self) -> Iterator[nn.Module]:
        """The parts of the recogniser that do not learn, in the order in which they are run."""
        return (getattr(self.recogniser, name) for name in self.frozen_names)

    def train(self, mode: bool = True) -> IdentityEncoder:
        """As of any module, but the frozen part stays as it is used: its statistics do not move."""
        super().train(mode)
        for module in self.frozen():
            module.eval()
        return self

    def features(self, face: Tensor) -> Tensor:
        """(B, 3, 112, 112) float sRGB in [-1, 1], a `backend.identity_crop` -> (B, embedding) of unit length."""
        seen = self.recogniser.seen(face)
        with torch.no_grad():
            for module in self.frozen():
                seen = module(seen)
        for name in (*STEM, *(f"layer{stage + 1}" for stage in range(self.recogniser.stages))):
            if name not in self.frozen_names:
                seen = getattr(self.recogniser, name)(seen)
        return functional.normalize(self.recogniser.embedded(seen))

    def forward(self, face: Tensor) -> Tensor:
        """(B, 3, 112, 112) float sRGB in [-1, 1] -> (B, outputs) float."""
        return self.mapping(self.features(face))
