"""Real photographs with other eyes: our own head, fitted to a photograph, shuts its lids in the photograph's own skin
and light.

Only the surroundings of the eyes are drawn into the photograph; the lids' closure is known from the mesh.
`photographed_people.py` draws the whole fitted head from other sides, in other light, with other expressions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from backend.face_models.lid_keys import BLINK_CORRECTIVES
from backend.face_models.morphable_model import KeyOffsets
from backend.face_models.open_head import OpenHead
from backend.lid_rig import SIDES, SKIN
from backend.lids import closure as lid_closure
from backend.rendering.camera import Camera
from backend.rendering.shading import linear_to_srgb, srgb_to_linear
from training.data.fitted_portraits import Drawing, FittedPortrait
from training.data.lash_strokes import LashStyle, draw_lashes

FINE = 2
"""Heads are drawn so many times larger, then reduced."""
EYE_ROOM_M = 0.022
GAIN_BREADTH_M = 0.004
MOVED_M = 0.0004
"""A vertex that the lids move so far is drawn anew."""
EYE_STATE_SHARES = (("open", 0.2), ("narrow", 0.24), ("shut", 0.3), ("wink", 0.12), ("half", 0.08), ("squint", 0.06))
"""Portraits are taken with eyes wide open: those of laughing people, or against the sun, are the narrow ones."""
SOCKET_SHADOW_SHARE = 0.5
SOCKET_SHADOW_DEPTH = (0.25, 0.85)


@dataclass(frozen=True)
class EyePicture:
    """A picture whose lids are known.

    Attributes:
        image: (S, S, 3) uint8 sRGB.
        closure: (2,) float32, left then right, by `backend.lids.closure`.
        eyes: (2, 2) float32 pixels, the middle of each eye, left then right.
        person: of the photographs; pictures of one person share it.
        kind: how it was made: "edited", "photographed" (the whole head drawn) or "synthetic".
    """

    image: np.ndarray
    closure: np.ndarray
    eyes: np.ndarray
    person: str
    kind: str


def random_eyes(generator: np.random.Generator) -> dict[str, float]:
    """Key weights of the lids: both alike, or a wink."""
    names, shares = zip(*EYE_STATE_SHARES, strict=True)
    state = names[generator.choice(len(names), p=shares)]
    blink = dict.fromkeys(SIDES, 0.0)
    if state == "shut":
        blink = {side: float(generator.uniform(0.93, 1.0)) for side in SIDES}
    elif state == "half":
        both = generator.uniform(0.2, 0.65)
        blink = {side: float(np.clip(both + generator.normal(0, 0.04), 0, 0.7)) for side in SIDES}
    elif state == "narrow":
        both = generator.uniform(0.25, 0.6)
        blink = {side: float(np.clip(both + generator.normal(0, 0.03), 0, 0.6)) for side in SIDES}
    elif state == "wink":
        shut = SIDES[generator.integers(2)]
        blink = {side: float(generator.uniform(0.93, 1.0)) if side == shut else 0.0 for side in SIDES}
        other = SIDES[1 - SIDES.index(shut)]
        blink[other] = float(generator.uniform(0, 0.25)) * (generator.random() < 0.5)
    weights = {f"eyeBlink{side.title()}": blink[side] for side in SIDES}
    if state in ("squint", "narrow") or generator.random() < 0.3:
        for side in SIDES:
            weights[f"eyeSquint{side.title()}"] = float(generator.uniform(0.3, 1.0))
    return weights


def person_of(path: Path) -> str:
    """Whose photograph it is: "london_005" of "london_005_smiling.jpg", the whole name where it says no expression."""
    return path.stem.rsplit("_", 1)[0] if path.stem.count("_") > 1 else path.stem


def eye_shadow(model: OpenHead, generator: np.random.Generator) -> np.ndarray | None:
    """Make-up or natural darkness of the upper lids, a factor (V, 3) on the albedo; None for two in three."""
    if generator.random() > 1 / 3:
        return None
    colour = generator.uniform(0.25, 1.0) * generator.uniform(0.75, 1.15, 3)
    breadth = generator.uniform(0.004, 0.013)
    result = np.ones((len(model.mean), 3))
    for side in SIDES:
        eye = model.rig.eye(side)
        skin = (eye.kind == SKIN) & (eye.share[:, 1 : eye.outer].sum(axis=1) > 0.5)
        strength = np.clip(1.5 * (1 - eye.distance[skin] / breadth), 0, 1)[:, None]
        result[eye.followers[skin]] += strength * (np.clip(colour, 0, 1) - 1)
    return result


class PortraitEditor:
    """Makes pictures of one fitted photograph.

    Args:
        model: the open head.
        portrait: what was fitted.
    """

    def __init__(self, model: OpenHead, portrait: FittedPortrait):
        self.model, self.portrait = model, portrait
        self.keys: KeyOffsets = model.key_offsets(portrait.neutral)
        self.person = person_of(Path(portrait.name))
        self.own_weights = {name: w for name, w in portrait.key_weights.items() if not name.startswith("eyeBlink")}
        self.eye_vertices = np.zeros(len(model.mean), bool)
        self.eyeballs = np.zeros(len(model.mean), np.float32)
        for side in SIDES:
            self.eyeballs[model.eyeballs[side]] = 1.0
            self.eye_vertices[model.eyeballs[side]] = True
            eye = model.rig.eye(side)
            self.eye_vertices[eye.loop] = True

    def edited(self, generator: np.random.Generator) -> EyePicture:
        """The photograph with other lids: all else, and what still shows of the eyeballs, is the photograph's."""
        chosen = random_eyes(generator)
        kept = {name: w for name, w in self.own_weights.items() if not name.startswith(("eyeSquint", "eyeWide"))}
        posed = self._posed({**kept, **chosen})
        before = self._posed(self.portrait.key_weights)
        moved = np.linalg.norm(posed - before, axis=1)
        changes = np.clip(moved / MOVED_M, 0, 1)
        changes[self.eye_vertices & (moved.max() > MOVED_M)] = 1.0
        left, top, width, height = self._eye_box(before)
        camera = self.portrait.camera.cropped(left, top, width, height)
        fine = camera.resized(width * FINE, height * FINE)
        now, then = Drawing(self.model, posed, fine), Drawing(self.model, before, fine)
        region = np.maximum(now.mask(changes), then.mask(changes))
        region *= 1 - np.minimum(now.mask(self.eyeballs), then.mask(self.eyeballs))
        rows, columns = slice(top, top + height), slice(left, left + width)
        photograph = srgb_to_linear(torch.as_tensor(self.portrait.image).float() / 255).numpy()
        part = photograph[rows, columns]
        shadow = eye_shadow(self.model, generator)
        drawn = _reduced(now.linear(self.portrait.texture, self.portrait.light, shadow), part.shape)
        drawn = drawn * self._gain(part, then)
        drawn = self._with_lashes(drawn, posed, camera, generator)
        soft = cv2.GaussianBlur(_reduced(region, part.shape), (0, 0), max(0.0007 * self._pixels_per_metre(), 0.5))
        soft = np.clip(1.5 * soft, 0, 1)[..., None]
        photograph[rows, columns] += soft * (drawn - part)
        if generator.random() < SOCKET_SHADOW_SHARE:
            photograph *= self._socket_shadow(posed, generator)[..., None]
        return self._picture(photograph, posed, self.portrait.camera, "edited")

    def _posed(self, weights: dict[str, float]) -> np.ndarray:
        weights = dict(weights)
        for side in SIDES:
            blink = weights.get(f"eyeBlink{side.title()}", 0.0)
            weights[BLINK_CORRECTIVES[side]] = 4 * blink * (1 - blink)
        return self.keys.apply(self.portrait.neutral, weights)

    def _pixels_per_metre(self) -> float:
        return self.portrait.camera.fx / float(self.portrait.camera.translation[2])

    def _eye_box(self, posed: np.ndarray) -> tuple[int, int, int, int]:
        """Left, top, width, height in the picture of all that lids and squinting move."""
        camera = self.portrait.camera
        loops = np.concatenate([self.model.rig.eye(side).loop for side in SIDES])
        points, room = camera.project(posed[loops]), EYE_ROOM_M * self._pixels_per_metre()
        low = np.maximum(np.floor(points.min(axis=0) - room), 0).astype(int)
        high = np.minimum(np.ceil(points.max(axis=0) + room), [camera.width, camera.height]).astype(int)
        return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])

    def _gain(self, photograph: np.ndarray, then: Drawing) -> np.ndarray:
        """(H, W, 3): what drawn skin must be multiplied with to be as bright as the photograph's, smooth."""
        drawn = _reduced(then.linear(self.portrait.texture, self.portrait.light), photograph.shape)
        skin = np.zeros(len(self.model.mean))
        skin[self.model.topology.part_vertices("skin")] = 1
        # Lashes, brows and lid margins are edges, where a small misfit makes a large ratio.
        scale = self._pixels_per_metre()
        plain = cv2.erode(_reduced(then.mask(skin), photograph.shape), _disc(0.002 * scale))
        grey = cv2.GaussianBlur(photograph.mean(axis=2), (0, 0), max(0.0006 * scale, 0.6))
        dark = grey < 0.6 * cv2.GaussianBlur(grey, (0, 0), 0.006 * scale)
        trust = ((plain > 0.99) & ~dark & (drawn.min(axis=2) > 1e-3)).astype(np.float32)
        ratio = np.log(np.clip(photograph, 1e-3, None) / np.clip(drawn, 1e-3, None)).clip(-1, 1)
        weight = cv2.GaussianBlur(trust, (0, 0), GAIN_BREADTH_M * scale)
        smooth = cv2.GaussianBlur(ratio * trust[..., None], (0, 0), GAIN_BREADTH_M * scale)
        return np.exp(smooth / (weight[..., None] + 1e-3))

    def _socket_shadow(self, posed: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """(H, W) float32: light from above, which the brows keep from the eyes; a factor on the picture."""
        camera, scale = self.portrait.camera, self._pixels_per_metre()
        result = np.ones((camera.height, camera.width), np.float32)
        rows, columns = np.indices(result.shape) + 0.5
        depth, breadth = generator.uniform(*SOCKET_SHADOW_DEPTH), generator.uniform(0.010, 0.018) * scale
        for side in SIDES:
            x, y = camera.project(posed[self.model.rig.eye(side).loop]).mean(axis=0)
            lower = y - generator.uniform(0.0, 0.004) * scale
            away = ((columns - x) / (1.6 * breadth)) ** 2 + ((rows - lower) / breadth) ** 2
            result *= 1 - depth * np.exp(-away).astype(np.float32)
        return result

    def _with_lashes(
        self, picture: np.ndarray, posed: np.ndarray, camera: Camera, generator: np.random.Generator
    ) -> np.ndarray:
        style = LashStyle.random(generator)
        for side in SIDES:
            eye = self.model.rig.eye(side)
            shut = lid_closure(posed, self.portrait.neutral, self.model.rig, side)
            picture = draw_lashes(picture, posed, eye, camera, shut, style, generator)
        return picture

    def _picture(self, linear: np.ndarray, posed: np.ndarray, camera: Camera, kind: str) -> EyePicture:
        encoded = linear_to_srgb(torch.as_tensor(linear, dtype=torch.float32).clamp(0, 1)).numpy()
        rig = self.model.rig
        closure = [lid_closure(posed, self.portrait.neutral, rig, side) for side in SIDES]
        eyes = [camera.project(posed[rig.eye(side).loop]).mean(axis=0) for side in SIDES]
        image = (encoded * 255 + 0.5).astype(np.uint8)
        return EyePicture(image, np.array(closure, np.float32), np.array(eyes, np.float32), self.person, kind)


def _reduced(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A larger picture as means over pixels of one of that (height, width, …)."""
    return cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)


def _disc(radius: float) -> np.ndarray:
    size = 2 * max(int(round(radius)), 1) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
