"""Where faces wrinkle, how deep, and what drives each wrinkle.

Lines are given on the subject's left half of the average head as seen from in front, millimetres from the middle of the
eyes: x towards the subject's left, y up. Drivers are ARKit keys; `{side}` stands for Left and Right.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class WrinkleGroup:
    """Lines that come and go together.

    Attributes:
        lines: of points (x, y) in millimetres, each line with at least two.
        depth: of a line, millimetres, of an old person with the key at 1; width: standard deviation of its profile.
        drivers: key -> how much of the depth it brings at weight 1.
        rest: the share of the depth that an old person has at rest.
        rim: height of the folds beside a line, as a share of its depth.
    """

    lines: tuple[tuple[tuple[float, float], ...], ...]
    depth: float
    width: float
    drivers: dict[str, float]
    rest: float
    rim: float = 0.5


def _forehead(x_from: float, x_to: float, sag: float) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Four lines across a part of the forehead, which follow the brow's arch."""
    steps = [x_from + (x_to - x_from) * share / 4 for share in range(5)]
    return tuple(tuple((x, y + sag * (x / 40) ** 2 * -6 + 1.5 * (x / 25)) for x in steps) for y in (34, 41, 48, 55))


WRINKLES = {
    "forehead, middle": WrinkleGroup(
        _forehead(-2, 26, 0.6), 0.55, 0.95, {"browInnerUp": 1.0, "browOuterUp{side}": 0.35}, 0.45
    ),
    "forehead, side": WrinkleGroup(_forehead(22, 50, 1.0), 0.45, 0.95, {"browOuterUp{side}": 1.0}, 0.35),
    "frown": WrinkleGroup(
        (((6.5, 9), (7.5, 17), (8, 24), (6.5, 31)), ((11, 13), (12.5, 20), (12, 26))),
        0.75,
        0.9,
        {"browDown{side}": 1.0, "noseSneer{side}": 0.3},
        0.45,
    ),
    "root of the nose": WrinkleGroup(
        (((-1, 5.5), (3, 5.0), (7.5, 2.5)), ((-1, 9.5), (4, 9), (8, 7))),
        0.4,
        0.8,
        {"browDown{side}": 0.5, "noseSneer{side}": 0.8},
        0.2,
    ),
    "side of the nose": WrinkleGroup(
        (((5, 0), (9, -5), (12, -11)), ((4, -5), (8, -10), (11, -16)), ((8, 3), (12, -2))),
        0.4,
        0.75,
        {"noseSneer{side}": 1.0, "mouthSmile{side}": 0.15, "cheekSquint{side}": 0.25},
        0.1,
    ),
    "crow's feet": WrinkleGroup(
        (
            ((50, 2), (55, 6.5), (60, 13)),
            ((51, -0.5), (57, 1.5), (63.5, 3.5)),
            ((50.5, -3.5), (56, -5.5), (62.5, -7)),
            ((48.5, -7), (53, -11.5), (58.5, -15.5)),
            ((46, -9.5), (50, -15), (54, -20)),
        ),
        0.45,
        0.65,
        {"eyeSquint{side}": 0.75, "cheekSquint{side}": 0.6, "mouthSmile{side}": 0.5, "browDown{side}": 0.2},
        0.5,
    ),
    "below the eye": WrinkleGroup(
        (
            ((15, -7), (19, -12.5), (26, -15.8), (34, -16), (40, -13.5)),
            ((21, -9.8), (27, -11.6), (34, -11.8), (40, -10)),
        ),
        0.5,
        0.9,
        {"eyeSquint{side}": 0.7, "cheekSquint{side}": 0.7, "mouthSmile{side}": 0.3},
        0.6,
    ),
    "tear trough": WrinkleGroup(
        (((12.5, -8), (16, -15), (23, -20.5), (31, -23)),), 0.7, 2.2, {"cheekSquint{side}": 0.4}, 0.75, rim=0.2
    ),
    "nasolabial": WrinkleGroup(
        (((15.5, -31), (20, -37), (25.5, -46), (30, -56), (33, -66)),),
        1.15,
        1.4,
        {
            "mouthSmile{side}": 0.9,
            "noseSneer{side}": 0.7,
            "mouthUpperUp{side}": 0.6,
            "cheekSquint{side}": 0.4,
            "mouthDimple{side}": 0.4,
            "mouthStretch{side}": 0.4,
        },
        0.6,
        rim=0.8,
    ),
    "smile line": WrinkleGroup(
        (((36, -57), (40.5, -66), (40, -76), (36, -84)),),
        0.6,
        1.2,
        {"mouthSmile{side}": 0.75, "mouthDimple{side}": 0.6, "mouthStretch{side}": 0.6},
        0.1,
        rim=0.6,
    ),
    "corner of the mouth": WrinkleGroup(
        (((27.5, -70), (29, -78), (28.5, -87), (26, -94)),),
        0.75,
        1.1,
        {"mouthFrown{side}": 0.9, "mouthStretch{side}": 0.3, "mouthPress{side}": 0.3, "jawOpen": 0.1},
        0.5,
        rim=0.7,
    ),
    "dimple": WrinkleGroup(
        (((31, -64.5), (32.5, -68.5), (31.5, -72.5)),),
        0.8,
        1.3,
        {
            "mouthDimple{side}": 1.0,
            "mouthSmile{side}": 0.6,
            "mouthPress{side}": 0.5,
            "mouthLeft": 0.1,
            "mouthRight": 0.1,
        },
        0.1,
    ),
    "below the lip": WrinkleGroup(
        (((-1, -88.5), (6, -88.8), (12, -90.5), (17, -93.5)),),
        0.75,
        1.5,
        {"mouthShrugLower": 0.9, "mouthRollLower": 0.4, "mouthPucker": 0.25, "mouthPress{side}": 0.3},
        0.35,
    ),
    "above the lip": WrinkleGroup(
        (((4, -47.5), (4.3, -52.5)), ((8.5, -48), (9, -53.5)), ((13, -50), (14, -55.5)), ((17.5, -53.5), (19, -58)))
        + (((6, -85), (6, -81)), ((11, -84), (11.5, -80))),
        0.3,
        0.6,
        {"mouthPucker": 0.9, "mouthFunnel": 0.2, "mouthRollUpper": 0.3},
        0.4,
    ),
    "neck": WrinkleGroup(
        (((-2, -134), (15, -133), (30, -128)), ((-2, -147), (15, -146), (32, -140))), 0.6, 1.2, {}, 0.8, rim=0.3
    ),
}
"""By name. Depths are chosen by eye, beside photographs."""
