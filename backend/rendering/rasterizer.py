"""The z-buffer in plain torch: which triangle does every pixel see, how deep, and where in the triangle.

Every triangle's bounding box is cut into tiles of at most `TILE` pixels a side. Tiles of like size are tested together
as one dense block (no per-pixel gathers), the pixels inside compete by scatter-min on depth. Nothing is compiled, so
the same code runs on CPU, CUDA and Apple GPUs.

Rules, those of pytorch3d's rasterizer with `blur_radius=0, faces_per_pixel=1, perspective_correct=True` except where
said: a pixel belongs to a triangle if its centre lies inside, whatever the winding; the nearest triangle wins; a
triangle with a vertex on the near plane or nearer is dropped whole (not clipped). Unlike pytorch3d, a centre exactly
on an edge counts as inside (so neighbours leave no gap), and equal depths go to the lower face index.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

TILE = 32
"""Largest side of a block of pixels tested at once."""
BLOCK_SIDES = (2, 4, 6, 8, 16, TILE)
"""Sides that blocks are rounded up to: few different blocks, little waste."""
CHUNK_PIXELS = 1 << 21
"""Pixel tests held in memory at once; about 20 bytes each."""
NEAR_METRES = 1e-3
"""Triangles with a vertex nearer than this to the camera plane are dropped."""


@dataclass
class Fragments:
    """What every pixel sees, for B images of H x W pixels.

    Attributes:
        face_index: (B, H, W) int64, row in `faces`; -1 where there is none.
        depth: (B, H, W) float, camera z in the unit of the vertices; inf where there is no face. Differentiable.
        barycentric: (B, H, W, 3) float, perspective correct, sum 1; 0 where there is no face. Differentiable.
    """

    face_index: Tensor
    depth: Tensor
    barycentric: Tensor

    @property
    def covered(self) -> Tensor:
        """(B, H, W) bool: a face is seen here."""
        return self.face_index >= 0


def rasterize(
    vertices_camera: Tensor,
    faces: Tensor,
    intrinsics: Tensor,
    image_size: tuple[int, int],
    near: float = NEAR_METRES,
) -> Fragments:
    """Rasterize triangles seen by a pinhole camera.

    Args:
        vertices_camera: (B, V, 3) float, OpenCV camera coordinates (x right, y down, z forward).
        faces: (F, 3) int64, the same for every image.
        intrinsics: (4,) or (B, 4) float: fx, fy, cx, cy in pixels.
        image_size: (height, width).
        near: triangles with any vertex at z <= near are dropped; above zero.

    Returns:
        Fragments on the device and in the dtype of the vertices. Gradients of depth and barycentric coordinates reach
        `vertices_camera` and `intrinsics`; the choice of the face passes none.

    Raises:
        ValueError: shapes do not fit, or `near` is not above zero.
    """
    if near <= 0:
        raise ValueError(f"The near plane must lie in front of the camera, not at {near}.")
    if vertices_camera.ndim != 3 or vertices_camera.shape[-1] != 3:
        raise ValueError(f"Vertices must be (B, V, 3), not {tuple(vertices_camera.shape)}.")
    depth = vertices_camera[..., 2]
    safe = torch.where(depth > near, depth, torch.ones_like(depth))
    fx, fy, cx, cy = intrinsics.to(vertices_camera).expand(len(vertices_camera), 4).unsqueeze(-1).unbind(1)
    screen = torch.stack([fx * vertices_camera[..., 0] / safe + cx, fy * vertices_camera[..., 1] / safe + cy], dim=-1)
    return rasterize_screen(screen, depth, faces, image_size, perspective=True, near=near)


def rasterize_screen(
    screen: Tensor,
    depth: Tensor,
    faces: Tensor,
    image_size: tuple[int, int],
    perspective: bool = True,
    near: float = NEAR_METRES,
) -> Fragments:
    """Rasterize triangles whose corners are given in pixels, for parallel projections, UV space and `rasterize`.

    Args:
        screen: (B, V, 2) float, pixels (centres at half integers, y down).
        depth: (B, V) float, the smaller the nearer.
        faces: (F, 3) int64.
        image_size: (height, width).
        perspective: True if `screen` came from a division by `depth`: barycentric coordinates and depth are then
            perspective correct, and `near` applies. False for parallel projections: both are linear in the image.
        near: as in `rasterize`.

    Returns:
        Fragments, differentiable with respect to `screen` and `depth` (taken as independent).

    Raises:
        ValueError: shapes do not fit.
    """
    if screen.ndim != 3 or screen.shape[-1] != 2 or depth.shape != screen.shape[:2]:
        raise ValueError(f"Expected (B, V, 2) and (B, V), got {tuple(screen.shape)} and {tuple(depth.shape)}.")
    if faces.ndim != 2 or faces.shape[-1] != 3:
        raise ValueError(f"Faces must be (F, 3) triangles, not {tuple(faces.shape)}.")
    batch, (height, width) = len(screen), image_size
    faces = faces.to(device=screen.device, dtype=torch.int64)
    with torch.no_grad():
        winners = torch.stack(
            [
                _nearest_faces(screen[i], depth[i], faces, height, width, perspective, near).view(height, width)
                for i in range(batch)
            ]
        )
    return _attach_coordinates(winners, screen, depth, faces, perspective)


@dataclass
class _Triangles:
    """Triangles that may cover a pixel. Edge k lies opposite corner k and starts at its vertex with the lower index:
    both triangles at an edge then compute the same numbers with opposite sign, and no pixel falls in between."""

    index: Tensor  # (T,) row in faces
    edge_start: Tensor  # (T, 3, 2) pixels
    edge_step: Tensor  # (T, 3, 2) pixels, with the sign that makes the inside positive
    corner_value: Tensor  # (T, 3) what is linear in the image, over the sum of the edge functions: 1/z or z
    box: Tensor  # (T, 4) first column, first row, columns, rows


def _nearest_faces(
    screen: Tensor, depth: Tensor, faces: Tensor, height: int, width: int, perspective: bool, near: float
) -> Tensor:
    """(H*W,) int64: the index of the nearest face at every pixel, -1 where there is none."""
    triangles = _prepare(screen, depth, faces, height, width, perspective, near)
    buffer = _DepthBuffer(height * width, screen.device)
    owner, column, row, columns, rows = _cut_into_tiles(triangles.box)
    width_class, height_class = _size_class(columns), _size_class(rows)
    group = width_class * (TILE + 1) + height_class
    order = torch.argsort(group)
    groups, counts = torch.unique_consecutive(group[order], return_counts=True)
    start = 0
    for key, count in zip(groups.tolist(), counts.tolist(), strict=True):
        block_columns, block_rows = divmod(key, TILE + 1)
        step = max(1, CHUNK_PIXELS // (block_columns * block_rows))
        for first in range(start, start + count, step):
            items = order[first : min(first + step, start + count)]
            pixel, value, face = _test_block(
                triangles, owner[items], column[items], row[items], block_columns, block_rows, height, width
            )
            buffer.put(pixel, 1.0 / value if perspective else value, face)
        start += count
    return buffer.face_index()


def _prepare(
    screen: Tensor, depth: Tensor, faces: Tensor, height: int, width: int, perspective: bool, near: float
) -> _Triangles:
    corners = screen.index_select(0, faces.reshape(-1)).view(-1, 3, 2)
    corner_depth = depth.index_select(0, faces.reshape(-1)).view(-1, 3)
    low, high = corners.amin(dim=1), corners.amax(dim=1)
    limit = corners.new_tensor([width, height])
    first = torch.ceil(low - 0.5).clamp(min=0)
    last = torch.minimum(torch.floor(high - 0.5), limit - 1)
    keep = (last >= first).all(dim=-1) & torch.isfinite(corners).all(dim=-1).all(dim=-1)
    keep &= torch.isfinite(corner_depth).all(dim=-1)
    if perspective:
        keep &= corner_depth.amin(dim=-1) > near
    index = keep.nonzero().squeeze(1)
    faces, corners, corner_depth = (rows.index_select(0, index) for rows in (faces, corners, corner_depth))
    start_corner, end_corner = [1, 2, 0], [2, 0, 1]
    swapped = (faces[:, start_corner] > faces[:, end_corner]).unsqueeze(-1)
    edge_start = torch.where(swapped, corners[:, end_corner], corners[:, start_corner])
    edge_end = torch.where(swapped, corners[:, start_corner], corners[:, end_corner])
    step = edge_end - edge_start
    # Twice the area, from the edge function at the first corner: its sign is the winding.
    area = _cross(corners[:, 2] - corners[:, 1], corners[:, 0] - corners[:, 1])
    sign = torch.where(swapped.squeeze(-1), -1.0, 1.0).to(area) * torch.sign(area).unsqueeze(-1)
    solid = (area != 0).nonzero().squeeze(1)
    box = torch.cat([first[index], (last - first)[index] + 1], dim=-1).to(torch.int64)
    value = 1.0 / corner_depth if perspective else corner_depth
    return _Triangles(
        *(rows.index_select(0, solid) for rows in (index, edge_start, step * sign.unsqueeze(-1), value, box))
    )


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _cut_into_tiles(box: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Boxes (T, 4) cut into tiles: owner (row in box), first column, first row, columns, rows, each (N,) int64."""
    tiles_across = (box[:, 2] + TILE - 1) // TILE
    tiles = tiles_across * ((box[:, 3] + TILE - 1) // TILE)
    if not bool((tiles > 1).any()):
        return torch.arange(len(box), device=box.device), *box.unbind(dim=1)
    owner = torch.repeat_interleave(torch.arange(len(box), device=box.device), tiles)
    before = torch.cumsum(tiles, dim=0) - tiles
    number = torch.arange(len(owner), device=box.device) - before[owner]
    left = number % tiles_across[owner] * TILE
    top = torch.div(number, tiles_across[owner], rounding_mode="floor") * TILE
    column, row, columns, rows = box[owner].unbind(dim=1)
    return owner, column + left, row + top, (columns - left).clamp(max=TILE), (rows - top).clamp(max=TILE)


def _size_class(length: Tensor) -> Tensor:
    """The next of `BLOCK_SIDES` that is not below (N,) lengths of 1 to `TILE` pixels."""
    table = [min(side for side in BLOCK_SIDES if side >= number) for number in range(TILE + 1)]
    return torch.tensor(table, device=length.device).index_select(0, length)


def _test_block(
    triangles: _Triangles,
    owner: Tensor,
    column: Tensor,
    row: Tensor,
    columns: int,
    rows: int,
    height: int,
    width: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of N equal blocks that lie inside their triangles: pixel number, linear value (1/z or z), face index."""
    start = triangles.edge_start.index_select(0, owner)  # (N, 3, 2)
    step = triangles.edge_step.index_select(0, owner)
    x = (column.unsqueeze(1) + torch.arange(columns, device=owner.device)).to(start) + 0.5  # (N, columns)
    y = (row.unsqueeze(1) + torch.arange(rows, device=owner.device)).to(start) + 0.5
    along_x = step[..., 1:] * (x.unsqueeze(1) - start[..., :1])  # (N, 3, columns)
    along_y = step[..., :1] * (y.unsqueeze(1) - start[..., 1:])
    edges = [along_y[:, k].unsqueeze(2) - along_x[:, k].unsqueeze(1) for k in range(3)]  # each (N, rows, columns)
    inside = torch.minimum(torch.minimum(edges[0], edges[1]), edges[2]) >= 0
    # A block may stick out of its triangle's box, and so out of the image.
    inside &= ((x < width).unsqueeze(1)) & ((y < height).unsqueeze(2))
    hit = inside.view(-1).nonzero().squeeze(1)
    item = torch.div(hit, rows * columns, rounding_mode="floor")
    rest = hit - item * (rows * columns)
    line = torch.div(rest, columns, rounding_mode="floor")
    pixel = (row.index_select(0, item) + line) * width + column.index_select(0, item) + (rest - line * columns)
    weight = torch.stack([edge.view(-1).index_select(0, hit) for edge in edges], dim=-1)
    triangle = owner.index_select(0, item)
    value = (weight * triangles.corner_value.index_select(0, triangle)).sum(dim=-1) / weight.sum(dim=-1).clamp(
        min=1e-30
    )
    return pixel, value, triangles.index.index_select(0, triangle)


class _DepthBuffer:
    """The nearest face of every pixel. Depth and face share one int64, so one scatter-min keeps both."""

    def __init__(self, pixels: int, device: torch.device) -> None:
        self._packed = device.type != "mps"  # Apple's backend has no int64 scatter-min
        self._farthest = torch.iinfo(torch.int64).max
        if self._packed:
            self._key = torch.full((pixels,), self._farthest, dtype=torch.int64, device=device)
        else:
            self._depth = torch.full((pixels,), math.inf, device=device)
            self._face = torch.full((pixels,), -1, dtype=torch.int32, device=device)

    def put(self, pixel: Tensor, depth: Tensor, face: Tensor) -> None:
        """Offer (N,) faces at (N,) depths to (N,) pixels."""
        depth = depth.to(torch.float32) + 0.0  # no negative zero
        if self._packed:
            bits = depth.view(torch.int32).to(torch.int64)
            bits = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # floats in order as integers, negative ones too
            self._key.scatter_reduce_(0, pixel, (bits << 32) | face, "amin")
            return
        nearest = self._depth.scatter_reduce(0, pixel, depth, "amin")
        self._face = torch.where(nearest < self._depth, torch.full_like(self._face, -1), self._face)
        self._depth = nearest
        wins = (depth == nearest[pixel]).nonzero().squeeze(1)
        pixel, face = pixel[wins], face[wins].to(torch.int32)
        none = torch.iinfo(torch.int32).max
        candidate = torch.where(self._face < 0, torch.full_like(self._face, none), self._face)
        candidate.scatter_reduce_(0, pixel, face, "amin")
        self._face = torch.where(candidate == none, torch.full_like(candidate, -1), candidate)

    def face_index(self) -> Tensor:
        """(pixels,) int64, -1 where no face was offered."""
        if self._packed:
            return torch.where(self._key == self._farthest, -1, self._key & 0xFFFFFFFF)
        return self._face.to(torch.int64)


def _attach_coordinates(winners: Tensor, screen: Tensor, depth: Tensor, faces: Tensor, perspective: bool) -> Fragments:
    """Barycentric coordinates and depth of the chosen faces, differentiable in `screen` and `depth`."""
    batch, height, width = winners.shape
    count = screen.shape[1]
    flat = winners.reshape(-1)
    hit = (flat >= 0).nonzero().squeeze(1)
    image = torch.div(hit, height * width, rounding_mode="floor")
    rest = hit - image * (height * width)
    line = torch.div(rest, width, rounding_mode="floor")
    point = torch.stack([rest - line * width, line], dim=-1).to(screen.dtype) + 0.5  # (N, 2)
    corner_row = (faces[flat[hit]] + (image * count).unsqueeze(1)).reshape(-1)  # (N * 3,)
    corners = screen.reshape(-1, 2).index_select(0, corner_row).view(-1, 3, 2)
    corner_depth = depth.reshape(-1).index_select(0, corner_row).view(-1, 3)
    arm = corners - point.unsqueeze(1)  # from the pixel to the corners: small numbers, little cancellation
    a, b, c = arm.unbind(dim=1)
    weight = torch.stack([_cross(b, c), _cross(c, a), _cross(a, b)], dim=-1)
    weight = weight / _nonzero(weight.sum(dim=-1, keepdim=True))
    if perspective:
        weight = weight / corner_depth
        weight = weight / weight.sum(dim=-1, keepdim=True)
    value = (weight * corner_depth).sum(dim=-1)
    barycentric = weight.new_zeros(batch * height * width, 3).index_copy(0, hit, weight)
    depths = weight.new_full((batch * height * width,), math.inf).index_copy(0, hit, value)
    return Fragments(winners, depths.view(batch, height, width), barycentric.view(batch, height, width, 3))


def _nonzero(value: Tensor) -> Tensor:
    return torch.where(value == 0, torch.full_like(value, torch.finfo(value.dtype).tiny), value)
