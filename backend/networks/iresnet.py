"""The residual network that ArcFace uses to recognise faces.

Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, section 3.2.1: a face of 112
pixels, no pooling in the stem, a normalisation before the first convolution of each block. Parameters carry the names
`conv1`, `bn1`, `prelu`, `layer1.0.bn1` … `fc`, `features`, so that state dicts of the insightface family load as they
are.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUT_SIZE = 112
"""Pixels; input is sRGB in [-1, 1], the face at ArcFace's five points."""
SHRINKING = 16
"""Each of the four stages starts with stride 2."""
SIZES_MULTIPLE = 8
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
"""Depth -> blocks in each stage."""


class PreNormalisedBlock(nn.Module):
    """Normalise, 3 x 3, normalise, PReLU, 3 x 3 with the stride, normalise, and a way round.

    Args:
        inputs: channels that come in; outputs: that go out.
        stride: of the second convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        way_round = features if self.downsample is None else self.downsample(features)
        features = self.prelu(self.bn2(self.conv1(self.bn1(features))))
        return self.bn3(self.conv2(features)) + way_round


class IResNet(nn.Module):
    """Faces to embeddings whose directions tell people apart.

    Args:
        blocks: in each of the four stages.
        width: channels of the stem and of the first stage, 64 in the paper; doubled at each later stage.
        embedding: length of the result.
        size: side at which faces are looked at, pixels; a multiple of 8. Larger ones are reduced: a network of 56
            takes a quarter of the time of one of 112, and reads the same crops.
        dropout: share of features left out before the last layer in training.
    """

    def __init__(
        self,
        blocks: Sequence[int] = BLOCKS[50],
        width: int = 64,
        embedding: int = 512,
        size: int = INPUT_SIZE,
        dropout: float = 0.0,
    ):
        super().__init__()
        if size % SIZES_MULTIPLE:
            raise ValueError(f"The side of the input must be a multiple of {SIZES_MULTIPLE}, not {size}.")
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        channels = width
        for stage, count in enumerate(blocks):
            outputs = width * 2**stage
            made = [PreNormalisedBlock(channels, outputs, 2)]
            made += [PreNormalisedBlock(outputs, outputs) for _ in range(count - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*made))
            channels = outputs
        self.stages, self.size, self.embedding_size = len(blocks), size, embedding
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels * (-(-size // SHRINKING)) ** 2, embedding)
        self.features = nn.BatchNorm1d(embedding)
        nn.init.ones_(self.features.weight)
        self.features.weight.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float sRGB in [-1, 1], S `size` or more -> (B, embedding) float; not of unit length."""
        features = self.prelu(self.bn1(self.conv1(self.seen(image))))
        for stage in range(self.stages):
            features = getattr(self, f"layer{stage + 1}")(features)
        return self.embedded(features)

    def seen(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) float -> (B, 3, size, size) float, evenly filtered where S is larger."""
        if image.shape[-1] == self.size:
            return image
        sides = (self.size, self.size)
        return functional.interpolate(image, sides, mode="bilinear", antialias=True, align_corners=False)

    def embedded(self, features: Tensor) -> Tensor:
        """What the last stage says (B, C, H, W) -> (B, embedding) float."""
        features = self.dropout(torch.flatten(self.bn2(features), 1))
        return self.features(self.fc(features))


def iresnet(depth: int = 50, width: int = 64, embedding: int = 512, size: int = INPUT_SIZE) -> IResNet:
    """The network of a depth of `BLOCKS`; 43.6 million parameters at depth 50 and 65.2 at 100.

    Raises:
        ValueError: there is none of that depth.
    """
    if depth not in BLOCKS:
        raise ValueError(f"There is no IResNet-{depth}; there are {', '.join(map(str, BLOCKS))}.")
    return IResNet(BLOCKS[depth], width, embedding, size)
