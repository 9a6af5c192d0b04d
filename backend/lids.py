"""Lids that rest on the eyeball and shut over it, solved for each identity.

A lid is the closed loop of vertices where skin ends and socket lining begins (the margin) and its followers: skin,
lining and lash vertices whose movement is a mix of what the margin does. Everything is computed in the frame of one
eyeball: a hinge axis through its centre from canthus to canthus, an angle about that axis and a height over the ball.
Turning about the hinge keeps the height, so a lid that shuts by turning slides over the ball; the arc is stored as a
shape key plus a corrective driven by 4 w (1 - w), together a parabola through rest, half-way and shut.

Works for any face model: `backend.lid_rig.build_eye_rig` makes the rig from its mesh and margin loop. Lengths are
metres in model space (+Y up, +Z out of the face, +X to the subject's left). numpy only.
"""

from dataclasses import dataclass

import numpy as np

from backend.lid_rig import EYE, LASH, LINING, SIDES, SKIN, Eyeball, EyeRig, LidRig, canthi, opening

MARGIN_CLEARANCE = 0.00035  # inner edge of the margin over the ball
SKIN_CLEARANCE = 0.0010  # lid skin over the ball, reached SKIN_CLEARANCE_REACH away from the margin
SKIN_CLEARANCE_REACH = 0.006
LINING_DEPTH = 0.0007  # lining below the ball's surface, where no one sees it
UPPER_SHARE = 0.87  # of the way to shut, done by the upper lid
CLOSED_OVERLAP = 0.0004  # of upper over lower margin when shut
UPPER_REACH = 0.017  # skin this far from the margin no longer moves when the upper lid shuts
LOWER_REACH = 0.012
FIT_REACH = 0.016  # skin this far from the margin is left alone when lids are laid on the ball
LINING_REACH = 0.012
PLATE_LENGTH = 0.002  # skin this close to the margin moves with it as a stiff plate
FLATTENING = 0.5  # share of the height over the ball that fully travelled lid skin gives up
CORNER_ANGLE = np.radians(55.0)  # margins this far off the gaze axis leave the ball towards the canthus
CORNER_DEPTH = 0.005  # how far behind the point of leaving a canthus may lie


@dataclass(frozen=True)
class LidMotion:
    """One person's blink of one eye: `neutral + w * offset + 4 w (1 - w) * corrective`.

    Attributes:
        index: (N,) int64 vertices; offset, corrective: (N, 3) float64 metres.
    """

    index: np.ndarray
    offset: np.ndarray
    corrective: np.ndarray

    def apply(self, vertices: np.ndarray, weight: float) -> np.ndarray:
        """`vertices` (V, 3) with the lids at `weight`, as a new array."""
        result = np.array(vertices)
        result[self.index] += weight * self.offset + 4.0 * weight * (1.0 - weight) * self.corrective
        return result


def place_eyeballs(neutral: np.ndarray, rig: LidRig) -> np.ndarray:
    """Where the balls rest behind the lid openings of a face.

    Sideways and in height the centre is a fixed point of the opening (linear in the face); in depth the ball touches
    the margins on average, those near the gaze axis counting most.

    Args:
        neutral: (V, 3) metres, before or after `fit_lids`.

    Returns:
        (2, 3) float64, left and right centre.
    """
    radius = rig.eyeball.radius + MARGIN_CLEARANCE
    centres = np.zeros((2, 3))
    for row, side in enumerate(SIDES):
        eye = rig.eye(side)
        inner, outer = canthi(eye, neutral)
        middle, height = opening(eye, neutral)
        centre_x = inner[0] + eye.centre[0] * (outer[0] - inner[0])
        centre_y = middle + eye.centre[1] * height
        margin = neutral[eye.loop].astype(float)
        off_axis = np.hypot(margin[:, 0] - centre_x, margin[:, 1] - centre_y)
        reached = np.minimum(off_axis, radius * np.sin(CORNER_ANGLE))
        weight = np.exp(-((off_axis / (radius / 2)) ** 2))
        centre_z = ((margin[:, 2] - np.sqrt(radius**2 - reached**2)) * weight).sum() / weight.sum()
        centres[row] = centre_x, centre_y, centre_z
    return centres


