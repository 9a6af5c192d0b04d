"""How much can a face model express? `python3 -m training evaluate shape --face-model NAME`.

Two models, each with its own mesh and its own people. Random people of the one are taken as scans, points on the skin
that can be seen from outside and seven landmarks, and the other is fitted straight to them: identity, pose and size,
with no photograph between and nothing known of the mesh that the points came from (`fit_to_scan`). What is left is
measured by the protocol of `now.py`. Beside it the yardsticks: the mean head of the model that is fitted, which is
what it says of somebody it has not seen, and the people's own model fitted to them: what the fit itself leaves.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from backend.errors import PhotoError
from backend.face_models.morphable_model import MorphableModel
from backend.surface import Surface, barycentric_coordinates
from training.evaluation.ict_people import scan_of
from training.evaluation.now import (
    SEVEN_OF_68,
    ErrorSummary,
    ScanError,
    Similarity,
    crop_to_face,
    pooled,
    procrustes,
    scan_error,
)
from training.evaluation.shape import skin_triangles

logger = logging.getLogger(__name__)

PEOPLE, FIRST_SEED = 20, 30_000
MEAN, FITTED, OWN = "mean head", "fitted to the scan", "their own model fitted"
FOUR_VIEWS = "photos/four_views_nc"
SCAN_POINTS, FIT_POINTS, FIT_STEPS = 6000, 3000, 15
SCAN_NOISE_M = 0.0003
INDEPENDENT_POINTS = 1500  # neighbouring scan points say the same
SLIDING = 0.1
"""Weight of the distance along the surface against that square to it: a closest point is not the same point."""
SETTLED_M = 1e-5


@dataclass(frozen=True)
class RandomPerson:
    """Somebody of a face model: what `scan_of` needs of them.

    Attributes:
        seed: of the identity, and of where the scan's points lie.
        neutral: (V, 3) float32 metres.
    """

    seed: int
    neutral: np.ndarray


@dataclass(frozen=True)
class Scan:
    """Points of a person's skin, without any mesh.

    Attributes:
        points: (S, 3) float64 metres; landmarks68: (68, 3) float64 metres, of which the protocol uses seven.
    """

    points: np.ndarray
    landmarks68: np.ndarray


@dataclass
class Expressiveness:
    """What one model leaves of another's people.

    Attributes:
        model: the one that is fitted; modes: its number of identity modes.
        people_of: the one whose people are scanned; people_modes: its number of identity modes.
        errors: protocol ("non-metrical" or "metrical") -> row -> an error for each person.
    """

    model: str
    modes: int
    people_of: str
    people_modes: int
    errors: dict[str, dict[str, list[ScanError]]] = field(default_factory=dict)


def scans(model: MorphableModel, people: int, points: int = SCAN_POINTS) -> Iterator[Scan]:
    """Random people of a model, N(0, 1) in every identity mode, as scans of this many points inside the NoW crop."""
    for seed in range(FIRST_SEED, FIRST_SEED + people):
        identity = np.random.default_rng(seed).standard_normal(model.identity_size).astype(np.float32)
        person = RandomPerson(seed, model.neutral(identity))
        yield Scan(scan_of(model, person, points), model.landmarks68(person.neutral).astype(np.float64))


def expressiveness(
    model: MorphableModel, people_of: MorphableModel, people: int, points: int = SCAN_POINTS, own: bool = True
) -> Expressiveness:
    """Fits a model to random people of another.

    Args:
        model: what is fitted; people_of: whose people are scanned.
        people: how many; points: of each scan.
        own: also fit the people's own model to them.
    """
    result = Expressiveness(model.name, model.identity_size, people_of.name, people_of.identity_size)
    mean = model.neutral(np.zeros(model.identity_size, np.float32))
    for number, scan in enumerate(scans(people_of, people, points)):
        started = time.perf_counter()
        for metrical in (False, True):
            rows = result.errors.setdefault("metrical" if metrical else "non-metrical", {})
            heads = {MEAN: (model, mean), FITTED: (model, fit_to_scan(model, scan, metrical=metrical))}
            if own:
                heads[OWN] = (people_of, fit_to_scan(people_of, scan, metrical=metrical))
            for name, (whose, head) in heads.items():
                rows.setdefault(name, []).append(error_of(whose, head, scan, metrical))
        line = ", ".join(
            f"{name} {np.median(found[-1].distances_mm):.2f}" for name, found in result.errors["non-metrical"].items()
        )
        words = (number + 1, people, people_of.name, model.name, time.perf_counter() - started, line)
        logger.info("person %d of %d of %s, fitted %s (%.0f s): %s", *words)
    return result


def fit_to_scan(model: MorphableModel, scan: Scan, *, metrical: bool) -> np.ndarray:
    """The head (V, 3) of a model that lies closest to a scan, under the prior of its coefficients.

    Closest points are paired anew at every step; identity, pose and size are then solved for together, point to plane
    with a little point to point. Identity coefficients are standard normal, against which a scan of
    `INDEPENDENT_POINTS` points with `SCAN_NOISE_M` weighs heavily.

    Args:
        metrical: keep the model's own size, so that its identity modes must explain that of the scan.
    """
    triangles = skin_triangles(model)
    mean, basis = model.mean.astype(np.float64), model.identity_basis
    own, wanted = model.landmarks68(mean)[SEVEN_OF_68], scan.landmarks68[SEVEN_OF_68]
    points = scan.points[crop_to_face(scan.points, scan.landmarks68)]
    points = points[:: max(1, len(points) // FIT_POINTS)]
    motion = procrustes(own, wanted, with_scale=not metrical)
    modes = len(basis)
    identity = np.zeros(modes)
    precision = np.sqrt(INDEPENDENT_POINTS / len(points)) / SCAN_NOISE_M
    for _ in range(FIT_STEPS):
        vertices = motion.apply(_laid(model, mean + np.tensordot(identity, basis, 1), identity))
        surface = Surface(vertices, triangles)
        closest, at = surface.closest(points)
        corners = triangles[at]
        weights = barycentric_coordinates(closest, vertices[corners])
        shift = np.einsum("knci,nc->nki", basis[:, corners], weights)  # (N, K, 3)
        shift = (motion.scale * shift @ motion.rotation.T).transpose(0, 2, 1)
        way = np.concatenate([shift, _motions(closest, with_scale=not metrical)], axis=2)  # (N, 3, K + 6 or 7)
        normal = surface.normals[at]
        rows = np.concatenate([np.einsum("nid,ni->nd", way, normal), SLIDING * way.reshape(-1, way.shape[2])])
        residual = points - closest
        right = np.concatenate([(residual * normal).sum(1), SLIDING * residual.reshape(-1)])
        prior = np.zeros(way.shape[2])
        prior[:modes] = 1.0
        rows, right = precision * rows, precision * right
        target = rows.T @ right
        target[:modes] -= identity
        step = np.linalg.solve(rows.T @ rows + np.diag(prior), target)
        identity += step[:modes]
        motion = _stepped(motion, step[modes:])
        if np.abs(way @ step).mean() < SETTLED_M:
            break
    return model.neutral(identity.astype(np.float32))


def _laid(model: MorphableModel, shape: np.ndarray, identity: np.ndarray) -> np.ndarray:
    """A shape (V, 3) that is linear in the identity, with the lids laid on the eyeballs as a neutral head has them."""
    offset = model.neutral(identity.astype(np.float32)) - shape
    return shape + (offset - np.median(offset, axis=0))  # the neutral head has another origin


def _motions(points: np.ndarray, *, with_scale: bool) -> np.ndarray:
    """(N, 3, 6 or 7): how points (N, 3) move as they turn, shift and, with scale, grow about the origin."""
    turn = np.stack([np.cross(axis, points) for axis in np.eye(3)], axis=2)
    shift = np.tile(np.eye(3), (len(points), 1, 1))
    return np.concatenate([turn, shift] + ([points[:, :, None]] if with_scale else []), axis=2)


def _stepped(motion: Similarity, step: np.ndarray) -> Similarity:
    """A motion and after it the turn (axis-angle), shift and growth that were solved for with `_motions`."""
    turn = Rotation.from_rotvec(step[:3]).as_matrix()
    growth = float(np.exp(step[6])) if len(step) == 7 else 1.0
    return Similarity(growth * motion.scale, turn @ motion.rotation, growth * turn @ motion.translation + step[3:6])


def error_of(model: MorphableModel, head: np.ndarray, scan: Scan, metrical: bool) -> ScanError:
    """The error of one head (V, 3) of a model against a scan; `metrical` keeps the head's own size."""
    return scan_error(
        head, skin_triangles(model), model.landmarks68(head), scan.points, scan.landmarks68, metrical=metrical
    )


