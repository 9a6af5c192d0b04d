"""Are a face model's shape keys sound? `python3 -m training evaluate shape-keys --face-model NAME`.

On random identities of any model: whether ARKit's 52 names and the correctives are there; how far left and right keys
are from being each other's mirror image; what shut lids leave open, and how deep lids enter the eyeballs; whether the
lips meet again when mouthClose is added to jawOpen. For a model with shape keys of its own also how far those carried
over from the open head would have been from them: what deformation transfer is worth where the truth is known.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from backend.face_models import load_face_model
from backend.face_models.lid_keys import BLINK_CORRECTIVES
from backend.face_models.morphable_model import MorphableModel, Topology, split_quads
from backend.lid_rig import SIDES, EyeRig, LidRig, canthi, mesh_edges
from backend.lids import aperture, penetration
from backend.surface import OrientedSurface, Surface, mesh_normals
from training.evaluation.lids import eyeball_pixels, has_eyeballs, key_weights, random_identity
from training.evaluation.now import procrustes
from training.evaluation.shape import skin_triangles

ARKIT_NAMES = tuple(
    """browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
    cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
    eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight
    jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight
    mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
    mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft
    mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight tongueOut""".split()
)
CORRECTIVES = tuple(BLINK_CORRECTIVES.values())
GROUPS = {  # by the beginning of a key's name, the first that fits
    "brows": ("brow",),
    "gaze": ("eyeLook",),
    "lids": ("eye",),
    "cheeks and nose": ("cheek", "nose"),
    "jaw": ("jaw",),
    "mouth": ("mouth", "tongue"),
}
MOVES_M = 1e-4
"""A vertex that a key moves by less does not count for it."""
MIRRORED_WITHIN_M = 0.004
"""A place of the skin whose mirror image lies farther from the skin has none: the rim of a one-sided scan."""
LID_POSES = {
    "open": {},
    "blink 0.5": {"eyeBlink": 0.5},
    "blink 1": {"eyeBlink": 1.0},
    "squint 1": {"eyeSquint": 1.0},
    "wide 1": {"eyeWide": 1.0},
    "look up 1": {"eyeLookUp": 1.0},
    "look down 1": {"eyeLookDown": 1.0},
    "look in 1": {"eyeLookIn": 1.0},
    "look out 1": {"eyeLookOut": 1.0},
}
MOUTH_POSES = {"at rest": {}, "jawOpen": {"jawOpen": 1.0}, "jawOpen + mouthClose": {"jawOpen": 1.0, "mouthClose": 1.0}}
INNER_UPPER_LIP, INNER_LOWER_LIP = np.array([61, 62, 63]), np.array([67, 66, 65])  # of the 68, in pairs
STATIONS, STATIONS_SPAN = 17, (0.15, 0.85)
"""Where the slit between the lips is measured, in shares of the way between the corners of the mouth."""
SAMPLES_A_SIDE = 6
MILLIMETRES = 1000.0


@dataclass(frozen=True)
class LidFigures:
    """One eye of one person.

    Attributes:
        uncovered: eyeball pixels of the shut eye as a share of those of the open one.
        aperture: of the shut eye as a share of the open one's.
        gap_mm: mean and largest distance of the margins of the shut eye across the opening.
        depth_mm: pose -> how deep the deepest vertex of the lids lies inside the eyeball; negative outside.
    """

    uncovered: float
    aperture: float
    gap_mm: tuple[float, float]
    depth_mm: dict[str, float]


@dataclass(frozen=True)
class MouthFigures:
    """One mouth in one pose, millimetres.

    Attributes:
        landmarks: mean distance of the three pairs of inner landmarks.
        slit: (S,) the upper lip's lowest point over the lower lip's highest, from the front, at stations between the
            corners; negative where one covers the other.
        approach: the closest that a point of one lip comes to the other.
    """

    landmarks: float
    slit: np.ndarray
    approach: float


@dataclass
class ShapeKeyFigures:
    """What was measured on one model.

    Attributes:
        missing: names that should be there and are not; superfluous: names beyond ARKit's 52 and the correctives.
        asymmetry: pair of names -> a row for each person: (mean distance in mm, the same over the mean movement).
        lids: an entry for each eye; mouths: pose -> an entry for each person.
        teeth_mm: name -> how far a tooth, or a row of them, is from moving as one stiff piece, on the mean head.
        fused: whether lids and eyes are one surface, so that depth is measured against a ball that nobody sees.
    """

    missing: list[str]
    superfluous: list[str]
    asymmetry: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=dict)
    lids: list[LidFigures] = field(default_factory=list)
    mouths: dict[str, list[MouthFigures]] = field(default_factory=dict)
    teeth_mm: dict[str, float] = field(default_factory=dict)
    fused: bool = False


# Left and right -------------------------------------------------------------------------------------------------------


class Mirror:
    """Takes what happens on one side of the face to the other: by the mean head's skin, whatever its mesh is like.

    Args:
        mean: (V, 3) metres, symmetric about x = 0 as faces are.
        triangles: (T, 3) of the skin.

    Attributes:
        vertices: (N,) int64, the skin's vertices that have a mirror image.
    """

    def __init__(self, mean: np.ndarray, triangles: np.ndarray):
        mean, flip = np.asarray(mean, np.float64), np.array([-1.0, 1.0, 1.0])
        used = np.unique(triangles)
        places, normals = mean[used] * flip, mesh_normals(mean, triangles)[used] * flip
        corners, shares, cosine = OrientedSurface(mean, triangles).closest(places, normals)
        away = np.linalg.norm(np.einsum("nc,ncd->nd", shares, mean[corners]) - places, axis=1)
        there = (away < MIRRORED_WITHIN_M) & (cosine > 0.5)
        self.vertices, self._corners, self._shares = used[there], corners[there], shares[there]
        self._flip = flip

    def apply(self, offset: np.ndarray) -> np.ndarray:
        """Movements (V, 3) as they are on the other side: (N, 3) at `vertices`."""
        return np.einsum("nc,ncd->nd", self._shares, offset[self._corners]) * self._flip


def mirror_pairs(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """(left, right) for every key of one side, and (name, name) for every other one, which should be symmetric."""
    pairs = []
    for name in names:
        other = name.replace("Left", "Right")
        if "Right" not in name and other in names:
            pairs.append((name, other))
    return pairs


def asymmetry(left: np.ndarray, right: np.ndarray, mirror: Mirror) -> tuple[float, float]:
    """How far a left key (V, 3), mirrored, is from the right one, over what either moves.

    Returns:
        mean distance in millimetres, and the sum of distances over the sum of movements; 0, 0 where nothing moves.
    """
    distance, movement = mirror_distance(left, right, mirror)
    moves = movement > MOVES_M
    if not moves.any():
        return 0.0, 0.0
    return MILLIMETRES * float(distance[moves].mean()), float(distance[moves].sum() / movement[moves].sum())


def mirror_distance(left: np.ndarray, right: np.ndarray, mirror: Mirror) -> tuple[np.ndarray, np.ndarray]:
    """Distance of the mirrored left key from the right one, and the larger of both movements: (N,), (N,) metres."""
    mirrored, own = mirror.apply(left.astype(np.float64)), right[mirror.vertices].astype(np.float64)
    distance = np.linalg.norm(mirrored - own, axis=1)
    return distance, np.maximum(np.linalg.norm(mirrored, axis=1), np.linalg.norm(own, axis=1))


# Lids -----------------------------------------------------------------------------------------------------------------


def depth_inside(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """How deep points (N, 3) lie inside a closed, convex piece of mesh: (N,) metres, negative outside."""
    surface = Surface(vertices, triangles)
    closest, at = surface.closest(points)
    arm = points - closest
    distance = np.linalg.norm(arm, axis=1)
    return np.where((arm * surface.normals[at]).sum(1) < 0, distance, -distance)


def lid_gap_mm(vertices: np.ndarray, eye: EyeRig, samples: int = 25) -> tuple[float, float]:
    """Mean and largest distance of the margins across the opening, over the middle 80 % of it; 0 where they cross."""
    inner, outer = canthi(eye, vertices)
    across = (outer - inner)[:2]
    width = np.linalg.norm(across)
    across = across / width
    up = np.array([-across[1], across[0]]) * np.sign(across[0])
    stations = np.linspace(0.1, 0.9, samples) * width

    def height(margin: np.ndarray) -> np.ndarray:
        arm = vertices[margin, :2] - inner[:2]
        return np.interp(stations, np.maximum.accumulate(arm @ across), arm @ up)

    gap = np.maximum(height(eye.upper) - height(eye.lower), 0.0) * MILLIMETRES
    return float(gap.mean()), float(gap.max())


def measure_lids(
    model: MorphableModel, neutral: np.ndarray, pose: Callable[[Mapping[str, float]], np.ndarray], fused: bool
) -> list[LidFigures]:
    """Both eyes of one person, left first.

    Args:
        neutral: (V, 3) metres. pose: key weights by name -> (V, 3).
        fused: lids and eyes are one surface.
    """
    rig, centres = model.rig_of(neutral), model.eye_centres(neutral)
    result = []
    for side in SIDES:
        posed = {name: pose(key_weights(side, weights)) for name, weights in LID_POSES.items()}
        centre = centres[SIDES.index(side)]
        open_area = eyeball_pixels(neutral, model.topology, side, centre)
        shut = posed["blink 1"]
        result.append(
            LidFigures(
                uncovered=eyeball_pixels(shut, model.topology, side, centre) / max(open_area, 1),
                aperture=aperture(shut, rig, side) / max(aperture(neutral, rig, side), 1e-9),
                gap_mm=lid_gap_mm(shut, rig.eye(side)),
                depth_mm={
                    name: MILLIMETRES * _deepest(model, each, centres, rig, side, fused) for name, each in posed.items()
                },
            )
        )
    return result


def _deepest(
    model: MorphableModel, posed: np.ndarray, centres: np.ndarray, rig: LidRig, side: str, fused: bool
) -> float:
    """How deep the lids lie inside the eyeball's own mesh as it is posed; of fused eyes inside the ball behind them."""
    in_ball = penetration(posed, centres, rig, side)
    if fused:
        return float(in_ball.max())
    lids = rig.eye(side).lid_vertices
    near = lids[in_ball > -0.004]  # metres; nothing farther off the ball can be inside its mesh
    if not len(near):
        return float(in_ball.max())
    triangles = split_quads(model.topology.faces[model.topology.part(f"eyeball_{side}")])
    return float(depth_inside(posed[near].astype(np.float64), posed, triangles).max())


