"""Which shape keys make skin wrinkle together: for each group a displacement map is made. Standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WrinkleGroup:
    """Keys that share a map.

    Attributes:
        left, right: ARKit's names of the keys that raise the wrinkles of each half of the face (the subject's own).
    """

    left: tuple[str, ...]
    right: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """All of its keys, each once."""
        return tuple(dict.fromkeys(self.left + self.right))


def _of(*names: str) -> WrinkleGroup:
    """A group by the names of its keys; `*` stands for Left and for Right."""
    left, right = (tuple(name.replace("*", side) for name in names) for side in ("Left", "Right"))
    return WrinkleGroup(left, right)


WRINKLE_GROUPS = {
    "brows_up": _of("browInnerUp", "browOuterUp*"),
    "brows_down": _of("browDown*"),
    "squint": _of("eyeSquint*", "cheekSquint*"),
    "blink": _of("eyeBlink*"),
    "nose_sneer": _of("noseSneer*"),
    "smile": _of("mouthSmile*"),
    "mouth_stretch": _of("mouthStretch*"),
    "pucker": _of("mouthPucker"),
}
"""By the name of the map."""
