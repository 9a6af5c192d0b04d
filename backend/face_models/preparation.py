"""Makes of any face model's arrays a head that Lifemask can fit, texture, rig and export.

Everything a file may lack is taken from the open head by a dense correspondence (`registration`): where a detector's
landmarks lie, which skin is brow, lip or ear, and ARKit's 52 shapes (`deformation_transfer`). The lids' rim is found on
the model's own mesh, and its blink solved on its own eyeballs, before any joint turns. Done once, when it is added.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from backend.alignment import similarity
from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.face_models.carried_keys import carried_keys
from backend.face_models.eyes import IRIS_DEGREES, eye_colour_masks, fit_sphere
from backend.face_models.identity_map import identity_map
from backend.face_models.lid_keys import BLINK_CORRECTIVES
from backend.face_models.lid_margins import margin_loop, mirrored_loop
from backend.face_models.mesh_pieces import connected_pieces, mirror_images, used_vertices
from backend.face_models.model_arrays import ContourLandmarks, ModelArrays, Skinning
from backend.face_models.morphable_model import SurfacePoints, Topology, split_quads
from backend.face_models.open_head import OpenHead
from backend.face_models.registered_head import RegisteredHead, front_sphere
from backend.face_models.registration import BareHead, Registration, register, skin_triangles
from backend.face_models.rendered_landmarks import COLOURS
from backend.face_models.uv_layout import make_uv
from backend.lid_rig import EYE, EYEBALL_RADIUS, SIDES, Eyeball, EyeRig, LidRig, build_eye_rig
from backend.rendering.shading import linear_to_srgb

logger = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Called with a stage's name and how much of the whole is done, 0 to 1."""

LEFT_OUT = ("cornea", "lacrimal", "eye_blend", "eye_occlusion", "iris_shell")
"""Parts that only make sense with transparency, by the beginning of their names."""
SKIN_PARTS = ("skin", "mouth_inside", "eye_socket", "eye_socket_left", "eye_socket_right")
WELDED_M = 1e-6
"""Vertices of different pieces of the skin that lie this near to each other are one."""
LEAST_TRUST = 0.5
ROUND_M, ROUND_SHARE = 0.0006, 0.05
"""An eyeball is a ball if its vertices lie within this of a sphere, on the average, and if its front alone is part of a
sphere whose radius differs by no more than this share."""
WHITE_COSINE, SUNK_M = float(np.cos(np.radians(IRIS_DEGREES + 5))), 0.0004
"""Off the gaze axis where the white of an eye begins; by how much an iris that is sunk lies under the ball, and no part
of it over the ball."""
BALL_RADII_M = (0.007, 0.018)


@dataclass(frozen=True)
class _Parts:
    """The model's mesh without what is left out, the pieces of its skin joined where they touch.

    Attributes:
        index: (V,) ascending: vertices of the file that are kept.
        row_of: for each vertex of the file the row of `index` that it is or was joined to; -1 if it is left out.
        faces: (F, 4) all faces of the file over rows of `index`, -1 as in the file; only -1 in those that are left out.
        parts: part name -> (N,) rows of `faces`.
    """

    index: np.ndarray
    row_of: np.ndarray
    faces: np.ndarray
    parts: dict[str, np.ndarray]


