"""ArcFace (Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, equation 3)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class AdditiveAngularMargin(nn.Module):
    """Cross entropy over people, of cosines whose angle to the right person is made larger by a margin.

    Args:
        embedding: length of the embeddings.
        people: how many are told apart.
        scale, margin: s and m of the paper; the margin in radians.
    """

    def __init__(self, embedding: int, people: int, scale: float = 64.0, margin: float = 0.5):
        super().__init__()
        self.scale, self.margin = scale, margin
        self.weight = nn.Parameter(torch.randn(people, embedding) * 0.01)

    def forward(self, embeddings: Tensor, people: Tensor) -> Tensor:
        """The loss of (B, E) float embeddings of the people (B,) int64: ()."""
        cosine = functional.linear(functional.normalize(embeddings), functional.normalize(self.weight))
        own = cosine.gather(1, people.unsqueeze(1)).clamp(-1 + 1e-6, 1 - 1e-6)
        with_margin = torch.cos(torch.arccos(own) + self.margin)
        # Beyond pi - m the cosine would rise again: there the margin is a constant, as in the authors' code.
        with_margin = torch.where(own > -math.cos(self.margin), with_margin, own - self.margin * math.sin(self.margin))
        return functional.cross_entropy(
            self.scale * cosine.scatter(1, people.unsqueeze(1), with_margin.to(cosine)), people
        )
