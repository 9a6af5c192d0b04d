"""The albedo texture of a head from photographs.

The texture is made of two layers. A *base* gives every vertex of the skin a colour: what the photographs show, evened
out in light, brought to one tone, completed from the other side of the face and then smoothly over the mesh; living on
the mesh it has no seams. The *detail* is what a photograph shows beyond the base, laid on where it is trusted and
fading out where it is not: so two photographs meet, and a photograph meets completed skin, without an edge. What no
photograph shows gets the grain of the person's skin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu

from backend.face_models.morphable_model import MorphableModel
from backend.lid_texture import open_share, with_plain_lids
from backend.rendering.shading import vertex_normals
from backend.texture_evidence import Evidence, HeadRegions, TextureView, smoothstep
from backend.texture_parts import paint_parts, part_texels

__all__ = ["TextureView", "build_albedo"]

COARSE_SHARE, COARSE_SMALLEST = 4, 256
"""Weights and base are computed for one texel in COARSE_SHARE squared, on at least COARSE_SMALLEST a side."""
TRUSTED = (0.04, 0.30)
"""Quality from which, and up to which, a photograph's detail fades in."""
TRUSTED_FOR_BASE = (0.15, 0.6)
"""The same for the base, which goes on into what is not seen."""
VIEW_SHARPNESS = 3
"""Power of the quality by which photographs share a point: high enough not to show two noses, low enough to blend."""
MIRRORED_SHARE = 0.003
"""Mirroring is worth its time if it fills at least this share of the skin."""
FALLBACK_WEIGHT = 2.5e-3
"""Pull of unseen skin towards the person's mean skin, against STIFFNESS between neighbours."""
STIFFNESS = 0.06
MIRROR_TRUST = 0.3
SIDE_EVENING, TONE_EVENING, TINT_EVENING = 0.7, 0.5, 0.25
"""How much is taken for light of broad differences: of brightness between left and right, of brightness from the tone
of the cheeks, of hue from it."""
BREADTH = 4.0
"""Stiffness of what counts as broad: about two rings of neighbours."""
PATTERN_PIXEL_M = 0.00035
PLAIN_SKIN = np.array([0.80, 0.62, 0.53], np.float32)
"""Skin where no photograph is used, encoded."""
PLAIN_LIPS = np.array([0.72, 0.44, 0.41], np.float32)
PLAIN_BROWS = np.array([0.42, 0.30, 0.24], np.float32)


def build_albedo(model: MorphableModel, views: Sequence[TextureView | Evidence], size: int = 2048) -> np.ndarray:
    """The albedo of a person in the model's UV square.

    Args:
        model: the face model; its skin, eyeballs, teeth, tongue and lashes are told by their part names.
        views: photographs of one person, each with the head as posed in it, or the evidence of it, if that was made
            before. Without any: plain skin.
        size: side of the texture, texels; a multiple of 64.

    Returns:
        (size, size, 3) uint8 sRGB, row 0 at v = 1. Texels outside the charts take the nearest colour.

    Raises:
        ValueError: the size is none of these.
    """
    if size < 64 or size % 64:
        raise ValueError(f"The side of a texture must be a multiple of 64 texels, not {size}.")
    regions = HeadRegions.of(model)
    evidence = [view if isinstance(view, Evidence) else Evidence(model, regions, view) for view in views]
    texture = _Skin(model, regions, evidence, size).paint()
    if views:
        rig = model.rig_of(model.mean)
        texture = with_plain_lids(model, texture, rig, open_share(model, rig, [one.vertices for one in evidence]))
    paint_parts(model, texture, evidence)
    return texture


