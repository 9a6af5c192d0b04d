"""Skins of synthetic people as textures of the open head, painted by pigment."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from backend.face_models.open_head import OpenHead
from backend.texture_parts import paint_parts
from training.data.beard_strokes import BeardPainter
from training.data.brow_strokes import BrowPainter, BrowStyle
from training.data.clouds import clouds
from training.data.iris import EyePainter
from training.data.pigment import random_hair_colour, random_melanin, skin_colour
from training.data.skin_fields import BLOBS, SkinFields, Window, smooth

GAMMA = 2.2
PARTS_GREY = 128
NOISE = {"patches": (10, 5), "blotches": (42, 5), "grain": (150, 4), "speckle": (330, 4)}
"""Name -> lumps across the texture, and how many such fields are kept to choose from."""
MASK_BLURS_M = {"ears": 0.004, "nose": 0.006, "forehead": 0.009, "neck": 0.008, "scalp": 0.006}
BORDER_M = 0.0016
"""Half the width of the paler rim round the lips."""
BEARDED_SHARE = 0.36
MADE_UP_SHARE = 0.36
FRECKLED_SHARE = 0.22
GLOSSIEST_SKIN = 0.85
"""Above it come only the eyes, which are wet."""
LASH_LINE = np.array([0.010, 0.008, 0.007], np.float32)


@dataclass(frozen=True)
class Skin:
    """What a person looks like.

    Attributes:
        albedo: (S, S, 3) float32 linear, the whole UV layout of the open head (skin, eyeballs, mouth, teeth, lashes),
            first row at v = 1.
        gloss: (S, S) float32 in [0, 1], strength of the specular lobe; 1 on the eyes.
        parameters: melanin, haemoglobin, age (0 to 1), stubble, make_up, freckles (0 to 1), iris, hair_colour (names),
            hair_red, hair_green, hair_blue (linear).
    """

    albedo: np.ndarray
    gloss: np.ndarray
    parameters: dict[str, float | str]


@dataclass(frozen=True)
class _Look:
    """What is chosen for a person before anything is painted."""

    melanin: float
    haemoglobin: float
    age: float
    beard: float
    made_up: bool
    freckles: float
    hair: np.ndarray


class SkinMaker:
    """Makes skins of random people. Takes about a second to set up.

    Args:
        model: the head.
        size: S, side of the textures.
    """

    def __init__(self, model: OpenHead, size: int = 512) -> None:
        self.fields = SkinFields(model, size)
        fields, self._size = self.fields, size
        constant = np.random.default_rng(0)  # the same for all people; what varies is which of it is used, and where
        self._noise = {
            name: [clouds(constant, size, size, cells * size // 512) for _ in range(count)]
            for name, (cells, count) in NOISE.items()
        }
        masks = {name: fields.mask(name, blur) for name, blur in MASK_BLURS_M.items()}
        self._upper, self._lower = fields.lid_distance("upper"), fields.lid_distance("lower")
        regions = {name: fields.blob(name) for name in BLOBS}
        regions |= {name: masks[name] for name in ("ears", "nose", "forehead", "neck")}
        regions["lids"] = np.exp(-((self._upper / 0.008) ** 2)) * fields.skin
        regions["lid margins"] = np.exp(-((np.minimum(self._upper, self._lower) / 0.0014) ** 2)) * fields.skin
        regions["lips"] = fields.lips
        around = cv2.GaussianBlur(fields.lips, (0, 0), BORDER_M * fields.texels_per_metre)
        regions["vermilion border"] = 4 * around * (1 - around) * (1 - fields.lips)
        regions["inner lips"] = fields.lips * self._inner_lips()
        beard = fields.beard()
        regions["beard"] = beard
        self._names = list(regions)
        self._regions = np.stack([regions[name] for name in self._names]).astype(np.float32).reshape(len(regions), -1)
        self._lips, self._scalp = Window.around(regions["lips"]), Window.around(np.clip(1.3 * masks["scalp"], 0, 1))
        self._eyes = Window.around((np.minimum(self._upper, self._lower) < 0.02).astype(np.float32))
        self._painted = self._parts(model)
        self._not_skin = np.nonzero(~fields.skin)
        self._painted_there = self._painted[self._not_skin]
        self._brows, self._beard = BrowPainter(fields), BeardPainter(fields, beard)
        self._eye_painter = EyePainter(fields)

    def random(self, generator: np.random.Generator) -> Skin:
        """A skin of any tone and age; hair, brows and irises go with it."""
        age, melanin = float(generator.beta(1.3, 1.7)), random_melanin(generator)
        hair_name, hair = random_hair_colour(generator, melanin, age)
        bearded = generator.random() < BEARDED_SHARE
        freckles = generator.uniform(0.2, 1.0) if melanin < 1.0 and generator.random() < FRECKLED_SHARE else 0.0
        look = _Look(
            melanin=melanin,
            haemoglobin=float(generator.uniform(0.22, 0.7)),
            age=age,
            beard=float(generator.uniform(0.05, 1.0)) if bearded else 0.0,
            made_up=not bearded and generator.random() < MADE_UP_SHARE / (1 - BEARDED_SHARE),
            freckles=float(freckles),
            hair=hair,
        )
        brown, red = self._pigments(look, generator)
        albedo = skin_colour(brown, red)
        gloss = self._gloss(look, generator)
        self._grow_hair(albedo, gloss, look, generator)
        make_up = self._make_up(albedo, gloss, generator) if look.made_up else 0.0
        self._line_lids(albedo, look, generator)
        albedo[self._not_skin] = self._painted_there
        gloss[self._not_skin] = 0.6
        iris = self._eye_painter.paint(albedo, gloss, melanin, age, generator)
        parameters = {
            "melanin": melanin,
            "haemoglobin": look.haemoglobin,
            "age": age,
            "stubble": look.beard,
            "make_up": make_up,
            "freckles": look.freckles,
            "iris": iris,
            "hair_colour": hair_name,
            **dict(zip(("hair_red", "hair_green", "hair_blue"), hair.tolist(), strict=True)),
        }
        return Skin(albedo, gloss, parameters)

    def _pigments(self, look: _Look, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Melanin and haemoglobin of the skin: (S, S) float32 each."""
        uniform = generator.uniform
        even = 0.45 if look.made_up else 1.0  # foundation
        some = min(look.melanin, 1.3) + 0.06
        brown_by = {
            "below eye": uniform(0, 0.3) * even * (0.3 + some),
            "inner eye": uniform(0, 0.25) * even * (0.2 + some),
            "lids": uniform(-0.05, 0.3) * (0.15 + some),
            "forehead": uniform(-0.04, 0.12) * some,
            "temple": uniform(0, 0.1) * some,
            "cheek": uniform(-0.12, 0.02) * some,
            "mouth corner": uniform(0, 0.2) * some * even,
            "below lip": uniform(0, 0.15) * some,
            "neck": uniform(-0.1, 0.2) * some,
            "lips": uniform(0.0, 0.3) * look.melanin - 0.05,
            "vermilion border": uniform(-0.12, 0.08) * some,
            "beard": uniform(0, 0.12) if look.beard else 0.0,
        }
        flushed = uniform(0, 1) ** 1.5 * even
        red_by = {
            "cheek": 0.30 * flushed + uniform(0.04, 0.26),
            "apple": 0.28 * flushed + uniform(0, 0.1),
            "nose tip": uniform(0, 0.4) * even,
            "nose wing": uniform(0.05, 0.45) * even,
            "chin": uniform(-0.1, 0.12) * even,
            "ears": uniform(0.1, 0.6),
            "forehead": uniform(-0.16, 0.08),
            "between brows": uniform(0, 0.12),
            "below eye": uniform(0, 0.35) * even,
            "inner eye": uniform(0.05, 0.35) * even,
            "lids": uniform(-0.1, 0.2),
            "lid margins": uniform(0.25, 0.9),
            "lips": uniform(0.5, 1.2) / look.haemoglobin + uniform(0.0, 0.4),
            "inner lips": uniform(0.1, 0.7),
            "neck": uniform(-0.1, 0.15),
            "beard": -uniform(0, 0.1) if look.beard else 0.0,
        }
        brown, red = (
            (np.array([by.get(name, 0.0) for name in self._names], np.float32) @ self._regions).reshape(
                self._size, self._size
            )
            for by in (brown_by, red_by)
        )
        uneven = even * (0.6 + 0.9 * look.age)
        for name, amount in (("patches", 0.06), ("blotches", 0.05 * uneven), ("grain", 0.045), ("speckle", 0.04)):
            brown += np.float32(some * amount * uniform(0.5, 1.2)) * self._some_noise(name, generator)
        brown += look.melanin
        for name, amount in (("patches", 0.10), ("blotches", 0.10 * uneven), ("grain", 0.09), ("speckle", 0.09)):
            red += np.float32(amount * uniform(0.4, 1.1)) * self._some_noise(name, generator)
        red += 1.0
        red *= np.float32(look.haemoglobin)
        brown += self._spots(look, even, generator)
        np.maximum(brown, 0.02, out=brown)
        return brown, np.maximum(red, 0.05, out=red)

    def _spots(self, look: _Look, even: float, generator: np.random.Generator) -> np.ndarray:
        """Melanin of freckles, moles and the spots of age, (S, S) float32."""
        spots = np.zeros((self._size, self._size), np.float32)
        scale = self._size / 512
        faces = np.array([60, 60, 452, 440]) * scale  # left, top, right, bottom of what cameras see

        def dots(count: int, radii: tuple[float, float], depths: tuple[float, float]) -> None:
            places = generator.uniform(faces[:2], faces[2:], (count, 2))
            for place, radius, depth in zip(
                places, generator.uniform(*radii, count), generator.uniform(*depths, count), strict=True
            ):
                middle = np.round(place * 16).astype(int).tolist()
                cv2.circle(spots, middle, max(int(radius * scale * 16), 6), float(depth), -1, cv2.LINE_AA, 4)

        if look.freckles:
            dots(int(900 * look.freckles), (0.3, 1.0), (0.15, 0.9 * even))
            freckled = self._region("cheek") + self._region("nose") + 0.35 * self._region("forehead")
            spots *= np.clip(1.6 * freckled + 0.08, 0, 1)
        if look.age > 0.6:
            dots(int(30 * (look.age - 0.6) * generator.uniform(0, 2)), (1.0, 3.5), (0.1, 0.4 * even))
        if look.freckles or look.age > 0.6:
            spots = cv2.GaussianBlur(spots, (0, 0), 0.7)
        dots(generator.integers(0, 9), (0.5, 1.4), (0.4, 1.8))
        return spots

    def _gloss(self, look: _Look, generator: np.random.Generator) -> np.ndarray:
        uniform = generator.uniform
        oily = uniform(0, 1) * (0.5 if look.made_up else 1.0)
        by = {
            "forehead": 0.25 * oily,
            "nose": 0.30 * oily,
            "apple": 0.15 * oily,
            "chin": 0.12 * oily,
            "lips": uniform(0.05, 0.3),
            "lid margins": 0.25,
            "lids": 0.1 * oily,
            "neck": -0.12,
            "beard": -0.2 * look.beard,
        }
        weights = np.array([by.get(name, 0.0) for name in self._names], np.float32)
        gloss = (weights @ self._regions).reshape(self._size, self._size) + np.float32(uniform(0.25, 0.5))
        gloss += np.float32(0.05) * self._some_noise("blotches", generator)
        return np.clip(gloss, 0.05, GLOSSIEST_SKIN, out=gloss)

    def _grow_hair(self, albedo: np.ndarray, gloss: np.ndarray, look: _Look, generator: np.random.Generator) -> None:
        """Brows, beard and shaved scalp."""
        if look.beard:
            grown = self._beard.cover(look.beard, generator)
            colour = look.hair * np.float32(generator.uniform(0.6, 1.0)) * np.array([1.05, 1.0, 0.95], np.float32)
            _paint(albedo, colour, grown)
        stubbly = generator.uniform(0.1, 0.9)
        growth = 0.75 + 0.25 * self._scalp.of(self._some_noise("speckle", generator))
        _paint(albedo, look.hair, self._scalp, np.clip(stubbly * growth, 0, 0.95))
        brows = self._brows.cover(BrowStyle.random(generator, look.made_up), generator)
        darkness = generator.uniform(0.2, 0.65) if look.hair.mean() > 0.1 else generator.uniform(0.6, 1.0)
        _paint(albedo, look.hair * np.float32(darkness), brows)
        covered = brows.of(gloss)
        covered *= 1 - 0.5 * brows.share

    def _make_up(self, albedo: np.ndarray, gloss: np.ndarray, generator: np.random.Generator) -> float:
        """Paints lips, lids and cheeks. Returns how much of it there is, 0 to 1."""
        uniform = generator.uniform
        amount = float(uniform(0.1, 1.0))
        green = uniform(0.01, 0.17)
        lipstick = np.array([uniform(0.24, 0.55), green, green * uniform(0.7, 1.25)], np.float32)
        _paint(albedo, lipstick, self._lips, amount * uniform(0.2, 0.95))
        shine = self._lips.of(gloss)
        shine += self._lips.share * np.float32(uniform(0, 0.3))
        np.minimum(shine, GLOSSIEST_SKIN, out=shine)
        upper = self._eyes.of(self._upper)
        shadow = uniform([0.03, 0.015, 0.015], [0.42, 0.30, 0.30]).astype(np.float32)
        if generator.random() < 0.15:
            shadow = uniform(0.02, 0.4, 3).astype(np.float32)  # any colour
        reach = uniform(0.006, 0.013)
        _paint(albedo, shadow, self._eyes, np.exp(-((upper / reach) ** 2)) * amount * uniform(0, 0.6))
        blush = Window(slice(None), slice(None), self._region("cheek"))
        if generator.random() < 0.5:
            _paint(albedo, np.array([0.5, 0.14, 0.13], np.float32), blush, amount * uniform(0, 0.35))
        return amount

    def _line_lids(self, albedo: np.ndarray, look: _Look, generator: np.random.Generator) -> None:
        """The dark line at the roots of the lashes; liner is darker, wider and often below the eye as well."""
        liner = generator.uniform(0.2, 1.0) if look.made_up else 0.0
        upper, lower = self._eyes.of(self._upper), self._eyes.of(self._lower)
        width = 0.0012 + 0.0010 * liner
        line = generator.uniform(0.6, 0.95)
        share = line * np.exp(-((upper / width) ** 2)) + 0.22 * line * np.exp(-((upper / 0.0028) ** 2))
        share += (0.3 * line + 0.3 * liner * generator.uniform(0, 1)) * np.exp(-((lower / 0.0008) ** 2))
        colour = LASH_LINE + np.float32(0.18 * (1 - liner)) * look.hair
        _paint(albedo, colour, self._eyes, np.clip(share, 0, 0.95))

    def _some_noise(self, name: str, generator: np.random.Generator) -> np.ndarray:
        """(S, S) one of the kept fields, mirrored or not."""
        field = self._noise[name][generator.integers(len(self._noise[name]))]
        flip = generator.integers(4)
        return field[:: 1 - 2 * (flip & 1), :: 1 - (flip & 2)]

    def _region(self, name: str) -> np.ndarray:
        return self._regions[self._names.index(name)].reshape(self._size, self._size)

    def _inner_lips(self) -> np.ndarray:
        """(S, S) in [0, 1], 1 where the lips meet."""
        model = self.fields.model
        inner = model.points68.apply(model.mean)[60:68]
        line = np.concatenate([inner[:5], inner[4:], inner[:1]])
        dense = np.concatenate(
            [a + np.linspace(0, 1, 12)[:, None] * (b - a) for a, b in zip(line, line[1:], strict=False)]
        )
        result = np.zeros(self.fields.skin.shape, np.float32)
        near = np.nonzero(self.fields.skin & (np.abs(self.fields.place - dense.mean(axis=0)).max(axis=-1) < 0.03))
        away = np.linalg.norm(self.fields.place[near][:, None] - dense[None].astype(np.float32), axis=-1).min(axis=1)
        result[near] = 1 - smooth(0.001, 0.006, away)
        return result

    def _parts(self, model: OpenHead) -> np.ndarray:
        """(S, S, 3) linear: what is no skin, the same for everybody but for the eyes."""
        painted = np.full((self._size, self._size, 3), PARTS_GREY, np.uint8)
        paint_parts(model, painted, [])
        return ((painted / 255.0) ** GAMMA).astype(np.float32)


def _paint(albedo: np.ndarray, colour: np.ndarray, window: Window, share: float | np.ndarray = 1.0) -> None:
    """Blends a colour (3,) into a window of the albedo, by its share times the one given."""
    part = window.of(albedo)
    cover = (window.share * share).astype(np.float32)[..., None]
    part += cover * (np.asarray(colour, np.float32) - part)
