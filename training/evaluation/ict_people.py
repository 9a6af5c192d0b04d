"""Random people of ICT-FaceKit to measure with: shape, expression, eye states and gaze known, pictures from any side.

None of their geometry enters an asset or a weight. Seeds start at `FIRST_SEED`, which the learning of the prior does
not use.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from backend.face_models import ict as ict_module
from backend.face_models.eyes import IRIS_DEGREES, PUPIL_DEGREES
from backend.face_models.ict import IctFaceKit
from backend.face_models.morphable_model import KeyOffsets, split_quads
from backend.lid_rig import SIDES
from backend.rendering.camera import Camera
from backend.rendering.interpolation import barycentric_interpolate
from backend.rendering.rasterizer import rasterize_screen
from backend.rendering.shading import (
    HARMONIC_CONSTANTS,
    HarmonicLight,
    linear_to_srgb,
    rasterize_with,
    srgb_to_linear,
    vertex_normals,
)
from training.evaluation.now import crop_to_face

FIRST_SEED, FIRST_WINKING_SEED = 10_000, 20_000
YAWS_DEGREES = (-30, 0, 30)
PICTURE_SIZE = 768
FOCAL_35MM = 85.0
DISTANCE_M = 1.0
SCAN_POINTS = 20_000
SUPERSAMPLING = 2
EYE_STATES = (
    {"left": 0.0, "right": 0.0},
    {"left": 1.0, "right": 1.0},
    {"left": 0.0, "right": 0.0},
    {"left": 1.0, "right": 0.0},
    {"left": 0.0, "right": 0.0},
    {"left": 1.0, "right": 1.0},
    {"left": 0.0, "right": 0.0},
    {"left": 0.0, "right": 1.0},
)
EXPRESSIONS = (  # left-right pairs are named by their stem
    *("browDown", "browInnerUp", "browOuterUp", "cheekPuff", "cheekSquint", "jawOpen", "mouthDimple", "mouthFrown"),
    *("mouthFunnel", "mouthLeft", "mouthRight", "mouthLowerDown", "mouthPress", "mouthPucker", "mouthSmile"),
    *("mouthStretch", "mouthUpperUp", "noseSneer"),
)
SKIN_TONES = np.array([[236, 202, 180], [222, 180, 152], [198, 152, 120], [164, 116, 86], [122, 82, 60]], float)
IRIS_COLOURS = np.array([[84, 58, 38], [56, 40, 30], [86, 104, 116], [84, 96, 66]], float)
HAIR_COLOURS = np.array([[38, 28, 22], [70, 50, 34], [118, 88, 58]], float)
LIP_TINT = (0.86, 0.58, 0.58)
SCLERA, PUPIL, TEETH, GUMS, MOUTH, LASH_LINE = (
    np.array(c, float)
    for c in ((228, 220, 212), (10, 9, 9), (222, 214, 198), (168, 92, 88), (104, 48, 46), (44, 32, 28))
)
SEEN_FROM = [(yaw, pitch) for pitch in (-35, 0, 35) for yaw in (-75, -40, 0, 40, 75)]  # degrees, for the scan
DEPTH_TOLERANCE_M = 0.001
SMALLEST_FACING = 0.15  # cosine between normal and direction of view at which a scanner still sees skin


@dataclass(frozen=True)
class IctPerson:
    """One random person.

    Attributes:
        seed: of everything random about them.
        identity: (100,) float32.
        neutral: (V, 3) float32 metres.
        keys: their shape keys.
        weights: by key name, what their face does.
        closure: "left" and "right", 0 open, 1 shut.
        gaze_degrees: (towards the subject's left, up) of each eye, from straight ahead of the head.
        posed: (V, 3) float32 metres.
    """

    seed: int
    identity: np.ndarray
    neutral: np.ndarray
    keys: KeyOffsets
    weights: dict[str, float]
    closure: dict[str, float]
    gaze_degrees: dict[str, tuple[float, float]]
    posed: np.ndarray


def ict_person(model: IctFaceKit, number: int) -> IctPerson:
    """Person `number` (0, 1, …): identity from N(0, 1); of eight, four have an eye shut; every second four grimace."""
    return make_person(model, FIRST_SEED + number, EYE_STATES[number % 8], with_expression=(number // 4) % 2 == 1)


def winking_person(model: IctFaceKit, number: int) -> IctPerson:
    """Winking person `number` (0, 1, …): one eye shut, left and right by turns, half with an expression."""
    closure = {"left": float(number % 2 == 0), "right": float(number % 2 == 1)}
    return make_person(model, FIRST_WINKING_SEED + number, closure, with_expression=(number // 2) % 2 == 1)


def make_person(model: IctFaceKit, seed: int, closure: dict[str, float], *, with_expression: bool) -> IctPerson:
    """A person by seed, with eyes as told."""
    generator = np.random.default_rng(seed)
    identity = generator.normal(size=model.identity_size).astype(np.float32)
    expression = random_expression(generator)
    across, up, vergence = generator.normal(0, 9), generator.normal(-3, 6), generator.uniform(0, 3)
    gaze = {"left": (across - vergence, up), "right": (across + vergence, up)}
    weights = expression if with_expression else {}
    for side in SIDES:
        weights[f"eyeBlink{side.title()}"] = closure[side]
    neutral = model.neutral(identity)
    keys = model.key_offsets(neutral)
    posed = model.posed(neutral, keys, weights, gaze)
    return IctPerson(seed, identity, neutral, keys, weights, dict(closure), gaze, posed)


def random_expression(generator: np.random.Generator) -> dict[str, float]:
    """Five moderate movements, both sides of the face nearly alike; the lids are left alone."""
    weights = {}
    for stem in generator.choice(EXPRESSIONS, 5, replace=False):
        amount = float(generator.uniform(0.15, 0.6))
        if stem in ("browInnerUp", "cheekPuff", "jawOpen", "mouthFunnel", "mouthLeft", "mouthRight", "mouthPucker"):
            weights[str(stem)] = amount
        else:
            for side in SIDES:
                weights[f"{stem}{side.title()}"] = float(np.clip(amount + generator.normal(0, 0.06), 0, 1))
    return weights


def picture_camera(yaw_degrees: float, size: int = PICTURE_SIZE) -> Camera:
    """An 85 mm portrait from one metre, from `yaw_degrees` towards the subject's left."""
    return Camera.orbit(np.radians(yaw_degrees), 0.0, DISTANCE_M, size, focal_35mm=FOCAL_35MM, target=(0, -0.03, 0.02))


class IctPainter:
    """Paints and lights people of ICT-FaceKit."""

    def __init__(self, model: IctFaceKit):
        self.model = model
        self.triangles = visible_triangles(model)
        self.lips, self.brows, self.lash_line = lip_weights(model), brow_weights(model), lash_line_weights(model)

    def picture(self, person: IctPerson, camera: Camera) -> np.ndarray:
        """A portrait: (H, W, 3) uint8 sRGB, plain skin, tinted lips, brows, irises, soft light, soft background."""
        generator = np.random.default_rng(person.seed + 1_000_000)
        colours, iris = self._colours(generator)
        light, background = _soft_light(generator), _background(generator, camera)
        vertices = torch.as_tensor(person.posed)
        faces = torch.as_tensor(self.triangles)
        fine = camera.resized(camera.width * SUPERSAMPLING, camera.height * SUPERSAMPLING)
        with torch.no_grad():
            fragments = rasterize_with(fine, vertices, faces)
            hit = fragments.covered[0]
            attributes = torch.cat(
                [
                    vertex_normals(vertices, faces),
                    torch.as_tensor(colours / 255, dtype=torch.float32),
                    torch.as_tensor(self._rest_directions(), dtype=torch.float32),
                ],
                dim=1,
            )
            seen = barycentric_interpolate(attributes[None], faces, fragments)[0].permute(1, 2, 0)[hit]
            normal = torch.nn.functional.normalize(seen[:, :3], dim=1)
            albedo = _paint_iris(seen[:, 3:6], seen[:, 6:9], torch.as_tensor(iris / 255, dtype=torch.float32))
            picture = torch.as_tensor(background).to(torch.float32)
            picture = srgb_to_linear(
                picture.repeat_interleave(SUPERSAMPLING, 0).repeat_interleave(SUPERSAMPLING, 1) / 255
            )
            picture[hit] = srgb_to_linear(albedo) * light.shade(normal)
            picture = torch.nn.functional.avg_pool2d(picture.permute(2, 0, 1)[None], SUPERSAMPLING)[0].permute(1, 2, 0)
            image = (linear_to_srgb(picture.clamp(0, 1)) * 255).numpy()
        image = cv2.GaussianBlur(image, (0, 0), 0.6) + generator.normal(0, 1.5, image.shape)
        return np.clip(image + 0.5, 0, 255).astype(np.uint8)

    def _rest_directions(self) -> np.ndarray:
        result = np.zeros((len(self.model.mean), 3))
        for side in SIDES:
            result[self.model.eyeballs[side]] = self.model.eyeball_directions[side]
        return result

    def _colours(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(V, 3) float sRGB 0 to 255, and that of the iris (3,)."""
        share = generator.uniform(0, len(SKIN_TONES) - 1.001)
        skin = SKIN_TONES[int(share)] * (1 - share % 1) + SKIN_TONES[int(share) + 1] * (share % 1)
        hair = HAIR_COLOURS[generator.integers(len(HAIR_COLOURS))]
        iris = IRIS_COLOURS[generator.integers(len(IRIS_COLOURS))]
        colours = np.tile(skin, (len(self.model.mean), 1))
        for weight, colour in (
            (self.lips * generator.uniform(0.5, 1.0), skin * LIP_TINT),
            (self.brows * generator.uniform(0.55, 0.85), hair),
            (self.lash_line, LASH_LINE),
        ):
            colours += weight[:, None] * (colour - colours)
        flat = {"teeth": TEETH, "gums_tongue": GUMS, "mouth_inside": MOUTH}
        flat |= {f"eyeball_{side}": SCLERA for side in SIDES} | {
            f"eye_socket_{side}": skin * LIP_TINT for side in SIDES
        }
        skin_vertices = self.model.masks["skin"]
        for part, colour in flat.items():
            colours[self.model.masks[part] & ~skin_vertices] = colour
        return colours, iris


def visible_triangles(model: IctFaceKit) -> np.ndarray:
    """Every triangle but those of the lashes, whose cards need a transparent texture: (T, 3) int64."""
    topology = model.topology
    parts = [topology.faces[topology.part(name)] for name in topology.part_names if name != "lashes"]
    return split_quads(np.concatenate(parts))


def _paint_iris(albedo: torch.Tensor, direction: torch.Tensor, iris: torch.Tensor) -> torch.Tensor:
    """The eyeball's colour by the angle off its own axis, pixel by pixel; elsewhere (direction zero) as it was."""
    length = direction.norm(dim=1)
    on_ball = length > 0.5
    angle = torch.rad2deg(torch.acos((direction[:, 2] / length.clamp(min=1e-6)).clamp(-1, 1)))

    def inside(limit, softness):
        return (((limit - angle) / softness + 0.5).clamp(0, 1) * on_ball)[:, None]

    rim = iris * 0.55
    albedo = albedo + inside(IRIS_DEGREES, 2.0) * (rim - albedo)
    albedo = albedo + inside(IRIS_DEGREES - 4.0, 4.0) * (iris - albedo)
    return albedo + inside(PUPIL_DEGREES, 1.5) * (torch.as_tensor(PUPIL / 255, dtype=torch.float32) - albedo)


def _soft_light(generator: np.random.Generator) -> HarmonicLight:
    direction = np.array([0, 0.4, 1.0]) + generator.normal(0, 0.35, 3)
    light = HarmonicLight.directional(tuple(direction), generator.uniform(0.5, 0.75), 0.0).coefficients
    light[0] += generator.uniform(0.25, 0.4) / HARMONIC_CONSTANTS[0]
    return HarmonicLight(light)


def _background(generator: np.random.Generator, camera: Camera) -> np.ndarray:
    corners = generator.uniform(40, 215, (2, 2, 1)) + generator.uniform(-18, 18, (2, 2, 3))
    return cv2.resize(corners.astype(np.float32), (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)


def lip_weights(model: IctFaceKit) -> np.ndarray:
    """How much of each vertex is lip: (V,) 0 to 1, inside the outline (points 48 to 59) seen from the front."""
    outline = model.landmarks68(model.mean)[48:60, :2]
    smooth = _smooth_loop(outline).astype(np.float32) * 1000
    distance = np.array(
        [
            cv2.pointPolygonTest(smooth.reshape(-1, 1, 2), (float(x), float(y)), True)
            for x, y in model.mean[:, :2] * 1000
        ]
    )
    front = model.mean[:, 2] > model.landmarks68(model.mean)[[48, 54], 2].mean() - 0.012
    return np.clip(distance / 1.5 + 0.7, 0, 1) * (model.masks["skin"] & front)


def brow_weights(model: IctFaceKit) -> np.ndarray:
    """How much of each vertex is brow: (V,) 0 to 1, a band along points 17 to 21 and 22 to 26, thinner outwards."""
    landmarks = model.landmarks68(model.mean).astype(np.float64)
    result = np.zeros(len(model.mean))
    for points in (landmarks[17:22], landmarks[26:21:-1]):  # both from the outer end
        steps = np.linspace(0, len(points) - 1, 60)
        line = np.stack([np.interp(steps, np.arange(len(points)), points[:, k]) for k in range(3)], 1)
        half_width = np.interp(steps, [0, 2, len(points) - 1], [0.0018, 0.0035, 0.0042])
        away = np.linalg.norm(model.mean[:, None] - line[None], axis=2)
        result = np.maximum(result, np.clip((half_width - away).max(1) / 0.002 + 0.7, 0, 1))
    return result * model.masks["skin"]


def lash_line_weights(model: IctFaceKit) -> np.ndarray:
    """The dark line where the lashes grow: (V,) 0 to 1, strong on the upper lid's edge, faint on the lower's."""
    result = np.zeros(len(model.mean))
    for side in SIDES:
        eye = model.rig.eye(side)
        near = eye.followers[(eye.kind == 0) & (eye.distance < 0.0012)]
        upper = eye.share[(eye.kind == 0) & (eye.distance < 0.0012)][:, : eye.outer + 1].sum(1) > 0.5
        result[near] = np.where(upper, 0.75, 0.25)
        result[eye.lower], result[eye.upper] = 0.2, 0.75
    return result


def _smooth_loop(points: np.ndarray, steps: int = 12) -> np.ndarray:
    """A closed Catmull-Rom curve through (N, 2) points: (N * steps, 2)."""
    before, after, later = (np.roll(points, shift, axis=0) for shift in (1, -1, -2))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (p[:, None] for p in (before, points, after, later))
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return curve.reshape(-1, 2)


def scan_of(model: IctFaceKit, person: IctPerson, points: int = SCAN_POINTS) -> np.ndarray:
    """Points spread evenly over the skin of the neutral head that can be seen from outside, inside the NoW crop.

    Returns:
        (points, 3) float64 metres.
    """
    generator = np.random.default_rng(person.seed + 2_000_000)
    triangles = split_quads(model.topology.faces[model.topology.part("skin")])
    corners = person.neutral.astype(np.float64)[triangles]
    near = crop_to_face(corners.mean(1), model.landmarks68(person.neutral))
    triangles, corners = triangles[near], corners[near]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normals, axis=1)
    found = np.zeros((0, 3))
    while len(found) < points:
        choice = generator.choice(len(area), 2 * points, p=area / area.sum())
        first, second = np.sqrt(generator.random((2 * points, 1))), generator.random((2 * points, 1))
        weights = np.concatenate([1 - first, first * (1 - second), first * second], axis=1)
        sample = (corners[choice] * weights[:, :, None]).sum(1)
        keep = seen_from_outside(model, person.neutral, sample, normals[choice] / area[choice, None])
        keep &= crop_to_face(sample, model.landmarks68(person.neutral))
        found = np.concatenate([found, sample[keep]])
    return found[:points]


def seen_from_outside(model: IctFaceKit, vertices: np.ndarray, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Which points (N, 3) of the head with normals (N, 3) a scanner in front of the face would see: (N,) bool."""
    faces = torch.as_tensor(visible_triangles(model))
    size, pixels_per_metre = 512, 1500.0
    result = np.zeros(len(points), bool)
    for yaw, pitch in np.radians(SEEN_FROM):
        towards = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
        axes = np.stack([right, np.cross(towards, right), towards])

        def screen(places, axes=axes):
            turned = (places - [0, -0.03, 0]) @ axes.T
            return turned[:, :2] * [pixels_per_metre, -pixels_per_metre] + size / 2, -turned[:, 2]

        flat, depth = (torch.as_tensor(part, dtype=torch.float32)[None] for part in screen(vertices.astype(np.float64)))
        nearest = rasterize_screen(flat, depth, faces, (size, size), perspective=False).depth[0].numpy()
        place, own_depth = screen(points)
        pixel = np.floor(place).astype(int)
        inside = (pixel >= 0).all(1) & (pixel < size).all(1)
        facing = normals @ towards
        behind = np.full(len(points), np.inf)
        behind[inside] = own_depth[inside] - nearest[pixel[inside, 1], pixel[inside, 0]]
        slope = 1 / pixels_per_metre / np.maximum(facing, SMALLEST_FACING)
        result |= (facing > SMALLEST_FACING) & (behind < DEPTH_TOLERANCE_M + slope)
    return result


@dataclass(frozen=True)
class IctSubject:
    """What an evaluation needs of one person, and nothing of the model: pictures and the scan.

    Attributes:
        pictures: one (H, W, 3) uint8 for each yaw asked for, `YAWS_DEGREES` if none was.
        scan: (N, 3) float64 metres; scan_landmarks68: (68, 3).
        closure, gaze_degrees: as in `IctPerson`.
        eye_centres: (2, 3) metres, left first, in the frame of the pictures' cameras.
        eyeball_radius: metres.
    """

    pictures: list[np.ndarray]
    scan: np.ndarray
    scan_landmarks68: np.ndarray
    closure: dict[str, float]
    gaze_degrees: dict[str, tuple[float, float]]
    eye_centres: np.ndarray
    eyeball_radius: float


def subjects(
    path: Path,
    people: int,
    cache: Path | None = None,
    make: Callable[[IctFaceKit, int], IctPerson] = ict_person,
    yaws_degrees: Sequence[float] = YAWS_DEGREES,
) -> Iterator[IctSubject]:
    """Subjects 0 to `people` - 1, from the cache where this code and this file made them before.

    Args:
        path: the ICT-FaceKit file.
        people: how many.
        cache: a folder that may be written; None to make all anew.
        make: what makes person number n: `ict_person` or `winking_person`.
        yaws_degrees: from where pictures are taken, towards the subject's left.
    """
    model = painter = None
    folder = cache / _recipe_hash(path) if cache else None
    seen_from = "" if tuple(yaws_degrees) == YAWS_DEGREES else "_from_" + "_".join(f"{yaw:g}" for yaw in yaws_degrees)
    for number in range(people):
        stored = folder / f"{make.__name__}_{number:03}{seen_from}.npz" if folder else None
        if stored is not None and stored.is_file():
            yield _load_subject(stored)
            continue
        if model is None:
            model = IctFaceKit(path)
            painter = IctPainter(model)
        subject = _make_subject(model, painter, make(model, number), yaws_degrees)
        if stored is not None:
            stored.parent.mkdir(parents=True, exist_ok=True)
            _save_subject(stored, subject)
        yield subject


def _make_subject(
    model: IctFaceKit, painter: IctPainter, person: IctPerson, yaws_degrees: Sequence[float]
) -> IctSubject:
    return IctSubject(
        [painter.picture(person, picture_camera(yaw)) for yaw in yaws_degrees],
        scan_of(model, person),
        model.landmarks68(person.neutral).astype(np.float64),
        person.closure,
        person.gaze_degrees,
        model.eye_centres(person.neutral),
        model.rig_of(person.neutral).eyeball.radius,
    )


def _recipe_hash(path: Path) -> str:
    """Changes with the data and with the code that makes people of them."""
    digest = hashlib.sha256(path.read_bytes())
    backend = Path(ict_module.__file__).parents[1]
    for source in (__file__, ict_module.__file__, backend / "lids.py", backend / "lid_rig.py"):
        digest.update(Path(source).read_bytes())
    return digest.hexdigest()[:16]


def _save_subject(path: Path, subject: IctSubject) -> None:
    encoded = {}
    for number, picture in enumerate(subject.pictures):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG", compress_level=1)
        encoded[f"picture_{number}"] = np.frombuffer(buffer.getvalue(), np.uint8)
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        **encoded,
        scan=subject.scan,
        scan_landmarks68=subject.scan_landmarks68,
        closure=np.array([subject.closure[side] for side in SIDES]),
        gaze_degrees=np.array([subject.gaze_degrees[side] for side in SIDES]),
        eye_centres=subject.eye_centres,
        eyeball_radius=np.array(subject.eyeball_radius),
    )
    partial.replace(path)


def _load_subject(path: Path) -> IctSubject:
    with np.load(path, allow_pickle=False) as data:
        count = sum(name.startswith("picture_") for name in data)
        pictures = [np.array(Image.open(io.BytesIO(data[f"picture_{n}"].tobytes()))) for n in range(count)]
        return IctSubject(
            pictures,
            data["scan"],
            data["scan_landmarks68"],
            dict(zip(SIDES, data["closure"].tolist(), strict=True)),
            dict(zip(SIDES, map(tuple, data["gaze_degrees"].tolist()), strict=True)),
            data["eye_centres"],
            float(data["eyeball_radius"]),
        )