def fit_lids(neutral: np.ndarray, centres: np.ndarray, rig: LidRig) -> np.ndarray:
    """The face with its lids laid on the balls.

    Margins move along the gaze axis (so the face seen from the front keeps its eye openings) until they touch; skin,
    lining and lashes follow with a smooth falloff; skin still too close to the ball is lifted; lining sinks below the
    ball's surface.

    Args:
        neutral: (V, 3) metres.
        centres: (2, 3) metres, left and right.

    Returns:
        (V, 3) float64, a new array.
    """
    result = np.array(neutral, dtype=float)
    for centre, side in zip(np.asarray(centres, float), SIDES, strict=True):
        eye = rig.eye(side)
        margin = result[eye.loop] - centre
        shift = _resting_depth(margin, rig.eyeball) - margin[:, 2]
        reach = np.where(eye.kind == LINING, LINING_REACH, FIT_REACH)
        result[eye.loop, 2] += shift
        result[eye.followers, 2] += _falloff(eye, reach) * (eye.share @ shift)
        result[eye.followers] = centre + _keep_clear(result[eye.followers] - centre, eye, rig.eyeball)
    return result


def blink_offsets(neutral: np.ndarray, centres: np.ndarray, rig: LidRig, side: str) -> LidMotion:
    """The blink of one eye of one person.

    Args:
        neutral: (V, 3) metres, eyes open, after `fit_lids`.
        centres: (2, 3) metres, left and right.
        side: "left" or "right".
    """
    eye = rig.eye(side)
    frame = _HingeFrame.of(neutral, centres[SIDES.index(side)], eye)
    rest = frame.coordinates(neutral[eye.vertices])
    margin = len(eye.loop)
    turn = _closing_turn(rest[:margin], eye)
    reach = _blink_reach(eye)
    falloff = _falloff(eye, reach)
    turns = np.concatenate([turn, falloff * (eye.share @ turn)])

    direction = frame.direction(rest, turns)
    half_direction = frame.direction(rest, turns / 2)
    distance = np.linalg.norm(rest, axis=1)
    height = distance - rig.eyeball.surface(rest / distance[:, None])
    shut_height = height.copy()
    is_skin = np.flatnonzero(eye.kind == SKIN)
    travelled = (np.abs(turns) / max(np.abs(turn).max(), 1e-9))[margin + is_skin]
    floor = _clearance(eye.distance[is_skin])
    over = np.maximum(height[margin + is_skin] - floor, 0.0)
    shut_height[margin + is_skin] = floor + over * (1.0 - FLATTENING * travelled)
    shut = direction * (rig.eyeball.surface(direction) + shut_height)[:, None]
    half = half_direction * (rig.eyeball.surface(half_direction) + (height + shut_height) / 2)[:, None]
    offset = frame.to_model(shut - rest)
    corrective = frame.to_model(half - (rest + shut) / 2)
    return LidMotion(eye.vertices, offset, corrective)


def rest_on_eyeballs(posed: np.ndarray, neutral: np.ndarray, centres: np.ndarray, rig: LidRig) -> np.ndarray:
    """A face whose lids were moved by some other key (wide, squint, a look) laid back on the balls.

    Every margin vertex gets the height over the ball it has on the neutral, skin and lashes follow, and skin is kept
    clear of the ball. `posed` and the result: (V, 3) metres; `neutral` after `fit_lids`.
    """
    result = np.array(posed, dtype=float)
    for centre, side in zip(np.asarray(centres, float), SIDES, strict=True):
        eye = rig.eye(side)
        if np.abs(result[eye.loop] - neutral[eye.loop]).max() < 1e-6:
            continue
        arm = result[eye.loop] - centre
        distance = np.linalg.norm(arm, axis=1)
        at_rest = neutral[eye.loop] - centre
        rest_distance = np.linalg.norm(at_rest, axis=1)
        height = rest_distance - rig.eyeball.surface(at_rest / rest_distance[:, None])
        lift = rig.eyeball.surface(arm / distance[:, None]) + height - distance
        result[eye.loop] += arm / distance[:, None] * lift[:, None]
        arm = result[eye.followers] - centre
        outwards = arm / np.linalg.norm(arm, axis=1, keepdims=True)
        arm = arm + outwards * (_falloff(eye, _blink_reach(eye)) * (eye.share @ lift))[:, None]
        moved = np.linalg.norm(result[eye.followers] - neutral[eye.followers], axis=1) > 1e-6
        arm = np.where(moved[:, None], _keep_clear(arm, eye, rig.eyeball), result[eye.followers] - centre)
        result[eye.followers] = centre + arm
    return result


