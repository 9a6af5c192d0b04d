"""Random people of the open head as pictures whose every label is known: shape, expression, lids, gaze, camera."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from backend.face_models.morphable_model import split_quads
from backend.face_models.open_head import OpenHead
from backend.rendering.camera import Camera
from backend.rendering.shading import HARMONIC_CONSTANTS, HarmonicLight, render_head

SKIN_TONES = np.array([[238, 205, 184], [224, 184, 158], [205, 160, 128], [174, 124, 92], [132, 88, 62], [92, 60, 44]])
PART_COLOURS = {
    "mouth_inside": (110, 50, 48),
    "teeth_upper": (222, 214, 196),
    "teeth_lower": (214, 206, 188),
    "tongue": (176, 96, 92),
    "lashes": (40, 30, 26),
}
IRIS_COLOURS = np.array([[92, 62, 40], [60, 42, 30], [92, 110, 120], [88, 102, 70], [120, 96, 60]])
SELDOM = ("tongueOut", "jawForward", "jawLeft", "jawRight", "cheekPuff")


@dataclass(frozen=True)
class SyntheticPhotograph:
    """One picture of one random person.

    Attributes:
        image: (H, W, 3) uint8 sRGB.
        camera: how it was taken.
        vertices: (V, 3) float32 metres, expression included, in the head-centred frame.
        identity: (K,) float32; key_weights: (keys,) float32 in the model's key order.
    """

    image: np.ndarray
    camera: Camera
    vertices: np.ndarray
    identity: np.ndarray
    key_weights: np.ndarray


def random_photograph(model: OpenHead, generator: np.random.Generator, size: int = 448) -> SyntheticPhotograph:
    """A person, an expression, a light, a view. `size` is the side of the square picture in pixels."""
    identity = generator.normal(size=model.identity_size).astype(np.float32)
    neutral = model.neutral(identity)
    keys = model.key_offsets(neutral)
    weights = random_expression(list(keys.names), generator)
    vertices = keys.apply(neutral, weights)
    camera = random_camera(generator, size)
    colours = random_colours(model, generator)
    triangles = model.topology.triangles
    if generator.random() < 0.6:  # the cards of the lashes are solid here, far heavier than real lashes
        triangles = split_quads(model.topology.faces[: model.topology.part("lashes").start])
    head = render_head(vertices, triangles, camera, colours, light=random_light(generator))
    image = _over_background(head, generator)
    return SyntheticPhotograph(image, camera, vertices, identity, weights)


def random_expression(names: list[str], generator: np.random.Generator) -> np.ndarray:
    """Weights in [0, 1] of a plausible expression; a third of the people look neutral. Left and right mostly agree."""
    value = dict.fromkeys(names, 0.0)
    if generator.random() > 1 / 3:
        for name in names:
            if name.startswith("eye") or name in SELDOM or name.endswith(("Right", "Corrective")):
                continue
            if generator.random() < 0.18:
                value[name] = float(generator.beta(1.2, 2.5))
                if name.endswith("Left"):
                    other = name.removesuffix("Left") + "Right"
                    value[other] = float(np.clip(value[name] + generator.normal(0, 0.08), 0, 1))
        value["mouthClose"] = min(value.get("mouthClose", 0.0), value.get("jawOpen", 0.0))
    shut = generator.random()
    both = 0.0 if shut < 0.6 else (1.0 if shut < 0.75 else generator.random())
    one_eye = generator.random() < 0.08
    for side in ("Left", "Right"):
        blink = generator.integers(2) * 1.0 if one_eye else both
        value[f"eyeBlink{side}"] = float(np.clip(blink, 0, 1))
        value[f"eyeSquint{side}"] = float(generator.beta(1, 4)) if generator.random() < 0.3 else 0.0
        value[f"eyeBlink{side}Corrective"] = 4 * value[f"eyeBlink{side}"] * (1 - value[f"eyeBlink{side}"])
    across, up = generator.normal(0, 0.3), generator.normal(0, 0.2)
    for name, amount in (("OutLeft", across), ("InRight", across), ("InLeft", -across), ("OutRight", -across)):
        value[f"eyeLook{name}"] = float(np.clip(amount, 0, 1))
    for side in ("Left", "Right"):
        value[f"eyeLookUp{side}"], value[f"eyeLookDown{side}"] = max(up, 0.0), max(-up, 0.0)
    return np.array([value[name] for name in names], np.float32)


def random_camera(generator: np.random.Generator, size: int) -> Camera:
    """A portrait from any side within 65 degrees, from 25 cm to 2.5 m."""
    yaw = generator.normal(0, 22) if generator.random() < 0.6 else generator.uniform(-65, 65)
    pitch = generator.normal(0, 13)
    yaw, pitch, roll = np.radians([np.clip(yaw, -65, 65), np.clip(pitch, -35, 35), generator.normal(0, 6)])
    distance = float(np.exp(generator.uniform(np.log(0.3), np.log(2.5))))
    face_share = generator.uniform(0.42, 0.6)  # of the picture, for a face 0.19 m high
    focal = face_share * size / 0.19 * distance
    target = np.array([0, -0.03, 0.0]) + generator.normal(0, 0.008, 3)
    camera = Camera.orbit(yaw, pitch, distance, size, focal_pixels=focal, target=target)
    cosine, sine = np.cos(roll), np.sin(roll)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    return camera.with_pose(turn @ camera.rotation, turn @ camera.translation)


def random_light(generator: np.random.Generator) -> HarmonicLight:
    """A lamp somewhere in front, a fill of another colour, some light from everywhere."""

    def lamp(strength):
        direction = generator.normal(size=3) + [0, 0.5, 1.5]
        return HarmonicLight.directional(tuple(direction), strength, 0.0).coefficients

    tint = torch.tensor(generator.uniform(0.85, 1.1, 3), dtype=torch.float32)
    coefficients = lamp(generator.uniform(0.3, 0.9)) + lamp(generator.uniform(0.0, 0.4)) * tint
    coefficients[0] += generator.uniform(0.2, 0.5) / HARMONIC_CONSTANTS[0]
    return HarmonicLight(coefficients)


def random_colours(model: OpenHead, generator: np.random.Generator) -> np.ndarray:
    """(V, 3) uint8 sRGB vertex colours: a skin tone with its lips, brows, irises."""
    share = generator.uniform(0, len(SKIN_TONES) - 1.001)
    low = int(share)
    skin = SKIN_TONES[low] * (1 - share + low) + SKIN_TONES[low + 1] * (share - low)
    skin = skin * generator.uniform(0.95, 1.05, 3)
    colours = np.tile(skin, (len(model.mean), 1))
    masks = model.masks

    def paint(mask, colour, amount):
        if mask in masks:
            colours[masks[mask]] = colours[masks[mask]] * (1 - amount) + np.asarray(colour) * amount

    paint("cheeks", skin * [1.05, 0.88, 0.86], generator.uniform(0, 0.7))
    paint("lips", skin * [0.9, 0.62, 0.62], generator.uniform(0.4, 1.0))
    hair = np.array([40, 28, 20]) + generator.uniform(0, 1) ** 2 * np.array([110, 85, 55])
    paint("brows", hair, generator.uniform(0.4, 0.9))
    if generator.random() < 0.7:
        paint("scalp", hair, 1.0)
    topology = model.topology
    for name, (start, stop) in zip(topology.part_names, topology.part_faces, strict=True):
        if str(name) in PART_COLOURS:
            colours[np.unique(topology.faces[start:stop])] = PART_COLOURS[str(name)]
        if str(name).startswith("eyeball"):
            colours[np.unique(topology.faces[start:stop])] = (232, 226, 220)
    paint("iris", IRIS_COLOURS[generator.integers(len(IRIS_COLOURS))], 1.0)
    paint("pupil", (12, 10, 10), 1.0)
    return np.clip(colours, 0, 255).astype(np.uint8)


def _over_background(head: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The head over a soft coloured background, slightly blurred and with a camera's noise: (H, W, 3) uint8."""
    height, width = head.shape[:2]
    corners = generator.uniform(20, 235, (2, 2, 3)).astype(np.float32)
    background = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    alpha = head[..., 3:].astype(np.float32) / 255
    image = head[..., :3] * alpha + background * (1 - alpha)
    image = cv2.GaussianBlur(image, (0, 0), generator.uniform(0.4, 1.2))
    image += generator.normal(0, generator.uniform(0, 6), image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)
