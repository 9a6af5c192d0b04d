"""The z-buffer in plain torch: which triangle does every pixel see, how deep, and where in the triangle.

Every triangle's bounding box is cut into tiles of at most `TILE` pixels a side. Tiles of like size are tested together
as one dense block (no per-pixel gathers), the pixels inside compete by scatter-min on depth. Nothing is compiled, so
the same code runs on CPU, CUDA and Apple GPUs. Triangles, tiles and pixel tests are taken in portions, so that memory
beyond input and output has a bound whatever the number, the size and the overlap of the triangles.

Rules, those of pytorch3d's rasterizer with `blur_radius=0, faces_per_pixel=1, perspective_correct=True` except where
said: a pixel belongs to a triangle if its centre lies inside, whatever the winding; the nearest triangle wins. Unlike
pytorch3d, a centre exactly on an edge counts as inside (so neighbours leave no gap), equal depths go to the lower face
index, and a triangle that crosses the near plane is seen as far as it lies in front of it.

Everything is computed in homogeneous pixels h = z * (u, v, 1): barycentric coordinate k of pixel p is proportional to
(h_i x h_j) . p for the other two corners i and j, which needs no division by z and so holds for corners behind the
camera too (Olano & Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", 1997).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

TILE = 32
"""Largest side of a block of pixels tested at once."""
BLOCK_SIDES = (3, 8, 16, TILE)
"""Sides that blocks are rounded up to: few different blocks, little waste."""
CHUNK_PIXELS = 1 << 18
"""Pixel tests held in memory at once; about 60 bytes each."""
CHUNK_TILES = 1 << 18
"""Tiles held in memory at once, unless one triangle alone has more; about 100 bytes each."""
CHUNK_TRIANGLES = 1 << 16
"""Triangles of several images prepared at once, unless one image alone has more; about 300 bytes each."""
NEAR_METRES = 1e-3
"""What is nearer than this to the camera plane is not seen."""


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
        near: what lies at z <= near is not seen; above zero. Of a triangle that crosses this plane, the rest is.

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
    x, y, depth = vertices_camera.unbind(dim=-1)
    fx, fy, cx, cy = intrinsics.to(vertices_camera).expand(len(vertices_camera), 4).unsqueeze(-1).unbind(1)
    plane = torch.stack([fx * x + cx * depth, fy * y + cy * depth, depth], dim=-1)
    return _rasterize(plane, None, _checked(faces, plane), image_size, near)


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
        screen: (B, V, 2) float, pixels (centres at half integers, y down). Of vertices behind the camera, where the
            division by their negative depth puts them.
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
    faces = _checked(faces, screen)
    if perspective:
        plane = torch.cat([screen * depth.unsqueeze(-1), depth.unsqueeze(-1)], dim=-1)
        return _rasterize(plane, None, faces, image_size, near)
    plane = torch.cat([screen, torch.ones_like(screen[..., :1])], dim=-1)
    return _rasterize(plane, depth, faces, image_size, None)


def _checked(faces: Tensor, like: Tensor) -> Tensor:
    if faces.ndim != 2 or faces.shape[-1] != 3:
        raise ValueError(f"Faces must be (F, 3) triangles, not {tuple(faces.shape)}.")
    return faces.to(device=like.device, dtype=torch.int64)


def _rasterize(
    plane: Tensor, depth: Tensor | None, faces: Tensor, image_size: tuple[int, int], near: float | None
) -> Fragments:
    """Fragments of homogeneous pixels (B, V, 3); `depth` (B, V) where it is not their third coordinate, and no `near`
    then."""
    height, width = image_size
    at_once = max(1, CHUNK_TRIANGLES // max(1, len(faces)))
    with torch.no_grad():
        winners = [
            _nearest_faces(part, None if depth is None else depth[first : first + at_once], faces, height, width, near)
            for first, part in zip(range(0, len(plane), at_once), plane.detach().split(at_once), strict=True)
        ]
    return _attach_coordinates(torch.cat(winners), plane, depth, faces)


@dataclass
class _Triangles:
    """Triangles that may cover a pixel. Edge k lies opposite corner k and starts at its vertex with the lower index:
    both triangles at an edge then compute the same numbers with opposite sign, and no pixel falls in between. The edge
    functions are barycentric coordinates up to a factor that the three share."""

    face: Tensor  # (T,) row in faces
    image: Tensor  # (T,)
    edge_start: Tensor  # (T, 3, 2) pixels
    edge_step: Tensor  # (T, 3, 2) pixels, with the sign that makes the inside positive
    corner_depth: Tensor  # (T, 3)
    box: Tensor  # (T, 4) first column, first row, columns, rows
    near: float | None  # to be tested at every pixel, if there are triangles that cross it

    def take(self, rows: Tensor) -> tuple[Tensor, ...]:
        tensors = (self.face, self.image, self.edge_start, self.edge_step, self.corner_depth, self.box)
        return tuple(tensor.index_select(0, rows) for tensor in tensors)


def _nearest_faces(
    plane: Tensor, depth: Tensor | None, faces: Tensor, height: int, width: int, near: float | None
) -> Tensor:
    """(B, H, W) int64: the index of the nearest face at every pixel, -1 where there is none."""
    triangles = _prepare(plane, depth, faces, height, width, near)
    buffer = _DepthBuffer(len(plane) * height * width, plane.device)
    for first, last in _portions(_tile_count(triangles.box)):
        _draw(triangles, first, last, buffer, height, width)
    return buffer.face_index().view(len(plane), height, width)


def _portions(tiles: Tensor) -> list[tuple[int, int]]:
    """Runs of triangles, first and last + 1, that have at most `CHUNK_TILES` of the (T,) tiles, or are one triangle."""
    total = torch.cumsum(tiles, dim=0)
    if not len(tiles) or int(total[-1]) <= CHUNK_TILES:
        return [(0, len(tiles))] if len(tiles) else []
    total, portions, first, before = total.cpu(), [], 0, 0
    while first < len(total):
        last = max(first + 1, int(torch.searchsorted(total, before + CHUNK_TILES, right=True)))
        portions.append((first, last))
        first, before = last, int(total[last - 1])
    return portions


def _draw(triangles: _Triangles, first: int, last: int, buffer: _DepthBuffer, height: int, width: int) -> None:
    owner, column, row, columns, rows = _cut_into_tiles(triangles.box[first:last])
    owner = owner + first
    group = _size_class(columns) * (TILE + 1) + _size_class(rows)
    counts = torch.bincount(group, minlength=(TILE + 1) ** 2)
    keys = counts.nonzero().squeeze(1)
    order = torch.argsort(group)
    start = 0
    for key, count in zip(keys.tolist(), counts[keys].tolist(), strict=True):
        block_columns, block_rows = divmod(key, TILE + 1)
        step = max(1, CHUNK_PIXELS // (block_columns * block_rows))
        for begin in range(start, start + count, step):
            items = order[begin : min(begin + step, start + count)]
            buffer.put(
                *_test_block(
                    triangles, owner[items], column[items], row[items], block_columns, block_rows, height, width
                )
            )
        start += count


def _prepare(
    plane: Tensor, depth: Tensor | None, faces: Tensor, height: int, width: int, near: float | None
) -> _Triangles:
    batch, count = plane.shape[:2]
    first_row = torch.arange(batch, device=plane.device).view(-1, 1, 1) * count
    rows = (faces + first_row).view(-1)
    value = plane[..., 2] if depth is None else depth
    seen = torch.isfinite(plane).all(dim=-1) & torch.isfinite(value)
    screen = plane[..., :2]
    if near is not None:
        seen_in_front = seen & (value > near)
        screen = screen / torch.where(seen_in_front, value, 1.0).unsqueeze(-1)
    else:
        seen_in_front = seen
    # A vertex that is not in front takes its triangles out of the boxes: comparisons with nan are false.
    place = torch.where(seen_in_front.unsqueeze(-1), screen, math.nan).view(-1, 2)
    corners = place.index_select(0, rows).view(-1, 3, 2)
    low, high = corners.amin(dim=1), corners.amax(dim=1)
    first, last = _pixels_between(low, high, height, width)
    index = (last >= first).all(dim=-1).nonzero().squeeze(1)
    corners, first, last = (part.index_select(0, index) for part in (corners, first, last))
    corner_rows = rows.view(-1, 3).index_select(0, index)
    corner_depth = value.reshape(-1).index_select(0, corner_rows.view(-1)).view(-1, 3)
    swapped = corner_rows.roll(-1, 1) > corner_rows.roll(-2, 1)
    begin, end = corners.roll(-1, 1), corners.roll(-2, 1)  # edge k: from corner k + 1 to corner k + 2
    edge_start = torch.where(swapped.unsqueeze(-1), end, begin)
    # Twice the area, from the edge function at the first corner: its sign is the winding.
    area = _cross(corners[:, 2] - corners[:, 1], corners[:, 0] - corners[:, 1])
    scale = torch.sign(area).unsqueeze(-1)
    if near is not None:
        scale = scale * corner_depth.roll(-1, 1) * corner_depth.roll(-2, 1)
    image = torch.div(index, max(1, len(faces)), rounding_mode="floor")
    box = torch.cat([first, last - first + 1], dim=-1).to(torch.int64)
    # From the lower vertex to the higher one, and back in sign: the same numbers in both triangles.
    step = (end - begin) * scale.unsqueeze(-1)
    found = _Triangles(index - image * len(faces), image, edge_start, step, corner_depth, box, None)
    if bool((area == 0).any()):
        found = _Triangles(*found.take((area != 0).nonzero().squeeze(1)), None)
    if near is None or bool(seen_in_front.all()):
        return found
    behind = (seen & ~seen_in_front).view(-1)[rows].view(-1, 3)
    infront = seen_in_front.view(-1)[rows].view(-1, 3)
    index = ((behind | infront).all(dim=1) & behind.any(dim=1) & infront.any(dim=1)).nonzero().squeeze(1)
    return _with_crossing(found, index, plane, rows.view(-1, 3), screen, len(faces), height, width, near)


def _with_crossing(
    found: _Triangles,
    index: Tensor,
    plane: Tensor,
    corner_rows: Tensor,
    screen: Tensor,
    face_count: int,
    height: int,
    width: int,
    near: float,
) -> _Triangles:
    """`found` and the triangles (C,) `index` that have corners on both sides of the near plane.

    An edge with both ends in front is that of `_prepare`; any other is the line (h_i x h_j) . (u, v, 1) = 0.
    """
    corner_rows = corner_rows.index_select(0, index)
    corners = plane.reshape(-1, 3)[corner_rows]  # (C, 3, 3)
    place = screen.reshape(-1, 2)[corner_rows]
    depth = corners[..., 2]
    front = depth > near
    start_corner, end_corner = [1, 2, 0], [2, 0, 1]
    swapped = (corner_rows[:, start_corner] > corner_rows[:, end_corner]).unsqueeze(-1)
    begin, end = (
        torch.where(swapped, corners[:, a], corners[:, b])
        for a, b in ((end_corner, start_corner), (start_corner, end_corner))
    )
    normal = torch.linalg.cross(begin, end)  # (C, 3, 3)
    whole = torch.linalg.cross(corners[:, 1], corners[:, 2])
    volume = (whole * corners[:, 0]).sum(dim=-1)
    sign = (torch.sign(volume).unsqueeze(-1) * torch.where(swapped.squeeze(-1), -1.0, 1.0).to(volume)).unsqueeze(-1)
    foot = -normal[..., 2:] * normal[..., :2] / _nonzero((normal[..., :2] ** 2).sum(dim=-1, keepdim=True))
    step = torch.stack([normal[..., 1], -normal[..., 0]], dim=-1)
    visible_edge = (front[:, start_corner] & front[:, end_corner]).unsqueeze(-1)
    place_begin, place_end = (
        torch.where(swapped, place[:, a], place[:, b])
        for a, b in ((end_corner, start_corner), (start_corner, end_corner))
    )
    visible_step = (place_end - place_begin) * (depth[:, start_corner] * depth[:, end_corner]).unsqueeze(-1)
    edge_start = torch.where(visible_edge, place_begin, foot)
    edge_step = torch.where(visible_edge, visible_step, step) * sign
    # The box of what is in front: its corners, and where edges pierce the near plane.
    d0, d1 = begin[..., 2], end[..., 2]
    pierced = ((d0 > near) != (d1 > near)).unsqueeze(-1)
    share = torch.where(pierced, ((near - d0) / _nonzero(d1 - d0)).unsqueeze(-1), 0.0)
    piercing = (begin + share * (end - begin))[..., :2] / near
    inf = math.inf
    front = front.unsqueeze(-1)
    low = torch.minimum(torch.where(front, place, inf), torch.where(pierced, piercing, inf)).amin(dim=1)
    high = torch.maximum(torch.where(front, place, -inf), torch.where(pierced, piercing, -inf)).amax(dim=1)
    first, last = _pixels_between(low - 1, high + 1, height, width)  # a pixel more, for what rounding takes
    box = torch.cat([first, last - first + 1], dim=-1)
    keep = ((last >= first).all(dim=-1) & (volume != 0) & torch.isfinite(edge_start).all(-1).all(-1)).nonzero()
    image = torch.div(index, face_count, rounding_mode="floor")
    box = torch.where(torch.isfinite(box), box, 0.0).to(torch.int64)
    crossing = _Triangles(index - image * face_count, image, edge_start, edge_step, depth, box, near)
    parts = zip(found.take(torch.arange(len(found.face), device=index.device)), crossing.take(keep[:, 0]), strict=True)
    return _Triangles(*(torch.cat(part) for part in parts), near)


def _pixels_between(low: Tensor, high: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """First and last (N, 2) column and row of the image with centres in (N, 2) boxes; last < first where none."""
    limit = low.new_tensor([width - 1, height - 1])
    return torch.ceil(low - 0.5).clamp(min=0), torch.minimum(torch.floor(high - 0.5), limit)


def _tile_count(box: Tensor) -> Tensor:
    return ((box[:, 2] + TILE - 1) // TILE) * ((box[:, 3] + TILE - 1) // TILE)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _cut_into_tiles(box: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Boxes (T, 4) cut into tiles: owner (row in box), first column, first row, columns, rows, each (N,) int64."""
    tiles_across = (box[:, 2] + TILE - 1) // TILE
    tiles = _tile_count(box)
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
    """Pixels of N equal blocks that lie inside their triangles: number in the batch, depth, face index."""
    # The blocks lie along the last axis: a block's own sides are too short to be worked on fast.
    start_x, start_y = triangles.edge_start.index_select(0, owner).permute(2, 1, 0).contiguous()  # (3, N) each
    step_x, step_y = triangles.edge_step.index_select(0, owner).permute(2, 1, 0).contiguous()
    x = (column + torch.arange(columns, device=owner.device).unsqueeze(1)).to(start_x) + 0.5  # (columns, N)
    y = (row + torch.arange(rows, device=owner.device).unsqueeze(1)).to(start_y) + 0.5
    along_x = step_y.unsqueeze(1) * (x - start_x.unsqueeze(1))  # (3, columns, N)
    along_y = step_x.unsqueeze(1) * (y - start_y.unsqueeze(1))
    # A block may stick out of its triangle's box, and so out of the image.
    along_x[0].masked_fill_(x >= width, math.inf)
    along_y[0].masked_fill_(y >= height, -math.inf)
    edges = [along_y[k].unsqueeze(1) - along_x[k] for k in range(3)]  # each (rows, columns, N)
    inside = torch.minimum(torch.minimum(edges[0], edges[1]), edges[2]) >= 0
    hit = inside.view(-1).nonzero().squeeze(1)
    place = torch.div(hit, len(owner), rounding_mode="floor")
    item = hit - place * len(owner)
    line = torch.div(place, columns, rounding_mode="floor")
    triangle = owner.index_select(0, item)
    across = column.index_select(0, item) + (place - line * columns)
    down = row.index_select(0, item) + line + triangles.image.index_select(0, triangle) * height
    pixel = down * width + across
    weight = torch.stack([edge.view(-1).index_select(0, hit) for edge in edges], dim=-1)
    depth = (weight * triangles.corner_depth.index_select(0, triangle)).sum(dim=-1)
    depth = depth / weight.sum(dim=-1).clamp(min=1e-30)
    face = triangles.face.index_select(0, triangle)
    if triangles.near is not None:
        seen = (depth > triangles.near).nonzero().squeeze(1)
        pixel, depth, face = pixel[seen], depth[seen], face[seen]
    return pixel, depth, face


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