def agreement(
    heads: list[tuple[MorphableModel, np.ndarray]], *, metrical: bool, points: int = SCAN_POINTS
) -> ErrorSummary:
    """How far two heads of the same person lie apart, measured both ways: each scanned, with the other's surface.

    Args:
        heads: two of (model, (V, 3) metres).
        points: of each scan.
        metrical: keep the heads' own sizes.
    """
    errors = []
    for (model, head), (other, other_head) in (heads, heads[::-1]):
        scan = Scan(scan_of(model, RandomPerson(FIRST_SEED, head), points), model.landmarks68(head).astype(np.float64))
        errors.append(error_of(other, other_head, scan, metrical))
    return pooled(errors)


def four_views(folder: Path, models: list[MorphableModel], reconstruct: Callable) -> dict[str, dict]:
    """How far the heads that two models make of the same photographs lie apart, and how far their mean heads do.

    Args:
        folder: with the photographs of one person.
        models: two.
        reconstruct: as `backend.pipeline.fit_photographs`.

    Returns:
        protocol -> {"mean heads": ErrorSummary, "heads from the photographs": ErrorSummary}.

    Raises:
        PhotoError: a photograph shows no face.
    """
    from backend.photographs import load_photograph

    pictures = [load_photograph(path) for path in sorted(folder.glob("*.jpg"))]
    images, focals = [picture.image for picture in pictures], [picture.focal_35mm for picture in pictures]
    means = [(model, model.neutral(np.zeros(model.identity_size, np.float32))) for model in models]
    made = [(model, reconstruct(images, focals, face_model=model.name).neutral) for model in models]
    return {
        name: {
            "mean heads": agreement(means, metrical=metrical),
            "heads from the photographs": agreement(made, metrical=metrical),
        }
        for name, metrical in (("non-metrical", False), ("metrical", True))
    }


