"""A synthetic person: what all pictures of one person share."""

from dataclasses import dataclass, field

import numpy as np

from backend.face_models.albedo import load_albedo_basis
from backend.lid_rig import LidRig
from backend.lids import aperture
from training.albedo_basis import vertex_colours
from training.data.attachment import Attachment
from training.data.glasses import random_glasses
from training.data.hair import random_hair
from training.data.open_head_on import OpenHeadOn
from training.data.sample import SIDES
from training.data.scene import texture_layers
from training.data.shoulders import Shoulders, random_shoulders
from training.data.skin import SkinMaker
from training.data.wrinkles import WrinkleMaker, Wrinkles

TAIL_SHARE = 0.2
TAIL_DEVIATION = 1.2
"""A fifth of the people come from a wider distribution, so that rare faces are seen too."""
GLASSES_SHARE = 0.16
EYE_HALF_WIDTH_M = 0.012
EYE_CLEARANCE_M = 0.005


@dataclass(frozen=True)
class Person:
    """One person.

    Attributes:
        number: of the person.
        identity: (K,) float32 standard deviations.
        neutral: (V, 3) float32 metres, eyes open, mouth shut.
        keys: (keys, V * 3) float32 metres at weight 1, dense.
        layers: colours and gloss on the open head's texture, see `scene.SurfaceTexture`; wrinkles: the relief.
        albedo: (A,) float32, coefficients of the face model's albedo basis (`albedo_of`) nearest to the skin.
        attachments: hair and glasses, on the neutral head.
        shoulders: below the head.
        neck_colour: (3,) float32 linear; head_colours: (S, 3) float32 linear, of the open head's vertices.
        lash_colour: (3,) float32 linear; lash_length: metres; lash_density: of the upper lashes at their roots.
        attributes: what was chosen, by name.
    """

    number: int
    identity: np.ndarray
    neutral: np.ndarray
    keys: np.ndarray
    layers: tuple[np.ndarray, ...]
    wrinkles: Wrinkles
    albedo: np.ndarray
    attachments: tuple[Attachment, ...]
    shoulders: Shoulders
    neck_colour: np.ndarray
    head_colours: np.ndarray
    lash_colour: np.ndarray
    lash_length: float
    lash_density: float
    attributes: dict[str, float | str]
    _apertures: list[float] = field(default_factory=list)

    def posed(self, weights: np.ndarray) -> np.ndarray:
        """(V, 3) float32 metres, with the keys (keys,) set."""
        return self.neutral + (weights @ self.keys).reshape(-1, 3)

    def closures(self, weights: np.ndarray, rig: LidRig) -> np.ndarray:
        """(2,) float32, left then right: `backend.lids.closure` with the keys (keys,) set."""
        margins = np.concatenate([rig.left.loop, rig.right.loop])  # all that a closure looks at
        posed = np.array(self.neutral)
        posed[margins] += np.tensordot(weights, self.keys.reshape(len(self.keys), -1, 3)[:, margins], axes=1)
        own = self._own_apertures(rig)
        found = [1.0 - aperture(posed, rig, side) / max(one, 1e-9) for side, one in zip(SIDES, own, strict=True)]
        return np.clip(found, 0.0, 1.0).astype(np.float32)

    def _own_apertures(self, rig: LidRig) -> list[float]:
        if not self._apertures:
            self._apertures.extend(aperture(self.neutral, rig, side) for side in SIDES)
        return self._apertures


class PersonMaker:
    """Makes people.

    Args:
        laid: the open head on the face model that people are made of.
        texels: side of the skins' textures.
    """

    def __init__(self, laid: OpenHeadOn, texels: int) -> None:
        self._laid = laid
        self._skins = SkinMaker(laid.head, texels)
        self._wrinkles = WrinkleMaker(laid.head, texels, fields=self._skins.fields)
        self._own_albedo = getattr(laid.model, "albedo", None)
        self._own_texels = laid.texels(texels)

    def random(self, number: int, generator: np.random.Generator) -> Person:
        """A person, `number` of some series, all chance from the generator."""
        model, head = self._laid.model, self._laid.head
        deviation = TAIL_DEVIATION if generator.random() < TAIL_SHARE else 1.0
        identity = (generator.normal(size=model.identity_size) * deviation).astype(np.float32)
        neutral = model.neutral(identity)
        offsets = model.key_offsets(neutral)
        skin = self._skins.random(generator)
        look = skin.parameters
        colours = vertex_colours(skin.albedo, self._skins.fields.vertex_texels)
        on_head = self._laid.vertices(neutral)
        hair_colour = np.array([look["hair_red"], look["hair_green"], look["hair_blue"]], np.float32)
        hair = _out_of_the_eyes(random_hair(head, on_head, generator, hair_colour), model.eye_centres(neutral))
        glasses = random_glasses(head, on_head, generator) if generator.random() < GLASSES_SHARE else []
        return Person(
            number=number,
            identity=identity,
            neutral=neutral,
            keys=offsets.dense(len(neutral)).reshape(len(offsets.names), -1),
            wrinkles=self._wrinkles.random(generator, float(look["age"])),
            layers=texture_layers(skin.albedo, skin.gloss),
            albedo=self._albedo(skin.albedo, colours),
            attachments=tuple(hair + glasses),
            shoulders=random_shoulders(generator),
            neck_colour=colours[head.data["neck_loop"]].mean(axis=0),
            head_colours=colours,
            lash_colour=(hair_colour * 0.3).astype(np.float32).clip(0.002, 0.03),
            lash_length=generator.uniform(0.006, 0.010),
            lash_density=generator.uniform(1.6, 3.4),
            attributes={
                **look,
                "hair": ", ".join(dict.fromkeys(part.name for part in hair)) or "none",
                "glasses": "worn" if glasses else "none",
            },
        )

    def _albedo(self, texture: np.ndarray, head_colours: np.ndarray) -> np.ndarray:
        """Codes of a skin; a model without colours of its own has those of the open head, see `albedo_of`."""
        if self._own_albedo is None:
            return load_albedo_basis().nearest(head_colours)
        return self._own_albedo.nearest(vertex_colours(texture, self._own_texels))


def _out_of_the_eyes(hair: list[Attachment], eyes: np.ndarray) -> list[Attachment]:
    """Hair without the fringe if that hangs before both eyes, whose centres are (2, 3) metres: it is brushed aside."""
    fringes = [part.vertices for part in hair if part.name == "fringe"]
    if not fringes:
        return hair
    points = np.concatenate(fringes)
    before = [
        (np.abs(points[:, 0] - x) < EYE_HALF_WIDTH_M) & (points[:, 1] < y + EYE_CLEARANCE_M) & (points[:, 2] > z)
        for x, y, z in eyes
    ]
    both = all(found.any() for found in before)
    return [part for part in hair if part.name != "fringe"] if both else hair
