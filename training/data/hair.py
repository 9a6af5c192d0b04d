"""Hair of synthetic people: a sheet that is combed over the skull, and locks on it that break its outline.

Guides run from the crown or the parting to the hairline, as hair lies; where it is longer they go on, fall, and slide
over ears, cheeks and neck. The sheet spans the guides, each lock follows one.
"""

from __future__ import annotations

import numpy as np

from backend.face_models.open_head import OpenHead
from training.data.attachment import Attachment, sheet_triangles
from training.data.clouds import clouds
from training.data.hair_styles import HairStyle, hairline_at
from training.data.head_chart import HeadChart, Skull, place_at

SECTORS = 84
ON_SCALP, HANGING = 14, 9
"""Points of a guide from its start to the hairline, and below it."""
MOST_TRIANGLES = 6000
LOCK_POINTS = 7
LONGEST_STEP_TURN = 0.45
"""Share of the fall's direction that a step takes up."""
_CHARTS: dict[int, tuple[OpenHead, HeadChart]] = {}


def random_hair(
    model: OpenHead, neutral: np.ndarray, generator: np.random.Generator, colour: np.ndarray
) -> list[Attachment]:
    """Hair of a random style.

    Args:
        model: the face model.
        neutral: (V, 3) float32 metres, the person's neutral head.
        generator: the only source of chance.
        colour: (3,) linear albedo.

    Returns:
        "hair", and "fringe" where hair hangs over the forehead; "hat", whose cloth has its own colour, hides all hair;
        nothing for the bald. At most 6,000 triangles together.
    """
    return comb(model, neutral, HairStyle.random(generator), generator, colour)


