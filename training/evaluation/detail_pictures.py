"""Skin detail to look at: `evaluate attribute-detail --pictures FILE`.

For each photograph a row: the photograph, its head without and with detail, the regions that the network sees in the
face, and the same head with its detail in expressions that the photograph does not show. Heads are of plaster, with a
lamp from the side.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional

from backend.detail_layout import DetailLayout, layout_of
from backend.fitting import FittedHead
from backend.methods.attribute_detail import AttributeDetail, region_picture
from backend.photographs import load_photograph
from backend.picture_regions import Picture, Region
from backend.rendering.camera import Camera
from backend.rendering.interpolation import barycentric_interpolate
from backend.rendering.shading import linear_to_srgb, srgb_to_linear, vertex_normals
from backend.unwrapped_face import UnwrappedFace
from backend.wrinkle_groups import WRINKLE_GROUPS
from training.data import sheet
from training.data.unwrapped import SeenTexels, seen_texels, unwrapped_photograph
from training.evaluation.detail_figures import DETAILED, Surface
from training.evaluation.detail_fitted import at_pixels, unit

TILE, SUPERSAMPLING = 360, 2
MAP_SIZE = 1024
EXPRESSIONS = ("brows_up", "smile", "nose_sneer")
"""Groups of `WRINKLE_GROUPS`, with all of their keys at 1."""
MARGIN = 1.12
"""Side of a tile over that of the face."""
LAMP, LAMP_STRENGTH = (-0.72, -0.42, -0.55), 0.80
FILL, FILL_STRENGTH = (0.70, 0.05, -0.70), 0.22
"""Towards the lamps, camera axes: one beside the camera's left, a weak one from the right."""
AMBIENT = 0.05
PLASTER = (0.78, 0.76, 0.73)
BACKDROP = (46, 46, 48)
TITLE_HEIGHT = 26
LARGEST_BYTES = 300_000


def make_sheet(method: AttributeDetail, photographs: Sequence[Path], output: Path) -> None:
    """Writes the sheet, a JPEG file smaller than `LARGEST_BYTES` if its name ends in .jpg.

    Raises:
        PhotoError: a photograph shows no face.
        UsageError: the file cannot be written.
    """
    rows = []
    for path in photographs:
        picture = load_photograph(path)
        head, face, _ = unwrapped_photograph(picture.image, picture.focal_35mm, method.layout)
        rows.append(row_of(method, head, face, picture.image))
    titles = ["photograph", "coarse", "refined", "regions", *(name.replace("_", " ") for name in EXPRESSIONS)]
    sheet.write(output, [np.concatenate([title_bar(titles), *rows])], LARGEST_BYTES)


def row_of(method: AttributeDetail, head: FittedHead, face: UnwrappedFace, image: np.ndarray) -> np.ndarray:
    """(TILE, 7 TILE, 3) uint8 sRGB.

    Args:
        method: with the network.
        head: fitted to the photograph.
        face: the photograph in the method's layout.
        image: (H, W, 3) uint8, the photograph.
    """
    model, found = head.model, head.photographs[0]
    region = face_region(head, found.camera.project(found.posed))
    camera = found.camera.cropped(*(region.centre - region.size / 2), region.size, region.size)
    camera = camera.resized(TILE * SUPERSAMPLING, TILE * SUPERSAMPLING)
    maps = method.maps(model, [face], head.keys, MAP_SIZE)
    layout = layout_of(model, MAP_SIZE)

    def plaster(posed: np.ndarray, relief: np.ndarray | None) -> np.ndarray:
        return drawn(RelitHead(head, layout, posed, camera).shade(relief))

    tiles = [Picture(image).crop(region, TILE), plaster(found.posed, None), plaster(found.posed, maps.photo)]
    tiles.append(regions_on_face(method, head, face, camera))
    for name in EXPRESSIONS:
        posed = head.keys.apply(head.neutral, dict.fromkeys(WRINKLE_GROUPS[name].keys, 1.0))
        tiles.append(plaster(posed, maps.groups[name]))
    return np.concatenate(tiles, axis=1)


