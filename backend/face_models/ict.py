"""ICT-FaceKit as a face model, read-only: people whose true shape is known, to measure with.

Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020. The person points to the file; nothing
of it comes with the project.

What differs from the file: its eyeball, an egg of 15 mm with a glassy shell round another ball, becomes the sphere
that fits the part of the shell in the lid opening (12.7 mm on the mean), so that it can turn; its lids are laid on that
sphere and shut over it (its own eyeBlink leaves up to a quarter of the eye uncovered); overlays that only make sense
with transparency (lacrimal fluid, blend and occlusion meshes) are left out; coincident skin vertices are welded.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from backend.errors import UsageError
from backend.face_models.eyes import (
    IRIS_DEGREES,
    PUPIL_DEGREES,
    fit_sphere,
    gaze_rotation,
    with_turning_eyeballs,
)
from backend.face_models.lid_keys import BLINK_CORRECTIVES, with_own_lids
from backend.face_models.morphable_model import KeyOffsets, Licence, MorphableModel, Topology
from backend.lid_rig import SIDES, Eyeball, LidRig, boundary_loops, build_eye_rig, mesh_edges
from backend.lids import closure, fit_lids, rest_on_eyeballs

LICENCE = Licence(
    "MIT",
    "ICT-FaceKit, copyright 2020 USC Institute for Creative Technologies: free for any use with this notice.",
    commercial=True,
)
METRES_PER_UNIT = 0.01
PARTS = {  # ours: theirs
    "skin": ("face", "head_neck"),
    "eye_socket_left": ("eye_socket_left",),
    "eye_socket_right": ("eye_socket_right",),
    "mouth_inside": ("mouth_socket",),
    "eyeball_left": ("sclera_left",),
    "eyeball_right": ("sclera_right",),
    "teeth": ("teeth",),
    "gums_tongue": ("gums_tongue",),
    "lashes": ("eyelashes_left", "eyelashes_right"),
}
WELDED_PARTS = ("skin", "eye_socket_left", "eye_socket_right", "mouth_inside")
NOT_KEYS = ("PupilDilate",)
FRONT_DEGREES = 60.0  # the part of the file's eyeball, off the gaze axis, whose sphere is taken


def default_path() -> Path:
    """`face_models/ict_facekit.npz` in the folder `$LIFEMASK_DATA`.

    Raises:
        UsageError: the variable is not set.
    """
    folder = os.environ.get("LIFEMASK_DATA")
    if not folder:
        raise UsageError(
            "no-face-model-file",
            "The face model 'ict' needs its file: give its path, or set LIFEMASK_DATA to the folder that holds "
            "face_models/ict_facekit.npz.",
        )
    return Path(folder) / "face_models/ict_facekit.npz"


@dataclass
class IctFaceKit(MorphableModel):
    """ICT-FaceKit from an `.npz` file.

    Args:
        path: the file; see `default_path`.

    Raises:
        UsageError: the file is missing or holds something else.
    """

    def __init__(self, path: Path | None = None):
        path = Path(path) if path is not None else default_path()
        if not path.is_file():
            raise UsageError("no-face-model-file", f"There is no ICT-FaceKit file at {path}.")
        with np.load(path, allow_pickle=False) as data:
            needed = {"neutral", "identity_q", "expression_q", "delta_step", "faces", "part_names", "landmarks68"}
            if not needed <= set(data.files):
                missing = ", ".join(sorted(needed - set(data.files)))
                raise UsageError("bad-face-model-file", f"{path} is no ICT-FaceKit file: it has no {missing}.")
            data = {name: data[name] for name in data.files}
        step = float(data["delta_step"]) * METRES_PER_UNIT
        index, topology = _cut(data)
        mean = (data["neutral"][index] * METRES_PER_UNIT).astype(np.float32)
        # (K, V, 3) and (E, V, 3): q * step as float32 straight away; the arrays are large
        basis = data["identity_q"][:, index].astype(np.float32) * np.float32(step)
        self._file_keys, keys = _arkit_keys(data["expression_names"].tolist(), data["expression_q"][:, index], step)
        self._landmark_vertices = _positions(index, data, data["landmarks68"])
        super().__init__(
            name="ict",
            licence=LICENCE,
            topology=topology,
            mean=mean,
            identity_basis=basis,
            key_names=self._file_keys + tuple(BLINK_CORRECTIVES.values()),
            mirror=_mirror(mean, topology),
        )
        self._keys = keys
        self._front = {side: self._front_of_eyeball(side) for side in SIDES}
        self.rig = self._lid_rig()
        centres, _ = self.fit_eyeballs(self.mean)
        self.mean -= centres.mean(axis=0).astype(np.float32)
        self.masks.update(self._masks())

    @cached_property
    def eyeballs(self) -> dict[str, np.ndarray]:
        """Vertices of the two eyeballs by side, (N,) int64."""
        return {side: self.topology.part_vertices(f"eyeball_{side}") for side in SIDES}

    @cached_property
    def eyeball_directions(self) -> dict[str, np.ndarray]:
        """(N, 3) unit vectors to the eyeballs' vertices, of the mean."""
        result = {}
        for side in SIDES:
            ball = self.mean[self.eyeballs[side]].astype(np.float64)
            arm = ball - fit_sphere(ball[ball[:, 2] < np.median(ball[:, 2])])[0]
            result[side] = arm / np.linalg.norm(arm, axis=1, keepdims=True)
        return result

    def _front_of_eyeball(self, side: str) -> np.ndarray:
        return self.eyeballs[side][self.eyeball_directions[side][:, 2] > np.cos(np.radians(FRONT_DEGREES))]

    def fit_eyeballs(self, shape: np.ndarray) -> tuple[np.ndarray, float]:
        """The spheres in the lid openings of a shape (V, 3) of the file: centres (2, 3), left first, and the radius."""
        spheres = [fit_sphere(shape[self._front[side]]) for side in SIDES]
        return np.stack([centre for centre, _ in spheres]), float(np.mean([radius for _, radius in spheres]))

    def eye_centres(self, vertices: np.ndarray) -> np.ndarray:
        """Centres of the eyeballs of a head of this model, subject's left first: (2, 3) float64."""
        return np.stack([fit_sphere(vertices[self.eyeballs[side]])[0] for side in SIDES])

    def rig_of(self, neutral: np.ndarray) -> LidRig:
        """The lids of one person: the rig with this person's size of eyeball."""
        return replace(self.rig, eyeball=Eyeball(fit_sphere(neutral[self.eyeballs["left"]])[1]))

    def _lid_rig(self) -> LidRig:
        """Margins: the first ring of vertices out of the seam between the face and the eye sockets."""
        skin = self.topology.faces[self.topology.part("skin")]
        edges = mesh_edges(skin)
        centres, radius = self.fit_eyeballs(self.mean)
        eyes = {}
        for side, centre in zip(SIDES, centres, strict=True):
            seams = [loop for loop in boundary_loops(skin) if np.linalg.norm(self.mean[loop].mean(0) - centre) < 0.02]
            next_to = np.isin(edges, seams[0])
            ring = np.unique(edges[next_to.any(1) & ~next_to.all(1)])
            ring = ring[~np.isin(ring, seams[0])]
            sockets = self.topology.faces[self.topology.part(f"eye_socket_{side}")]
            lashes = self.topology.part_vertices("lashes")
            lashes = lashes[np.sign(self.mean[lashes, 0]) == np.sign(centre[0])]
            faces = np.concatenate([skin, sockets])
            eyes[side] = build_eye_rig(self.mean, faces, _chain(ring, edges), centre, lashes)
        return LidRig(eyes["left"], eyes["right"], Eyeball(radius))

    def neutral(self, identity: np.ndarray) -> np.ndarray:
        shape = self.shape(identity).astype(np.float64)
        centres, radius = self.fit_eyeballs(shape)
        shape -= centres.mean(axis=0)
        centres -= centres.mean(axis=0)
        for side, centre in zip(SIDES, centres, strict=True):
            shape[self.eyeballs[side]] = centre + radius * self.eyeball_directions[side]
        return fit_lids(shape, centres, replace(self.rig, eyeball=Eyeball(radius))).astype(np.float32)

    def key_offsets(self, neutral: np.ndarray) -> KeyOffsets:
        centres, rig = self.eye_centres(neutral), self.rig_of(neutral)
        offsets = with_own_lids(dict(zip(self._file_keys, self._keys, strict=True)), neutral, centres, rig)
        offsets = with_turning_eyeballs(offsets, neutral, centres, self.eyeballs)
        return KeyOffsets.from_dense(self.key_names, np.stack([offsets[name] for name in self.key_names]))

    def posed(
        self,
        neutral: np.ndarray,
        keys: KeyOffsets,
        weights: Mapping[str, float],
        gaze_degrees: Mapping[str, tuple[float, float]] | None = None,
    ) -> np.ndarray:
        """The head with keys set, gaze turned exactly and the lids resting on the eyeballs: (V, 3) float32.

        Args:
            neutral: (V, 3); keys: its own.
            weights: by key name; the correctives of the blink follow by themselves.
            gaze_degrees: (towards the subject's left, up) for "left" and "right".
        """
        weights = dict(weights)
        for side in SIDES:
            blink = weights.get(f"eyeBlink{side.title()}", 0.0)
            weights[BLINK_CORRECTIVES[side]] = 4 * blink * (1 - blink)
        vertices = keys.apply(neutral, weights)
        centres = self.eye_centres(neutral)
        result = rest_on_eyeballs(vertices, neutral, centres, self.rig_of(neutral)).astype(np.float32)
        for side, centre in zip(SIDES, centres, strict=True):
            across, up = (gaze_degrees or {}).get(side, (0.0, 0.0))
            turn = gaze_rotation("ToLeft", across) @ gaze_rotation("Up", up)
            ball = self.eyeballs[side]
            result[ball] = (vertices[ball] - centre) @ turn.T + centre
        return result

    def lid_closure(self, posed: np.ndarray, neutral: np.ndarray) -> dict[str, float]:
        """By side, 0 where the eye is as open as on the person's own neutral, 1 where it is shut."""
        return {side: closure(posed, neutral, self.rig, side) for side in SIDES}

    def landmarks68(self, vertices: np.ndarray) -> np.ndarray:
        return vertices[..., self._landmark_vertices, :]

    def _masks(self) -> dict[str, np.ndarray]:
        masks = {}
        for name in self.topology.part_names:
            masks[name] = np.zeros(len(self.mean), bool)
            masks[name][self.topology.part_vertices(name)] = True
        masks["iris"], masks["pupil"] = np.zeros(len(self.mean), bool), np.zeros(len(self.mean), bool)
        for side in SIDES:
            ball, angle = self.eyeballs[side], np.degrees(np.arccos(self.eyeball_directions[side][:, 2]))
            masks["iris"][ball[angle < IRIS_DEGREES]] = True
            masks["pupil"][ball[angle < PUPIL_DEGREES]] = True
        return masks