# Mouth ----------------------------------------------------------------------------------------------------------------


class Lips:
    """The skin of both lips of a model, sampled finely.

    Args:
        triangles: (T, 3) of the skin.
        masks: with "lip_upper" and "lip_lower", (V,) bool.
    """

    def __init__(self, triangles: np.ndarray, masks: Mapping[str, np.ndarray]):
        self._upper, self._lower = (
            triangles[masks[name][triangles].all(axis=1)] for name in ("lip_upper", "lip_lower")
        )
        grid = np.arange(SAMPLES_A_SIDE + 1) / SAMPLES_A_SIDE
        first, second = (part.ravel() for part in np.meshgrid(grid, grid))
        inside = first + second <= 1 + 1e-9
        self._shares = np.stack([1 - first - second, first, second], axis=1)[inside]

    def samples(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 3) of the upper and (M, 3) of the lower lip."""
        return tuple(
            np.einsum("sc,tcd->tsd", self._shares, vertices[lip]).reshape(-1, 3) for lip in (self._upper, self._lower)
        )

    def measure(self, vertices: np.ndarray, landmarks68: np.ndarray) -> MouthFigures:
        """The mouth of a head (V, 3) with landmarks (68, 3); millimetres."""
        upper, lower = self.samples(np.asarray(vertices, np.float64))
        right, left = landmarks68[48, 0], landmarks68[54, 0]
        ends = right + (left - right) * np.array(STATIONS_SPAN)
        edges = np.linspace(*ends, STATIONS + 1)
        slit = []
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            above, below = (lip[(lip[:, 0] >= low) & (lip[:, 0] < high), 1] for lip in (upper, lower))
            slit.append(above.min() - below.max() if len(above) and len(below) else np.nan)
        middle = (upper[:, 0] > ends[0]) & (upper[:, 0] < ends[1])
        pairs = landmarks68[INNER_UPPER_LIP] - landmarks68[INNER_LOWER_LIP]
        return MouthFigures(
            landmarks=MILLIMETRES * float(np.linalg.norm(pairs, axis=1).mean()),
            slit=MILLIMETRES * np.array(slit),
            approach=MILLIMETRES * float(cKDTree(lower).query(upper[middle])[0].min()),
        )


def teeth_bent_mm(topology: Topology, neutral: np.ndarray, offsets: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How far the teeth are from moving as stiff pieces do: by name of key, for those that move teeth; millimetres.

    Args:
        neutral: (V, 3) metres; offsets: name -> (V, 3) metres.
    """
    parts = [topology.faces[topology.part(name)] for name in topology.part_names if name.startswith("teeth")]
    if not parts:
        return {}
    edges = mesh_edges(np.concatenate(parts))
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), (len(neutral), len(neutral)))
    label = connected_components(graph, directed=False)[1]
    used = np.unique(edges)
    pieces = [used[label[used] == value] for value in np.unique(label[used])]
    result = {}
    for name, offset in offsets.items():
        bent = 0.0
        for piece in pieces:
            if np.abs(offset[piece]).max() > MOVES_M:
                rest, posed = neutral[piece].astype(np.float64), (neutral[piece] + offset[piece]).astype(np.float64)
                stiff = procrustes(rest, posed, with_scale=False).apply(rest)
                bent = max(bent, float(np.linalg.norm(stiff - posed, axis=1).max()))
        result[name] = MILLIMETRES * bent
    return result


