"""Head shapes that are linear in their codes, but for lids that shut on the person's own eyes: torch, differentiable.

Lengths are metres in model space (+Y up, +Z out of the face, +X to the subject's left).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class BlinkBasis:
    """One eye's blink for any identity: with w its weight, `w * offset + 4 w (1 - w) * corrective`.

    Attributes:
        key: which expression coefficient is its weight.
        index: (N,) int64 vertices that it moves.
        offset, corrective: (1 + I, N, 3) float32 metres, of the mean head and what each identity coefficient adds.
    """

    key: int
    index: np.ndarray
    offset: np.ndarray
    corrective: np.ndarray


class LinearShape(nn.Module):
    """Places of N points as a function of identity and expression.

    The bases are buffers that no state dict holds: they belong to the face model, not to a network. Lengths are always
    computed in single precision, under autocast too, since bfloat16 would round a face to half a millimetre.

    Args:
        base: (N, 3) float32 metres, where both codes are zero.
        identity: (I, N, 3), expression: (E, N, 3) float32, metres for a coefficient of 1; a blink's own row is zero.
        blinks: of the eyes, where the model has lids of its own.
    """

    def __init__(
        self, base: np.ndarray, identity: np.ndarray, expression: np.ndarray, blinks: tuple[BlinkBasis, ...] = ()
    ):
        super().__init__()
        self.identity_size, self.expression_size, self.size = len(identity), len(expression), len(base)
        self._keep("base", base.reshape(-1))
        self._keep("basis", np.concatenate([identity, expression]).reshape(len(identity) + len(expression), -1))
        self._blinks = blinks
        for number, blink in enumerate(blinks):
            self.register_buffer(f"blink_index_{number}", torch.from_numpy(blink.index.astype(np.int64)), False)
            both = np.stack([blink.offset, blink.corrective], axis=1)  # (1 + I, 2, N, 3)
            self._keep(f"blink_{number}", both.reshape(len(both), -1))

    def _keep(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values, np.float32)), persistent=False)

    def forward(self, identity: Tensor, expression: Tensor) -> Tensor:
        """(B, I) and (B, E) float to (B, N, 3) float32 metres; gradients reach both."""
        with torch.autocast(identity.device.type, enabled=False):
            identity, expression = identity.float(), expression.float()
            codes = torch.cat([identity, expression], dim=1)
            points = torch.addmm(self.base, codes, self.basis).view(len(codes), -1, 3)
            for number, blink in enumerate(self._blinks):
                basis = getattr(self, f"blink_{number}")
                parts = torch.addmm(basis[0], identity, basis[1:]).view(len(codes), 2, -1, 3)
                weight = expression[:, blink.key].view(-1, 1, 1)
                moved = weight * parts[:, 0] + 4.0 * weight * (1.0 - weight) * parts[:, 1]
                points = points.index_add(1, getattr(self, f"blink_index_{number}"), moved)
            return points

    def at(self, corners: np.ndarray, barycentric: np.ndarray) -> "LinearShape":
        """The same for L points on the surface, which costs as many times less as they are fewer.

        Args:
            corners: (L, 3) int, points of this shape; barycentric: (L, 3), their weights.
        """

        def mixed(values: np.ndarray) -> np.ndarray:  # (K, N, 3) -> (K, L, 3)
            return np.einsum("klcd,lc->kld", values[:, corners], barycentric)

        basis = self.basis.cpu().numpy().reshape(self.identity_size + self.expression_size, -1, 3)
        blinks = []
        for blink in self._blinks:
            touched = np.flatnonzero(np.isin(corners, blink.index).any(axis=1))
            place = np.full(self.size, len(blink.index))  # one past the last: the row of zeros below
            place[blink.index] = np.arange(len(blink.index))

            def moved(values: np.ndarray, rows=touched, place=place) -> np.ndarray:
                padded = np.concatenate([values, np.zeros_like(values[:, :1])], axis=1)
                return np.einsum("klcd,lc->kld", padded[:, place[corners[rows]]], barycentric[rows])

            blinks.append(BlinkBasis(blink.key, touched, moved(blink.offset), moved(blink.corrective)))
        base = mixed(self.base.cpu().numpy().reshape(1, -1, 3))[0]
        mixed_basis = mixed(basis)
        return LinearShape(
            base, mixed_basis[: self.identity_size], mixed_basis[self.identity_size :], tuple(blinks)
        ).to(self.base.device)
