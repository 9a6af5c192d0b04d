"""How far the lids are apart, so that gradients reach the lids: `backend.lids.aperture` in torch."""

import torch
from torch import Tensor, nn

from backend.lid_rig import SIDES, EyeRig, LidRig

STATIONS = 25
FIRST_STATION, LAST_STATION = 0.1, 0.9
"""Where the opening is measured, as fractions of the way from inner to outer canthus."""
EPSILON = 1e-9


class LidApertures(nn.Module):
    """Mean distance of the margins across the opening over its width, by eye, as seen from in front of the head.

    Args:
        rig: the lids of the face model.
    """

    def __init__(self, rig: LidRig):
        super().__init__()
        self._eyes = tuple(rig.eye(side) for side in SIDES)
        self.vertices = torch.cat([torch.from_numpy(eye.loop) for eye in self._eyes])

    def forward(self, margins: Tensor) -> Tensor:
        """(B, 2) float: the subject's left eye, then the right one; negative where the lids cross.

        Args:
            margins: (B, M, 3) metres in model space, the head's vertices `self.vertices`.
        """
        first = len(self._eyes[0].loop)
        pair = zip(self._eyes, (margins[:, :first], margins[:, first:]), strict=True)
        return torch.stack([_aperture(eye, loop) for eye, loop in pair], dim=1)


def _aperture(eye: EyeRig, loop: Tensor) -> Tensor:
    """(B, M, 3) of one loop to (B,)."""
    count = loop.shape[1]
    inner, outer = (loop[:, [(at - 1) % count, at, (at + 1) % count], :2].mean(dim=1) for at in (0, eye.outer))
    across = outer - inner  # (B, 2)
    width = across.norm(dim=1, keepdim=True)
    across = across / width
    up = torch.stack([-across[:, 1], across[:, 0]], dim=1) * across[:, :1].sign()
    stations = torch.linspace(FIRST_STATION, LAST_STATION, STATIONS, device=loop.device) * width  # (B, S)
    arm = loop[..., :2] - inner[:, None]
    along, height = (arm * across[:, None]).sum(-1), (arm * up[:, None]).sum(-1)  # (B, M)
    upper = torch.arange(eye.outer + 1, device=loop.device)
    lower = torch.cat([upper[:1], torch.arange(count - 1, eye.outer - 1, -1, device=loop.device)])
    tops, bottoms = (_heights_at(stations, along[:, way], height[:, way]) for way in (upper, lower))
    return (tops - bottoms).mean(dim=1) / width[:, 0]


def _heights_at(stations: Tensor, along: Tensor, height: Tensor) -> Tensor:
    """Linear interpolation of (along, height), both (B, N), at (B, S); `along` is made to ascend first."""
    along = along.cummax(dim=1).values
    right = torch.searchsorted(along.detach().contiguous(), stations.detach().contiguous(), right=True)
    right = right.clamp(1, along.shape[1] - 1)
    start, end = along.gather(1, right - 1), along.gather(1, right)
    share = ((stations - start) / (end - start).clamp(min=EPSILON)).clamp(0.0, 1.0)
    return torch.lerp(height.gather(1, right - 1), height.gather(1, right), share)
