"""The arithmetic of light at every pixel of a synthetic picture, compiled."""

from __future__ import annotations

import numba
import numpy as np

from backend.rendering.shading import HARMONIC_CONSTANTS

C0, C1, C2, C3, C4 = (np.float32(value) for value in HARMONIC_CONSTANTS)


@numba.njit(cache=True, nogil=True, fastmath=True)
def gather(attributes, triangles, triangle, weight):
    """Values of vertices at N pixels.

    Args:
        attributes: (V, C) float32; triangles: (T, 3) int64.
        triangle: (N,) int64, what the pixels see; weight: (N, 3) float32 barycentric.

    Returns:
        (N, C) float32.
    """
    count, channels = len(triangle), attributes.shape[1]
    result = np.empty((count, channels), np.float32)
    for number in range(count):
        a, b, c = triangles[triangle[number]]
        u, v, w = weight[number]
        for channel in range(channels):
            result[number, channel] = (
                u * attributes[a, channel] + v * attributes[b, channel] + w * attributes[c, channel]
            )
    return result


@numba.njit(cache=True, nogil=True, fastmath=True)
def relief_slope(vertices, triangles, uv, triangle_uv, triangle, along_u, along_v, steepest):
    """The surface gradient of a relief at N pixels.

    Args:
        vertices: (V, 3) float32 metres; triangles: (T, 3) int64; uv: (U, 2) float32; triangle_uv: (T, 3) int.
        triangle: (N,) int64, what the pixels see.
        along_u, along_v: (N,) float32, the relief's derivatives in metres for a step of 1 in u and in v.
        steepest: largest slope.

    Returns:
        (N, 3) float32, metres of relief for a metre along the surface.
    """
    result = np.empty((len(triangle), 3), np.float32)
    for n in range(len(triangle)):
        a, b, c = triangles[triangle[n]]
        ta, tb, tc = triangle_uv[triangle[n]]
        ex, ey, ez = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        fx, fy, fz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        first = along_u[n] * (uv[tb, 0] - uv[ta, 0]) + along_v[n] * (uv[tb, 1] - uv[ta, 1])
        second = along_u[n] * (uv[tc, 0] - uv[ta, 0]) + along_v[n] * (uv[tc, 1] - uv[ta, 1])
        nx, ny, nz = ey * fz - ez * fy, ez * fx - ex * fz, ex * fy - ey * fx
        square = max(nx * nx + ny * ny + nz * nz, np.float32(1e-20))
        # The vector in the triangle's plane whose product with each edge is the rise along it.
        gx = (first * (fy * nz - fz * ny) + second * (ny * ez - nz * ey)) / square
        gy = (first * (fz * nx - fx * nz) + second * (nz * ex - nx * ez)) / square
        gz = (first * (fx * ny - fy * nx) + second * (nx * ey - ny * ex)) / square
        slope = np.sqrt(gx * gx + gy * gy + gz * gz)
        scale = min(np.float32(1.0), steepest / max(slope, np.float32(1e-6)))
        result[n, 0], result[n, 1], result[n, 2] = gx * scale, gy * scale, gz * scale
    return result


@numba.njit(cache=True, nogil=True, fastmath=True)
def shade_pixels(
    place,
    normals,
    albedo,
    gloss,
    openness,
    wet,
    wrapped,
    lit,
    eye,
    sky,
    directions,
    lamp_colours,
    sharpest,
    wrap,
    reflectance,
    wet_exponent,
    window,
):
    """Colour and light of N pixels.

    Args:
        place, normals: (N, 3) float32, metres and unit, model axes, normals towards the camera.
        albedo: (N, 3); gloss, openness: (N,) float32; wet, wrapped: (N,) bool, eyes, and skin that light wraps round.
        lit: (N,) float32, how much of the first lamp gets here.
        eye: (3,) float32, where the camera is.
        sky: (9, 3) float32, in the basis of `backend.rendering.shading.harmonic_basis`.
        directions, lamp_colours: (L, 3) float32; sharpest: (L,) float32, largest exponent of the lamps' glints on skin.
        wrap: (3,) float32; reflectance, wet_exponent: of gloss.
        window: (3,) float32 unit, towards the light that wet eyes mirror.

    Returns:
        (N, 3) float32 linear colour, and (N, 3) float32, what a white matte surface would send back.
    """
    count = len(place)
    colour, light = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
    basis = np.empty(9, np.float32)
    zero, one = np.float32(0.0), np.float32(1.0)
    for n in range(count):
        x, y, z = normals[n]
        vx, vy, vz = eye[0] - place[n, 0], eye[1] - place[n, 1], eye[2] - place[n, 2]
        scale = one / np.sqrt(vx * vx + vy * vy + vz * vz)
        vx, vy, vz = vx * scale, vy * scale, vz * scale
        grazing = one - min(max(x * vx + y * vy + z * vz, zero), one)
        rise = grazing * grazing * grazing * grazing
        basis[0], basis[1], basis[2], basis[3] = C0, C1 * y, C1 * z, C1 * x
        basis[4], basis[5], basis[6] = C2 * x * y, C2 * y * z, C3 * (3 * z * z - 1)
        basis[7], basis[8] = C2 * x * z, C4 * (x * x - y * y)
        shine = np.zeros(3, np.float32)
        for c in range(3):
            total = zero
            for k in range(9):
                total += basis[k] * sky[k, c]
            light[n, c] = max(total, zero) * openness[n]
            shine[c] = light[n, c] * np.float32(0.5) * reflectance * (one + 8 * rise)
        dimmed = np.sqrt(openness[n])
        for k in range(len(directions)):
            strength = dimmed * lit[n] if k == 0 else dimmed
            lx, ly, lz = directions[k]
            cosine = x * lx + y * ly + z * lz
            for c in range(3):
                around = wrap[c] if wrapped[n] else zero
                light[n, c] += max((cosine + around) / (one + around), zero) * strength * lamp_colours[k, c]
            if cosine <= zero:
                continue
            hx, hy, hz = vx + lx, vy + ly, vz + lz
            along = (x * hx + y * hy + z * hz) / np.sqrt(hx * hx + hy * hy + hz * hz)
            exponent = wet_exponent if wet[n] else min(10 + 60 * gloss[n] * gloss[n], sharpest[k])
            glint = np.exp(exponent * np.log(max(along, np.float32(1e-3)))) * (exponent + 2) * reflectance / 8
            glint *= (one + 4 * rise) * strength * min(cosine * 8, one)
            for c in range(3):
                shine[c] += glint * lamp_colours[k, c]
        if wet[n]:
            hx, hy, hz = vx + window[0], vy + window[1], vz + window[2]
            along = (x * hx + y * hy + z * hz) / np.sqrt(hx * hx + hy * hy + hz * hz)
            mirrored = np.exp(800 * np.log(max(along, np.float32(1e-3)))) * np.float32(0.8)
            mean = (light[n, 0] + light[n, 1] + light[n, 2]) / 3
            for c in range(3):
                shine[c] += mirrored * mean
        for c in range(3):
            colour[n, c] = albedo[n, c] * light[n, c] + gloss[n] * shine[c]
    return colour, light