# Altogether -----------------------------------------------------------------------------------------------------------


def measure(model: MorphableModel, people: int, seed: int) -> ShapeKeyFigures:
    """The figures of a model.

    Args:
        people: how many random identities.
        seed: of the first; the others follow it.
    """
    names = model.key_names
    figures = ShapeKeyFigures(
        missing=[name for name in ARKIT_NAMES + CORRECTIVES if name not in names],
        superfluous=[name for name in names if name not in ARKIT_NAMES + CORRECTIVES],
        fused=not has_eyeballs(model),
    )
    triangles = skin_triangles(model)
    mirror, pairs = Mirror(model.mean, triangles), mirror_pairs(names)
    lips = Lips(triangles, model.masks)
    mean = model.neutral(np.zeros(model.identity_size))
    on_mean = model.key_offsets(mean)
    offsets = dict(zip(on_mean.names, on_mean.dense(len(mean)), strict=True))
    figures.teeth_mm = teeth_bent_mm(model.topology, mean, offsets)
    for number in range(people):
        neutral = model.neutral(random_identity(seed + number, model.identity_size))
        keys = model.key_offsets(neutral)
        offsets = dict(zip(keys.names, keys.dense(len(neutral)), strict=True))
        for left, right in pairs:
            found = asymmetry(offsets[left], offsets[right], mirror)
            figures.asymmetry.setdefault((left, right), []).append(found)

        def pose(weights: Mapping[str, float], neutral=neutral, keys=keys) -> np.ndarray:
            return keys.apply(neutral, weights)

        figures.lids += measure_lids(model, neutral, pose, figures.fused)
        for name, weights in MOUTH_POSES.items():
            posed = pose(weights)
            figures.mouths.setdefault(name, []).append(lips.measure(posed, model.landmarks68(posed)))
    return figures