def face_region(head: FittedHead, pixels: np.ndarray) -> Region:
    """The square around the face, of whole pixels. pixels (V, 2): where the head's vertices are seen."""
    masks = head.model.masks
    shown = pixels[masks["face"] | masks["forehead"] | masks["cheeks"]]
    low, high = shown.min(axis=0), shown.max(axis=0)
    return Region((low + high) / 2, round(MARGIN * float((high - low).max())))


class RelitHead:
    """A head in plaster.

    Args:
        head: whose it is.
        layout: of its relief.
        posed: (V, 3) metres.
        camera: that looks at it.

    Attributes:
        hit: (H, W) bool, pixels of the head.
        seen: which texel each pixel shows.
    """

    def __init__(self, head: FittedHead, layout: DetailLayout, posed: np.ndarray, camera: Camera) -> None:
        self._layout, self._posed, self._rotation = layout, posed, camera.rotation
        self.seen: SeenTexels = seen_texels(head.model, layout, posed, camera)
        self.hit = self.seen.fragments.covered[0].numpy()

    def shade(self, relief: np.ndarray | None = None) -> np.ndarray:
        """(H, W, 3) linear light, NaN beside the head; relief: the whole map (S, S) in metres."""
        normals = self._coarse()
        if relief is not None:
            surface = Surface(self._layout, self._posed)
            window = relief[self._layout.rows, self._layout.columns]
            normals = normals + at_pixels(self.seen, surface.normals(window) - surface.coarse)
        normals = unit(normals @ self._rotation.T)
        light = np.full(self.hit.shape, AMBIENT)
        for direction, strength in ((LAMP, LAMP_STRENGTH), (FILL, FILL_STRENGTH)):
            light += strength * np.maximum(normals @ (direction / np.linalg.norm(direction)), 0.0)
        return np.where(self.hit[..., None], light[..., None] * PLASTER, np.nan)

    def _coarse(self) -> np.ndarray:
        """(H, W, 3) normals in model axes."""
        posed = torch.as_tensor(self._posed, dtype=torch.float32)
        normals = vertex_normals(posed, self.seen.triangles)[None]
        shown = barycentric_interpolate(normals, self.seen.triangles, self.seen.fragments)
        return functional.normalize(shown, dim=1)[0].permute(1, 2, 0).numpy().astype(np.float64)


def regions_on_face(method: AttributeDetail, head: FittedHead, face: UnwrappedFace, camera: Camera) -> np.ndarray:
    """(TILE, TILE, 3) uint8: the regions of a face's attributes, each in its colour, on the coarse head."""
    relit = RelitHead(head, method.layout, face.posed, camera)
    shade = relit.shade()
    colours = srgb_to_linear(torch.from_numpy(region_picture(method.attributes(face)) / 255.0)).numpy()
    # The nearest texel: a region has no colour between two others.
    place = torch.as_tensor(relit.seen.place, dtype=torch.float32)[None]
    both = np.concatenate([colours, method.layout.allowed.numpy()[..., None]], axis=-1)
    values = torch.as_tensor(both, dtype=torch.float32).permute(2, 0, 1)[None]
    under = functional.grid_sample(values, place, mode="nearest", align_corners=False)[0].permute(1, 2, 0).numpy()
    return drawn(np.where(under[..., 3:] > DETAILED, shade / PLASTER * under[..., :3], shade))


def drawn(light: np.ndarray) -> np.ndarray:
    """Linear light (SUPERSAMPLING TILE, ..., 3), NaN where there is nothing, as a tile (TILE, TILE, 3) uint8."""
    backdrop = srgb_to_linear(torch.tensor(BACKDROP) / 255.0).numpy()
    filled = np.where(np.isnan(light), backdrop, light).astype(np.float32)
    small = cv2.resize(filled, (TILE, TILE), interpolation=cv2.INTER_AREA)
    return (linear_to_srgb(torch.from_numpy(small).clamp(0, 1)) * 255 + 0.5).to(torch.uint8).numpy()


def title_bar(titles: Sequence[str]) -> np.ndarray:
    """(TITLE_HEIGHT, N TILE, 3) uint8: a word above each column."""
    bar = np.full((TITLE_HEIGHT, TILE * len(titles), 3), BACKDROP, np.uint8)
    for number, title in enumerate(titles):
        place = (TILE * number + 8, TITLE_HEIGHT - 8)
        cv2.putText(bar, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (230, 230, 230), 1, cv2.LINE_AA)
    return bar
