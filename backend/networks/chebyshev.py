"""Spectral convolution on meshes by Chebyshev polynomials (Defferrard et al., NeurIPS 2016; Ranjan et al., ECCV 2018,
section 3.1), by products with sparse matrices and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backend.networks.mesh_levels import directed_edges


class SparseMatrix(nn.Module):
    """A constant sparse matrix. What it holds are dense buffers that no state dict holds, so that it moves between
    devices, and between the processes of a distributed run, as any module.

    Args:
        rows, columns: (E,) int, each pair at most once.
        values: (E,) float.
        shape: rows and columns of the matrix.
    """

    def __init__(self, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, int]):
        super().__init__()
        self.shape = shape
        for name, (first, second) in {"forth": (rows, columns), "back": (columns, rows)}.items():
            order = np.lexsort((second, first))
            index = np.stack([np.asarray(first)[order], np.asarray(second)[order]]).astype(np.int64)
            self.register_buffer(f"index_{name}", torch.from_numpy(index), persistent=False)
            kept = np.asarray(values, np.float32)[order]
            self.register_buffer(f"values_{name}", torch.from_numpy(kept), persistent=False)

    def forward(self, dense: Tensor) -> Tensor:
        """(columns, N) to (rows, N), in the precision of the matrix; gradients reach what is multiplied."""
        rows, columns = self.shape
        forth = _sparse(self.index_forth, self.values_forth, (rows, columns))
        back = _sparse(self.index_back, self.values_back, (columns, rows))
        return _Product.apply(dense, forth, back)


class _Product(torch.autograd.Function):
    """Knows the transposed matrix in advance; torch would sort it anew in every backward pass."""

    @staticmethod
    def forward(context: Any, dense: Tensor, forth: Tensor, back: Tensor) -> Tensor:
        context.back = back
        return torch.sparse.mm(forth, dense)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return torch.sparse.mm(context.back, gradient.contiguous()), None, None


def _sparse(index: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    return torch.sparse_coo_tensor(index, values, shape, is_coalesced=True, check_invariants=False)


def scaled_laplacian(faces: np.ndarray, vertices: int) -> SparseMatrix:
    """What the polynomials are of: 2 L / lambda_max - I of the normalised Laplacian, with lambda_max = 2.

    L = I - D^-1/2 A D^-1/2, whose eigenvalues lie in [0, 2], so that -D^-1/2 A D^-1/2 is left; rows of vertices
    without a neighbour are 0.

    Args:
        faces: (F, 3) int, triangles of the level that is convolved.
        vertices: how many it has.
    """
    edges = directed_edges(faces)
    root = np.sqrt(np.maximum(np.bincount(edges[:, 0], minlength=vertices), 1))
    values = -1.0 / (root[edges[:, 0]] * root[edges[:, 1]])
    return SparseMatrix(edges[:, 0], edges[:, 1], values, (vertices, vertices))


class ChebyshevConvolution(nn.Module):
    """y = sum over k < K of T_k(L) x W_k (+ b), with T_0 = 1, T_1 = L, T_k = 2 L T_(k-1) - T_(k-2).

    Args:
        in_channels, out_channels: C and D.
        order: K, how many polynomials: of degrees 0 to K - 1.
        has_bias: one number a filter, the same at every vertex.
    """

    def __init__(self, in_channels: int, out_channels: int, order: int = 6, has_bias: bool = True):
        super().__init__()
        if order < 1:
            raise ValueError(f"a filter has one polynomial at least, not {order}")
        self.weight = nn.Parameter(torch.empty(order, in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if has_bias else None
        nn.init.xavier_uniform_(self.weight.data.view(order * in_channels, out_channels))

    def forward(self, features: Tensor, laplacian: SparseMatrix) -> Tensor:
        """(B, V, C) to (B, V, D) float32, with `laplacian` of the level that the V vertices are of."""
        with torch.autocast(features.device.type, enabled=False):
            return self.by_vertex(features.to(self.weight.dtype).transpose(0, 1), laplacian).transpose(0, 1)

    def by_vertex(self, features: Tensor, laplacian: SparseMatrix) -> Tensor:
        """The same with vertices first, (V, B, C) to (V, B, D), as a sparse matrix needs it. Not for autocast.

        Raises:
            ValueError: the matrix is of a level with other vertices.
        """
        vertices, batch, channels = features.shape
        if vertices != laplacian.shape[1]:
            raise ValueError(f"the features are of {vertices} vertices, the Laplacian of {laplacian.shape[1]}")
        order, _, filters = self.weight.shape
        wide = filters >= channels
        answer = self._forwards(features, laplacian) if wide else self._backwards(features, laplacian)
        answer = answer.view(vertices, batch, filters)
        return answer if self.bias is None else answer + self.bias

    def _forwards(self, features: Tensor, laplacian: SparseMatrix) -> Tensor:
        """Polynomials of the features, then filters: cheap where there are few channels."""
        vertices, batch, channels = features.shape
        rows = vertices * batch
        now = features.reshape(vertices, batch * channels)
        answer, before = now.view(rows, channels) @ self.weight[0], None
        for weight in self.weight[1:]:
            before, now = now, laplacian(now) if before is None else 2 * laplacian(now) - before
            answer = torch.addmm(answer, now.view(rows, channels), weight)
        return answer

    def _backwards(self, features: Tensor, laplacian: SparseMatrix) -> Tensor:
        """Filters, then polynomials by Clenshaw's recurrence: cheap where there are few filters."""
        vertices, batch, channels = features.shape
        flat = features.reshape(vertices * batch, channels)
        parts = (flat @ self.weight).view(len(self.weight), vertices, -1).unbind()  # (V, B D) for every k
        if len(parts) == 1:
            return parts[0]
        after, now = torch.zeros_like(parts[0]), parts[-1]
        for part in reversed(parts[1:-1]):
            after, now = now, part + 2 * laplacian(now) - after
        return parts[0] + laplacian(now) - after