def comb(
    model: OpenHead, neutral: np.ndarray, style: HairStyle, generator: np.random.Generator, colour: np.ndarray
) -> list[Attachment]:
    """`random_hair` of a given style."""
    if style.name == "bald":
        return []
    skull = _chart(model).of(neutral)
    guides, round_, hanging = _guides(style, skull, generator)
    if style.name == "hat":
        return [_hat(style, guides, hanging, generator)]
    colour = np.asarray(colour, float)
    shade = _strand_shades(generator, len(guides))
    sheet = _sheet(style, guides, hanging, shade, colour, round_, generator)
    meshes = {"hair": [sheet["hair"]], "fringe": [sheet["fringe"]] if "fringe" in sheet else []}
    if style.bun:
        meshes["hair"].append(_bun(style, skull, colour, generator))
    meshes["hair"].append(_edge_hairs(style, guides, hanging, skull, colour, generator))
    used = sum(len(mesh[1]) for parts in meshes.values() for mesh in parts)
    count = min(style.locks, (MOST_TRIANGLES - used) // (2 * (LOCK_POINTS - 1)))
    for name, locks in _locks(style, guides, hanging, round_, skull, colour, count, generator).items():
        meshes[name].append(locks)
    return [
        Attachment(*_joined(parts), gloss=float(style.gloss), name=name)
        for name, parts in meshes.items()
        if sum(len(part[1]) for part in parts)
    ]


def _chart(model: OpenHead) -> HeadChart:
    """Made once for a model; the model is kept with it, so that its id is not given to another."""
    if id(model) not in _CHARTS:
        _CHARTS[id(model)] = model, HeadChart(model)
    return _CHARTS[id(model)][1]


def _guides(
    style: HairStyle, skull: Skull, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ways that hair takes: (S, ON_SCALP + HANGING, 3) metres, radians round the crown (S,), hanging metres (S,)."""
    start, end, round_ = _courses(style, generator)
    share = np.linspace(0, 1, ON_SCALP)
    places = start[:, None] + share[None, :, None] * (end - start)[:, None]
    if style.parting is not None:  # hair of a parting keeps to the front before it falls to the side
        bow = np.clip(1.6 - np.abs(round_), 0, 1)[:, None] * 0.16 * np.sin(np.pi * share)[None]
        places[..., 0] += bow
    lumps = 1 + style.uneven * clouds(generator, len(round_), ON_SCALP, 8)
    front = 1 + (style.front_thickness - 1) * np.exp(-((round_ / 0.8) ** 2))[:, None] * share[None] ** 2
    hanging = _hanging(style, round_, generator)
    way = np.linalg.norm(end - start, axis=1)[:, None] * 0.095 * (1 - share)[None]  # metres left to the hairline
    thin = np.clip(way / style.edge, 0, 1)
    thin = np.sqrt(thin * (2 - thin))  # round, as the edge of a cushion
    longer = np.clip(hanging / 0.015, 0, 1)[:, None]
    height = style.thickness * front * lumps * (thin * (1 - longer) + np.maximum(thin, 0.65) * longer)
    height -= 0.0018 * (1 - thin) * (1 - longer)  # the edge dips into the skin
    if style.parting is not None:
        height *= 0.45 + 0.55 * np.clip(share / 0.25, 0, 1)[None]
    height += generator.normal(0, 1, height.shape) * style.rough * np.clip(thin, 0.0, 1.0)
    scalp = skull.points(places, height)
    if style.over_ears:
        scalp = _outside(scalp, skull, 0.5 * style.thickness * longer)
    return np.concatenate([scalp, _falling(style, skull, scalp, hanging, generator)], axis=1), round_, hanging


def _courses(style: HairStyle, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """On the map: where guides start and end (S, 2), and how far round the crown they end (S,) radians, in order."""
    if style.parting is None:
        round_ = np.linspace(-np.pi, np.pi, SECTORS)
        end = place_at(hairline_at(style, round_, generator), round_)
        end[-1] = end[0]
        whorl = place_at(np.full(len(round_), 0.05), round_)
        return whorl + generator.normal(0, 0.08, 2), end, round_
    # From the left temple round the back to the right one; all start along the parting.
    round_ = np.linspace(style.temple, 2 * np.pi - style.temple, SECTORS)
    end = place_at(hairline_at(style, round_, generator), round_)
    way = np.minimum(round_, 2 * np.pi - round_)
    along = np.clip((way - style.temple) / (np.radians(125) - style.temple), 0, 1)
    front = hairline_at(style, np.zeros(2), generator)[0] - 0.03
    start = place_at(front * (1 - along) + 0.04, np.full(len(round_), style.parting))
    return start, end, (round_ + np.pi) % (2 * np.pi) - np.pi


def _hanging(style: HairStyle, round_: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Metres that the guides (S,) go on below the hairline."""
    at = np.abs(round_)
    few = np.interp(np.linspace(0, 1, len(at)), np.linspace(0, 1, 30), generator.normal(0, 1, 30))
    # Between fringe and ear nothing hangs, unless it lies over the ear.
    side = np.clip((at - (0.95 if style.over_ears else 1.9)) / 0.25, 0, 1)
    result = style.length * side * np.clip(1 + 0.08 * few, 0.7, 1.3)
    if style.fringe:
        inside = np.clip((style.fringe_half_width - at) / 0.15, 0, 1)
        slant = 1 + 0.35 * style.fringe_side * round_ / style.fringe_half_width
        result = np.maximum(result, style.fringe * inside * slant * np.clip(1 + 0.18 * few, 0.5, 1.5))
    return result


def _falling(
    style: HairStyle, skull: Skull, scalp: np.ndarray, hanging: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """(S, HANGING, 3): on from the ends of the scalp's part (S, ON_SCALP, 3), downwards, outside the skin."""
    place = scalp[:, -1].copy()
    direction = scalp[:, -1] - scalp[:, -3]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-9
    step = (hanging / HANGING)[:, None]
    stand_off = (0.35 * style.thickness + 0.002) * np.clip(hanging / 0.02, 0, 1)[:, None]
    result = []
    front = np.exp(-((np.arctan2(place[:, 0], place[:, 2] - skull.middle[2]) / 0.8) ** 2))[:, None]
    down = np.array([0.0, -1.0, 0.0]) + front * np.array([0.5 * style.fringe_side, 0.0, 0.0])
    for number in range(HANGING):
        direction = (1 - LONGEST_STEP_TURN) * direction + LONGEST_STEP_TURN * down
        direction += generator.normal(0, 0.15 * style.mess, direction.shape)
        if style.curl:
            direction[:, 0] += 12 * style.curl * np.sin(1.9 * number + 0.5 * np.arange(len(place)))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-9
        place = _outside((place + step * direction)[:, None], skull, stand_off, over_ears=style.over_ears)[:, 0]
        result.append(place)
    return np.stack(result, axis=1)


def _outside(points: np.ndarray, skull: Skull, stand_off: np.ndarray, *, over_ears: bool = True) -> np.ndarray:
    """Points (S, R, 3) moved outwards until they are so far (S, 1) from the skin."""
    apart = points - skull.middle
    distance = np.linalg.norm(apart, axis=-1)
    least = skull.radius(apart / distance[..., None], over_ears=over_ears) + stand_off
    # Below the jaw the way out is sideways: what hangs must not rise.
    return skull.middle + apart * (np.maximum(distance, least) / distance)[..., None]


def _strand_shades(generator: np.random.Generator, count: int) -> np.ndarray:
    """(S,) factors of brightness of the strands side by side, 1 on average."""
    fine = generator.normal(0, 0.16, count)
    coarse = np.interp(np.arange(count), np.linspace(0, count - 1, 12), generator.normal(0, 0.12, 12))
    shade = np.exp(fine + coarse)
    shade[-1] = shade[0]
    return shade


def _sheet(
    style: HairStyle,
    guides: np.ndarray,
    hanging: np.ndarray,
    shade: np.ndarray,
    colour: np.ndarray,
    round_: np.ndarray,
    generator: np.random.Generator,
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The closed surface: name -> vertices, triangles, colours."""
    sectors, points = guides.shape[:2]
    triangles = sheet_triangles(sectors, points)
    along = triangles % points
    sector = triangles // points
    below = along.max(axis=1) >= ON_SCALP
    hangs = hanging[sector].min(axis=1) > 0.004
    in_front = (np.abs(round_[sector]) < style.fringe_half_width + 0.2).all(axis=1) & (style.fringe > 0)
    kept = ~below | (hangs & (~in_front | style.fringe_sheet))
    tone = shade[:, None] * np.exp(generator.normal(0, 0.07, (sectors, points)))
    tone *= np.interp(np.arange(points), [0, 3, points - 1], [0.8, 0.72, 0.85])[None]  # locks lie over it
    if style.rough:  # hollows between curls are dark
        tone *= np.exp(-60 * style.rough * np.abs(generator.normal(0, 1.5, tone.shape)))
    colours = (tone[..., None] * colour).reshape(-1, 3)
    vertices = guides.reshape(-1, 3)
    whole = {"hair": triangles[kept & ~(below & in_front)]}
    if style.fringe and style.fringe_sheet:
        whole["fringe"] = triangles[kept & below & in_front]
    return {name: _used(vertices, part, colours) for name, part in whole.items()}


def _hat(style: HairStyle, guides: np.ndarray, hanging: np.ndarray, generator: np.random.Generator) -> Attachment:
    """The sheet as cloth: plain, striped, or with another border, and with its folds."""
    sectors, points = guides.shape[:2]
    triangles = sheet_triangles(sectors, points)
    kept = ((triangles % points).max(axis=1) < ON_SCALP) | (hanging[triangles // points].min(axis=1) > 0.004)
    level, other = np.exp(generator.uniform(np.log(0.008), np.log(0.6), 2))
    hue, other_hue = generator.uniform(0.3, 1.0, (2, 3)) ** generator.uniform(0.0, 2.0)
    rows = np.zeros(points)
    if generator.random() < 0.4:
        rows[ON_SCALP - generator.integers(2, 5) : ON_SCALP] = 1
    elif generator.random() < 0.3:
        rows[:: generator.integers(2, 5)] = 1
    cloth = level * hue + rows[:, None] * (other * other_hue - level * hue)
    tone = 1 + 0.15 * clouds(generator, sectors, points, 20) + generator.normal(0, 0.06, (sectors, points))
    colours = np.clip(tone, 0.3, 1.7)[..., None] * cloth
    mesh = _joined([_used(guides.reshape(-1, 3), triangles[kept], colours.reshape(-1, 3))])
    return Attachment(*mesh, gloss=float(style.gloss), name="hat")


def _locks(
    style: HairStyle,
    guides: np.ndarray,
    hanging: np.ndarray,
    round_: np.ndarray,
    skull: Skull,
    colour: np.ndarray,
    count: int,
    generator: np.random.Generator,
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Ribbons along the guides: name -> vertices, triangles, colours."""
    sectors, points = guides.shape[:2]
    lasts = np.where(hanging > 0.004, points - 1.0, ON_SCALP - 1.0)
    # Half of them anywhere, half at the edge that frames the face.
    sector = generator.uniform(0, sectors - 1.001, count)
    face = np.flatnonzero(np.abs(round_) < max(style.fringe_half_width, 1.0))
    if len(face) > 1:
        framing = generator.random(count) < (0.55 if style.fringe else 0.35)
        sector[framing] = face[generator.integers(0, len(face), framing.sum())]
        sector[framing] += generator.uniform(-0.5, 0.5, framing.sum())
        sector = sector.clip(0, sectors - 1.001)
    last = lasts[np.round(sector).astype(int)]
    begin = generator.uniform(0.0, 0.75, count) * last
    stop = np.minimum(begin + generator.uniform(0.3, 0.8, count) * last, last)
    reach = np.linspace(0, 1, LOCK_POINTS)
    at = begin[:, None] + (stop - begin)[:, None] * reach[None]
    sway = generator.normal(0, style.mess, (count, 1)) * 3 * reach[None] ** 2
    line = _guide_at(guides, sector[:, None] + sway, at)
    outwards = line - skull.middle
    outwards /= np.linalg.norm(outwards, axis=-1, keepdims=True)
    lift = style.lift * generator.uniform(0.1, 1.0, (count, 1)) * (0.4 + 0.6 * np.sin(np.pi * reach))[None] + 0.0006
    flare = generator.random(count) < style.mess
    lift = lift + flare[:, None] * generator.uniform(0, 0.012, (count, 1)) * reach[None] ** 3
    along = np.gradient(line, axis=1)
    along /= np.linalg.norm(along, axis=-1, keepdims=True) + 1e-9
    side = np.cross(along, outwards)
    side /= np.linalg.norm(side, axis=-1, keepdims=True) + 1e-9
    if style.curl:
        phase = generator.uniform(0, 2 * np.pi, (count, 1))
        line = line + side * (style.curl * np.sin(9 * reach[None] + phase))[..., None]
    # Tips of those that end at the hairline go a little past it: no line is drawn there.
    past = generator.uniform(0.0, 1.0, (count, 1)) ** 2 * min(0.8 * style.thickness, 0.012)
    line = line + along * (past * (stop >= last - 0.01)[:, None] * reach[None] ** 4)[..., None]
    line = line + outwards * lift[..., None]
    width = style.lock_width * generator.uniform(0.4, 1.2, (count, 1)) / 2
    width = width * np.interp(reach, [0, 0.2, 0.6, 1.0], [0.35, 1.0, 0.8, 0.06])[None]
    ribbon = np.stack([line - side * width[..., None], line + side * width[..., None]], axis=2)
    tone = np.exp(generator.normal(0, 0.22, (count, 1))) * np.interp(reach, [0, 0.3, 1], [0.85, 1.0, 1.12])[None]
    tint = 1 + generator.normal(0, 0.05, (count, 1, 3))
    colours = np.repeat((tone[..., None] * tint * colour)[:, :, None], 2, axis=2)
    strip = sheet_triangles(LOCK_POINTS, 2)
    in_front = np.abs(round_[np.round(sector).astype(int)]) < style.fringe_half_width
    fringe = in_front & (style.fringe > 0) & (stop > ON_SCALP)
    result = {}
    for name, chosen in (("hair", ~fringe), ("fringe", fringe)):
        number = int(chosen.sum())
        triangles = (np.arange(number)[:, None, None] * (2 * LOCK_POINTS) + strip[None]).reshape(-1, 3)
        result[name] = (ribbon[chosen].reshape(-1, 3), triangles, colours[chosen].reshape(-1, 3))
    return result


def _edge_hairs(
    style: HairStyle,
    guides: np.ndarray,
    hanging: np.ndarray,
    skull: Skull,
    colour: np.ndarray,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Short hairs across the hairline, a triangle each, so that the skin shows between them: vertices, triangles,
    colours."""
    count = style.edge_hairs
    sector = generator.uniform(0, len(guides) - 1.001, (count, 1))
    bare = hanging[np.round(sector[:, 0]).astype(int)] < 0.004
    sector = sector[bare]
    count = len(sector)
    # Most stand at the edge itself; the farther in, the fewer are needed.
    at = (ON_SCALP - 1) * (1 - 0.22 * generator.random((count, 1)) ** 2)
    root, before = (_guide_at(guides, sector, at - back)[:, 0] for back in (0.0, 0.8))
    along = root - before
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    outwards = root - skull.middle
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    side = np.cross(along, outwards)
    length = generator.uniform(0.003, 0.010, (count, 1)) * min(1.0, 0.5 + 50 * style.thickness)
    along = along + (0.3 + style.mess) * generator.normal(0, 1, (count, 1)) * side
    height = 0.0012 + min(style.thickness, 0.012) * 0.35 * generator.random((count, 1)) ** 2
    tip = root + along * length
    apart = tip - skull.middle
    direction = apart / np.linalg.norm(apart, axis=1, keepdims=True)
    tip = skull.middle + direction * (skull.radius(direction[:, None])[:, 0:1] + height)
    root = root + outwards * 0.001 - along * 0.3 * length
    width = side * generator.uniform(0.0005, 0.0013, (count, 1))
    vertices = np.stack([root - width, root + width, tip], axis=1).reshape(-1, 3)
    tone = np.exp(generator.normal(0, 0.2, (count, 1, 1))) * np.ones((1, 3, 1)) * colour
    return vertices, np.arange(3 * count).reshape(-1, 3), tone.reshape(-1, 3)


def _guide_at(guides: np.ndarray, sector: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Guides (S, R, 3) between sectors and points: (N, P) and (N, P) to (N, P, 3)."""
    sector = sector.clip(0, len(guides) - 1.001)
    at = at.clip(0, guides.shape[1] - 1.001)
    s, r = sector.astype(int), at.astype(int)
    u, v = (sector - s)[..., None], (at - r)[..., None]
    low = guides[s, r] * (1 - v) + guides[s, r + 1] * v
    return low * (1 - u) + (guides[s + 1, r] * (1 - v) + guides[s + 1, r + 1] * v) * u


def _bun(
    style: HairStyle, skull: Skull, colour: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A knot of hair behind the head or on top of it."""
    place = place_at(np.array([generator.uniform(-0.2, 1.3)]), np.array([np.pi]))
    middle = skull.points(place, np.array([style.thickness + 0.6 * style.bun]))[0]
    rows, columns = 9, 14
    down, round_ = np.mgrid[0 : np.pi : rows * 1j, 0 : 2 * np.pi : columns * 1j]
    ball = np.stack([np.sin(down) * np.cos(round_), np.cos(down), np.sin(down) * np.sin(round_)], axis=-1)
    radius = style.bun * (1 + 0.10 * clouds(generator, rows, columns, 5))
    radius[:, -1] = radius[:, 0]
    vertices = middle + (ball * radius[..., None] * [1.0, 0.85, 0.9]).reshape(-1, 3)
    colours = np.exp(generator.normal(-0.15, 0.2, (columns, 1))) * colour
    return vertices, sheet_triangles(rows, columns), np.tile(colours, (rows, 1))


def _used(
    vertices: np.ndarray, triangles: np.ndarray, colours: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same mesh without vertices that no triangle has."""
    kept, renamed = np.unique(triangles, return_inverse=True)
    return vertices[kept], renamed.reshape(triangles.shape), colours[kept]


def _joined(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Several meshes as one: float32 vertices, int64 triangles, float32 colours in [0, 1]."""
    count = np.cumsum([0] + [len(part[0]) for part in parts])
    vertices = np.concatenate([part[0] for part in parts]).astype(np.float32)
    triangles = np.concatenate([part[1] + start for part, start in zip(parts, count, strict=False)]).astype(np.int64)
    colours = np.concatenate([part[2] for part in parts]).clip(0, 1).astype(np.float32)
    return vertices, triangles, colours