def prepare(arrays: ModelArrays, progress: Progress | None = None) -> RegisteredHead:
    """A face model ready for use.

    Args:
        arrays: what its file holds.
        progress: told of every stage as it starts.

    Raises:
        UsageError: no face or no lids are found on the mesh, or it cannot be laid flat ("bad-face-model-file").
    """
    told = progress or (lambda stage, share: None)
    told("looking at the face model", 0.0)
    open_head = load_face_model("open_head")
    kept = _kept(arrays)
    mean = arrays.mean[kept.index].astype(np.float64)
    kept = _named_eyeballs(kept, mean)
    skin_rows = np.concatenate([rows for name, rows in kept.parts.items() if name in SKIN_PARTS])
    skin = split_quads(kept.faces[skin_rows])
    try:
        told("finding the face model's face", 0.05)
        target = BareHead(mean, skin, _colours(arrays, kept, mean), split_quads(_shown(kept)))
        registration = register(open_head, target)
    except ValueError as error:
        raise UsageError(
            "bad-face-model-file", f"No face was found on the mean head of {arrays.label}: {error}"
        ) from error
    told("making its lids", 0.45)
    try:
        eyes = _Eyes(open_head, registration, kept, mean)
    except ValueError as error:
        raise UsageError(
            "bad-face-model-file", f"No lids were found on the mean head of {arrays.label}: {error}"
        ) from error
    shift = eyes.centres.mean(axis=0)
    told("making its shape keys", 0.55)
    own_keys = {name: key[kept.index] for name, key in arrays.keys.items()}
    keys = carried_keys(open_head, registration, mean, kept.faces, kept.parts, skin, own_keys)
    told("making its texture coordinates", 0.65)
    topology = _topology(arrays, kept, eyes, (mean - shift).astype(np.float32))
    told("putting it together", 0.95)
    identity = arrays.identity_basis[:, kept.index]
    place, trust = _whole_place(open_head, registration, eyes, kept, mean)
    head = RegisteredHead(
        name=arrays.name,
        licence=arrays.licence,
        topology=topology,
        mean=(mean - shift).astype(np.float32),
        identity_basis=np.ascontiguousarray(identity, np.float32),
        key_names=keys.names + tuple(BLINK_CORRECTIVES.values()),
        mirror=_mirror(mean - shift, topology),
        masks=_masks(open_head, registration, topology, eyes, mean),
        label=arrays.label,
        source=arrays.source,
        metres_per_unit=arrays.metres_per_unit,
        file_index=kept.index.astype(np.int32),
        expression_basis=np.ascontiguousarray(arrays.expression_basis[:, kept.index], np.float32),
        stored_keys=keys,
        rig=eyes.rig,
        round_eyes=eyes.made_round,
        eyeball_directions=eyes.directions,
        eyeball_whites=eyes.whites,
        fused_centres=eyes.fused_centres,
        place=place,
        trust=trust,
        identity_from_open_head=identity_map(
            open_head.identity_basis,
            identity,
            registration.place,
            registration.trust,
            registration.similarity_scale * similarity(open_head.mean.astype(np.float64), registration.warped)[1],
        ),
        albedo=arrays.albedo if arrays.albedo is None else _albedo(arrays, kept),
        skinning=_skinning(arrays, kept),
        contour=_contour(arrays.contour, kept),
    )
    head.points478 = head.from_open_head(open_head.points478)[0]
    own = arrays.landmarks68
    head.points68 = head.from_open_head(open_head.points68)[0] if own is None else _kept_points(own, kept)
    return head


# The mesh -------------------------------------------------------------------------------------------------------------


def _kept(arrays: ModelArrays) -> _Parts:
    """Leaves out shells that only make sense with transparency, and joins the skin's pieces where they touch."""
    parts = {name: rows for name, rows in arrays.part_faces.items() if not name.startswith(LEFT_OUT)}
    named = np.zeros(len(arrays.faces), bool)
    for rows in arrays.part_faces.values():
        named[rows] = True
    parts |= _unnamed_pieces(arrays.faces, np.flatnonzero(~named), "skin" not in parts)
    stands_for = np.arange(len(arrays.mean))
    skin = [rows for name, rows in parts.items() if name in SKIN_PARTS]
    if not skin:
        raise UsageError("bad-face-model-file", f"{arrays.label} has no skin.")
    skin_faces = arrays.faces[np.concatenate(skin)]
    pieces = connected_pieces(skin_faces)
    if len(pieces) > 1:
        used, piece_of = used_vertices(skin_faces), np.zeros(len(arrays.mean), np.int64)
        for number, piece in enumerate(pieces):
            piece_of[used_vertices(skin_faces[piece])] = number
        pairs = cKDTree(arrays.mean[used]).query_pairs(WELDED_M, output_type="ndarray")
        pairs = pairs[piece_of[used[pairs[:, 0]]] != piece_of[used[pairs[:, 1]]]]  # lips that touch stay two
        same = connected_components(
            sparse.coo_matrix((np.ones(len(pairs)), pairs.T), (len(used), len(used))), directed=False
        )[1]
        first = np.full(same.max() + 1, len(used))
        np.minimum.at(first, same, np.arange(len(used)))
        stands_for[used] = used[first[same]]
    rows = np.concatenate(list(parts.values()))
    index = used_vertices(np.where(arrays.faces >= 0, stands_for[arrays.faces], -1)[rows])
    row_of = np.full(len(arrays.mean), -1)
    row_of[index] = np.arange(len(index))
    row_of = row_of[stands_for]
    faces = np.full(arrays.faces.shape, -1)
    faces[rows] = np.where(arrays.faces[rows] >= 0, row_of[arrays.faces[rows]], -1)
    return _Parts(index, row_of, faces, parts)


