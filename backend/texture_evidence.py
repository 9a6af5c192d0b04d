"""What one photograph says about the colour of a head: which points it shows, how well, which pixels are skin, and
how the light fell. `backend/texture.py` makes the texture of it.

Colours are sRGB-encoded in [0, 1]; light is a gain on them. Encoding is close to a power law, (light * albedo) ** (1 /
2.2), so that a change of light is a factor on encoded colours too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch
from scipy import ndimage

from backend.face_models.morphable_model import MorphableModel
from backend.rendering.camera import Camera
from backend.rendering.rasterizer import rasterize
from backend.rendering.shading import harmonic_basis, vertex_normals

GAMMA = 2.2
WORK_PIXELS = 560
"""Side of the crop of the head in which pixels are judged."""
SILHOUETTE_MM = (1.0, 5.5)
"""From no trust to full trust, by distance from where the surface ends or jumps in depth."""
PART_BORDER_MM = (0.15, 0.8)
"""The same, by distance from eyeballs, teeth and the inside of the mouth."""
HAIRLINE_M = 0.02
"""Height over the eyes, on the mean head, above which skin must hang together with the face."""
HAIR_SHADOW_M = 0.002
"""Skin this near to hair or background is not trusted."""
FACING = (0.12, 0.5)
"""The same, by the cosine of the angle between the surface and the line of sight."""
LIGHT_STRENGTH = 0.85
COLOUR_STRENGTH = 0.55
"""How much of the light's unevenness is taken out; of the unevenness of its colour a part of that."""
GAIN_RANGE = (0.55, 1.9)
WELL_LIT = 0.4
"""Share of the skin whose brightness is taken for that of full light."""


@dataclass
class TextureView:
    """A photograph and the head as it stands in it.

    Attributes:
        vertices: (V, 3) float, metres: the head with the expression, lids and gaze of the photograph.
        camera: of the photograph, from the axes of `vertices`.
        image: (H, W, 3) uint8 sRGB.
        usable: (H, W) bool or None: pixels that may show skin (False: hair, glasses, a hand ...), where that is known.
    """

    vertices: np.ndarray
    camera: Camera
    image: np.ndarray
    usable: np.ndarray | None = None


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between; any shape."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


@dataclass
class HeadRegions:
    """What of a face model the texture needs to know, each (V,) float32 in [0, 1], smooth.

    Attributes:
        seed: skin that is free of hair on most people: cheeks and nose.
        kept: where other colours than skin belong to the face: brows, lids, lips, beard.
        rims: lids and lips, where a head that fits badly shows the white of the eyes or teeth.
        lips: the red of the lips, as far as it can be seen or could be.
        skin: (V,) bool, vertices of the skin part.
        triangle_is_skin: (T,) bool.
    """

    seed: np.ndarray
    kept: np.ndarray
    rims: np.ndarray
    lips: np.ndarray
    skin: np.ndarray
    triangle_is_skin: np.ndarray

    @classmethod
    def of(cls, model: MorphableModel) -> HeadRegions:
        """Read from the model's masks where it has them, else from the places of its vertices."""
        topology, mean = model.topology, model.mean
        part = "skin" if "skin" in topology.part_names else topology.part_names[0]
        rows = topology.part(part)
        face_is_skin = np.zeros(len(topology.faces), bool)
        face_is_skin[rows] = True
        skin = np.zeros(len(mean), bool)
        skin[topology.part_vertices(part)] = True
        x, y, z = mean.astype(np.float32).T
        masks = model.masks

        def mask(*names: str) -> np.ndarray:
            chosen = np.zeros(len(mean), bool)
            for name in names:
                chosen |= masks.get(name, False)
            return chosen

        front = z > z[skin].max() - 0.075
        seed = skin & front & (np.abs(x) < 0.055) & (y < -0.012) & (y > -0.05)
        seed &= ~mask("brows", "lids", "lips", "eye_socket")
        beard = skin & (np.abs(x) < 0.052) & (y < -0.035) & (y > -0.125) & (z > z[skin].max() - 0.07)
        kept = mask("brows", "lids", "lips", "nose") | beard
        if not masks:
            kept |= skin & front & (np.abs(x) < 0.055) & (y < 0.03)
        smooth = _Smoother(topology.triangles, len(mean))
        return cls(
            seed.astype(np.float32),
            smooth(smooth.widest(kept.astype(np.float32), 1), 1),
            smooth.widest(mask("lids", "lips", "eye_socket").astype(np.float32), 1),
            mask("lips").astype(np.float32),
            skin,
            face_is_skin[topology.triangle_face],
        )