def table(found: list[Expressiveness]) -> str:
    """The figures in words and columns."""
    lines = [f"{'scan to mesh, mm':52} {'median':>7} {'mean':>7} {'std':>7}"]
    for protocol in found[0].errors:
        for each in found:
            people = len(each.errors[protocol][MEAN])
            lines.append(
                f"{protocol}, {people} people of {each.people_of} ({each.people_modes} modes), {each.model} "
                f"({each.modes} modes) against them"
            )
            for name, errors in each.errors[protocol].items():
                row = pooled(errors)
                lines.append(f"  {name:50} {row.median:7.3f} {row.mean:7.3f} {row.std:7.3f}")
            mean, fitted = (pooled(each.errors[protocol][name]).median for name in (MEAN, FITTED))
            lines.append(
                f"  {each.model} explains {100 * (1 - fitted / mean):.0f} % of the median distance of its mean"
            )
    return "\n".join(lines)


def views_table(found: dict[str, dict[str, ErrorSummary]], names: tuple[str, str]) -> str:
    """How far the heads of the four-view man lie apart, in words and columns."""
    lines = [f"the man seen from four sides: {names[0]} and {names[1]} apart, mm, both ways pooled"]
    for protocol, rows in found.items():
        for name, row in rows.items():
            lines.append(f"  {protocol + ', ' + name:50} {row.median:7.3f} {row.mean:7.3f} {row.std:7.3f}")
    return "\n".join(lines)


def compare(models: list[MorphableModel], people: int) -> tuple[str, list[dict]]:
    """Two models fitted to each other's people.

    Args:
        models: two. people: how many of each.

    Returns:
        The table, and the same for a JSON file.
    """
    first, second = models
    found = [expressiveness(second, first, people), expressiveness(first, second, people)]
    return table(found), [_record(each) for each in found]


def compare_views(models: list[MorphableModel], folder: Path, method: str) -> tuple[str, dict]:
    """Two models fitted to the same photographs.

    Args:
        models: two. folder: with photographs of one person. method: how heads are made of them.

    Returns:
        The table, or a sentence where no face was found, and the same for a JSON file.
    """
    from backend.pipeline import fit_photographs

    try:
        views = four_views(folder, models, partial(fit_photographs, method=method))
    except PhotoError as error:
        return error.sentence, {}
    record = {name: {row: asdict(found) for row, found in rows.items()} for name, rows in views.items()}
    return views_table(views, (models[0].name, models[1].name)), record


def _record(each: Expressiveness) -> dict:
    rows = {
        protocol: {name: asdict(pooled(errors)) for name, errors in found.items()}
        for protocol, found in each.errors.items()
    }
    return {
        "model": each.model,
        "modes": each.modes,
        "people_of": each.people_of,
        "people_modes": each.people_modes,
        "rows": rows,
    }