def _unnamed_pieces(faces: np.ndarray, rows: np.ndarray, with_skin: bool) -> dict[str, np.ndarray]:
    """The connected pieces of faces that no part names: the largest is the skin, if none is known."""
    if not len(rows):
        return {}
    pieces = sorted((rows[piece] for piece in connected_pieces(faces[rows])), key=len, reverse=True)
    result = {"skin": pieces.pop(0)} if with_skin else {}
    return result | {f"piece_{number}": piece for number, piece in enumerate(pieces, start=1)}


def _named_eyeballs(kept: _Parts, mean: np.ndarray) -> _Parts:
    """Gives round pieces of the size of an eye their names, where the file gave none."""
    if "eyeball_left" in kept.parts:
        return kept
    parts, balls = dict(kept.parts), []
    for name in list(parts):
        if not name.startswith("piece_"):
            continue
        points = mean[used_vertices(kept.faces[parts[name]])]
        centre, radius = fit_sphere(points)
        if BALL_RADII_M[0] < radius < BALL_RADII_M[1] and _roundness(points, centre, radius) < 2 * ROUND_M:
            balls.append((len(points), centre[0], name))
    if len(balls) >= 2:
        for side, (_, _, name) in zip(
            ("right", "left"), sorted(sorted(balls)[-2:], key=lambda ball: ball[1]), strict=True
        ):
            parts[f"eyeball_{side}"] = parts.pop(name)
    return replace(kept, parts=parts)


def _roundness(points: np.ndarray, centre: np.ndarray, radius: float) -> float:
    return float(np.abs(np.linalg.norm(points - centre, axis=1) - radius).mean())


def _shown(kept: _Parts) -> np.ndarray:
    """Faces that a picture for the detector shows: lashes are cards that need a transparent texture."""
    return kept.faces[np.concatenate([rows for name, rows in kept.parts.items() if name != "lashes"])]


def _colours(arrays: ModelArrays, kept: _Parts, mean: np.ndarray) -> np.ndarray:
    """(V, 3) uint8: the model's own skin, or a plain one; irises on eyeballs."""
    colours = np.tile(np.array(COLOURS["skin"], np.uint8), (len(mean), 1))
    if arrays.albedo is not None:
        encoded = linear_to_srgb(torch.from_numpy(np.clip(arrays.albedo.mean[kept.index], 0, 1)))
        colours = (255 * encoded.numpy() + 0.5).astype(np.uint8)
    for name, rows in kept.parts.items():
        vertices = used_vertices(kept.faces[rows])
        if name.startswith("eyeball"):
            found = eye_colour_masks(mean, vertices, fit_sphere(mean[vertices])[0])
            for what in ("sclera", "iris", "pupil"):
                colours[found[what]] = COLOURS[what]
        elif name.startswith("teeth"):
            colours[vertices] = COLOURS["part_teeth_upper"]
        elif name.startswith(("tongue", "gums")):
            colours[vertices] = COLOURS["part_tongue"]
    return colours


# Eyes -----------------------------------------------------------------------------------------------------------------


