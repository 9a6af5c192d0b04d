"""Which part of a face each pixel shows: ten classes, the network that tells them, and weights of pixels by them.

The face parse net of DF-MVR (Zhao et al., "From 2D Images to 3D Model: Weakly Supervised Multi-View Face Reconstruction
with Deep Fusion", ICME 2025, sections 3.2 and 4.1) is a BiSeNet. Its classes go into the regressor beside the picture,
weigh the photo loss and are compared with those of the rendered face.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from backend.embedding_files import TORCH_ENDINGS, is_foreign_safetensors
from backend.errors import UsageError
from backend.networks.bisenet import BiSeNet
from backend.weights import load_weights

METHOD = "face-parsing"
SHIPPED = "face-parsing-open-small"
PARSING_CLASSES = (
    "background", "skin", "left_brow", "right_brow", "left_eye", "right_eye", "nose", "mouth", "upper_lip", "lower_lip",
)  # fmt: skip
"""The ten classes of DF-MVR, in the order of their labels. Left is the subject's."""
BACKGROUND, SKIN = PARSING_CLASSES.index("background"), PARSING_CLASSES.index("skin")
DF_MVR_CLASSES = (
    "background", "skin", "right_brow", "left_brow", "right_eye", "left_eye", "nose", "mouth", "upper_lip", "lower_lip",
)  # fmt: skip
"""What the outputs of DF-MVR's own weights are: left is that of the picture, see `CELEBAMASK_CLASSES`."""
CELEBAMASK_CLASSES = (
    "background", "skin", "right_brow", "left_brow", "right_eye", "left_eye", "glasses", "right_ear", "left_ear",
    "earring", "nose", "mouth", "upper_lip", "lower_lip", "neck", "necklace", "cloth", "hair", "hat",
)  # fmt: skip
"""What the outputs of the public weights of zllrunning/face-parsing.PyTorch are. CelebAMask-HQ names them `l_brow`,
`r_brow`, `l_eye`, … by the sides of the picture, as CelebA does with its landmarks; here left is the subject's."""

BACKGROUND_WEIGHT, SKIN_WEIGHT, FEATURE_WEIGHT = 32, 128, 254
"""Of 255 (section 4.1)."""
DILATION_AT_224 = 10
"""Side in pixels of the square that features grow by, in a crop of 224 pixels: the published code's; the paper says 20
pixels."""


@dataclass(frozen=True)
class PictureForm:
    """How a network wants its pictures.

    Attributes:
        size: side at which it looks at them, pixels.
        mean, deviation: of sRGB in [0, 1], per channel; pictures are normalised by them.
    """

    size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    deviation: tuple[float, float, float] = (0.5, 0.5, 0.5)