def group_of(name: str) -> str:
    """The group of `GROUPS` that a key belongs to."""
    return next(group for group, beginnings in GROUPS.items() if name.startswith(beginnings))


def report(figures: ShapeKeyFigures) -> list[str]:
    """The figures as lines of text."""
    names = "ARKit's 52 names and the blink's correctives are all there"
    if figures.missing:
        names = f"MISSING: {', '.join(figures.missing)}"
    lines = [names + (f"; besides: {', '.join(figures.superfluous)}" if figures.superfluous else "")]
    lines += ["", f"{'left key mirrored against the right one':42} {'mm':>7} {'share':>7}   worst key"]
    sided = {pair: np.array(rows) for pair, rows in figures.asymmetry.items() if pair[0] != pair[1]}
    both = {pair: np.array(rows) for pair, rows in figures.asymmetry.items() if pair[0] == pair[1]}
    for group in GROUPS:
        lines += _asymmetry_line(group, {pair: rows for pair, rows in sided.items() if group_of(pair[0]) == group})
    lines += _asymmetry_line("all pairs", sided) + _asymmetry_line("keys of both sides, against themselves", both)
    lines += ["", f"shut lids, {len(figures.lids)} eyes {'mean':>23} {'95 %':>7} {'worst':>7}"]
    for title, values in (
        ("eye still seen, % of the open eye", [100 * eye.uncovered for eye in figures.lids]),
        ("aperture, % of the open eye's", [100 * eye.aperture for eye in figures.lids]),
        ("gap of the margins, mean, mm", [eye.gap_mm[0] for eye in figures.lids]),
        ("gap of the margins, largest, mm", [eye.gap_mm[1] for eye in figures.lids]),
    ):
        lines.append(f"  {title:40} {np.mean(values):7.3f} {np.percentile(values, 95):7.3f} {np.max(values):7.3f}")
    what = "the ball behind the lids, which nobody sees" if figures.fused else "the eyeball's mesh"
    lines += ["", f"deepest vertex of the lids inside {what}, mm (negative: outside)"]
    for name in LID_POSES:
        values = [eye.depth_mm[name] for eye in figures.lids]
        lines.append(f"  {name:40} {np.mean(values):7.3f} {np.percentile(values, 95):7.3f} {np.max(values):7.3f}")
    lines += ["", f"{'lips, mm':42} {'landmarks':>9} {'slit mean':>9} {'widest':>7} {'closest approach':>17}"]
    for name, mouths in figures.mouths.items():
        slit = np.array([mouth.slit for mouth in mouths])
        landmarks, approach = (
            np.mean([getattr(mouth, what) for mouth in mouths]) for what in ("landmarks", "approach")
        )
        lines.append(f"  {name:40} {landmarks:9.2f} {np.nanmean(slit):9.2f} {np.nanmax(slit):7.2f} {approach:17.2f}")
    slit = {name: np.array([mouth.slit for mouth in mouths]) for name, mouths in figures.mouths.items()}
    gap = np.nanmax(np.maximum(slit["jawOpen + mouthClose"], 0.0), axis=1)
    through = np.nanmax(slit["at rest"] - slit["jawOpen + mouthClose"], axis=1)
    lines.append(
        f"  jawOpen + mouthClose leaves a gap of {gap.mean():.2f} mm (worst {gap.max():.2f}) and lays the lips "
        f"{through.mean():.2f} mm (worst {through.max():.2f}) farther over each other than at rest"
    )
    if figures.teeth_mm:
        worst = max(figures.teeth_mm, key=figures.teeth_mm.get)
        lines.append(f"  teeth are bent at most {figures.teeth_mm[worst]:.2f} mm, by {worst}")
    return lines