class _Eyes:
    """Eyeballs and lids of the mean head.

    Attributes:
        centres: (2, 3) metres, left first. rig: LidRig.
        made_round, directions, whites, fused_centres: see `RegisteredHead`.
        fused_rows: side -> (N,) rows of the kept faces inside the lids' rim, where lids and eyes are one surface.
    """

    def __init__(self, open_head: OpenHead, registration: Registration, kept: _Parts, mean: np.ndarray):
        self.mean = mean
        self.fused = "eyeball_left" not in kept.parts
        self.made_round, self.directions, self.fused_centres = False, {}, None
        self.whites: dict[str, np.ndarray] = {}
        self.fused_rows: dict[str, np.ndarray] = {}
        skin_rows = np.concatenate([rows for name, rows in kept.parts.items() if name in SKIN_PARTS])
        skin = kept.faces[skin_rows]
        balls = [] if self.fused else self._balls(kept)
        lashes = used_vertices(kept.faces[kept.parts["lashes"]]) if "lashes" in kept.parts else np.array([], int)
        eyes: dict[str, EyeRig] = {}
        centres, arms = [], []
        for row, side in enumerate(SIDES):
            curve = registration.warped[open_head.rig.eye(side).loop]
            loop = margin_loop(mean, skin, curve, None if self.fused else balls[row])
            if side == SIDES[1]:
                loop = mirrored_loop(mean, skin, eyes[SIDES[0]].loop, loop)
            centre = curve.mean(axis=0) - [0, 0, EYEBALL_RADIUS] if self.fused else balls[row][0]
            own_lashes = lashes[np.sign(mean[lashes, 0] - mean[:, 0].mean()) == np.sign(centre[0] - mean[:, 0].mean())]
            eye = build_eye_rig(mean, skin, loop, centre, own_lashes, fused=self.fused)
            if self.fused:
                surface = eye.followers[eye.kind == EYE]
                inside = np.isin(skin, np.concatenate([surface, loop])) | (skin < 0)
                self.fused_rows[side] = skin_rows[inside.all(axis=1)]
                centre = _centre_behind(mean[surface], EYEBALL_RADIUS * registration.similarity_scale, centre)
                arms.append(centre - mean[surface].mean(axis=0))
                eye = build_eye_rig(mean, skin, loop, centre, own_lashes, fused=True)
            eyes[side] = eye
            centres.append(centre)
        self.centres = np.stack(centres)
        radius = EYEBALL_RADIUS * registration.similarity_scale
        if self.fused:
            self.fused_centres = np.stack(arms)
        else:
            radius = float(np.mean([radius for _, radius in balls]))
        self.rig = LidRig(eyes["left"], eyes["right"], Eyeball(radius))

    def _balls(self, kept: _Parts) -> list[tuple[np.ndarray, float]]:
        vertices = {side: used_vertices(kept.faces[kept.parts[f"eyeball_{side}"]]) for side in SIDES}
        balls = [fit_sphere(self.mean[vertices[side]]) for side in SIDES]
        errors = [_roundness(self.mean[vertices[side]], *ball) for side, ball in zip(SIDES, balls, strict=True)]
        directions = {}
        for side in SIDES:
            ball = self.mean[vertices[side]]
            arm = ball - fit_sphere(ball[ball[:, 2] < np.median(ball[:, 2])])[0]
            directions[side] = arm / np.linalg.norm(arm, axis=1, keepdims=True)
        whites = {side: vertices[side][directions[side][:, 2] < WHITE_COSINE] for side in SIDES}
        if all(_is_sunk(self.mean, whites[side], np.setdiff1d(vertices[side], whites[side])) for side in SIDES):
            self.whites = whites
            return [fit_sphere(self.mean[whites[side]]) for side in SIDES]
        fronts = [front_sphere(self.mean, vertices[side], directions[side]) for side in SIDES]
        ratios = [abs(front[1] / ball[1] - 1) for front, ball in zip(fronts, balls, strict=True)]
        self.made_round = max(errors) > ROUND_M or max(ratios) > ROUND_SHARE
        if self.made_round:
            self.directions = directions
        return fronts if self.made_round else balls


def _is_sunk(mean: np.ndarray, white: np.ndarray, iris: np.ndarray) -> bool:
    """Whether the white of an eye is a ball, and its iris (vertices, the pupil included) lies in it like a bowl."""
    if not len(white) or not len(iris):
        return False
    centre, radius = fit_sphere(mean[white])
    over = np.linalg.norm(mean[iris] - centre, axis=1) - radius
    return _roundness(mean[white], centre, radius) < ROUND_M / 2 and over.max() < SUNK_M and over.min() < -SUNK_M


def _centre_behind(surface: np.ndarray, radius: float, start: np.ndarray) -> np.ndarray:
    """The centre of the ball of a given radius that lies closest behind points (N, 3) of an eye's surface."""
    centre = np.array(start, float)
    for _ in range(30):
        arm = surface - centre
        distance = np.linalg.norm(arm, axis=1)
        direction = arm / distance[:, None]
        step = np.linalg.lstsq(
            np.concatenate([direction, 0.3 * np.eye(3)]),  # sideways the points hardly say anything
            np.concatenate([distance - radius, 0.3 * (np.append(surface[:, :2].mean(axis=0), centre[2]) - centre)]),
            rcond=None,
        )[0]
        centre += step
        if np.linalg.norm(step) < 1e-7:
            break
    return centre