PAPER_FORM = PictureForm(224)
CELEBAMASK_FORM = PictureForm(512, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What the public weights of 19 classes were trained for."""


class FaceParser(nn.Module):
    """Pictures of faces to the ten classes, whatever classes its network tells apart.

    Args:
        network: of any classes.
        form: of the pictures that it wants.
        classes: names of its outputs, in order; what is none of the ten becomes background.

    Raises:
        ValueError: as many names as outputs are needed.
    """

    def __init__(self, network: BiSeNet, form: PictureForm = PAPER_FORM, classes: tuple[str, ...] = PARSING_CLASSES):
        super().__init__()
        self.network, self.form = network, form
        if network.classes != len(classes):
            raise ValueError(f"A face parser needs names of {network.classes} classes, not of {len(classes)}.")
        known = [name if name in PARSING_CLASSES else PARSING_CLASSES[BACKGROUND] for name in classes]
        self.outputs_of = tuple(
            tuple(row for row, name in enumerate(known) if name == wanted) for wanted in PARSING_CLASSES
        )
        self.register_buffer("mean", torch.tensor(form.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(form.deviation).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """The main head's logits of the ten classes.

        Outputs that become one class count by the likeliest of them, so that the likeliest of the ten is the published
        remap of the likeliest of the 19.

        Args:
            image: (B, 3, H, W) float sRGB in [0, 1]; looked at in the network's size.

        Returns:
            (B, 10, H, W) float. Differentiable.
        """
        logits = self.network(self.seen(image))
        logits = torch.stack([logits[:, rows].amax(dim=1) for rows in self.outputs_of], dim=1)
        if logits.shape[-2:] != image.shape[-2:]:
            logits = functional.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False)
        return logits

    def seen(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float sRGB in [0, 1] -> (B, 3, size, size), normalised, evenly filtered."""
        if image.shape[-2:] != (self.form.size, self.form.size):
            sides = (self.form.size, self.form.size)
            image = functional.interpolate(image, sides, mode="bilinear", antialias=True, align_corners=False)
        return (image - self.mean) / self.deviation

    def labels(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float sRGB in [0, 1] -> (B, H, W) uint8, index in `PARSING_CLASSES`. No gradient."""
        with torch.no_grad():
            return self(image).argmax(dim=1).to(torch.uint8)


def read_face_parser(name_or_path: str | Path = SHIPPED) -> FaceParser:
    """A face parser from weights.

    Args:
        name_or_path: of weights of ours, shipped or exported, or a state dict with the names of
            zllrunning/face-parsing.PyTorch: its 19 classes (`79999_iter.pth`) or DF-MVR's ten (`face_mask.pth`), as
            torch writes it (only tensors are read: a file cannot run code) or as `.safetensors`.

    Returns:
        The parser, ready for use: not training.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """
    path = Path(name_or_path)
    foreign_safetensors = is_foreign_safetensors(path)
    if path.suffix not in TORCH_ENDINGS and not foreign_safetensors:
        loaded = load_weights(name_or_path, METHOD)
        network = BiSeNet(loaded.facts["network"]["classes"], loaded.facts["network"]["width"])
        loaded.load_into(network)
        return FaceParser(network, PictureForm(loaded.facts["network"]["size"])).eval()
    try:
        state = load_file(path) if foreign_safetensors else torch.load(path, map_location="cpu", weights_only=True)
        network = BiSeNet(state["conv_out.conv_out.weight"].shape[0], state["cp.resnet.conv1.weight"].shape[0])
        network.load_state_dict(state)
        if network.classes == len(DF_MVR_CLASSES):
            parser = FaceParser(network, PAPER_FORM, DF_MVR_CLASSES)
        else:
            parser = FaceParser(network, CELEBAMASK_FORM, CELEBAMASK_CLASSES)
    except Exception as error:  # torch.load raises whatever a file makes it stumble over
        raise UsageError(
            "face-parsing-file",
            f"{path} is no state dict of a BiSeNet for faces with the names of face-parsing.PyTorch ({error}). Give "
            "another file, such as that project's 79999_iter.pth, or weights that `fit face-parsing` and `export "
            "face-parsing` made.",
        ) from error
    return parser.eval()


def weight_map(labels: Tensor, dilation: int | None = None) -> Tensor:
    """How much each pixel counts in the photo loss (section 4.1): features most, the background least.

    Features (brows, eyes, nose, mouth, lips) grow into the skin around them, not into the background. All views are
    treated alike.

    Args:
        labels: (..., H, W) integers, index in `PARSING_CLASSES`.
        dilation: side in pixels of the square that features grow by; None is 10 in a picture of 224 pixels. As in
            OpenCV, with an even side they grow one pixel further to the right and down.

    Returns:
        (..., H, W) uint8: 254, 128 or 32.
    """
    height, width = labels.shape[-2:]
    if dilation is None:
        dilation = max(1, round(DILATION_AT_224 * width / 224))
    features = (labels > SKIN).float().reshape(-1, 1, height, width)
    before, after = dilation // 2, dilation - 1 - dilation // 2
    grown = functional.max_pool2d(functional.pad(features, (before, after, 0, 0)), (1, dilation), stride=1)
    grown = functional.max_pool2d(functional.pad(grown, (0, 0, before, after)), (dilation, 1), stride=1)
    weights = torch.where(grown.reshape(labels.shape) > 0, FEATURE_WEIGHT, SKIN_WEIGHT)
    return torch.where(labels == BACKGROUND, BACKGROUND_WEIGHT, weights).to(torch.uint8)