class _Smoother:
    """Means and maxima over neighbours on the mesh."""

    def __init__(self, triangles: np.ndarray, vertices: int) -> None:
        self.start = triangles[:, [0, 1, 2, 1, 2, 0]].reshape(-1)
        self.end = triangles[:, [1, 2, 0, 0, 1, 2]].reshape(-1)
        self.count = np.maximum(np.bincount(self.start, minlength=vertices), 1)

    def __call__(self, values: np.ndarray, times: int) -> np.ndarray:
        for _ in range(times):
            near = np.bincount(self.start, values[self.end], minlength=len(values)) / self.count
            values = 0.5 * values + 0.5 * near
        return values.astype(np.float32)

    def widest(self, values: np.ndarray, times: int) -> np.ndarray:
        """The largest value within `times` rings of neighbours."""
        for _ in range(times):
            wider = values.copy()
            np.maximum.at(wider, self.start, values[self.end])
            values = wider
        return values


@dataclass(frozen=True)
class Sight:
    """Surface points as a camera sees them.

    Attributes:
        column, row: (N,) float32, pixels of the picture in which an `Evidence` judges, whole numbers at their centres.
        depth: (N,) float32 metres from the camera.
        facing: (N,) float32, cosine of the angle between the surface and the line of sight.
        visible: (N,) bool: inside the picture, turned to the camera and not hidden by the head.
    """

    column: np.ndarray
    row: np.ndarray
    depth: np.ndarray
    facing: np.ndarray
    visible: np.ndarray


