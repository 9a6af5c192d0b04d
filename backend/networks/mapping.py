"""From the features of a face to the coefficients of a face model.

Zielonka et al., "Towards Metrical Reconstruction of Human Faces", ECCV 2022, section 3.1 (MICA); the same network
stands behind the features of "3DFace" (WWW 2024).
"""

from torch import Tensor, nn
from torch.nn import functional

FEATURES = 512
"""Length of an ArcFace feature."""
NEGATIVE_SLOPE = 0.2
LAST_LAYER_SHARE = 0.25
"""The last layer starts this much smaller, so that an untrained network answers with codes near the mean face."""


class MappingNetwork(nn.Module):
    """Fully connected layers, each followed by LeakyReLU(0.2), then one without; no way round any of them.

    With 512 features, width 300 and three hidden layers it has 515,100 parameters at 300 outputs, as MICA has, and
    571,086 at the 486 of the paper (300 identity, 6 pose, 100 expression, 50 texture, 3 camera, 27 light).

    Args:
        inputs: length of the features; outputs: of the answer.
        width: of the layers between them.
        hidden: layers of width x width after the first.
    """

    def __init__(self, inputs: int = FEATURES, outputs: int = 486, width: int = 300, hidden: int = 3):
        super().__init__()
        if min(inputs, outputs, width) < 1 or hidden < 0:
            raise ValueError(f"There is no mapping network of {inputs}, {hidden} times {width}, {outputs}.")
        widths = [inputs, *[width] * (hidden + 1)]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in zip(widths[:-1], widths[1:], strict=True))
        self.output = nn.Linear(width, outputs)
        for layer in (*self.layers, self.output):
            nn.init.kaiming_normal_(layer.weight, a=NEGATIVE_SLOPE, mode="fan_in", nonlinearity="leaky_relu")
        self.output.weight.data.mul_(LAST_LAYER_SHARE)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs) float -> (B, outputs) float."""
        for layer in self.layers:
            features = functional.leaky_relu(layer(features), NEGATIVE_SLOPE)
        return self.output(features)
