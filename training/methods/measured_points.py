"""Where the 101 points that Pixel-Face measured in space lie on a face model, as far as it has them.

Zhao et al., "From 2D Images to 3D Model: Weakly Supervised Multi-View Face Reconstruction with Deep Fusion", ICME 2025,
section 4.3. Other models than the Basel one are compared at the 60 of them that are landmarks of the 68.
"""

import numpy as np
from torch import Tensor, nn

from backend.face_models.differentiable import DifferentiableModel
from training.data.landmarks101 import BFM_VERTICES, ROWS_OF_68, SEVEN

BFM_SIZE = 35709
"""Vertices of the front of the Basel face model, which `BFM_VERTICES` are counted in."""


class MeasuredPoints(nn.Module):
    """The points of a face model that are compared with measured ones. Holds nothing that is trained or saved.

    Args:
        model: any face model; all 101 points are known of the Basel one as its file has it.

    Attributes:
        rows: of the 101 points, the R that are compared.
        anchors: where among these the seven stand that align two faces.
    """

    def __init__(self, model: DifferentiableModel):
        super().__init__()
        self.shape = None
        self.rows = list(ROWS_OF_68.values())
        if model.name == "bfm" and model.shape.size == BFM_SIZE:
            corners = np.repeat(np.array(BFM_VERTICES)[:, None], 3, axis=1)
            self.shape = model.shape.at(corners, np.tile([1.0, 0.0, 0.0], (len(corners), 1)))
            self.rows = list(range(len(BFM_VERTICES)))
        self.anchors = tuple(self.rows.index(row) for row in SEVEN)

    def forward(self, identity: Tensor, expression: Tensor, points68: Tensor) -> Tensor:
        """Heads without pose, by their codes (B, I) and (B, E) and their landmarks (B, 68, 3): (B, R, 3) metres."""
        return points68[:, list(ROWS_OF_68)] if self.shape is None else self.shape(identity, expression)
