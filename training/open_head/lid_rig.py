"""Finds the eyelids in MakeHuman's base mesh and makes the rig that `backend.lids` moves.

The asset stores the rig under the names of `LidRig.to_arrays`: `lid_eyeball` and `lid_<side>_loop`, `_outer`,
`_followers`, `_kind`, `_share`, `_distance`, `_centre`; `LidRig.from_arrays` reads them back. Use:

    rig = make_lid_rig(data).renumbered(base_index)     # base_index: vertex of the base mesh, -1 for own geometry
    arrays |= rig.to_arrays()
"""

from dataclasses import replace

import numpy as np

from backend.lid_rig import EyeRig, LidRig, build_eye_rig, mesh_edges
from training.open_head.makehuman import MakeHumanData

SOCKET_RADIUS = 0.022  # metres; the deepest body vertex this close to the eye's centre is the bottom of the socket
RINGS = 16
CENTRE_ACROSS, CENTRE_HEIGHT = 0.48, 0.06
"""Where the pupil stands in the opening: fractions of its width from the inner canthus, of its height over the middle.
People: inner canthi 32 mm apart, pupils 63, outer canthi 89 (Farkas, Anthropometry of the Head and Face, 1994); lids
4.3 mm over and 5.3 mm under the pupil. The base mesh's margin starts 3 mm beside the visible inner canthus."""


def make_lid_rig(data: MakeHumanData) -> LidRig:
    """The lids of both eyes over the base mesh's vertex numbers."""
    return LidRig(_eye(data, "l"), _eye(data, "r"))


def _eye(data: MakeHumanData, letter: str) -> EyeRig:
    base, mean = data.base, data.mean
    body = base.faces[base.face_group == "body"]
    helper = mean[np.unique(base.faces[base.face_group == f"helper-{letter}-eye"])]
    centre = (helper.min(0) + helper.max(0)) / 2
    lashes = base.faces[base.group_faces(f"helper-{letter}-eyelashes")]
    eye = build_eye_rig(mean, body, find_margin(mean, body, centre), centre, lashes)
    return replace(eye, centre=np.array([CENTRE_ACROSS, CENTRE_HEIGHT], np.float32))


def find_margin(vertices: np.ndarray, faces: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The inner edge of the lid margin: the narrowest ring, as seen from the front, round the bottom of the eye socket.

    Args:
        vertices: (V, 3) metres. faces: (F, 4) quads of the skin, sockets included. centre: (3,) of the eyeball.

    Returns:
        (M,) int64, vertices in order round the opening.

    Raises:
        ValueError: if no ring of vertices about the socket is a closed chain.
    """
    edges = mesh_edges(faces)
    used = np.unique(faces)
    near = used[np.linalg.norm(vertices[used] - centre, axis=1) < SOCKET_RADIUS]
    reached = np.zeros(len(vertices), bool)
    ring = near[[vertices[near, 2].argmin()]]
    narrowest, least = None, np.inf
    for _ in range(RINGS):
        reached[ring] = True
        touching = np.unique(faces[np.isin(faces, ring).any(1)])
        ring = touching[~reached[touching]]
        chain = _chain(edges, ring)
        if chain is None or vertices[ring, 2].min() < centre[2]:
            continue
        x, y = vertices[chain, :2].T
        area = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
        if area < least:
            narrowest, least = chain, area
    if narrowest is None:
        raise ValueError("No closed ring of vertices lies round the eye socket.")
    return narrowest


def _chain(edges: np.ndarray, ring: np.ndarray) -> np.ndarray | None:
    """The ring's vertices in order, or None if they are no single closed chain."""
    inside = edges[np.isin(edges, ring).all(1)]
    neighbours = {int(vertex): [] for vertex in ring}
    for first, second in inside.tolist():
        neighbours[first].append(second)
        neighbours[second].append(first)
    if any(len(two) != 2 for two in neighbours.values()):
        return None
    chain = [int(ring[0])]
    ahead = neighbours[chain[0]][0]
    while ahead != chain[0]:
        chain.append(ahead)
        ahead = next(vertex for vertex in neighbours[ahead] if vertex != chain[-2])
    return np.array(chain) if len(chain) == len(ring) else None