def _chain(ring: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The vertices of a closed ring in their order along its edges."""
    inside = edges[np.isin(edges, ring).all(1)]
    chain = [int(ring[0])]
    while len(chain) < len(ring):
        touching = inside[(inside == chain[-1]).any(1)].ravel()
        ahead = [int(vertex) for vertex in touching if vertex not in chain]
        chain.append(ahead[0])
    return np.array(chain)


def _ranges(data: dict[str, np.ndarray], part: str) -> np.ndarray:
    return data["part_ranges"][data["part_names"].tolist().index(part)]


def _welded(data: dict[str, np.ndarray]) -> np.ndarray:
    """For every vertex of the file the vertex that stands for it: coincident ones of the skin's parts become one."""
    stands_for = np.arange(len(data["neutral"]))
    skin = np.concatenate([np.arange(*_ranges(data, theirs)[:2]) for ours in WELDED_PARTS for theirs in PARTS[ours]])
    _, first, inverse = np.unique(data["neutral"][skin].round(4), axis=0, return_index=True, return_inverse=True)
    first_in_order = np.full(len(first), len(skin))
    np.minimum.at(first_in_order, inverse, np.arange(len(skin)))
    stands_for[skin] = skin[first_in_order[inverse]]
    return stands_for


def _cut(data: dict[str, np.ndarray]) -> tuple[np.ndarray, Topology]:
    """The vertices of the file that are kept, ascending, and the parts over them."""
    stands_for = _welded(data)
    faces, face_uv, counts = [], [], []
    for theirs in PARTS.values():
        rows = np.concatenate([np.arange(*_ranges(data, part)[2:]) for part in theirs])
        corner = data["faces"][rows]
        faces.append(np.where(corner >= 0, stands_for[corner], -1))
        face_uv.append(data["faces_uv"][rows])
        counts.append(len(rows))
    faces, face_uv = np.concatenate(faces), np.concatenate(face_uv)
    index = np.unique(faces[faces >= 0])
    renumbered = np.where(faces >= 0, np.searchsorted(index, faces), -1)
    ends = np.cumsum(counts)
    part_faces = np.stack([ends - counts, ends], axis=1).astype(np.int32)
    return index, Topology(
        renumbered.astype(np.int32), data["uv"].astype(np.float32), face_uv.astype(np.int32), tuple(PARTS), part_faces
    )


def _positions(index: np.ndarray, data: dict[str, np.ndarray], vertices: np.ndarray) -> np.ndarray:
    """Where vertices of the file are among those kept."""
    return np.searchsorted(index, _welded(data)[vertices])


def _arkit_keys(names: list[str], quantised: np.ndarray, step: float) -> tuple[tuple[str, ...], np.ndarray]:
    """The file's expressions under ARKit's names; what ARKit has once (inner brows up, cheeks puffed) is summed."""
    both_sides = ("browInnerUp", "cheekPuff")
    keys: dict[str, np.ndarray] = {}
    for name, key in zip(names, quantised, strict=True):
        if name.startswith(NOT_KEYS):
            continue
        stem, _, side = name.partition("_")
        ours = stem if stem in both_sides else stem + {"L": "Left", "R": "Right", "": ""}[side]
        offset = key.astype(np.float32) * np.float32(step)
        keys[ours] = keys[ours] + offset if ours in keys else offset
    return tuple(keys), np.stack(list(keys.values()))


def _mirror(mean: np.ndarray, topology: Topology) -> np.ndarray:
    """(V,) int32: the nearest vertex to each one's mirror image, within the part of the other side."""
    other_side = {"left": "right", "right": "left"}
    mirror = np.arange(len(mean))
    for part in topology.part_names:
        stem, _, side = part.rpartition("_")
        partner = f"{stem}_{other_side[side]}" if side in other_side else part
        own, wanted = topology.part_vertices(part), topology.part_vertices(partner)
        nearest = cKDTree(mean[wanted]).query(mean[own] * [-1, 1, 1])[1]
        mirror[own] = wanted[nearest]
    return mirror.astype(np.int32)