def _whole_place(
    open_head: OpenHead, registration: Registration, eyes: _Eyes, kept: _Parts, mean: np.ndarray
) -> tuple[SurfacePoints, np.ndarray]:
    """The place of every vertex of the open head on the model: skin as registered, eyeballs by direction."""
    vertices, weights = registration.place.vertices.copy(), registration.place.barycentric.copy()
    trust = registration.trust.copy()
    used = np.unique(skin_triangles(open_head))
    others = np.setdiff1d(np.arange(len(open_head.mean)), used)  # lashes, teeth: as the skin beside them
    beside = used[cKDTree(open_head.mean[used]).query(open_head.mean[others])[1]]
    vertices[others], weights[others], trust[others] = vertices[beside], weights[beside], trust[beside]
    own_centres = open_head.eye_centres(open_head.mean)
    for row, side in enumerate(SIDES):
        ball = open_head.eyeballs[side]
        arm = open_head.mean[ball] - own_centres[row]
        arm = arm / np.linalg.norm(arm, axis=1, keepdims=True)
        if eyes.fused:
            eye = eyes.rig.eye(side)
            others = np.concatenate([eye.followers[eye.kind == EYE], eye.loop])
        else:
            others = used_vertices(kept.faces[kept.parts[f"eyeball_{side}"]])
        other_arm = mean[others] - eyes.centres[row]
        other_arm = other_arm / np.linalg.norm(other_arm, axis=1, keepdims=True)
        near, index = cKDTree(other_arm).query(arm, k=3)
        share = 1 / np.maximum(near, 1e-4) ** 2
        vertices[ball], weights[ball] = others[index], share / share.sum(axis=1, keepdims=True)
        trust[ball] = near[:, 0] < 0.2
    return SurfacePoints(vertices.astype(np.int32), weights.astype(np.float32)), trust


# What else a head needs -----------------------------------------------------------------------------------------------


def _topology(arrays: ModelArrays, kept: _Parts, eyes: _Eyes, mean: np.ndarray) -> Topology:
    """Parts one after the other; the eyes of a model whose lids they are grown together with become parts too."""
    parts = dict(kept.parts)
    for side, rows in eyes.fused_rows.items():
        parts["skin"] = np.setdiff1d(parts["skin"], rows)
        parts[f"eyeball_{side}"] = rows
    order = np.concatenate(list(parts.values()))
    ends = np.cumsum([len(rows) for rows in parts.values()])
    part_faces = np.stack([ends - [len(rows) for rows in parts.values()], ends], axis=1).astype(np.int32)
    faces = np.ascontiguousarray(kept.faces[order], np.int32)
    if arrays.uv is not None:
        uv, face_uv = arrays.uv, arrays.face_uv[order]
    else:
        rows = {name: np.arange(start, end) for name, (start, end) in zip(parts, part_faces, strict=True)}
        try:
            uv, face_uv = make_uv(mean, faces, rows)
        except ValueError as error:
            raise UsageError(
                "bad-face-model-file", f"No texture coordinates can be made for {arrays.label}: {error}"
            ) from error
    return Topology(faces, uv.astype(np.float32), face_uv.astype(np.int32), tuple(parts), part_faces)


