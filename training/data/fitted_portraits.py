"""Photographs with our own head fitted to them, its texture and the light, ready to be drawn otherwise."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from backend.errors import PhotoError
from backend.face_models.morphable_model import split_quads
from backend.face_models.open_head import OpenHead
from backend.lid_rig import LINING, SIDES
from backend.lid_texture import with_plain_lids
from backend.rendering.camera import Camera
from backend.rendering.interpolation import barycentric_interpolate, sample_texture
from backend.rendering.shading import HarmonicLight, harmonic_basis, rasterize_with, srgb_to_linear, vertex_normals

logger = logging.getLogger(__name__)

TEXTURE_SIZE = 1024
PICTURE_SIZE = 320
KEPT_AS = 2
"""Raised when portraits are fitted otherwise than those that somebody's cache may hold."""
FACE_SHARE = 0.55
"""Of the picture's side that the fitted face takes."""
LIGHT_RIDGE = 0.02
EYEBALL_SHADOW = 0.5
"""Share of the light that lids and lashes keep from the eyeball."""


@dataclass(frozen=True)
class FittedPortrait:
    """A photograph and the head in it.

    Attributes:
        name: of the file. image: (S, S, 3) uint8 sRGB, cut to the face.
        camera: of the cut picture.
        neutral: (V, 3) float32 metres; key_weights: by name, what the face does.
        texture: (T, T, 3) uint8 sRGB albedo; the lids are of plain skin, see `backend.lid_texture`.
        light: (9, 3) float32, `HarmonicLight.coefficients`.
    """

    name: str
    image: np.ndarray
    camera: Camera
    neutral: np.ndarray
    key_weights: dict[str, float]
    texture: np.ndarray
    light: np.ndarray


class PortraitFitter:
    """Fits heads to photographs and remembers them.

    Args:
        model: the open head.
        cache: folder for what was fitted; None: fits anew.
    """

    def __init__(self, model: OpenHead, cache: Path | None = None):
        self.model, self.cache = model, cache

    def portrait(self, path: Path) -> FittedPortrait:
        """The head of the largest face in a photograph.

        Raises:
            PhotoError: there is no face.
        """
        stored = None
        if self.cache is not None:
            stored = self.cache / f"{path.stem}_{KEPT_AS}_{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}.npz"
            if stored.is_file():
                return self._load(stored, path.name)
        portrait = self._fit(path)
        if stored is not None:
            self._save(stored, portrait)
        return portrait

    def _fit(self, path: Path) -> FittedPortrait:
        from backend.pipeline import fit_photographs
        from backend.texture import TextureView, build_albedo

        image = np.asarray(Image.open(path).convert("RGB"))
        head = fit_photographs([image], [None])
        found = head.photographs[0]
        texture = build_albedo(head.model, [TextureView(found.posed, found.camera, image)], TEXTURE_SIZE)
        cut, camera = _cut_to_face(image, found.camera, found.landmarks)
        names = head.keys.names
        weights = {name: float(w) for name, w in zip(names, found.key_weights, strict=True) if w > 0}
        drawn = Drawing(self.model, found.posed, camera)
        light = drawn.nearest_light(cut, texture)
        texture = with_plain_lids(self.model, texture, self.model.rig, keeps_lash_line=False)
        return FittedPortrait(path.name, cut, camera, head.neutral, weights, texture, light)

    @staticmethod
    def _save(path: Path, portrait: FittedPortrait) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        names = sorted(portrait.key_weights)
        np.savez_compressed(
            partial,
            image=portrait.image,
            intrinsics=portrait.camera.intrinsics,
            rotation=portrait.camera.rotation,
            translation=portrait.camera.translation,
            neutral=portrait.neutral,
            key_names=np.array(names),
            key_weights=np.array([portrait.key_weights[name] for name in names]),
            texture=portrait.texture,
            light=portrait.light,
        )
        partial.replace(path)

    @staticmethod
    def _load(path: Path, name: str) -> FittedPortrait:
        with np.load(path, allow_pickle=False) as data:
            height, width = data["image"].shape[:2]
            camera = Camera(*data["intrinsics"], width, height, data["rotation"], data["translation"])
            weights = dict(zip(data["key_names"].tolist(), data["key_weights"].tolist(), strict=True))
            return FittedPortrait(name, data["image"], camera, data["neutral"], weights, data["texture"], data["light"])


