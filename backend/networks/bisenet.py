"""BiSeNet on a ResNet-18: which class each pixel belongs to.

Yu et al., "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation", ECCV 2018, in the variant of
zllrunning/face-parsing.PyTorch, where the ResNet's second stage stands for the spatial path. Parameters carry the names
of that code (`cp.resnet.conv1`, `cp.arm16.conv_atten`, `ffm.convblk.conv`, `conv_out.conv_out` …), so that its state
dicts load as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.networks.resnet import resnet18


class BiSeNet(nn.Module):
    """Pictures to one logit a class and pixel.

    Normalisations of what is averaged over the whole picture have one value a picture: a batch of training needs at
    least two.

    Args:
        classes: how many.
        width: of the ResNet-18, 64 in the paper; the other layers go with it. A multiple of 2.
    """

    def __init__(self, classes: int, width: int = 64):
        super().__init__()
        self.cp = ContextPath(width)
        self.ffm = FeatureFusionModule(4 * width, 4 * width)
        self.conv_out = Head(4 * width, 4 * width, classes)
        self.conv_out16 = Head(2 * width, width, classes)
        self.conv_out32 = Head(2 * width, width, classes)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith("cp.resnet."):
                nn.init.kaiming_normal_(module.weight, a=1)

    @property
    def classes(self) -> int:
        """How many there are."""
        return self.conv_out.conv_out.out_channels

    @property
    def width(self) -> int:
        """Of the ResNet."""
        return self.cp.resnet.conv1.out_channels

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float, normalised -> (B, classes, H, W): the main head. Any size of at least 32 pixels."""
        eighth, context8, _ = self.cp(image)
        return self._enlarged(self.conv_out(self.ffm(eighth, context8)), image)

    def all_heads(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For training: what `forward` gives, and the two heads on the context path (section 3.3), each of that shape.

        Theirs are the features at 1/8 and at 1/16 of the picture.
        """
        eighth, context8, context16 = self.cp(image)
        main = self.conv_out(self.ffm(eighth, context8))
        heads = (main, self.conv_out16(context8), self.conv_out32(context16))
        return tuple(self._enlarged(logits, image) for logits in heads)

    @staticmethod
    def _enlarged(logits: Tensor, image: Tensor) -> Tensor:
        return functional.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=True)


class NormalisedConvolution(nn.Module):
    """Convolution without bias, normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel_size, 1, kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        return functional.relu(self.bn(self.conv(features)))


class AttentionRefinementModule(nn.Module):
    """Features weighted by what the whole picture says of each channel (figure 2 b)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = NormalisedConvolution(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        features = self.conv(features)
        return features * torch.sigmoid(self.bn_atten(self.conv_atten(_averaged(features))))


class ContextPath(nn.Module):
    """The ResNet and, from its coarsest features upwards, what they say of the finer ones."""

    def __init__(self, width: int):
        super().__init__()
        context = 2 * width
        self.resnet = resnet18(width, outputs=None)
        self.arm16 = AttentionRefinementModule(4 * width, context)
        self.arm32 = AttentionRefinementModule(8 * width, context)
        self.conv_head32 = NormalisedConvolution(context, context)
        self.conv_head16 = NormalisedConvolution(context, context)
        self.conv_avg = NormalisedConvolution(8 * width, context, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) to the ResNet's features at 1/8, and the context at 1/8 and at 1/16, all of 2 width channels."""
        _, eighth, sixteenth, last = self.resnet.feature_maps(image)
        context = self.arm32(last) + self.conv_avg(_averaged(last))
        context16 = self.conv_head32(functional.interpolate(context, sixteenth.shape[-2:], mode="nearest"))
        context = self.arm16(sixteenth) + context16
        context8 = self.conv_head16(functional.interpolate(context, eighth.shape[-2:], mode="nearest"))
        return eighth, context8, context16


class FeatureFusionModule(nn.Module):
    """Both paths together, and again as much of each channel as the whole picture says (figure 2 c)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.convblk = NormalisedConvolution(inputs, outputs, 1)
        self.conv1 = nn.Conv2d(outputs, outputs // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs // 4, outputs, 1, bias=False)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        """Two (B, C, H, W), of `inputs` channels together -> (B, outputs, H, W)."""
        features = self.convblk(torch.cat([spatial, context], dim=1))
        attention = torch.sigmoid(self.conv2(functional.relu(self.conv1(_averaged(features)))))
        return features + features * attention


class Head(nn.Module):
    """Features to logits of classes."""

    def __init__(self, inputs: int, between: int, classes: int):
        super().__init__()
        self.conv = NormalisedConvolution(inputs, between)
        self.conv_out = nn.Conv2d(between, classes, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, classes, H, W)."""
        return self.conv_out(self.conv(features))


def _averaged(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 1, 1), the mean over the picture."""
    return functional.adaptive_avg_pool2d(features, 1)