class Evidence:
    """One photograph, judged. `shown` tells what it says of given surface points.

    Args:
        model: the face model.
        regions: of that model.
        view: the photograph and the head in it.

    Attributes:
        image: (H, W, 3) uint8, the part of the photograph with the head in it, in which pixels are judged; `camera` is
            its camera, `crop` the same part in full size and `crop_camera` that one's.
        skin: (H, W) float32 in [0, 1], how surely a pixel shows the face: skin, and what belongs to a face by its hue.
        usable: (H, W) float32 in [0, 1] or None, the view's.
        borders: (H, W) float32 in [0, 1], 0 where the surface ends or jumps in depth, or another part of the head is.
        metres_per_pixel: of `image`, at the head.
    """

    def __init__(self, model: MorphableModel, regions: HeadRegions, view: TextureView) -> None:
        self.model, self.regions, self.view = model, regions, view
        self.vertices = np.asarray(view.vertices, np.float32)
        self._crop()
        self._rasterize()
        self.skin = self._skin_probability()
        self.gain = np.ones_like(self.vertices)  # (V, 3), on encoded colours; see fit_light

    # The picture ----------------------------------------------------------------------------------------------------

    def _crop(self) -> None:
        """The part of the photograph with the head in it, small, and its camera."""
        camera, image = self.view.camera, self.view.image
        points = camera.project(self.vertices)
        margin = 0.12 * float((points.max(axis=0) - points.min(axis=0)).max())
        low = np.floor(points.min(axis=0) - margin).astype(int)
        high = np.ceil(points.max(axis=0) + margin).astype(int)
        x0, y0 = np.clip(low, 0, [camera.width - 1, camera.height - 1])
        x1, y1 = np.clip(high, [x0 + 1, y0 + 1], [camera.width, camera.height])
        self.crop = image[y0:y1, x0:x1]
        self.crop_camera = camera.cropped(x0, y0, int(x1 - x0), int(y1 - y0))
        scale = min(1.0, WORK_PIXELS / max(x1 - x0, y1 - y0))
        width, height = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
        self.camera = self.crop_camera.resized(width, height)
        self.image = cv2.resize(self.crop, (width, height), interpolation=cv2.INTER_AREA)
        usable = self.view.usable
        self.usable = (
            None
            if usable is None
            else cv2.resize(usable[y0:y1, x0:x1].astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        )

    def _rasterize(self) -> None:
        topology = self.model.topology
        seen = torch.as_tensor(self.camera.to_camera(self.vertices), dtype=torch.float32)
        drawn = np.ones(len(topology.faces), bool)
        if "lashes" in topology.part_names:
            drawn[topology.part("lashes")] = False
        rows = np.flatnonzero(drawn[topology.triangle_face])
        triangles = topology.triangles[rows]
        with torch.no_grad():
            fragments = rasterize(
                seen[None],
                torch.as_tensor(triangles),
                torch.as_tensor(self.camera.intrinsics, dtype=torch.float32),
                self.camera.image_size,
            )
        index = fragments.face_index[0].numpy()
        self.covered = index >= 0
        self.depth = fragments.depth[0].numpy()
        self.triangle = np.where(self.covered, rows[index], -1)
        self.pixel_barycentric = fragments.barycentric[0].numpy()
        self.on_skin = self.covered & self.regions.triangle_is_skin[self.triangle]
        self.metres_per_pixel = float(np.median(self.depth[self.covered])) / self.camera.fx if self.covered.any() else 1
        # Where the surface ends or jumps.
        depth = np.where(self.covered, self.depth, 1e3).astype(np.float32)
        box = np.ones((3, 3), np.uint8)
        jump = cv2.dilate(depth, box) - cv2.erode(depth, box) > 0.004 + 12 * self.metres_per_pixel
        to_mm = 1000 * self.metres_per_pixel
        self.silhouette_mm = cv2.distanceTransform((self.covered & ~jump).astype(np.uint8), cv2.DIST_L2, 3) * to_mm
        other = self.covered & ~self.on_skin
        self.part_mm = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, 3) * to_mm

    def at_pixels(self, values: np.ndarray, where: np.ndarray) -> np.ndarray:
        """Vertex values (V, C) or (V,) at the covered pixels of a mask (H, W): (N, C) or (N,)."""
        corners = values[self.model.topology.triangles[self.triangle[where]]]
        weights = self.pixel_barycentric[where]
        return np.einsum("nk,nk...->n...", weights, corners)

    # Skin -----------------------------------------------------------------------------------------------------------

    def _skin_probability(self) -> np.ndarray:
        """(H, W) float32: how surely a pixel shows the face rather than hair, background or a thing in front of it.

        The person's skin is learnt from places that are bare on everyone, what is not skin from outside the head.
        Brows, lips and beard are not skin-coloured but belong to the face: there only colours far from skin's hue are
        refused.
        """
        lab = cv2.cvtColor(self.image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
        lab = cv2.GaussianBlur(lab, (0, 0), 0.8)
        seed = self.seed_pixels
        if seed.sum() < 20:
            return np.zeros(self.covered.shape, np.float32)
        centre, spread = _robust_gaussian(lab[seed])
        offset = lab - centre
        floor = np.diag([9.0**2, 3.0**2, 3.5**2])
        distance = np.einsum("hwi,ij,hwj->hw", offset, np.linalg.inv(spread + floor), offset)
        likely = np.exp(-0.5 * np.maximum(distance - 4.5, 0.0) / 2.0)
        # Of skin's hue, however grey: beards and brows too.
        hue = centre[1:] / max(float(np.hypot(*centre[1:])), 1e-6)
        along = np.clip(lab[..., 1:] @ hue, 0, 1.3 * float(np.hypot(*centre[1:])))
        apart = lab[..., 1:] - along[..., None] * hue
        hue_distance = (apart**2 / (np.diag(spread)[1:] + 6.0**2)).sum(axis=-1)
        belongs = np.exp(-0.5 * np.maximum(hue_distance - 6.0, 0.0) / 2.0)
        to_head = cv2.distanceTransform((~self.covered).astype(np.uint8), cv2.DIST_L2, 3) * self.metres_per_pixel
        outside = to_head > 0.006
        if outside.sum() > 400:
            likely *= smoothstep(0.1, 0.5, _odds(lab, seed, outside))
        kept, rims = np.zeros((2, *self.covered.shape), np.float32)
        kept[self.on_skin] = self.at_pixels(self.regions.kept, self.on_skin)
        rims[self.on_skin] = self.at_pixels(self.regions.rims, self.on_skin)
        chroma = np.hypot(lab[..., 1], lab[..., 2]) / max(float(np.hypot(*centre[1:])), 4.0)
        white = (1 - smoothstep(0.4, 0.65, chroma)) * smoothstep(-30.0, -15.0, lab[..., 0] - centre[0])
        white = cv2.dilate((white * rims).astype(np.float32), np.ones((3, 3), np.uint8))
        # Strands of hair are thin, and skin beside hair lies in its shadow.
        likely = ndimage.grey_opening(likely, size=(3, 3))
        likely = cv2.GaussianBlur(likely.astype(np.float32), (0, 0), 1.5)
        likely = smoothstep(0.4, 0.9, likely) * self._grown_from(seed, likely > 0.5)
        reach = 2 * max(1, round(HAIR_SHADOW_M / self.metres_per_pixel)) + 1
        likely = cv2.erode(likely.astype(np.float32), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
        likely = cv2.GaussianBlur(likely, (0, 0), reach / 4)
        probability = np.maximum(
            likely, kept * smoothstep(0.3, 0.8, cv2.GaussianBlur(belongs.astype(np.float32), (0, 0), 1.0))
        )
        probability = probability * (1 - white)
        if self.usable is not None:
            probability = probability * self.usable
        return probability.astype(np.float32)

    @cached_property
    def seed_pixels(self) -> np.ndarray:
        """(H, W) bool: where the head, if nothing is in front of it, shows skin that is bare on everyone."""
        where = self.on_skin & (self.silhouette_mm > 6) & (self.part_mm > 2)
        seed = np.zeros(self.covered.shape, bool)
        seed[where] = self.at_pixels(self.regions.seed, where) > 0.5
        return seed if seed.sum() >= 50 else where

    def _grown_from(self, seed: np.ndarray, skin: np.ndarray) -> np.ndarray:
        """(H, W) bool: not an island of skin colour in the hair, above the brows and apart from the face."""
        height = np.full(skin.shape, -1.0, np.float32)
        height[self.on_skin] = self.at_pixels(self.model.mean[:, 1], self.on_skin)
        count, label = cv2.connectedComponents((skin & self.on_skin).astype(np.uint8), connectivity=4)
        pixels = np.maximum(np.bincount(label.reshape(-1), minlength=count), 1)
        seeds = np.bincount(label.reshape(-1), seed.reshape(-1), minlength=count)
        middle = np.bincount(label.reshape(-1), height.reshape(-1), minlength=count) / pixels
        island = (seeds < 0.02 * pixels) & (middle > HAIRLINE_M)
        island[0] = False
        return ~cv2.dilate(island[label].astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)

    # Surface points ---------------------------------------------------------------------------------------------------

    @cached_property
    def normals(self) -> np.ndarray:
        """(V, 3) float32, unit, of the posed head."""
        triangles = torch.as_tensor(self.model.topology.triangles)
        return vertex_normals(torch.as_tensor(self.vertices), triangles).numpy()

    @cached_property
    def smooth_normals(self) -> np.ndarray:
        """(V, 3) float32, unit, without the creases: what light of low order sees."""
        smooth = _Smoother(self.model.topology.triangles, len(self.vertices))
        mean = np.stack([smooth(self.normals[:, axis], 12) for axis in range(3)], axis=1)
        return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-6)

    def shown(self, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How well the photograph shows surface points, and in which colour.

        Args:
            points: (N, 3) float, metres, on the posed head.
            normals: (N, 3) float, not necessarily unit.

        Returns:
            (N,) float32 quality in [0, 1]: 0 where hidden, seen from the side, at a border, or not of the face;
            (N, 3) float32 colour, encoded, in [0, 1], not corrected for light.
        """
        sight = self.sight(points, normals)
        quality = np.zeros(len(points), np.float32)
        chosen = np.flatnonzero(sight.visible)
        sample = [sight.column[chosen][None], sight.row[chosen][None]]
        trust = remapped(self._trust, *sample)[0]
        quality[chosen] = trust * smoothstep(*FACING, sight.facing[chosen])
        colour = np.zeros((len(points), 3), np.float32)
        colour[chosen] = remapped(self.image, *sample)[0].astype(np.float32) / 255
        return quality, colour

    def sight(self, points: np.ndarray, normals: np.ndarray) -> Sight:
        """Where in the picture surface points (N, 3) of the posed head with normals (N, 3) lie."""
        camera = self.camera
        seen = points @ camera.rotation.T.astype(np.float32) + camera.translation.astype(np.float32)
        depth = np.maximum(seen[:, 2], 1e-4)
        x = seen[:, 0] / depth * np.float32(camera.fx) + np.float32(camera.cx) - 0.5
        y = seen[:, 1] / depth * np.float32(camera.fy) + np.float32(camera.cy) - 0.5
        to_viewer = camera.position.astype(np.float32) - points
        length = np.linalg.norm(normals, axis=1) * np.linalg.norm(to_viewer, axis=1)
        facing = np.einsum("ni,ni->n", normals, to_viewer) / np.maximum(length, 1e-9)
        inside = (x > 2) & (y > 2) & (x < camera.width - 3) & (y < camera.height - 3) & (seen[:, 2] > 1e-3)
        column = np.clip(np.round(x), 0, camera.width - 1).astype(np.int64)
        row = np.clip(np.round(y), 0, camera.height - 1).astype(np.int64)
        tolerance = 0.0015 + 2.5 * self.metres_per_pixel / np.maximum(facing, 0.1)
        visible = inside & (depth < self.depth[row, column] + tolerance) & self.covered[row, column]
        visible &= facing > FACING[0]
        return Sight(*(value.astype(np.float32) for value in (x, y, depth, facing)), visible)

    @cached_property
    def borders(self) -> np.ndarray:
        return smoothstep(*SILHOUETTE_MM, self.silhouette_mm) * smoothstep(*PART_BORDER_MM, self.part_mm)

    @cached_property
    def _trust(self) -> np.ndarray:
        """(H, W) float32: what does not depend on the surface point, only on the pixel."""
        return (smoothstep(0.35, 0.9, self.skin) * self.borders).astype(np.float32)

    # Light ------------------------------------------------------------------------------------------------------------

    def fit_light(self, quality: np.ndarray, colour: np.ndarray, normals: np.ndarray) -> None:
        """Sets `gain`, the factors (V, 3) on encoded colours that even the light out.

        Order-2 spherical harmonics, robustly, to skin taken as of one colour; see `shading.HarmonicLight`.

        Args:
            quality, colour: as `shown` gives them, at N points of bare skin.
            normals: (N, 3) smooth unit normals there.
        """
        if (quality > 0.3).sum() < 200:
            return
        chosen = np.flatnonzero(quality > 0.1)
        chosen = chosen[:: max(1, len(chosen) // 8000)]
        weight, light = quality[chosen].astype(np.float64), colour[chosen].astype(np.float64) ** GAMMA
        basis = harmonic_basis(torch.as_tensor(normals[chosen])).numpy().astype(np.float64)
        shade = harmonic_basis(torch.as_tensor(self.smooth_normals)).numpy().astype(np.float64)
        level = np.average(light, axis=0, weights=weight)
        if level.min() <= 1e-4:
            return
        grey = _fit_harmonics(basis, light.mean(axis=1) / level.mean(), weight)
        colours = np.stack([_fit_harmonics(basis, light[:, k] / level[k], weight) for k in range(3)], axis=1)
        # What is lit well keeps its colour, shadows are raised to it.
        change = np.log(_evening_gain(basis, grey, colours))
        brighter = change.mean(axis=1) <= np.quantile(change.mean(axis=1), WELL_LIT)
        whole = np.average(change[brighter], axis=0, weights=weight[brighter])
        self.gain = np.clip(_evening_gain(shade, grey, colours) / np.exp(whole), *GAIN_RANGE).astype(np.float32)


def _evening_gain(basis: np.ndarray, grey: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Gains (N, 3) on encoded colours against light of harmonics `grey` (9,) and `colours` (9, 3), at N normals."""
    relative = np.clip(basis @ grey, 0.25, 3.0)[:, None]
    tint = np.clip(np.clip(basis @ colours, 0.25, 3.0) / relative, 0.6, 1.6)
    return relative ** (-LIGHT_STRENGTH / GAMMA) * tint ** (-COLOUR_STRENGTH / GAMMA)


def _fit_harmonics(basis: np.ndarray, light: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Coefficients (9,) of relative light (N,) in the harmonics (N, 9), robustly, weighted (N,)."""
    robust = weight
    stiffness = np.array([0, 0.004, 0.004, 0.004, 0.02, 0.02, 0.02, 0.02, 0.02]) * weight.sum()
    for _ in range(6):
        matrix = basis.T @ (basis * robust[:, None]) + np.diag(stiffness + 1e-9)
        coefficients = np.linalg.solve(matrix, basis.T @ (robust * light))
        residual = light - basis @ coefficients
        scale = max(1.5 * float(np.median(np.abs(residual))), 0.03)
        robust = weight / (1 + (residual / scale) ** 2)
    return coefficients


def _robust_gaussian(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (3,) and covariance (3, 3) of the main cluster of samples (N, 3)."""
    samples = samples[:: max(1, len(samples) // 20000)].astype(np.float64)
    centre = np.median(samples, axis=0)
    spread = np.diag((1.5 * np.median(np.abs(samples - centre), axis=0) + 1.0) ** 2)
    for _ in range(4):
        offset = samples - centre
        near = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(spread), offset) < 9
        if near.sum() < 10:
            break
        centre = samples[near].mean(axis=0)
        spread = np.cov(samples[near].T) * 1.15 + np.eye(3) * 0.25
    return centre, spread


def _odds(lab: np.ndarray, skin: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1]: by colour alone, skin against what lies outside the head; from two smoothed histograms."""
    bins = np.clip((lab - [0, -64, -64]) / [4.0, 4.0, 4.0], 0, [25, 31, 31]).astype(np.int64)
    code = (bins[..., 0] * 32 + bins[..., 1]) * 32 + bins[..., 2]

    def density(where: np.ndarray) -> np.ndarray:
        count = np.bincount(code[where], minlength=26 * 32 * 32).reshape(26, 32, 32).astype(np.float32)
        return ndimage.gaussian_filter(count / count.sum(), 1.0, truncate=2.5).reshape(-1)

    mine, theirs = density(skin), density(other)
    return ((mine + 1e-7) / (mine + theirs + 2e-7))[code]


def remapped(image: np.ndarray, x: np.ndarray, y: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """`image` at pixel centres (x, y) as OpenCV counts them, in rows OpenCV can hold; x, y (1, N) -> (1, N[, C])."""
    count = x.shape[1]
    width = 4096
    rows = -(-count // width)
    if rows == 0:
        return np.zeros((1, 0, *image.shape[2:]), image.dtype)
    padded = [np.zeros(rows * width, np.float32) for _ in range(2)]
    padded[0][:count], padded[1][:count] = x[0], y[0]
    result = cv2.remap(
        image,
        padded[0].reshape(rows, width),
        padded[1].reshape(rows, width),
        interpolation,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return result.reshape(1, rows * width, *image.shape[2:])[:, :count]