def _attach_coordinates(winners: Tensor, plane: Tensor, depth: Tensor | None, faces: Tensor) -> Fragments:
    """Barycentric coordinates and depth of the chosen faces, differentiable in `plane` and `depth`."""
    batch, height, width = winners.shape
    count = plane.shape[1]
    flat = winners.reshape(-1)
    hit = (flat >= 0).nonzero().squeeze(1)
    image = torch.div(hit, height * width, rounding_mode="floor")
    rest = hit - image * (height * width)
    line = torch.div(rest, width, rounding_mode="floor")
    point = torch.stack([rest - line * width, line], dim=-1).to(plane.dtype) + 0.5  # (N, 2)
    corner_row = (faces[flat[hit]] + (image * count).unsqueeze(1)).reshape(-1)  # (N * 3,)
    corners = plane.reshape(-1, 3).index_select(0, corner_row).view(-1, 3, 3)
    # From the pixel to the corners, times z: small numbers, little cancellation.
    arm_x, arm_y = (corners[..., k] - corners[..., 2] * point[:, k : k + 1] for k in (0, 1))  # (N, 3)
    x, y = arm_x.unbind(dim=1), arm_y.unbind(dim=1)
    weight = torch.stack([x[i] * y[j] - y[i] * x[j] for i, j in ((1, 2), (2, 0), (0, 1))], dim=-1)
    weight = weight / _nonzero(weight.sum(dim=-1, keepdim=True))
    at_corners = corners[..., 2] if depth is None else depth.reshape(-1).index_select(0, corner_row).view(-1, 3)
    value = (weight * at_corners).sum(dim=-1)
    barycentric = weight.new_zeros(batch * height * width, 3).index_copy(0, hit, weight)
    depths = weight.new_full((batch * height * width,), math.inf).index_copy(0, hit, value)
    return Fragments(winners, depths.view(batch, height, width), barycentric.view(batch, height, width, 3))


def _nonzero(value: Tensor) -> Tensor:
    return torch.where(value == 0, torch.full_like(value, torch.finfo(value.dtype).tiny), value)
