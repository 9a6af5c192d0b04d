"""Painted colours of what photographs hardly show: eyeballs, teeth, tongue, the inside of the mouth, lashes.

Everything is painted from the place of a texel on the model's mean head, so any UV layout will do. Lengths in metres,
colours sRGB-encoded in [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np

from backend.face_models.morphable_model import MorphableModel, Topology
from backend.lid_rig import SIDES
from backend.rendering.uv_baking import TexelMap, texel_map
from backend.texture_evidence import Evidence, smoothstep

SKIN = "skin"
"""The part that is not painted here but read from photographs."""
BORDER_TEXELS = 6
"""Colours go on this far beyond a chart, for the sake of interpolation and smaller copies of the texture."""
DEFAULT_IRIS = np.array([0.36, 0.25, 0.17], np.float32)
IRIS_RADIUS_M = 0.0059
PUPIL_SHARE = 0.33
"""Radius of the pupil as a share of the iris'."""
SCLERA = np.array([0.90, 0.875, 0.85], np.float32)
SCLERA_BACK = np.array([0.80, 0.62, 0.57], np.float32)
ENAMEL = np.array([0.91, 0.87, 0.78], np.float32)
GUM = np.array([0.72, 0.42, 0.40], np.float32)
TONGUE = np.array([0.70, 0.38, 0.36], np.float32)
MOUTH = np.array([0.52, 0.24, 0.22], np.float32)
LASHES = np.array([0.11, 0.08, 0.065], np.float32)
SOCKET = np.array([0.62, 0.38, 0.35], np.float32)
PLAIN = {"teeth": ENAMEL, "gums": GUM, "gums_tongue": GUM, "lashes": LASHES}
"""Parts of one colour: where upper and lower teeth are one part, the gaps between them are not painted."""

TOOTH_WIDTHS_MM = {"upper": (8.6, 6.6, 7.6, 7.1, 6.8, 10.4, 9.8), "lower": (5.3, 5.7, 6.9, 7.0, 7.1, 11.4, 10.8)}
"""From the middle backwards: incisors, canine, premolars, molars; means of crown widths (Wheeler's Dental Anatomy)."""
CROWN_HEIGHT_M = {"upper": 0.0100, "lower": 0.0090}


def part_texels(topology: Topology, triangles: np.ndarray, size: int) -> TexelMap:
    """The texel map of some rows of the topology's triangles; its `triangle` counts in all of them."""
    texels = texel_map(topology.uv, topology.triangle_uv[triangles], size)
    return TexelMap(size, texels.texel, triangles[texels.triangle], texels.barycentric)


def paint_parts(model: MorphableModel, texture: np.ndarray, evidence: list[Evidence], seed: int = 0) -> None:
    """Paints every part but the skin into the texture, with a border round its charts.

    Args:
        model: the face model; parts named as in the open head. What has another name is painted as the inside of the
            mouth, eye sockets as eyelids' inner side.
        texture: (size, size, 3) uint8, written to.
        evidence: the photographs, for the colour of the irises.
        seed: of the small irregularities.
    """
    topology = model.topology
    iris = iris_colour(model, evidence)
    part_of_face = np.zeros(len(topology.faces), np.int64)
    for number, (start, end) in enumerate(topology.part_faces):
        part_of_face[start:end] = number
    part_of_triangle = part_of_face[topology.triangle_face]
    painted = [n for n, name in enumerate(topology.part_names) if name != SKIN]
    others = np.flatnonzero(np.isin(part_of_triangle, painted))
    if not len(others):
        return
    texels = part_texels(topology, others, len(texture))
    part = part_of_triangle[texels.triangle]
    colours = np.zeros((len(texels.texel), 3), np.float32)
    for number in painted:
        name = topology.part_names[number]
        rows = np.flatnonzero(part == number)
        if not len(rows):
            continue
        chosen = TexelMap(texels.size, texels.texel[rows], texels.triangle[rows], texels.barycentric[rows])
        place = chosen.interpolate(model.mean, topology.triangles)
        vertices = model.mean[topology.part_vertices(name)]
        if name.startswith("eyeball"):
            colours[rows] = paint_eye(place, *_ball(model, name), iris, np.random.default_rng(seed))
        elif name.startswith("teeth_"):
            colours[rows] = paint_teeth(place, vertices, name.removeprefix("teeth_"))
        elif name in PLAIN:
            colours[rows] = PLAIN[name]
        elif name == "tongue":
            colours[rows] = _paint_tongue(place, vertices, np.random.default_rng(seed))
        elif name.startswith("eye_socket"):
            colours[rows] = SOCKET
        else:
            colours[rows] = _paint_mouth(place, vertices)
    skin = _covered(topology, np.flatnonzero(~np.isin(part_of_triangle, painted)), len(texture))
    _put(texture, texels.texel, (colours * 255 + 0.5).astype(np.uint8), skin)