def _asymmetry_line(title: str, found: dict[tuple[str, str], np.ndarray]) -> list[str]:
    if not found:
        return []
    means = {left: rows.mean(axis=0) for (left, _), rows in found.items()}
    worst = max(means, key=lambda name: means[name][0])
    millimetres, share = np.mean(list(means.values()), axis=0)
    words = f"{worst} {means[worst][0]:.3f} mm, {100 * means[worst][1]:.1f} %"
    return [f"  {title:40} {millimetres:7.3f} {100 * share:6.1f}%   {words}"]


# Keys carried over against the model's own ----------------------------------------------------------------------------


def transfer_errors(
    own: Mapping[str, np.ndarray], carried: Mapping[str, np.ndarray], vertices: np.ndarray
) -> dict[str, tuple[float, float, float]]:
    """How far keys that were carried over are from a model's own of the same name.

    Args:
        own, carried: name -> (V, 3) metres, in the same mesh.
        vertices: (N,) that count.

    Returns:
        name -> (cosine between both movements, mean distance in mm and mean own movement in mm where either moves).
    """
    result = {}
    for name in own:
        one, other = own[name][vertices].astype(np.float64), carried[name][vertices].astype(np.float64)
        lengths = np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1)
        moves = np.maximum(*lengths) > MOVES_M
        if not moves.any():
            continue
        norms = np.linalg.norm(one) * np.linalg.norm(other)
        cosine = float((one * other).sum() / norms) if norms > 0 else 0.0
        away = np.linalg.norm(one - other, axis=1)[moves].mean()
        result[name] = cosine, MILLIMETRES * float(away), MILLIMETRES * float(lengths[0][moves].mean())
    return result