def aperture(vertices: np.ndarray, rig: LidRig, side: str, samples: int = 25) -> float:
    """How far the lids are apart: mean distance of the margins across the opening over its width, 0 where they cross.

    Measured square to the line of the canthi as seen from the front, over the middle 80 % of it.
    """
    eye = rig.eye(side)
    inner, outer = canthi(eye, vertices)
    across = (outer - inner)[:2]
    width = np.linalg.norm(across)
    across = across / width
    up = np.array([-across[1], across[0]]) * np.sign(across[0])
    stations = np.linspace(0.1, 0.9, samples) * width

    def height(margin):
        points = vertices[margin, :2] - inner[:2]
        along = np.maximum.accumulate(points @ across)
        return np.interp(stations, along, points @ up)

    return float(np.maximum(height(eye.upper) - height(eye.lower), 0.0).mean() / width)


def closure(posed: np.ndarray, neutral: np.ndarray, rig: LidRig, side: str) -> float:
    """0 where the eye is as open as on the person's own neutral (or wider), 1 where it is shut."""
    own = aperture(neutral, rig, side)
    return float(np.clip(1.0 - aperture(posed, rig, side) / max(own, 1e-9), 0.0, 1.0))


def penetration(vertices: np.ndarray, centres: np.ndarray, rig: LidRig, side: str) -> np.ndarray:
    """How deep each of `rig.eye(side).lid_vertices` lies inside the ball: (N,) metres, negative outside."""
    arm = vertices[rig.eye(side).lid_vertices] - centres[SIDES.index(side)]
    distance = np.linalg.norm(arm, axis=1)
    return rig.eyeball.surface(arm / distance[:, None]) - distance


@dataclass(frozen=True)
class _HingeFrame:
    """Coordinates of one eye: x along the hinge (to the subject's left), y up, z out, origin at the ball's centre."""

    centre: np.ndarray
    axes: np.ndarray  # (3, 3), rows

    @classmethod
    def of(cls, neutral, centre, eye: EyeRig) -> "_HingeFrame":
        inner, outer = canthi(eye, neutral)
        hinge = (outer - inner) * [1, 1, 0]
        hinge = hinge * np.sign(hinge[0]) / np.linalg.norm(hinge)
        return cls(np.asarray(centre, float), np.stack([hinge, [-hinge[1], hinge[0], 0.0], [0.0, 0.0, 1.0]]))

    def coordinates(self, points):
        return (points - self.centre) @ self.axes.T

    def to_model(self, vectors):
        return vectors @ self.axes

    def direction(self, points, turns):
        """Unit vectors towards points (N, 3) turned up about the hinge by `turns` (N,) radians."""
        sine, cosine = np.sin(turns), np.cos(turns)
        x, y, z = points.T
        turned = np.stack([x, cosine * y + sine * z, cosine * z - sine * y], 1)
        return turned / np.linalg.norm(points, axis=1, keepdims=True)