class Drawing:
    """A posed head as a camera sees it: what is where, before skin and light.

    Args:
        model: the open head.
        posed: (V, 3) metres.
        camera: of the picture.
    """

    def __init__(self, model: OpenHead, posed: np.ndarray, camera: Camera):
        self.model, self.camera = model, camera
        topology = model.topology
        # The cards of the lashes would be solid: lashes are drawn as strokes afterwards.
        self.faces = topology.faces[: topology.part("lashes").start]
        self.triangles = torch.as_tensor(split_quads(self.faces))
        self.triangle_uv = torch.as_tensor(split_quads(topology.face_uv[: len(self.faces)]).astype(np.int64))
        self.vertices = torch.as_tensor(posed, dtype=torch.float32)
        self.fragments = rasterize_with(camera, self.vertices, self.triangles)
        self.hit = self.fragments.covered[0]
        normals = vertex_normals(self.vertices, self.triangles)
        for side in SIDES:  # the lining of the socket is folded: lit as what lies before it
            eye = model.rig.eye(side)
            normals[eye.loop] = normals[eye.loop].mean(dim=0)
            normals[eye.followers[eye.kind == LINING]] = normals[eye.loop[0]].clone()
        self.normals = torch.nn.functional.normalize(self.at_pixels(normals), dim=1)

    def at_pixels(self, attributes: torch.Tensor) -> torch.Tensor:
        """(V, C) per vertex -> (N, C) at the covered pixels."""
        return barycentric_interpolate(attributes[None], self.triangles, self.fragments)[0].permute(1, 2, 0)[self.hit]

    def albedo(self, texture: np.ndarray) -> torch.Tensor:
        """(N, 3) linear, of a texture (T, T, 3) uint8 sRGB."""
        uv = torch.as_tensor(self.model.topology.uv, dtype=torch.float32)
        place = barycentric_interpolate(uv[None], self.triangle_uv, self.fragments)[0].permute(1, 2, 0)[self.hit]
        image = torch.as_tensor(texture).permute(2, 0, 1).float() / 255
        return srgb_to_linear(sample_texture(image, place))

    def mask(self, weights: np.ndarray) -> np.ndarray:
        """(V,) float -> (H, W) float32 in the picture, 0 where there is no head."""
        result = torch.zeros(self.hit.shape)
        result[self.hit] = self.at_pixels(torch.as_tensor(weights, dtype=torch.float32)[:, None])[:, 0]
        return result.numpy()

    def linear(self, texture: np.ndarray, light: np.ndarray, tint: np.ndarray | None = None) -> np.ndarray:
        """(H, W, 3) float32 linear light, 0 where there is no head. `tint` (V, 3) is a factor on the albedo."""
        picture = torch.zeros(*self.hit.shape, 3)
        shade = HarmonicLight(torch.as_tensor(light)).shade(self.normals)
        shade = shade * (1 - EYEBALL_SHADOW * self.at_pixels(self._eyeballs()))
        if tint is not None:
            shade = shade * self.at_pixels(torch.as_tensor(tint, dtype=torch.float32))
        picture[self.hit] = self.albedo(texture) * shade
        return picture.numpy()

    def _eyeballs(self) -> torch.Tensor:
        result = torch.zeros(len(self.vertices), 1)
        for side in SIDES:
            result[self.model.eyeballs[side]] = 1.0
        return result

    def nearest_light(self, image: np.ndarray, texture: np.ndarray) -> np.ndarray:
        """The light (9, 3) float32 that makes the skin in the photograph out of its albedo, by least squares."""
        skin = np.zeros(len(self.model.mean))
        skin[self.model.topology.part_vertices("skin")] = 1
        chosen = self.mask(skin)[self.hit.numpy()] > 0.99
        basis = harmonic_basis(self.normals).numpy()[chosen]
        albedo = self.albedo(texture).numpy()[chosen]
        wanted = srgb_to_linear(torch.as_tensor(image).float() / 255)[self.hit].numpy()[chosen]
        light = np.zeros((9, 3), np.float32)
        for channel in range(3):
            rows = basis * albedo[:, channel : channel + 1]
            ridge = LIGHT_RIDGE * np.trace(rows.T @ rows) / 9 * np.diag([0.0] + [1.0] * 8)
            light[:, channel] = np.linalg.solve(rows.T @ rows + ridge, rows.T @ wanted[:, channel])
        return light


def _cut_to_face(image: np.ndarray, camera: Camera, landmarks: np.ndarray) -> tuple[np.ndarray, Camera]:
    """The square round the face, reduced to `PICTURE_SIZE`, and its camera."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    side = int(round(float((high - low).max()) / FACE_SHARE))
    left, top = (int(round(value)) for value in (low + high) / 2 - side / 2)
    padded = cv2.copyMakeBorder(image, side, side, side, side, cv2.BORDER_REPLICATE)
    cut = padded[top + side : top + 2 * side, left + side : left + 2 * side]
    cut = cv2.resize(cut, (PICTURE_SIZE, PICTURE_SIZE), interpolation=cv2.INTER_AREA)
    return cut, camera.cropped(left, top, side, side).resized(PICTURE_SIZE, PICTURE_SIZE)


def portraits(folder: Path, model: OpenHead, cache: Path | None = None) -> Iterator[FittedPortrait]:
    """The fitted photographs (JPEG and PNG) of a folder, by name; pictures without a face are left out."""
    fitter = PortraitFitter(model, cache)
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png")):
        try:
            yield fitter.portrait(path)
        except PhotoError as error:
            logger.warning("%s is left out: %s", path.name, error.sentence)
