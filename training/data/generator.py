"""Makes synthetic people and pictures of them whose every label is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from backend.aligned_crop import AlignedCrop, align
from backend.face_models import load_face_model
from backend.rendering.camera import Camera
from backend.rendering.shading import linear_to_srgb
from backend.view_order import SLOTS
from training.data.backgrounds import random_background
from training.data.expressions import Expression, random_expression, with_settled_lids
from training.data.illumination import openness_of
from training.data.labels import FaceParsing, visible
from training.data.lamps import Lighting, nearest_harmonic, random_lighting
from training.data.occluders import random_occluder
from training.data.open_head_on import OpenHeadOn
from training.data.person import Person, PersonMaker
from training.data.recesses import Recesses
from training.data.renderer import Rendering, render
from training.data.sample import DenseLabels, Sample
from training.data.scene import Part, SurfaceTexture, Veil
from training.data.sensor import photograph
from training.data.shoulders import posed, random_turn
from training.data.viewing import View, random_view, rolled

FRAMINGS = ("portrait", "aligned")
VIEWS = ("any", "triples")
TEXELS, SMALL_TEXELS = 512, 256
SMALL_PICTURE = 160
"""Up to this side, pictures are drawn from textures of `SMALL_TEXELS`, the rest from those of `TEXELS`."""
SUPERSAMPLING = 1.6
OCCLUDER_SHARE = 0.12
LARGEST_HIDDEN_SHARE = 0.28
WORN_OPENNESS = 0.85
"""Of hair and glasses to the light from everywhere."""
MOUTH_PART, MOUTH_GLOSS = 2, 0.6
"""Number and gloss of the part that stands for the inside of a mouth."""
ALIGNED_SCALE_JITTER = 0.10
ALIGNED_SHIFT_JITTER = 0.045
ALIGNED_ROLL_DEGREES = 10.0
TRIPLE_YAW_DEGREES = (20.0, 65.0)
"""Of the views from aside."""
FRONT_YAW_DEVIATION = 6.0
PERSON_STREAM, PICTURE_STREAM, TRIPLE_STREAM = 1, 2, 3
"""What a number of the seed sequence stands for, so that no two things share their chance."""


class SyntheticPeople:
    """An endless album: picture `index` shows person `index // pictures_per_person`.

    The same seed, index and options give the same picture. Made for one thread; every worker has its own.

    Args:
        seed: of everything.
        size: side of the square pictures in pixels.
        framing: "portrait", a head with room round it, or "aligned", the crop of Deng et al. 2019 round the five points
            of the face, up to a jitter, as a regressor gets it.
        dense: whether samples carry `DenseLabels`.
        pictures_per_person: how many pictures of a person follow each other.
        face_model: what the people are made of, a name for `load_face_model`: a whole head with lids that shut.
        views: "any", each picture from somewhere, with an expression and a light of its own, or "triples": the three
            pictures of a person are those of `triple`.
        even_skin: the same people in the same light, but each with skin of one colour all over, lips and brows as well,
            and taken by a camera without noise: what light and relief alone look like.

    Raises:
        ValueError: a framing or views that do not exist, or triples with another number of pictures than three.
        UsageError: there is no such face model, or no pictures can be made of it.
    """

    def __init__(
        self,
        seed: int,
        size: int = 224,
        *,
        framing: str = "portrait",
        dense: bool = False,
        pictures_per_person: int = 8,
        face_model: str = "open_head",
        views: str = "any",
        even_skin: bool = False,
    ) -> None:
        if framing not in FRAMINGS:
            raise ValueError(f"The framing must be one of {', '.join(FRAMINGS)}, not '{framing}'.")
        if views not in VIEWS or (views == "triples" and pictures_per_person != len(SLOTS)):
            raise ValueError(f"There are no {pictures_per_person} pictures of a person as views '{views}'.")
        self.seed, self.size, self.framing, self.dense = seed, size, framing, dense
        self.pictures_per_person, self.views, self.even_skin = pictures_per_person, views, even_skin
        self.model = load_face_model(face_model)
        self._laid = OpenHeadOn(self.model)
        self._recesses = Recesses(self.model, openness_of(self.model))
        self._borrowed_mouth = None
        if len(self._laid.mouth):
            self._borrowed_mouth = Recesses(self._laid.head, np.ones(len(self._laid.head.mean), np.float32))
        self._parsing = FaceParsing(self._laid)
        self._people = PersonMaker(self._laid, TEXELS if size > SMALL_PICTURE else SMALL_TEXELS)
        self._person: Person | None = None
        self._triple: tuple[Sample, ...] = ()

    def person(self, number: int) -> Person:
        """The person of that number; the last one asked for is kept."""
        if self._person is None or self._person.number != number:
            generator = np.random.default_rng([self.seed, PERSON_STREAM, number])
            self._person = self._people.random(number, generator)
        return self._person

    def photograph(self, index: int) -> Sample:
        """Picture `index` of the album."""
        if self.views == "triples":
            person, view = divmod(index, len(SLOTS))
            if not self._triple or self._triple[0].person != person:
                self._triple = self.triple(person)
            return self._triple[view]
        person = self.person(index // self.pictures_per_person)
        generator = np.random.default_rng([self.seed, PICTURE_STREAM, index])
        expression = random_expression(self.model.key_names, generator)
        view = random_view(generator, self.size)
        return self._picture(person, expression, view, generator, index)

    def triple(self, person: int) -> tuple[Sample, ...]:
        """Three views of a person who holds still: its left side, its front, its right side (`SLOTS`).

        The light comes from the same side of each picture, as where the person turned and the camera stood still; lens
        and distance differ. `index` of the samples counts them: three times the person, and on.
        """
        return self._held_still(person, None)

    def turned(self, person: int, yaws_degrees: Sequence[float]) -> tuple[Sample, ...]:
        """The person of `triple` with the same expression in the same light, from chosen sides.

        Args:
            person: its number.
            yaws_degrees: of the pictures, positive where the left side shows; as many as there should be.
        """
        return self._held_still(person, yaws_degrees)

    def _held_still(self, person: int, yaws_degrees: Sequence[float] | None) -> tuple[Sample, ...]:
        generator = np.random.default_rng([self.seed, TRIPLE_STREAM, person])
        expression = random_expression(self.model.key_names, generator)
        aside = generator.uniform(*TRIPLE_YAW_DEGREES, 2)
        seed = int(generator.integers(2**62))
        if yaws_degrees is None:
            yaws_degrees = aside[0], generator.normal(0, FRONT_YAW_DEVIATION), -aside[1]
        samples = []
        for number, yaw in enumerate(yaws_degrees):
            view = random_view(generator, self.size, yaw)
            held = np.random.default_rng(seed)
            index = len(yaws_degrees) * person + number
            samples.append(self._picture(self.person(person), expression, view, generator, index, held))
        return tuple(samples)

    def _picture(
        self,
        person: Person,
        expression: Expression,
        view: View,
        generator: np.random.Generator,
        index: int,
        held: np.random.Generator | None = None,
    ) -> Sample:
        """`held` chooses what is to be the same in several pictures: lids and light; the generator does without it."""
        held = held or generator
        model = self.model
        rig = model.rig_of(person.neutral)
        expression = with_settled_lids(expression, model.key_names, lambda weights: person.closures(weights, rig), held)
        vertices = person.posed(expression.weights)
        points68 = model.landmarks68(vertices)
        camera = view.camera
        if self.framing == "aligned":
            camera = _aligned(camera, points68, self.size, generator)
        lighting = random_lighting(held, camera.rotation)
        texture = self._texture(person, expression)
        rendering = render(
            self._parts(person, vertices, random_turn(generator)),
            camera,
            lighting,
            texture,
            self._veils(person, vertices),
            SUPERSAMPLING,
        )
        lighting, rendering = _exposed(lighting, rendering, held)
        background = random_background(generator, self.size, self.size)
        linear = rendering.colour + (1.0 - rendering.alpha[..., None]) * background
        points478 = model.landmarks478(vertices)
        parsing = self._parsing.of(rendering, MOUTH_PART if len(self._laid.mouth) else None)
        linear, hidden, occluder = _something_in_front(linear, parsing > 0, camera.project(points478), generator)
        image = photograph(linear, generator)
        if self.even_skin:
            image = (linear_to_srgb(torch.as_tensor(linear).clamp(0, 1)) * 255 + 0.5).to(torch.uint8).numpy()
        light = nearest_harmonic(rendering.skin_normals, rendering.skin_light, lighting.harmonic())
        return Sample(
            image=image,
            seed=self.seed,
            index=index,
            person=person.number,
            camera=camera,
            identity=person.identity,
            key_weights=expression.weights,
            albedo=person.albedo,
            light=light,
            closure=person.closures(expression.weights, rig),
            eye_state=expression.eye_state,
            gaze=expression.gaze,
            yaw=view.yaw,
            pitch=view.pitch,
            landmarks68=camera.project(points68).astype(np.float32),
            visible68=visible(points68, camera, rendering, hidden),
            landmarks478=camera.project(points478).astype(np.float32),
            visible478=visible(points478, camera, rendering, hidden),
            parsing=np.where(hidden, 0, parsing).astype(np.uint8),
            attributes={
                **person.attributes,
                "focal_35mm": view.focal_35mm,
                "distance": view.distance,
                "light": lighting.kind,
                "occluder": occluder,
                "mouth": expression.mouth,
                "brows": expression.brows,
            },
            dense=_dense(rendering, texture.displacement) if self.dense else None,
        )

    def _texture(self, person: Person, expression: Expression) -> SurfaceTexture:
        relief = person.wrinkles.displacement(expression.by_name(self.model.key_names))
        layers = tuple(even(layer) for layer in person.layers) if self.even_skin else person.layers
        return SurfaceTexture(layers, relief, self._laid.uv, self._laid.triangle_uv[self._laid.drawn])

    def _parts(self, person: Person, vertices: np.ndarray, turn: np.ndarray) -> list[Part]:
        triangles = self.model.topology.triangles[self._laid.drawn]
        openness = self._recesses.openness(vertices)
        unused = np.zeros((len(vertices), 3), np.float32)  # the texture has colours and gloss
        head = Part(vertices, triangles, unused, unused[:, 0], openness, closed=True, skin=True)
        laid = self._laid
        on_head = laid.vertices(vertices)
        below, triangles, colours, away = posed(person.shoulders, laid.head, on_head, person.neck_colour, turn)
        dark = float(openness[laid.rim].mean())
        body = Part(below, triangles, colours, 0.3 - 0.2 * away, dark + (0.9 - dark) * away, closed=False, skin=True)
        parts = [head, body]
        if len(laid.mouth):
            light = self._borrowed_mouth.openness(on_head)
            wet = np.full(len(on_head), MOUTH_GLOSS, np.float32)
            parts.append(Part(on_head, laid.mouth, person.head_colours, wet, light, closed=True, skin=False))
        for worn in person.attachments:
            if worn.opacity >= 1.0:
                all_of_it = np.ones(len(worn.vertices), np.float32)
                gloss = worn.gloss * all_of_it
                parts.append(
                    Part(worn.vertices, worn.triangles, worn.colours, gloss, WORN_OPENNESS * all_of_it, False, False)
                )
        return parts

    def _veils(self, person: Person, vertices: np.ndarray) -> list[Veil]:
        veils = []
        if len(self._recesses.lash_triangles):
            lashes = 0.3 * person.lash_colour, person.lash_length, person.lash_density
            veils.append(self._recesses.lashes(vertices, *lashes))
        for worn in person.attachments:
            if worn.opacity < 1.0:
                coverage = np.full(len(worn.vertices), worn.opacity, np.float32)
                between = np.full(len(worn.vertices), 0.25, np.float32)  # neither on a hair nor between two
                veils.append(Veil(worn.vertices, worn.triangles, worn.colours.mean(axis=0), coverage, between))
        return veils


def even(layer: np.ndarray) -> np.ndarray:
    """A layer of a skin (S, S, 4), colours and gloss, that is everywhere as it is in the median."""
    return np.broadcast_to(np.median(layer.reshape(-1, 4)[::37], axis=0), layer.shape).astype(np.float32)


def _aligned(camera: Camera, points68: np.ndarray, size: int, generator: np.random.Generator) -> Camera:
    """The same view in the crop round the face, a little off as after a detector."""
    camera = rolled(camera, generator.uniform(-ALIGNED_ROLL_DEGREES, ALIGNED_ROLL_DEGREES))
    crop = align(camera.project(points68), size)
    larger = generator.uniform(1 - ALIGNED_SCALE_JITTER, 1 + ALIGNED_SCALE_JITTER)
    middle = size / crop.scale / 2  # of the crop, which scales about it
    shift = generator.uniform(-ALIGNED_SHIFT_JITTER, ALIGNED_SHIFT_JITTER, 2) * size / crop.scale
    left, top = (np.array([crop.left, crop.top]) + middle - middle / larger - shift).tolist()
    return AlignedCrop(crop.scale * larger, left, top, size).camera_in(camera)


def _exposed(lighting: Lighting, rendering: Rendering, generator: np.random.Generator) -> tuple[Lighting, Rendering]:
    """Light scaled as a camera's meter would: the face neither black nor burnt out."""
    inside = rendering.part == 0
    level = float(rendering.colour[inside].mean()) if inside.any() else 0.2
    wanted = 0.18 * float(np.exp(generator.normal(0, 0.25)))
    factor = np.float32((wanted / max(level, 1e-4)) ** 0.7)  # dark skin stays darker than pale skin
    values = {**rendering.__dict__, "colour": rendering.colour * factor, "skin_light": rendering.skin_light * factor}
    return lighting.scaled(factor), Rendering(**values)


def _something_in_front(
    linear: np.ndarray, face: np.ndarray, points: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, str]:
    """The picture (H, W, 3), where it is hidden (H, W) bool, and by what; most pictures have nothing in front.

    `face` (H, W) bool says where the face is, `points` (478, 2) pixels where its landmarks are. What would hide too
    much of the face for anyone to know it is left out.
    """
    nothing = linear, np.zeros(linear.shape[:2], bool), "none"
    if generator.random() >= OCCLUDER_SHARE:
        return nothing
    low, high = points.min(axis=0), points.max(axis=0)
    covered, hidden, name = random_occluder(linear, np.concatenate([low, high - low]), generator)
    return (covered, hidden, name) if (hidden & face).sum() <= LARGEST_HIDDEN_SHARE * face.sum() else nothing


def _dense(rendering: Rendering, displacement: np.ndarray) -> DenseLabels:
    on_head = rendering.part == 0
    return DenseLabels(
        depth=np.where(on_head, rendering.depth, 0).astype(np.float32),
        normals=np.where(on_head[..., None], rendering.normals, 0).astype(np.float32),
        displacement=displacement,
    )
