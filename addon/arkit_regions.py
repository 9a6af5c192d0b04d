"""The 52 ARKit shape keys as a person looks for them: by region, left and right together, with what each one does.

No bpy here. Left and right are the person's own. The names and their meaning are those of Apple's
ARFaceAnchor.BlendShapeLocation; the words are ours.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Slider:
    """One line of sliders.

    Attributes:
        label: what is beside the slider.
        keys: one key, or the left and the right one.
        tooltip: what happens at value 1.
        is_direction: left and right are where something in the middle of the face moves to, not sides of the face.
    """

    label: str
    keys: tuple[str, ...]
    tooltip: str
    is_direction: bool = False


@dataclass(frozen=True)
class Region:
    """A part of the face: `name` for programs, `label` for people, its sliders from top to bottom."""

    name: str
    label: str
    sliders: tuple[Slider, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys of the region."""
        return tuple(key for slider in self.sliders for key in slider.keys)


def _one(label: str, key: str, tooltip: str) -> Slider:
    return Slider(label, (key,), tooltip)


def _both(label: str, stem: str, tooltip: str) -> Slider:
    return Slider(label, (f"{stem}Left", f"{stem}Right"), tooltip)


def _sideways(stem: str, tooltip: str) -> Slider:
    return Slider("Sideways", (f"{stem}Left", f"{stem}Right"), tooltip, is_direction=True)


REGIONS = (
    Region(
        "brow",
        "Brows",
        (
            _one("Inner Up", "browInnerUp", "Lifts the inner ends of both brows, as in worry or sadness"),
            _both("Outer Up", "browOuterUp", "Lifts the outer part of the brow, as in surprise"),
            _both("Down", "browDown", "Pulls the brow down and inwards, as in anger or effort"),
        ),
    ),
    Region(
        "eye",
        "Eyes",
        (
            _both("Blink", "eyeBlink", "Closes the upper lid all the way"),
            _both("Squint", "eyeSquint", "Narrows the eye: the lower lid comes up, as in bright light or a real smile"),
            _both("Wide", "eyeWide", "Opens the lids further than at rest"),
            _both("Look Up", "eyeLookUp", "Turns the eyeball up; the lids follow"),
            _both("Look Down", "eyeLookDown", "Turns the eyeball down; the upper lid follows"),
            _both("Look In", "eyeLookIn", "Turns the eyeball towards the nose"),
            _both("Look Out", "eyeLookOut", "Turns the eyeball towards the temple"),
        ),
    ),
    Region(
        "cheek",
        "Cheeks",
        (
            _one("Puff", "cheekPuff", "Fills both cheeks with air"),
            _both("Squint", "cheekSquint", "Lifts the cheek below the eye, as in a broad smile"),
        ),
    ),
    Region(
        "jaw",
        "Jaw",
        (
            _one("Open", "jawOpen", "Lets the jaw drop; the mouth opens with it"),
            _one("Forward", "jawForward", "Pushes the lower jaw out"),
            _sideways("jaw", "Moves the lower jaw to the person's own left or right"),
        ),
    ),
    Region(
        "mouth",
        "Mouth",
        (
            _one("Close", "mouthClose", "Brings the lips together while the jaw is open: use it with Jaw Open"),
            _one("Funnel", "mouthFunnel", "Opens the lips to a funnel, as in 'oh'"),
            _one("Pucker", "mouthPucker", "Rounds the closed lips, as for a kiss"),
            _sideways("mouth", "Moves both lips to the person's own left or right"),
            _both("Smile", "mouthSmile", "Draws the corner of the mouth up and outwards"),
            _both("Frown", "mouthFrown", "Draws the corner of the mouth down"),
            _both("Dimple", "mouthDimple", "Presses the corner of the mouth back into the cheek"),
            _both("Stretch", "mouthStretch", "Pulls the corner of the mouth straight outwards"),
            _one("Roll Upper", "mouthRollUpper", "Rolls the upper lip inwards over the teeth"),
            _one("Roll Lower", "mouthRollLower", "Rolls the lower lip inwards over the teeth"),
            _one("Shrug Upper", "mouthShrugUpper", "Pushes the upper lip outwards and up"),
            _one("Shrug Lower", "mouthShrugLower", "Pushes the lower lip and the chin up, as in a pout"),
            _both("Press", "mouthPress", "Presses the lips together at this side"),
            _both("Upper Up", "mouthUpperUp", "Lifts the upper lip, so that the teeth show"),
            _both("Lower Down", "mouthLowerDown", "Lowers the lower lip, so that the teeth show"),
        ),
    ),
    Region(
        "nose",
        "Nose",
        (_both("Sneer", "noseSneer", "Lifts the side of the nose, as in disgust"),),
    ),
    Region(
        "tongue",
        "Tongue",
        (_one("Out", "tongueOut", "Puts the tongue out; open the jaw as well"),),
    ),
)
REGION_OF_NAME = {region.name: region for region in REGIONS}
ALL_KEYS = tuple(key for region in REGIONS for key in region.keys)
SLIDER_OF_KEY = {key: slider for region in REGIONS for slider in region.sliders for key in slider.keys}


def keys_of(region: str) -> tuple[str, ...]:
    """The keys of a region by its name, of the whole face for "all". Raises KeyError for another name."""
    return ALL_KEYS if region == "all" else REGION_OF_NAME[region].keys


def opposite(key: str) -> str:
    """The same key on the other side of the face; the key itself where it has no side."""
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if key.endswith(side):
            return key.removesuffix(side) + other
    return key
