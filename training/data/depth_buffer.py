"""The depth buffer of the synthetic people: one picture on one core, compiled.

`backend.rendering.rasterizer` works on any device, in batches and with gradients, and pays for it where one small
picture is drawn on one core: 6 to 8 ms a head there, under 1 ms here. Both follow the same rules.
"""

from __future__ import annotations

import numba
import numpy as np

NEAREST_M = 1e-3


@numba.njit(cache=True, nogil=True, fastmath=False)
def draw(screen, depth, triangles, height, width, perspective):
    """The nearest triangle of every pixel, as in `backend.rendering.rasterizer.rasterize_screen`.

    Args:
        screen: (V, 2) float32 pixels, centres at half integers, y down.
        depth: (V,) float32, the smaller the nearer; above zero where `perspective`.
        triangles: (T, 3) int64.
        height, width: of the picture.
        perspective: `screen` came from a division by `depth`. Triangles with a corner nearer than `NEAREST_M` are left
            out.

    Returns:
        triangle (H, W) int64, -1 where there is none; depth (H, W) float32, inf where there is none; barycentric
        (H, W, 3) float32, perspective correct, 0 where there is none.
    """
    found = np.full((height, width), -1, np.int64)
    nearest = np.full((height, width), np.inf, np.float32)
    barycentric = np.zeros((height, width, 3), np.float32)
    for number in range(len(triangles)):
        a, b, c = triangles[number]
        ax, ay = np.float64(screen[a, 0]), np.float64(screen[a, 1])
        bx, by = np.float64(screen[b, 0]), np.float64(screen[b, 1])
        cx, cy = np.float64(screen[c, 0]), np.float64(screen[c, 1])
        za, zb, zc = depth[a], depth[b], depth[c]
        if perspective and (za < NEAREST_M or zb < NEAREST_M or zc < NEAREST_M):
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0 or not np.isfinite(area):
            continue
        first_column = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        last_column = min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        first_row = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        last_row = min(height - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        # Barycentric coordinates are linear in the picture: their value at the first pixel and their steps.
        u_x, u_y = (by - cy) / area, (cx - bx) / area
        v_x, v_y = (cy - ay) / area, (ax - cx) / area
        x, y = first_column + 0.5, first_row + 0.5
        u_row = u_x * (x - cx) + u_y * (y - cy)
        v_row = v_x * (x - cx) + v_y * (y - cy)
        for row in range(first_row, last_row + 1):
            u, v = u_row, v_row
            for column in range(first_column, last_column + 1):
                w = 1.0 - u - v
                if u >= 0.0 and v >= 0.0 and w >= 0.0:
                    if perspective:
                        a_share, b_share, c_share = u / za, v / zb, w / zc
                        z = np.float32(1.0 / (a_share + b_share + c_share))
                    else:
                        a_share, b_share, c_share = u, v, w
                        z = np.float32(u * za + v * zb + w * zc)
                    if z < nearest[row, column]:
                        scale = z if perspective else np.float32(1.0)
                        nearest[row, column] = z
                        found[row, column] = number
                        barycentric[row, column, 0] = a_share * scale
                        barycentric[row, column, 1] = b_share * scale
                        barycentric[row, column, 2] = c_share * scale
                u += u_x
                v += v_x
            u_row += u_y
            v_row += v_y
    return found, nearest, barycentric


@numba.njit(cache=True, nogil=True, fastmath=True)
def lit_share(nearest, column, row, depth, reach, bias):
    """How much of a lamp reaches points, by the depth map that it sees: (N,) float32, 1 all, 0 none.

    The mean over a disc of sixteen places, each compared with the map between its four pixels.

    Args:
        nearest: (H, W) float32, the depth map, finite.
        column, row: (N,) float32, where the points lie in it, whole numbers at the centres of its pixels.
        depth: (N,) float32, of the points.
        reach: radius of the disc in pixels of the map.
        bias: what must lie nearer than this shades nothing; shade is full at twice that.
    """
    height, width = nearest.shape
    result = np.empty(len(depth), np.float32)
    across, along = np.empty(16, np.float32), np.empty(16, np.float32)
    for tap in range(16):  # a sunflower: even over the disc
        radius, angle = reach * np.sqrt((tap + 0.5) / 16), tap * 2.3999632
        across[tap], along[tap] = radius * np.cos(angle), radius * np.sin(angle)
    for number in range(len(depth)):
        total = np.float32(0.0)
        for tap in range(16):
            x = min(max(column[number] + across[tap], np.float32(0.0)), np.float32(width - 1.001))
            y = min(max(row[number] + along[tap], np.float32(0.0)), np.float32(height - 1.001))
            left, top = int(x), int(y)
            x, y = x - left, y - top
            blocker = (1 - y) * ((1 - x) * nearest[top, left] + x * nearest[top, left + 1]) + y * (
                (1 - x) * nearest[top + 1, left] + x * nearest[top + 1, left + 1]
            )
            total += min(max((blocker - depth[number]) / bias + np.float32(2.0), np.float32(0.0)), np.float32(1.0))
        result[number] = total / np.float32(16.0)
    return result


@numba.njit(cache=True, nogil=True, fastmath=True)
def vertex_normals(vertices, triangles):
    """Unit normals (V, 3) float32 of vertices (V, 3), means over their triangles (T, 3) weighted by area.

    As `backend.rendering.shading.vertex_normals`; zero at vertices without a triangle.
    """
    result = np.zeros(vertices.shape, np.float32)
    for number in range(len(triangles)):
        a, b, c = triangles[number]
        ex, ey, ez = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        fx, fy, fz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        x, y, z = ey * fz - ez * fy, ez * fx - ex * fz, ex * fy - ey * fx
        for corner in (a, b, c):
            result[corner, 0] += x
            result[corner, 1] += y
            result[corner, 2] += z
    for row in range(len(result)):
        x, y, z = result[row]
        length = np.sqrt(x * x + y * y + z * z)
        if length > 0.0:
            result[row, 0], result[row, 1], result[row, 2] = x / length, y / length, z / length
    return result


@numba.njit(cache=True, nogil=True)
def facing(seen, triangles, closed, parallel):
    """Rows (K,) int64 of the triangles (T, 3) that can be seen.

    Args:
        seen: (V, 3) float32, vertices in the viewer's coordinates, z forward.
        triangles: (T, 3) int64; closed: (T,) bool, whether the back of one cannot be seen.
        parallel: the lines of sight are parallel to z; otherwise they come from the origin.
    """
    result = np.empty(len(triangles), np.int64)
    count = 0
    for number in range(len(triangles)):
        if closed[number]:
            a, b, c = triangles[number]
            ex, ey, ez = seen[b, 0] - seen[a, 0], seen[b, 1] - seen[a, 1], seen[b, 2] - seen[a, 2]
            fx, fy, fz = seen[c, 0] - seen[a, 0], seen[c, 1] - seen[a, 1], seen[c, 2] - seen[a, 2]
            towards = ex * fy - ey * fx
            if not parallel:
                towards = (ey * fz - ez * fy) * seen[a, 0] + (ez * fx - ex * fz) * seen[a, 1] + towards * seen[a, 2]
            if towards >= 0.0:
                continue
        result[count] = number
        count += 1
    return result[:count]
