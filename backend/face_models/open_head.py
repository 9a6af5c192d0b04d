"""The open head: the built-in face model, made from CC0 data, free for any use.

Built by `training/open_head`; docs/open-head.md says how and shows it.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from backend.errors import SetupError
from backend.face_models.lid_keys import BLINK_CORRECTIVES, keys_of_lids, with_own_lids
from backend.face_models.morphable_model import KeyOffsets, Licence, MorphableModel, SurfacePoints, Topology
from backend.lid_rig import LidRig
from backend.lids import fit_lids, place_eyeballs

ASSET = Path(__file__).parents[1] / "assets/open_head.npz"
LICENCE = Licence(
    "CC0-1.0",
    "Made from MakeHuman's CC0 data: heads made with it may be used for anything, sold included.",
    commercial=True,
)
EYE_SIDES = ("left", "right")


@dataclass(eq=False)
class OpenHead(MorphableModel):
    """The face model in `backend/assets/open_head.npz`.

    Args:
        asset: the file; without it the one that comes with the project.

    Raises:
        SetupError: the file is missing.
    """

    def __init__(self, asset: Path = ASSET):
        if not asset.is_file():
            raise SetupError(
                "asset-missing", f"The face model {asset.name} is missing from {asset.parent}. Get the project anew."
            )
        with np.load(asset, allow_pickle=False) as data:
            self.data = {name: data[name] for name in data.files}
        get = self.data.__getitem__
        basis = get("identity_q").astype(np.float32) * get("identity_step")[:, None, None]
        names = tuple(get("part_names").tolist())
        super().__init__(
            name="open_head",
            licence=LICENCE,
            topology=Topology(get("faces"), get("uv"), get("face_uv"), names, get("part_faces")),
            mean=get("mean"),
            identity_basis=basis,
            key_names=tuple(get("key_names").tolist()) + tuple(BLINK_CORRECTIVES.values()),
            mirror=get("mirror"),
            masks=dict(zip(get("mask_names").tolist(), get("masks").astype(bool), strict=True)),
        )
        self.rig = LidRig.from_arrays(self.data)
        self.points68 = SurfacePoints(get("landmarks68_vertices"), get("landmarks68_barycentric"))
        self.points478 = SurfacePoints(get("landmarks478_vertices"), get("landmarks478_barycentric"))

    @cached_property
    def eyeballs(self) -> dict[str, np.ndarray]:
        """Vertices of the two eyeballs by side, (N,) int64."""
        return {side: self.topology.part_vertices(f"eyeball_{side}") for side in EYE_SIDES}

    @cached_property
    def base_index(self) -> np.ndarray:
        """(V,) int32: the vertex of MakeHuman's base mesh, -1 where the geometry is the project's own."""
        return self.data["base_index"]

    @cached_property
    def _stored_keys(self) -> dict[str, np.ndarray]:
        """Name -> (V, 3) float32 metres: the keys on the average head, the same for everyone but for the lids."""
        names = tuple(self.data["key_names"].tolist())
        stored = KeyOffsets(names, self.data["key_index"], self.data["key_q"] * self.data["key_step"])
        return dict(zip(names, stored.dense(len(self.mean)), strict=True))

    @cached_property
    def _keys_of_lids(self) -> tuple[str, ...]:
        return keys_of_lids(self._stored_keys, self.rig)

    def rig_of(self, neutral: np.ndarray) -> LidRig:
        """The lids of the person whose neutral head (V, 3) this is; the same for everyone."""
        return self.rig

    def eye_centres(self, vertices: np.ndarray) -> np.ndarray:
        """Eyeball centres, subject's left first: (2, 3) metres."""
        return np.stack([self._sphere_centre(vertices[self.eyeballs[side]]) for side in EYE_SIDES])

    @staticmethod
    def _sphere_centre(points: np.ndarray) -> np.ndarray:
        """The centre of a mesh that is symmetric front to back about it: the middle of its extent."""
        return (points.min(axis=0) + points.max(axis=0)) / 2

    def neutral(self, identity: np.ndarray) -> np.ndarray:
        shape = self.shape(identity).astype(np.float64)
        centres = place_eyeballs(shape, self.rig)
        own_centres = self.eye_centres(self.mean)
        for side, centre, own_centre in zip(EYE_SIDES, centres, own_centres, strict=True):
            ball = self.eyeballs[side]  # of the mean head: eyes hardly differ in size between people
            shape[ball] = self.mean[ball] - own_centre + centre
        shape = fit_lids(shape, centres, self.rig)
        return (shape - self.eye_centres(shape).mean(axis=0)).astype(np.float32)

    def key_offsets(self, neutral: np.ndarray) -> KeyOffsets:
        """The person's 52 ARKit keys and the two correctives of the blink.

        The blink is solved for this face; other keys that move the margins of the lids are laid back on the eyeballs.
        A corrective's weight is 4 w (1 - w), with w that of its blink, so that the lids follow the ball's curve.
        """
        centres = self.eye_centres(neutral)
        offsets = with_own_lids(self._stored_keys, neutral, centres, self.rig, self._keys_of_lids)
        return KeyOffsets.from_dense(self.key_names, np.stack([offsets[name] for name in self.key_names]))

    def landmarks68(self, vertices: np.ndarray) -> np.ndarray:
        return self.points68.apply(vertices)

    def landmarks478(self, vertices: np.ndarray) -> np.ndarray:
        """MediaPipe's 478 points as they sit in a frontal view: (..., V, 3) to (..., 478, 3), metres."""
        return self.points478.apply(vertices)