def transferred(model: MorphableModel, file: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A model's own keys, and those that the open head's become on it: name -> (V, 3) metres, both on the mean head.

    Args:
        file: the model's own file, which is read and prepared as if it had no keys.

    Raises:
        UsageError: the file is not that of the model, or holds no keys.
    """
    from backend.errors import UsageError
    from backend.face_models.formats import identify
    from backend.face_models.preparation import prepare

    found = identify(file)
    if found.name != model.name:
        raise UsageError("bad-face-model-file", f"{file.name} is {found.label}, not the file of {model.name}.")
    arrays = found.read(file)
    if not arrays.keys:
        raise UsageError("bad-face-model-file", f"{found.label} has no shape keys of its own to compare with.")
    without = prepare(replace(arrays, keys={}))
    stored = dict(zip(without.stored_keys.names, without.stored_keys.dense(len(without.mean)), strict=True))
    own = {name: offset[without.file_index] for name, offset in arrays.keys.items() if not name.startswith("eyeBlink")}
    return own, {name: stored[name] for name in own}  # blinks are solved on the eyeballs, neither's are used


def transfer_report(errors: dict[str, tuple[float, float, float]]) -> list[str]:
    """The figures of keys carried over, as lines of text."""
    lines = ["", f"{'keys carried over against its own':42} {'cosine':>7} {'apart mm':>8} {'own mm':>7}   least alike"]
    for group in (*GROUPS, "all"):
        chosen = {name: row for name, row in errors.items() if group in ("all", group_of(name))}
        if not chosen:
            continue
        worst = min(chosen, key=lambda name: chosen[name][0])
        cosine, apart, own = np.median([row[0] for row in chosen.values()]), *np.mean(list(chosen.values()), axis=0)[1:]
        lines.append(f"  {group:40} {cosine:7.3f} {apart:8.2f} {own:7.2f}   {worst} {chosen[worst][0]:.3f}")
    return lines


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate shape-keys`."""
    parser = argparse.ArgumentParser(prog="evaluate shape-keys", description=__doc__)
    parser.add_argument("--face-model", default="open_head", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of the first person")
    parser.add_argument(
        "--own-keys", type=Path, metavar="FILE", help="the model's own file: its keys against the carried"
    )
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw error maps, shut lids and mouths here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    model = load_face_model(options.face_model)
    start = time.perf_counter()
    figures = measure(model, options.people, options.seed)
    print(f"{model.name}, {options.people} people, {time.perf_counter() - start:.0f} s")
    print("\n".join(report(figures)))
    own, carried, errors = {}, {}, {}
    if options.own_keys:
        own, carried = transferred(model, options.own_keys)
        errors = transfer_errors(own, carried, np.unique(skin_triangles(model)))
        print("\n".join(transfer_report(errors)))
    if options.pictures:
        from training.evaluation.shape_key_pictures import draw

        options.pictures.mkdir(parents=True, exist_ok=True)
        for path in draw(model, options.pictures, own, carried):
            print(path)
    if options.json:
        options.json.write_text(json.dumps(_record(model, figures, errors), indent=1), "utf-8")
    return 1 if figures.missing else 0


def _record(model: MorphableModel, figures: ShapeKeyFigures, errors: dict) -> dict:
    return {
        "face_model": model.name,
        "missing": figures.missing,
        "asymmetry_mm_and_share": {
            left: np.mean(rows, axis=0).tolist() for (left, _), rows in figures.asymmetry.items()
        },
        "teeth_mm": figures.teeth_mm,
        "lids": [vars(eye) for eye in figures.lids],
        "mouths": {
            name: [vars(mouth) | {"slit": mouth.slit.tolist()} for mouth in mouths]
            for name, mouths in figures.mouths.items()
        },
        "transfer": {
            name: dict(zip(("cosine", "apart_mm", "own_mm"), row, strict=True)) for name, row in errors.items()
        },
    }