@dataclass
class _Layer:
    """What one photograph, straight or mirrored, gives to the texture.

    Attributes:
        evidence: the photograph.
        source: (V,) int, the vertex whose picture goes to each vertex.
        quality: (N,) float32 at the coarse texels.
        colour: (N, 3) float32 there, light evened out.
        weight: (N,) float32, share of the detail.
        gain: (V, 3) float32 on the photograph's colours.
        base: (V, 3) float32, its own smooth colours.
        mass: (V,) float32 in [0, 1], how well it knows them.
    """

    evidence: Evidence
    source: np.ndarray
    quality: np.ndarray
    colour: np.ndarray
    weight: np.ndarray
    gain: np.ndarray
    base: np.ndarray
    mass: np.ndarray


class _Skin:
    """Makes the skin's colours; the coarse half of the work is done on construction."""

    def __init__(self, model: MorphableModel, regions: HeadRegions, evidence: list[Evidence], size: int) -> None:
        self.model, self.regions, self.evidence, self.size = model, regions, evidence, size
        self.triangles = model.topology.triangles
        self.side = size // max(1, min(COARSE_SHARE, size // COARSE_SMALLEST))
        self.coarse = part_texels(model.topology, np.flatnonzero(regions.triangle_is_skin), self.side)
        self.laplacian = _laplacian(self.triangles, len(model.mean))
        self.straight = np.arange(len(model.mean))
        self.layers = [self._layer(one, self.straight) for one in evidence]
        self._match_tones()
        self._even_broadly()
        self._share_detail()
        self.base = self._complete()

    # Layers -----------------------------------------------------------------------------------------------------------

    def _layer(self, one: Evidence, source: np.ndarray) -> _Layer:
        place = self.coarse.interpolate(one.vertices[source], self.triangles)
        normals = self.coarse.interpolate(one.normals[source], self.triangles)
        quality, colour = one.shown(place, normals)
        if source is self.straight:
            bare = self.coarse.interpolate(np.stack([self.regions.seed, 1 - self.regions.kept], axis=1), self.triangles)
            skin = quality * np.clip(np.maximum(bare[:, 0], 0.35 * bare[:, 1]), 0, 1)
            one.fit_light(skin, colour, self.coarse.interpolate(one.smooth_normals, self.triangles))
        layer = _Layer(one, source, quality, colour, np.zeros_like(quality), one.gain[source], None, None)
        layer.colour = colour * self.coarse.interpolate(layer.gain, self.triangles)
        self._collect(layer)
        return layer

    def _collect(self, layer: _Layer) -> None:
        """Means of the coarse texels round every vertex, weighted by quality."""
        coarse, count = self.coarse, len(self.model.mean)
        corner = self.triangles[coarse.triangle].reshape(-1)
        share = np.clip(coarse.barycentric, 0, 1)
        known = (share * smoothstep(*TRUSTED_FOR_BASE, layer.quality)[:, None]).reshape(-1)
        total = np.bincount(corner, share.reshape(-1), minlength=count)
        mass = np.bincount(corner, known, minlength=count)
        base = np.stack(
            [np.bincount(corner, known * np.repeat(layer.colour[:, k], 3), minlength=count) for k in range(3)], axis=1
        )
        layer.base = (base / np.maximum(mass, 1e-9)[:, None]).astype(np.float32)
        layer.mass = (mass / np.maximum(total, 1e-9)).astype(np.float32)

    def _match_tones(self) -> None:
        """Brings all photographs to one exposure and white balance, by what two of them show of the same skin."""
        count = len(self.layers)
        if count < 2:
            return
        matrix, target = np.eye(count) * 1e-3, np.zeros((count, 3))
        for i in range(count):
            for j in range(i):
                both = np.minimum(self.layers[i].mass, self.layers[j].mass) * self.regions.skin
                if both.sum() < 10:
                    continue
                ratio = np.log(np.maximum(self.layers[i].base, 0.01) / np.maximum(self.layers[j].base, 0.01))
                chosen = both > 0.3
                if chosen.sum() < 10:
                    continue
                step, weight = np.median(ratio[chosen], axis=0), both.sum()
                matrix[[i, j], [i, j]] += weight
                matrix[[i, j], [j, i]] -= weight
                target[i] -= weight * step
                target[j] += weight * step
        gains = np.exp(np.clip(np.linalg.solve(matrix, target), -0.7, 0.7)).astype(np.float32)
        for layer, gain in zip(self.layers, gains, strict=True):
            layer.gain = layer.gain * gain
            layer.base = layer.base * gain
            layer.colour = layer.colour * gain

    def _even_broadly(self) -> None:
        """Takes out what is left of the light: broad differences from left to right and from the person's tone.

        Only what is broad, and only on bare skin: brows, lips and beards are of another colour by nature.
        """
        mirror, skin = self.model.mirror, self.regions.skin
        bare = np.clip(1 - self.regions.kept, 0, 1)
        for layer in self.layers:
            if (layer.mass * self.regions.seed).sum() < 5:
                continue
            both = np.minimum(layer.mass, layer.mass[mirror]) * skin
            colour = np.log(np.maximum(layer.base, 0.02))
            grey = colour.mean(axis=1, keepdims=True)
            sided = np.clip(0.5 * (grey[mirror] - grey), -0.35, 0.35)
            tone = np.log(_weighted_median(layer.base, layer.mass * self.regions.seed))
            off = tone - colour
            off_grey = off.mean(axis=1, keepdims=True)
            off = np.clip(TONE_EVENING * off_grey + TINT_EVENING * (off - off_grey), -0.3, 0.3)
            weight = layer.mass * bare * skin
            gain = np.exp(SIDE_EVENING * self._broad(sided, both) + self._broad(off, weight)).astype(np.float32)
            layer.gain, layer.base = layer.gain * gain, layer.base * gain
            layer.colour = layer.colour * self.coarse.interpolate(gain, self.triangles)

    def _broad(self, values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The smooth part of (V, C) values known with weights (V,); falls to zero where none are known."""
        system = sparse.diags(weight + 0.02) + BREADTH * self.laplacian
        return splu(system.tocsc()).solve((weight[:, None] * values).astype(np.float64))

    def _share_detail(self) -> None:
        """Weights of the layers' detail at the coarse texels, in sum at most 1; adds mirrored layers if they help."""
        trusted = [self._feather(smoothstep(*TRUSTED, layer.quality)) for layer in self.layers]
        self.covered = self._divide(self.layers, trusted)
        if not self.layers:
            return
        mirrored, mirrored_trust = [], []
        for layer in list(self.layers):
            other = self._layer(layer.evidence, self.model.mirror)
            tone = np.median((layer.gain / layer.evidence.gain)[self.regions.skin], axis=0)
            other.gain, other.base, other.colour = (value * tone for value in (other.gain, other.base, other.colour))
            trust = self._feather(smoothstep(*TRUSTED, other.quality)) * (1 - self.covered)
            if trust.mean() > MIRRORED_SHARE:
                mirrored.append(other)
                mirrored_trust.append(trust)
        self._divide(mirrored, mirrored_trust)
        for layer in mirrored:
            layer.weight *= 1 - self.covered
        self.mirrored = mirrored
        self.covered = self.covered + sum((layer.weight for layer in mirrored), np.zeros_like(self.covered))

    @staticmethod
    def _divide(layers: list[_Layer], trusted: list[np.ndarray]) -> np.ndarray:
        """Shares of the layers by quality; returns how far they cover the texels together."""
        if not layers:
            return np.zeros(0, np.float32)
        strength = [
            trust * (layer.quality + 1e-3) ** VIEW_SHARPNESS for layer, trust in zip(layers, trusted, strict=True)
        ]
        total = np.maximum(sum(strength), 1e-12)
        together = np.maximum.reduce(trusted)
        for layer, one in zip(layers, strength, strict=True):
            layer.weight = (together * one / total).astype(np.float32)
        return together

    def _feather(self, weight: np.ndarray) -> np.ndarray:
        """Softens weights inwards: never more trust than before."""
        image = self.coarse.image(weight.astype(np.float32))
        radius = self.side / 512
        soft = cv2.erode(image, np.ones((3, 3), np.uint8))
        soft = cv2.GaussianBlur(soft, (0, 0), 2.0 * radius)
        return np.minimum(soft.reshape(-1)[self.coarse.texel], weight)

    # The base ---------------------------------------------------------------------------------------------------------

    def _complete(self) -> np.ndarray:
        """(V, 3) float32: a colour for every vertex."""
        skin = self.regions.skin
        if not self.layers:
            return self._plain()
        strength = [layer.mass * (self._vertex_quality(layer) + 1e-3) ** VIEW_SHARPNESS for layer in self.layers]
        total = np.maximum(sum(strength), 1e-12)
        colour = sum(s[:, None] * layer.base for s, layer in zip(strength, self.layers, strict=True)) / total[:, None]
        mass = np.maximum.reduce([layer.mass for layer in self.layers]) * skin
        seed = mass * self.regions.seed
        if seed.sum() < 5:
            seed = mass + 1e-6
        tone = _weighted_median(colour, seed) if mass.sum() > 5 else PLAIN_SKIN
        self.tone = tone
        mirror = self.model.mirror
        borrowed = MIRROR_TRUST * mass[mirror] * (1 - mass)
        # Skin spreads to where nothing is known; brows, beards and fringes do not.
        bare = smoothstep(0.5, 1.0, 1 - self.regions.kept)
        filled = self._spread(mass * bare, colour, borrowed * bare[mirror], colour[mirror], tone, STIFFNESS)
        filled = filled + self.regions.lips[:, None] * (self._lip_tone(mass, colour, tone) - filled)
        return self._spread(mass, colour, 1 - mass, filled, tone, STIFFNESS / 10)

    def _lip_tone(self, mass: np.ndarray, colour: np.ndarray, tone: np.ndarray) -> np.ndarray:
        """(3,): the colour of the lips as far as they are seen, else one that goes with the skin."""
        seen = mass * self.regions.lips
        return _weighted_median(colour, seen) if seen.sum() > 5 else tone * PLAIN_LIPS / PLAIN_SKIN

    def _spread(
        self,
        mass: np.ndarray,
        colour: np.ndarray,
        other_mass: np.ndarray,
        other: np.ndarray,
        tone: np.ndarray,
        stiffness: float,
    ) -> np.ndarray:
        """(V, 3): smooth colours that follow two sets of them, each with weights (V,), and else the tone (3,)."""
        wanted = mass[:, None] * colour + other_mass[:, None] * other + FALLBACK_WEIGHT * tone
        system = sparse.diags(mass + other_mass + FALLBACK_WEIGHT) + stiffness * self.laplacian
        return splu(system.tocsc()).solve(wanted.astype(np.float64)).astype(np.float32)

    def _vertex_quality(self, layer: _Layer) -> np.ndarray:
        corner = self.triangles[self.coarse.triangle].reshape(-1)
        count = len(self.model.mean)
        sums = np.bincount(corner, np.repeat(layer.quality, 3), minlength=count)
        return (sums / np.maximum(np.bincount(corner, minlength=count), 1)).astype(np.float32)

    def _plain(self) -> np.ndarray:
        colour = np.tile(PLAIN_SKIN, (len(self.model.mean), 1))
        for name, tint, share in (("lips", PLAIN_LIPS, 0.8), ("brows", PLAIN_BROWS, 0.8)):
            chosen = self.model.masks.get(name)
            if chosen is not None:
                colour[chosen] += share * (tint - colour[chosen])
        self.tone, self.mirrored = PLAIN_SKIN, []
        self.covered = np.zeros(len(self.coarse.texel), np.float32)
        return colour

    # The texture ------------------------------------------------------------------------------------------------------

    def paint(self) -> np.ndarray:
        """(size, size, 3) uint8: the skin's colours, carried on beyond the borders of its charts."""
        ground = self.coarse.interpolate(self.base, self.triangles)
        layers = [*self.layers, *self.mirrored]
        for layer in layers:
            ground -= layer.weight[:, None] * self._own_base(layer)
        # Weights and the ground that goes with them are enlarged alike, so they stay in step.
        result = self._enlarge(ground, slice(None), slice(None))
        for layer in layers:
            weight = self.coarse.image(layer.weight)
            rows, columns = (np.flatnonzero(weight.max(axis=axis) > 1 / 512) for axis in (1, 0))
            if not len(rows):
                continue
            # Places change little from texel to texel, so the coarse ones are enlarged too.
            rows, columns = (slice(max(0, used[0] - 1), used[-1] + 2) for used in (rows, columns))
            factor = self.coarse.interpolate(layer.gain, self.triangles) * layer.weight[:, None]
            picture = self._photograph(layer, rows, columns)
            picture = cv2.multiply(picture, self._enlarge(factor, rows, columns), scale=1 / 255, dtype=cv2.CV_32F)
            share = self.size // self.side
            part = result[rows.start * share : rows.stop * share, columns.start * share : columns.stop * share]
            part += picture
        grain = self._enlarge(1 - self.covered, slice(None), slice(None)) * self._grain() + 1
        result *= grain[..., None]
        return cv2.convertScaleAbs(np.maximum(result, 0, out=result), alpha=255)

    def _enlarge(self, values: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """Coarse texels' values (N[, C]) as an image of the texture's size, or its part in coarse rows and columns."""
        image = np.ascontiguousarray(self.coarse.image(values.astype(np.float32))[rows, columns])
        share = self.size // self.side
        return cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_LINEAR)

    def _own_base(self, layer: _Layer) -> np.ndarray:
        """(N, 3) at the coarse texels: the layer's smooth colours, the common base where it knows none."""
        sure = layer.mass[:, None]
        mixed = (sure * layer.base + 1e-3 * self.base) / (sure + 1e-3)
        return self.coarse.interpolate(mixed, self.triangles)

    def _photograph(self, layer: _Layer, rows: slice, columns: slice) -> np.ndarray:
        """(H, W, 3) uint8: the photograph's colours at the texels of some coarse rows and columns."""
        one = layer.evidence
        camera, image = one.crop_camera, one.crop
        places = camera.project(one.vertices[layer.source]).astype(np.float32)
        places = np.nan_to_num(places, nan=-10.0, posinf=-10.0, neginf=-10.0)
        place = self._enlarge(self.coarse.interpolate(places, self.triangles), rows, columns)
        chosen = self.coarse.triangle[layer.weight > 0.5]
        density = _pixels_per_texel(places[self.triangles], self._texel_areas(), chosen)
        if density > 1.5:
            width, height = (max(1, round(length * 1.2 / density)) for length in (camera.width, camera.height))
            place *= np.array([width / camera.width, height / camera.height], np.float32)
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        interpolation = cv2.INTER_CUBIC if density < 0.8 else cv2.INTER_LINEAR
        place -= np.float32(0.5)  # OpenCV's pixel centres are whole numbers
        return cv2.remap(image, place, None, interpolation, borderMode=cv2.BORDER_REPLICATE)

    def _texel_areas(self) -> np.ndarray:
        """(T,) area of each triangle in texels."""
        corners = self.model.topology.uv[self.model.topology.triangle_uv] * self.size
        return _area(corners)

    def _grain(self) -> np.ndarray:
        """(size, size) float32: pores and blotches of unseen skin, relative.

        A pattern in millimetres, laid on along the three axes and blended by the normals: no seam, no stretching.
        """
        pattern = _skin_pattern() * self._grain_strength()
        place = self.coarse.interpolate(self.model.mean / PATTERN_PIXEL_M, self.triangles)
        normals = vertex_normals(torch.as_tensor(self.model.mean), torch.as_tensor(self.triangles)).numpy()
        weight = np.abs(self.coarse.interpolate(normals, self.triangles)) ** 4 + 1e-6
        weight /= np.sqrt((weight**2).sum(axis=1, keepdims=True))
        times = max(1, self.size // self.side // 2)
        result = 0
        for axis in range(3):
            along = self.coarse.image(np.delete(place, axis, axis=1))
            along = cv2.resize(along, None, fx=times, fy=times, interpolation=cv2.INTER_LINEAR)
            share = cv2.resize(self.coarse.image(weight[:, axis]), None, fx=times, fy=times)
            result = result + share * cv2.remap(pattern, along, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return cv2.resize(result, (self.size, self.size), interpolation=cv2.INTER_LINEAR)

    def _grain_strength(self) -> float:
        """Relative standard deviation of the person's bare skin below some 3 mm, from the sharpest photograph."""
        found = [0.012]
        for one in self.evidence:
            where = one.on_skin & (one.silhouette_mm > 8) & (one.skin > 0.9)
            seed = np.zeros(where.shape, bool)
            seed[where] = one.at_pixels(self.regions.seed, where) > 0.9
            if seed.sum() < 200:
                continue
            grey = one.image.astype(np.float32).mean(axis=2)
            detail = grey - cv2.GaussianBlur(grey, (0, 0), max(1.0, 0.0015 / one.metres_per_pixel))
            found.append(1.48 * float(np.median(np.abs(detail[seed]))) / max(float(grey[seed].mean()), 1.0))
        return float(np.clip(max(found), 0.008, 0.025))


def _skin_pattern() -> np.ndarray:
    """(512, 512) float32 of mean 0 and deviation 1, PATTERN_PIXEL_M a pixel; repeats without an edge."""
    generator = np.random.default_rng(7)
    result = np.zeros((512, 512), np.float32)
    for sigma, share in ((0.8, 0.5), (2.0, 0.35), (7.0, 0.4), (24.0, 0.5)):
        white = np.pad(generator.standard_normal((512, 512)).astype(np.float32), 128, mode="wrap")
        band = cv2.GaussianBlur(white, (0, 0), sigma)[128:-128, 128:-128]
        result += share * (band - band.mean()) / band.std()
    return result / result.std()


def _laplacian(triangles: np.ndarray, count: int) -> sparse.csr_matrix:
    """Graph Laplacian of the mesh, rows scaled by nothing: sum over neighbours of (x_i - x_j); (V, V)."""
    start = triangles[:, [0, 1, 2]].reshape(-1)
    end = triangles[:, [1, 2, 0]].reshape(-1)
    link = sparse.coo_matrix((np.ones(len(start)), (start, end)), shape=(count, count)).tocsr()
    link = ((link + link.T) > 0).astype(np.float64)
    return sparse.diags(np.asarray(link.sum(axis=1)).ravel()) - link


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each column of (N, C), with weights (N,)."""
    result = []
    for column in values.T:
        order = np.argsort(column)
        total = np.cumsum(weights[order])
        result.append(column[order][np.searchsorted(total, total[-1] / 2)])
    return np.array(result, np.float32)


def _area(corners: np.ndarray) -> np.ndarray:
    """(T, 3, 2) -> (T,) areas."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2


def _pixels_per_texel(corners: np.ndarray, texel_areas: np.ndarray, chosen: np.ndarray) -> float:
    """Median length of a texel in pixels of the photograph, over the triangles of the chosen texels."""
    if not len(chosen):
        return 1.0
    ratio = _area(corners) / np.maximum(texel_areas, 1e-6)
    return float(np.sqrt(np.median(ratio[chosen[:: max(1, len(chosen) // 5000)]])))
