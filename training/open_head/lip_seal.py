"""Keeps the lips shut: on the average head, and for every identity slider.

MakeHuman's lips stand a hair apart, and its sliders part or cross them further. Here the two lines where the lips meet,
the lowest ring of the upper lip and the highest of the lower, are brought to the same height; the rings of quads from
there to the border of the red take a falling share. Everything is linear in the vertices, so it holds for all people.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse

from backend.lid_rig import boundary_loops

RINGS = 8
"""Rings of quads from the inner lip line to the border of the red."""
OVERLAP = 0.0002
"""Metres by which the lips press into each other."""


@dataclass(frozen=True)
class LipSeal:
    """The gap between the lips and who closes it.

    Attributes:
        gap: (V, V) sparse: heights (V,) -> what each vertex must rise or sink to close the gap there.
        overlap: (V,) metres, what it must move beyond that.
    """

    gap: sparse.csr_matrix
    overlap: np.ndarray

    def shut(self, vertices: np.ndarray) -> np.ndarray:
        """Offsets (V, 3) that shut the lips of a head (V, 3)."""
        result = np.zeros_like(vertices)
        result[:, 1] = self.gap @ vertices[:, 1] + self.overlap
        return result

    def matrix(self) -> sparse.csr_matrix:
        """(V, V), for heights alone: offsets of a slider -> the same with the lips kept shut."""
        return sparse.identity(self.gap.shape[0], format="csr") + self.gap


def lip_seal(vertices: np.ndarray, outer_skin: np.ndarray, mouth_inside: np.ndarray) -> LipSeal:
    """Finds the lips of the average head.

    Args:
        vertices: (V, 3) metres; outer_skin, mouth_inside: (F, 4) quads that share the inner lip line.
    """
    (loop,) = boundary_loops(mouth_inside)
    ring, upper = _rings(vertices, outer_skin, loop)
    lips = {}
    for name, members, pick in (("upper", upper == 1, np.argmin), ("lower", upper == -1, np.argmax)):
        middle = members & (np.abs(vertices[:, 0]) < 0.012)
        heights = [vertices[middle & (ring == step), 1].mean() for step in range(RINGS)]
        meeting = int(pick(heights))
        line = np.flatnonzero(members & (ring == meeting))
        lips[name] = (meeting, line[np.argsort(vertices[line, 0])])
    rows, columns, values = [], [], []
    overlap = np.zeros(len(vertices))
    for name, sign in (("upper", -1), ("lower", 1)):
        meeting = lips[name][0]
        for vertex in np.flatnonzero((upper == -sign) & (ring >= 0)):
            along = np.clip((ring[vertex] - meeting) / (RINGS - meeting), 0.0, 1.0)
            share = sign * 0.5 * (1 - along * along * (3 - 2 * along))
            for other, direction in (("upper", 1), ("lower", -1)):
                line = lips[other][1]
                place = np.interp(vertices[vertex, 0], vertices[line, 0], np.arange(len(line)))
                left = min(int(place), len(line) - 2)
                for corner, weight in ((left, 1 - (place - left)), (left + 1, place - left)):
                    rows.append(vertex)
                    columns.append(line[corner])
                    values.append(share * direction * weight)
            overlap[vertex] = share * OVERLAP
    gap = sparse.csr_matrix((values, (rows, columns)), (len(vertices),) * 2)
    return LipSeal(gap, overlap)


def lip_sides(vertices: np.ndarray, outer_skin: np.ndarray, mouth_inside: np.ndarray) -> np.ndarray:
    """(V,) int: 1 on the upper lip, -1 on the lower, 0 elsewhere and at the corners of the mouth."""
    (loop,) = boundary_loops(mouth_inside)
    return _rings(vertices, outer_skin, loop)[1]


def _rings(vertices: np.ndarray, faces: np.ndarray, loop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rings from the inner lip line, `loop` in order, and the lip they belong to.

    Returns:
        ring: (V,) int, steps over edges from the line, -1 beyond `RINGS`; upper: (V,) int, 1 for the upper lip, -1 for
        the lower, 0 for the corners of the mouth.
    """
    edges = np.concatenate([faces[:, [corner, (corner + 1) % 4]] for corner in range(4)])
    ring, upper = np.full(len(vertices), -1), np.zeros(len(vertices), int)
    ring[loop] = 0
    middles = np.argsort(np.abs(vertices[loop, 0]))[:2]
    loop = np.roll(loop, -middles[np.argmax(vertices[loop[middles], 1])])  # from the upper lip's middle, round
    corners = np.sort([np.argmin(vertices[loop, 0]), np.argmax(vertices[loop, 0])])
    upper[loop] = 1
    upper[loop[corners[0] : corners[1] + 1]] = -1
    upper[loop[corners]] = 0
    for step in range(1, RINGS):
        for a, b in np.concatenate([edges, edges[:, ::-1]]):
            if ring[a] == step - 1 and ring[b] < 0:
                ring[b], upper[b] = step, upper[a]
    return ring, upper