def _resting_depth(margin, eyeball: Eyeball):
    """Depth (N,) at which margin points (N, 3) rest on the ball, seen from its centre.

    The ball itself up to CORNER_ANGLE off the gaze axis; from there on its tangent, bending flat towards the canthi
    (which lie beside the ball, not on it).
    """
    off_axis = np.hypot(margin[:, 0], margin[:, 1])
    angles = np.linspace(0.0, CORNER_ANGLE, 40)
    directions = np.stack([np.sin(angles), np.zeros(40), np.cos(angles)], 1)
    profile = directions * (eyeball.surface(directions) + MARGIN_CLEARANCE)[:, None]
    depth = np.interp(off_axis, profile[:, 0], profile[:, 2])
    beyond = np.maximum(off_axis - profile[-1, 0], 0.0)
    return depth - CORNER_DEPTH * np.tanh(np.tan(CORNER_ANGLE) * beyond / CORNER_DEPTH)


def _falloff(eye: EyeRig, reach):
    """(N,) 1 at the margin's plate, falling smoothly to 0 at `reach` metres; lashes and the eye between the lids 1."""
    along = np.clip((eye.distance - PLATE_LENGTH) / (reach - PLATE_LENGTH), 0.0, 1.0)
    return np.where((eye.kind == LASH) | (eye.kind == EYE), 1.0, 1.0 - along * along * (3.0 - 2.0 * along))


def _blink_reach(eye: EyeRig):
    """(N,) how far from the margin each follower's lid reaches: a mix of upper and lower."""
    of_upper = eye.share[:, 1 : eye.outer].sum(1) / np.maximum(
        np.delete(eye.share, [0, eye.outer], axis=1).sum(1), 1e-9
    )
    skin = LOWER_REACH + (UPPER_REACH - LOWER_REACH) * of_upper
    return np.where(eye.kind == LINING, LINING_REACH, skin)


def _clearance(distance):
    """Least height of skin over the ball, `distance` metres from the margin."""
    part = np.clip(distance / SKIN_CLEARANCE_REACH, 0.0, 1.0)
    return MARGIN_CLEARANCE + (SKIN_CLEARANCE - MARGIN_CLEARANCE) * part


def _keep_clear(arm, eye: EyeRig, eyeball: Eyeball):
    """Followers (N, 3) seen from the centre: skin lifted to its clearance, lining sunk below the surface."""
    distance = np.linalg.norm(arm, axis=1)
    direction = arm / distance[:, None]
    surface = eyeball.surface(direction)
    lifted = np.maximum(distance, surface + _clearance(eye.distance))
    sunk = np.minimum(distance, surface - LINING_DEPTH)
    kept = np.where(eye.kind == SKIN, lifted, np.where(eye.kind == LINING, sunk, distance))
    return direction * kept[:, None]


def _closing_turn(margin, eye: EyeRig):
    """Turn about the hinge (M,) that brings each margin vertex (M, 3) onto the line where the lids meet.

    The line is a cubic through the lids' meeting points: UPPER_SHARE of the way from the upper to the lower margin.
    """
    upper, lower = margin[: eye.outer + 1], np.concatenate([margin[:1], margin[: eye.outer - 1 : -1]])
    along_sign = np.sign(margin[eye.outer, 0] - margin[0, 0])

    def height(points, stations):
        return np.interp(stations, np.maximum.accumulate(along_sign * points[:, 0]), points[:, 1])

    low, high = np.sort(along_sign * margin[[0, eye.outer], 0])
    stations = np.linspace(low, high, 41)
    meeting = (1.0 - UPPER_SHARE) * height(upper, stations) + UPPER_SHARE * height(lower, stations)
    middle, half_width = (low + high) / 2, (high - low) / 2
    cubic = np.polynomial.polynomial.polyfit((stations - middle) / half_width, meeting, 3)
    place = np.clip((along_sign * margin[:, 0] - middle) / half_width, -1.1, 1.1)
    line = np.polynomial.polynomial.polyval(place, cubic)

    is_upper = np.arange(len(margin)) < eye.outer
    side = np.where(is_upper, -1.0, 1.0)
    side[[0, eye.outer]] = 0.0
    line = line + side * CLOSED_OVERLAP / 2
    arm = np.hypot(margin[:, 1], margin[:, 2])
    target = np.arcsin(np.clip(line / arm, -0.95, 0.95))
    return target - np.arctan2(margin[:, 1], margin[:, 2])
