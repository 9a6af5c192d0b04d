"""A face model of someone else's making with everything that Lifemask needs of one: made once, then read in a moment.

`backend.face_models.preparation` makes it from what the model's file holds. Vertices are the file's own, in its order
(less those of parts that are left out, see `file_index`), so that coefficients from elsewhere give the same mesh.
"""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from backend.asset_store import PREPARATION
from backend.code_measurement import CodeMeasurement
from backend.errors import UsageError
from backend.face_models.albedo import AlbedoBasis
from backend.face_models.eyes import fit_sphere, with_turning_eyeballs
from backend.face_models.identity_map import carried_measurement
from backend.face_models.lid_keys import BLINK_CORRECTIVES, keys_of_lids, with_own_lids
from backend.face_models.model_arrays import ContourLandmarks, Skinning
from backend.face_models.morphable_model import KeyOffsets, Licence, MorphableModel, SurfacePoints, Topology
from backend.lid_rig import EYE, SIDES, Eyeball, LidRig
from backend.lids import fit_lids


@dataclass
class RegisteredHead(MorphableModel):
    """A prepared face model.

    Attributes, besides those of `MorphableModel`:
        label: for people. source: where its owner gives it out.
        metres_per_unit: what the file's unit of length is.
        file_index: (V,) int32, the vertex of the model's file that each vertex is.
        expression_basis: (E, V, 3) float32 metres, the model's own expressions; a head's shape keys are ARKit's.
        stored_keys: the keys of the average head, lids not yet fitted to a person.
        rig: of the lids of the average head.
        round_eyes: whether the file's eyeballs are no balls, so that spheres take their places and the lids are laid on
            them; else the file's own neutral head is left exactly as it is.
        eyeball_directions: of models with `round_eyes`, side -> (N, 3) unit vectors to the eyeball's vertices.
        eyeball_whites: of models whose irises are sunk, side -> (N,) vertices of the eyeball that lie on a sphere.
        fused_centres: of models whose lids and eyes are one surface: (2, 3) metres from the mean of the eye's vertices
            to the centre of the ball behind it, left first. None for others.
        place: for every vertex of the open head the point of this model that it became; trust: (S,) float32 in [0, 1].
        identity_from_open_head: (K, S) float32, see `identity_map`.
        points68: the 68 landmarks; points478: MediaPipe's points as seen from the front.
        contour: the model's own sliding points of the jaw, where it has them.
        albedo: linear colours; None where the model has none.
        skinning: joints; None where the model has none.
    """

    label: str = ""
    source: str = ""
    metres_per_unit: float = 1.0
    file_index: np.ndarray | None = None
    expression_basis: np.ndarray | None = None
    stored_keys: KeyOffsets | None = None
    rig: LidRig | None = None
    round_eyes: bool = False
    eyeball_directions: dict[str, np.ndarray] = field(default_factory=dict)
    eyeball_whites: dict[str, np.ndarray] = field(default_factory=dict)
    fused_centres: np.ndarray | None = None
    place: SurfacePoints | None = None
    trust: np.ndarray | None = None
    identity_from_open_head: np.ndarray | None = None
    points68: SurfacePoints | None = None
    points478: SurfacePoints | None = None
    contour: ContourLandmarks | None = None
    albedo: AlbedoBasis | None = None
    skinning: Skinning | None = None

    @cached_property
    def eyeballs(self) -> dict[str, np.ndarray]:
        """Vertices of the two eyeballs by side, (N,) int64; none where lids and eyes are one surface."""
        if self.fused_centres is not None:
            return {}
        return {side: self.topology.part_vertices(f"eyeball_{side}") for side in SIDES}

    @cached_property
    def _keys(self) -> dict[str, np.ndarray]:
        return dict(zip(self.stored_keys.names, self.stored_keys.dense(len(self.mean)), strict=True))

    @cached_property
    def _keys_of_lids(self) -> tuple[str, ...]:
        return keys_of_lids(self._keys, self.rig)

    def eye_centres(self, vertices: np.ndarray) -> np.ndarray:
        """Centres of the eyeballs of a neutral head, subject's left first: (2, 3) float64 metres."""
        return np.stack([centre for centre, _ in self._balls(vertices)])

    def _balls(self, vertices: np.ndarray) -> list[tuple[np.ndarray, float]]:
        """Centre and radius of the eyeballs of a neutral head (V, 3), left first."""
        if self.fused_centres is None:
            round_part = self.eyeball_whites or self.eyeballs
            return [fit_sphere(vertices[round_part[side]]) for side in SIDES]
        return [
            (vertices[_eye_surface(self.rig, side)].mean(axis=0, dtype=np.float64) + arm, self.rig.eyeball.radius)
            for side, arm in zip(SIDES, self.fused_centres, strict=True)
        ]

    def rig_of(self, neutral: np.ndarray) -> LidRig:
        """The lids of one person: the rig with this person's size of eyeball."""
        radius = float(np.mean([radius for _, radius in self._balls(neutral)]))
        return replace(self.rig, eyeball=Eyeball(radius))

    def neutral(self, identity: np.ndarray) -> np.ndarray:
        shape = self.shape(identity).astype(np.float64)
        balls = (
            [front_sphere(shape, self.eyeballs[side], self.eyeball_directions[side]) for side in SIDES]
            if self.round_eyes
            else self._balls(shape)
        )
        centres = np.stack([centre for centre, _ in balls])
        middle = centres.mean(axis=0)
        shape -= middle
        if self.round_eyes:
            radius = float(np.mean([radius for _, radius in balls]))
            for side, centre in zip(SIDES, centres - middle, strict=True):
                shape[self.eyeballs[side]] = centre + radius * self.eyeball_directions[side]
            shape = fit_lids(shape, centres - middle, replace(self.rig, eyeball=Eyeball(radius)))
        return shape.astype(np.float32)

    def key_offsets(self, neutral: np.ndarray) -> KeyOffsets:
        """ARKit's 52 keys and the two correctives of the blink; see `OpenHead.key_offsets`."""
        centres, rig = self.eye_centres(neutral), self.rig_of(neutral)
        offsets = with_own_lids(self._keys, neutral, centres, rig, self._keys_of_lids)
        offsets = with_turning_eyeballs(offsets, neutral, centres, self.eyeballs)
        return KeyOffsets.from_dense(self.key_names, np.stack([offsets[name] for name in self.key_names]))

    def landmarks68(self, vertices: np.ndarray) -> np.ndarray:
        return self.points68.apply(vertices)

    def landmarks478(self, vertices: np.ndarray) -> np.ndarray:
        """MediaPipe's 478 points as they sit in a frontal view: (..., V, 3) to (..., 478, 3), metres."""
        return self.points478.apply(vertices)

    def own_measurement(self, measured: CodeMeasurement) -> CodeMeasurement:
        return carried_measurement(measured, self.identity_from_open_head)

    def from_open_head(self, points: SurfacePoints) -> tuple[SurfacePoints, np.ndarray]:
        corners, shares = self.place.vertices[points.vertices], self.place.barycentric[points.vertices]
        count = len(points.vertices)
        weights = (points.barycentric[..., None] * shares).reshape(count, -1)
        trust = np.where(points.barycentric > 1e-3, self.trust[points.vertices], 1.0).min(axis=1)
        return SurfacePoints(corners.reshape(count, -1).astype(np.int64), weights), trust

    # Files ------------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Writes the model as one `.npz` without compression and without pickles, which `load` reads in a moment."""
        arrays: dict[str, np.ndarray] = {
            "mean": self.mean,
            "identity_basis": self.identity_basis,
            "expression_basis": self.expression_basis,
            "mirror": self.mirror,
            "file_index": self.file_index,
            "faces": self.topology.faces,
            "uv": self.topology.uv,
            "face_uv": self.topology.face_uv,
            "part_faces": self.topology.part_faces,
            "masks": np.stack(list(self.masks.values())),
            "key_index": self.stored_keys.index,
            "key_offset": self.stored_keys.offset,
            "trust": self.trust,
            "identity_from_open_head": self.identity_from_open_head,
            **self.rig.to_arrays(),
        }
        for name in ("place", "points68", "points478"):
            arrays |= _of_points(name, getattr(self, name))
        for name in ("eyeball_directions", "eyeball_whites"):
            arrays |= {f"{name}_{side}": values for side, values in getattr(self, name).items()}
        if self.fused_centres is not None:
            arrays["fused_centres"] = self.fused_centres
        if self.albedo is not None:
            arrays |= {"albedo_mean": self.albedo.mean, "albedo_basis": self.albedo.basis}
        if self.contour is not None:
            arrays["contour_yaw"] = self.contour.yaw
            arrays["contour_vertices"] = np.stack([points.vertices for points in self.contour.points])
            arrays["contour_barycentric"] = np.stack([points.barycentric for points in self.contour.points])
        if self.skinning is not None:
            for name in ("parents", "weights", "regressor", "pose_basis"):
                if getattr(self.skinning, name) is not None:
                    arrays[f"joint_{name}"] = getattr(self.skinning, name)
        facts = {
            "version": PREPARATION,
            "name": self.name,
            "label": self.label,
            "source": self.source,
            "licence": vars(self.licence),
            "metres_per_unit": self.metres_per_unit,
            "round_eyes": self.round_eyes,
            "part_names": self.topology.part_names,
            "mask_names": list(self.masks),
            "key_names": self.stored_keys.names,
            "joint_names": self.skinning.names if self.skinning else (),
        }
        with path.open("wb") as file:
            np.savez(file, facts=np.array(json.dumps(facts)), **arrays)

    @classmethod
    def load(cls, path: Path) -> "RegisteredHead":
        """Reads what `save` wrote.

        Raises:
            UsageError: the file is missing, damaged or of another version ("bad-face-model-file").
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                arrays = {name: data[name] for name in data.files}
            facts = json.loads(str(arrays["facts"]))
            if facts["version"] != PREPARATION:
                raise ValueError("it was prepared by another version of Lifemask")
            return cls._from(arrays, facts)
        except Exception as error:  # damaged files fail in every way there is
            raise UsageError(
                "bad-face-model-file",
                f"The prepared face model {path} cannot be read ({error}). Add the model again: "
                "python3 -m backend assets add FILE.",
            ) from error

    @classmethod
    def _from(cls, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> "RegisteredHead":
        get = arrays.get
        skinning = contour = albedo = None
        if facts["joint_names"]:
            skinning = Skinning(
                tuple(facts["joint_names"]),
                *(get(f"joint_{name}") for name in ("parents", "weights", "regressor", "pose_basis")),
            )
        if "contour_yaw" in arrays:
            rows = zip(arrays["contour_vertices"], arrays["contour_barycentric"], strict=True)
            contour = ContourLandmarks(arrays["contour_yaw"], tuple(SurfacePoints(*row) for row in rows))
        if "albedo_mean" in arrays:
            albedo = AlbedoBasis(arrays["albedo_mean"], arrays["albedo_basis"])
        keys = KeyOffsets(tuple(facts["key_names"]), arrays["key_index"], arrays["key_offset"])
        return cls(
            name=facts["name"],
            licence=Licence(**facts["licence"]),
            topology=Topology(
                arrays["faces"], arrays["uv"], arrays["face_uv"], tuple(facts["part_names"]), arrays["part_faces"]
            ),
            mean=arrays["mean"],
            identity_basis=arrays["identity_basis"],
            key_names=keys.names + tuple(BLINK_CORRECTIVES.values()),
            mirror=arrays["mirror"],
            masks=dict(zip(facts["mask_names"], arrays["masks"], strict=True)),
            label=facts["label"],
            source=facts["source"],
            metres_per_unit=facts["metres_per_unit"],
            file_index=arrays["file_index"],
            expression_basis=arrays["expression_basis"],
            stored_keys=keys,
            rig=LidRig.from_arrays(arrays),
            round_eyes=facts["round_eyes"],
            **{
                name: {side: arrays[f"{name}_{side}"] for side in SIDES if f"{name}_{side}" in arrays}
                for name in ("eyeball_directions", "eyeball_whites")
            },
            fused_centres=get("fused_centres"),
            place=_points(arrays, "place"),
            trust=arrays["trust"],
            identity_from_open_head=arrays["identity_from_open_head"],
            points68=_points(arrays, "points68"),
            points478=_points(arrays, "points478"),
            contour=contour,
            albedo=albedo,
            skinning=skinning,
        )


FRONT_COSINE = 0.5
"""An eyeball that is no ball: of its front, 60 degrees about the gaze axis, the sphere is taken."""


def front_sphere(shape: np.ndarray, ball: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and radius of the sphere through the front of an eyeball: vertices `ball` (N,) of (V, 3)."""
    return fit_sphere(shape[ball[directions[:, 2] > FRONT_COSINE]])


def _eye_surface(rig: LidRig, side: str) -> np.ndarray:
    eye = rig.eye(side)
    return eye.followers[eye.kind == EYE]


def _of_points(name: str, points: SurfacePoints) -> dict[str, np.ndarray]:
    return {f"{name}_vertices": points.vertices, f"{name}_barycentric": points.barycentric}


def _points(arrays: dict[str, np.ndarray], name: str) -> SurfacePoints:
    return SurfacePoints(arrays[f"{name}_vertices"], arrays[f"{name}_barycentric"])