def _covered(topology: Topology, triangles: np.ndarray, size: int) -> np.ndarray:
    """(size, size) bool: texels that some rows of the topology's triangles touch."""
    corners = topology.uv[topology.triangle_uv[triangles]] * [1, -1] + [0, 1]
    result = np.zeros((size, size), np.uint8)
    cv2.fillPoly(result, list((corners * size - 0.5).round().astype(np.int32)), 1)
    return result > 0


def _put(texture: np.ndarray, texel: np.ndarray, colours: np.ndarray, skin: np.ndarray) -> None:
    """Writes colours (N, 3) to texels (N,) and to those within BORDER_TEXELS of them that show no skin."""
    size = len(texture)
    row, column = np.divmod(texel, size)
    top, left = max(0, row.min() - BORDER_TEXELS), max(0, column.min() - BORDER_TEXELS)
    bottom, right = row.max() + BORDER_TEXELS + 1, column.max() + BORDER_TEXELS + 1
    window = texture[top:bottom, left:right]
    free = np.ones(window.shape[:2], np.uint8)
    free[row - top, column - left] = 0
    distance, label = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    number = np.zeros(len(texel) + 1, np.int64)
    number[label[row - top, column - left]] = np.arange(len(texel))
    near = (distance <= BORDER_TEXELS) & ((free == 0) | ~skin[top:bottom, left:right])
    window[near] = colours[number[label[near]]]


def _ball(model: MorphableModel, part: str) -> tuple[np.ndarray, float]:
    """Centre (3,) and radius of the eyeball that a part of the mean head belongs to."""
    centre = model.eye_centres(model.mean)[SIDES.index(part.removeprefix("eyeball_"))]
    return centre, model.rig_of(model.mean).eyeball.radius