def _masks(
    open_head: OpenHead, registration: Registration, topology: Topology, eyes: _Eyes, mean: np.ndarray
) -> dict[str, np.ndarray]:
    """The open head's regions on the model, name -> (V,) bool; parts by the model's own."""
    place, trusted = registration.source_place, registration.source_trust > LEAST_TRUST
    masks = {}
    for name, mask in open_head.masks.items():
        if name.startswith("part_"):
            continue
        share = (mask[place.vertices] * place.barycentric).sum(axis=1)
        masks[name] = (share > 0.5) & trusted
    skin = np.zeros(len(mean), bool)
    skin[topology.part_vertices("skin")] = True
    for name in masks:
        masks[name] &= skin
    beyond = skin & (registration.source_trust == 0) & (mean[:, 1] < np.quantile(registration.warped[:, 1], 0.1))
    masks["outer_skin"] |= beyond  # the neck and shoulders that the open head does not have
    masks["neck"] = masks.get("neck", np.zeros(len(mean), bool)) | beyond
    for name in topology.part_names:
        masks[f"part_{name}"] = np.zeros(len(mean), bool)
        masks[f"part_{name}"][topology.part_vertices(name)] = True
    for name in ("iris", "pupil", "sclera"):
        masks[name] = np.zeros(len(mean), bool)
    for row, side in enumerate(SIDES):
        ball = topology.part_vertices(f"eyeball_{side}")
        if eyes.fused:
            ball = np.setdiff1d(ball, eyes.rig.eye(side).loop)
        for name, vertices in eye_colour_masks(mean, ball, eyes.centres[row]).items():
            masks[name][vertices] = True
        masks[f"eye_{side}"] = np.zeros(len(mean), bool)
        masks[f"eye_{side}"][ball] = True
    return masks


def _mirror(mean: np.ndarray, topology: Topology) -> np.ndarray:
    """(V,) int32: the nearest vertex to each one's mirror image, within the part of the other side."""
    other_side = {"left": "right", "right": "left"}
    mirror = mirror_images(mean, topology.triangles)[0]
    for part in reversed(topology.part_names):
        stem, _, side = part.rpartition("_")
        partner = f"{stem}_{other_side[side]}" if side in other_side else part
        if part == "skin" or partner not in topology.part_names:
            continue
        own, wanted = topology.part_vertices(part), topology.part_vertices(partner)
        mirror[own] = wanted[cKDTree(mean[wanted]).query(mean[own] * [-1, 1, 1])[1]]
    return mirror.astype(np.int32)


def _albedo(arrays: ModelArrays, kept: _Parts):
    return type(arrays.albedo)(arrays.albedo.mean[kept.index], arrays.albedo.basis[:, kept.index])


def _skinning(arrays: ModelArrays, kept: _Parts) -> Skinning | None:
    """The joints over the vertices that are kept, in the same places on everyone."""
    skinning = arrays.skinning
    if skinning is None:
        return None
    basis = skinning.pose_basis
    there = kept.row_of >= 0
    regressor = np.zeros((len(kept.index), len(skinning.names)))
    np.add.at(regressor, kept.row_of[there], skinning.regressor.T[there])
    regressor = regressor.T
    lost = skinning.regressor[:, ~there].astype(np.float64)
    for joint in np.flatnonzero(lost.any(axis=1)):
        own = np.flatnonzero(regressor[joint])  # others move otherwise
        own = own if len(own) else np.arange(len(kept.index))
        regressor[joint, own] += _standing_for(arrays, kept.index[own], ~there, lost[joint])
    return Skinning(
        skinning.names,
        skinning.parents,
        skinning.weights[kept.index],
        regressor.astype(np.float32),
        None if basis is None else np.ascontiguousarray(basis[:, kept.index], np.float32),
    )


def _standing_for(arrays: ModelArrays, vertices: np.ndarray, lost: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,) the smallest weights of vertices (N,) of the file whose sum moves as others do, `lost` (V,), by theirs."""

    def shapes(rows: np.ndarray) -> np.ndarray:
        """(3 (1 + K) + 1, M): the mean, the modes and a head that is moved elsewhere."""
        whole = np.concatenate([arrays.mean[None, rows], arrays.identity_basis[:, rows]]).astype(np.float64)
        return np.concatenate([whole.transpose(0, 2, 1).reshape(-1, whole.shape[1]), np.ones((1, whole.shape[1]))])

    return np.linalg.lstsq(shapes(vertices), shapes(lost) @ weights, rcond=1e-9)[0]


def _kept_points(points: SurfacePoints, kept: _Parts) -> SurfacePoints:
    rows = kept.row_of[points.vertices]
    if rows.min() < 0:
        raise UsageError("bad-face-model-file", "Some of the face model's landmarks lie on parts that are left out.")
    return SurfacePoints(rows.astype(np.int32), points.barycentric)


def _contour(contour: ContourLandmarks | None, kept: _Parts) -> ContourLandmarks | None:
    if contour is None:
        return None
    return ContourLandmarks(contour.yaw, tuple(_kept_points(points, kept) for points in contour.points))