def paint_eye(
    place: np.ndarray, centre: np.ndarray, radius: float, iris: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Pupil, iris with fibres and a dark rim, sclera that reddens backwards.

    Args:
        place: (N, 3) of the texels, on an eyeball that looks along +Z.
        centre: (3,) of that eyeball; radius: metres.
        iris: (3,) mean colour.
        generator: of the fibres.

    Returns:
        (N, 3) float32.
    """
    x, y, z = (place - centre).T
    share = np.hypot(x, y) / IRIS_RADIUS_M
    share = np.where(z > 0, share, 9.0)
    angle = np.arctan2(y, x)
    fibres = np.zeros(len(place))
    for waves in (23, 37, 61, 97):
        phase, bend = generator.uniform(0, 2 * np.pi), generator.uniform(-3, 3)
        fibres += np.sin(waves * angle + phase + bend * share + 1.5 * np.sin(5 * angle + phase)) / 4
    tone = 0.92 + 0.24 * fibres * smoothstep(PUPIL_SHARE, 0.6, share)
    tone += 0.28 * np.exp(-(((share - 0.52) / 0.11) ** 2))  # the collarette
    tone *= 1 - 0.62 * smoothstep(0.80, 1.0, share)
    warm = np.exp(-(((share - 0.42) / 0.12) ** 2))[:, None] * np.array([0.06, 0.025, -0.01])
    inner = iris * tone[:, None] + warm
    back = smoothstep(0.2, 1.0, np.arccos(np.clip(z / radius, -1, 1)) / (0.75 * np.pi))[:, None]
    side = np.clip(np.abs(x) / radius - 0.55, 0, 1)[:, None] * 0.35
    white = SCLERA + (SCLERA_BACK - SCLERA) * np.clip(0.85 * back**1.5 + side, 0, 1)
    result = inner + (white - inner) * smoothstep(0.93, 1.06, share)[:, None]
    result *= smoothstep(PUPIL_SHARE - 0.03, PUPIL_SHARE + 0.03, share)[:, None] * 0.97 + 0.03
    return np.clip(result, 0, 1).astype(np.float32)


def paint_teeth(place: np.ndarray, vertices: np.ndarray, jaw: str) -> np.ndarray:
    """Enamel with the gaps between teeth, a darker neck and gum.

    Args:
        place: (N, 3) of the texels.
        vertices: (M, 3) of the row of teeth.
        jaw: "upper" or "lower".
    """
    jaw = jaw if jaw in TOOTH_WIDTHS_MM else "upper"
    height = vertices[:, 1].min() if jaw == "upper" else vertices[:, 1].max()
    above = (place[:, 1] - height) * (1 if jaw == "upper" else -1)  # from the biting edge to the gum
    along = np.abs(_arc_length(place, vertices)) * 1000
    borders = np.concatenate([[0.0], np.cumsum(TOOTH_WIDTHS_MM[jaw])])
    nearest = borders[np.abs(along[:, None] - borders[None]).argmin(axis=1)] if len(along) else along
    middle = np.clip(np.searchsorted(borders, along) - 1, 0, len(borders) - 2)
    width = np.diff(borders)[middle]
    across = np.clip((along - borders[middle]) / width, 0, 1) * 2 - 1
    crown = CROWN_HEIGHT_M[jaw]
    # The gum arches over the middle of each tooth and reaches down between two.
    gum_line = crown * (1.0 - 0.16 * across**2)
    gap = np.exp(-(((along - nearest) / 0.35) ** 2)) * smoothstep(0.0, 0.0012, above)
    neck = smoothstep(0.35 * crown, crown, above)
    tooth = ENAMEL * (1 - 0.55 * gap[:, None]) * (1 - neck[:, None] * np.array([0.06, 0.12, 0.22]))
    tooth = tooth + (np.array([0.88, 0.88, 0.86]) - tooth) * (0.35 * (1 - smoothstep(0, 0.0018, above)))[:, None]
    back = smoothstep(0.015, 0.05, vertices[:, 2].max() - place[:, 2])[:, None]
    tooth = tooth * (1 - 0.12 * back)
    gum = smoothstep(0.0, 0.0006, above - gum_line)[:, None]
    shade = 1 - 0.25 * np.exp(-(((above - gum_line) / 0.0006) ** 2))[:, None]
    return np.clip((tooth + (GUM - tooth) * gum) * shade, 0, 1).astype(np.float32)


def _arc_length(place: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Signed length along the outer curve of the row of teeth from its middle, metres; by direction from its inside."""
    pivot = vertices[:, 2].max() - 0.6 * np.ptp(vertices[:, 2])
    outer = vertices[np.hypot(vertices[:, 0], vertices[:, 2] - pivot) > 1e-4]
    angle = np.arctan2(outer[:, 0], outer[:, 2] - pivot)
    distance = np.hypot(outer[:, 0], outer[:, 2] - pivot)
    table = np.linspace(0, max(np.abs(angle).max(), 0.1), 40)
    reach = np.array([distance[np.abs(np.abs(angle) - value) < 0.2].max(initial=0) for value in table])
    reach = np.interp(table, table[reach > 0], reach[reach > 0])
    curve = np.stack([reach * np.sin(table), reach * np.cos(table)], axis=1)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    direction = np.arctan2(place[:, 0], place[:, 2] - pivot)
    return np.sign(direction) * np.interp(np.abs(direction), table, length)


def _paint_tongue(place: np.ndarray, vertices: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    front = smoothstep(vertices[:, 2].min(), vertices[:, 2].max(), place[:, 2])[:, None]
    groove = np.exp(-((place[:, 0] / 0.0015) ** 2))[:, None]
    grain = 1 + 0.05 * generator.standard_normal((len(place), 1))
    return np.clip(TONGUE * (0.72 + 0.28 * front) * (1 - 0.12 * groove) * grain, 0, 1).astype(np.float32)


def _paint_mouth(place: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    front = smoothstep(vertices[:, 2].max() - 0.05, vertices[:, 2].max(), place[:, 2])[:, None]
    return np.clip(MOUTH * (0.45 + 0.65 * front), 0, 1).astype(np.float32)


def iris_colour(model: MorphableModel, evidence: list[Evidence]) -> np.ndarray:
    """(3,) mean colour of the irises as the photographs show them; brown where none does.

    The fitted gaze says where the iris is, but neither it nor the lids fit to the pixel: what is much darker or
    brighter than most (pupil, lashes, highlights, sclera) is left out.
    """
    topology, samples = model.topology, []
    for one in evidence:
        face = topology.triangle_face[one.triangle]
        for name in topology.part_names:
            if not name.startswith("eyeball"):
                continue
            rows, vertices = topology.part(name), topology.part_vertices(name)
            where = one.covered & (face >= rows.start) & (face < rows.stop)
            place = one.at_pixels(model.mean, where) - _ball(model, name)[0]
            share = np.hypot(place[:, 0], place[:, 1]) / IRIS_RADIUS_M
            ring = (share > PUPIL_SHARE + 0.05) & (share < 0.85) & (place[:, 2] > 0)
            if ring.sum() < 12:
                continue
            pixels = one.image[where].astype(np.float32)[ring] / 255
            brightness = pixels.mean(axis=1)
            low, high = np.quantile(brightness, [0.2, 0.65])
            chosen = (brightness >= low) & (brightness <= high)
            lit = np.median(one.gain[vertices], axis=0)
            samples.append((len(pixels), np.median(pixels[chosen], axis=0) * lit))
    if not samples:
        return DEFAULT_IRIS
    colour = np.average([sample[1] for sample in samples], axis=0, weights=[sample[0] for sample in samples])
    # Lids and lashes shade the eye; the albedo is brighter.
    colour = colour * 1.25
    brightness = colour.mean()
    return np.clip(colour * np.clip(brightness, 0.20, 0.62) / max(brightness, 1e-3), 0, 1).astype(np.float32)
