"""Finds the rim of a face model's lids: the closed chain of its own edges that lies nearest to a known curve."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from backend.lid_rig import mesh_edges

AWAY_M = 0.001
"""How far from the curve, or from the eyeball, an edge may lie before it costs twice its length."""
NEAR_M = 0.012
ANCHORS = (12, 8, 6, 4)
"""Numbers of points of the curve that the chain is led by, tried one after the other."""
LEAST_LENGTH = 10


def margin_loop(
    vertices: np.ndarray,
    faces: np.ndarray,
    curve: np.ndarray,
    ball: tuple[np.ndarray, float] | None = None,
) -> np.ndarray:
    """The chain of edges for one eye.

    Args:
        vertices: (V, 3) metres; faces: (F, 3 or 4) of the skin, -1 for the missing corner of a triangle.
        curve: (M, 3) metres, a closed line about where the rim is.
        ball: centre (3,) and radius of the eyeball, which the rim rests on; None where lids and eye are one surface.

    Returns:
        (L,) int64, vertices in the order of the chain, which is closed; no vertex twice.

    Raises:
        ValueError: there is no such chain.
    """
    edges = mesh_edges(faces)
    used = np.unique(edges)
    used = used[np.linalg.norm(vertices[used] - curve.mean(axis=0), axis=1) < NEAR_M + np.ptp(curve, axis=0).max()]
    start, step = curve, np.roll(curve, -1, axis=0) - curve
    arm = vertices[used][:, None] - start
    along = np.clip((arm * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-30), 0.0, 1.0)
    cost = (np.linalg.norm(arm - along[..., None] * step, axis=-1).min(axis=1) / AWAY_M) ** 2
    if ball is not None:
        height = np.linalg.norm(vertices[used] - ball[0], axis=1) - ball[1]
        cost += (height / AWAY_M) ** 2
    place = np.full(len(vertices), -1)
    place[used] = np.arange(len(used))
    edges = place[edges]
    edges = edges[(edges >= 0).all(axis=1)]
    length = np.linalg.norm(vertices[used][edges[:, 0]] - vertices[used][edges[:, 1]], axis=1)
    price = length * (1 + cost[edges].mean(axis=1))
    graph = sparse.coo_matrix((price, edges.T), (len(used), len(used))).tocsr()
    for count in ANCHORS:
        chain = _chain(
            graph, vertices[used], cost, curve[np.linspace(0, len(curve), count, endpoint=False).astype(int)]
        )
        if len(chain) >= LEAST_LENGTH and len(np.unique(chain)) == len(chain):
            return used[chain].astype(np.int64)
    raise ValueError("No rim of the lids was found on the face model's mesh.")


def mirrored_loop(vertices: np.ndarray, faces: np.ndarray, loop: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The mirror image of one eye's rim where the mesh has it, so that both eyes of a symmetric head are alike.

    Args:
        vertices: (V, 3); faces: (F, 3 or 4) of the skin.
        loop: (L,) the rim of one eye; found: (M,) what was found for the other, the answer on other meshes.
    """
    middle = (vertices[loop].mean(axis=0)[0] + vertices[found].mean(axis=0)[0]) / 2
    image = vertices[loop] * [-1, 1, 1] + [2 * middle, 0, 0]
    used = np.unique(faces[faces >= 0])
    nearest = used[((vertices[used][None] - image[:, None]) ** 2).sum(-1).argmin(axis=1)]
    away = np.linalg.norm(vertices[nearest] - image, axis=1)
    edges = {tuple(edge) for edge in mesh_edges(faces).tolist()}
    pairs = np.sort(np.stack([nearest, np.roll(nearest, -1)], axis=1), axis=1)
    is_chain = all(tuple(pair) in edges for pair in pairs.tolist()) and len(np.unique(nearest)) == len(nearest)
    return nearest if is_chain and away.max() < AWAY_M else found


def _chain(graph: sparse.csr_matrix, points: np.ndarray, cost: np.ndarray, leads: np.ndarray) -> np.ndarray:
    """The cheapest way from point to point and back, spurs cut off; vertices may still come twice."""
    away = ((points[:, None] - leads) ** 2).sum(-1) / AWAY_M**2 + cost[:, None]
    anchors = away.argmin(axis=0)
    anchors = anchors[np.append(True, anchors[1:] != anchors[:-1])]
    chain: list[int] = []
    for first, second in zip(anchors, np.roll(anchors, -1), strict=True):
        before = dijkstra(graph, directed=False, indices=first, return_predecessors=True)[1]
        way = [int(second)]
        while way[-1] != first and before[way[-1]] >= 0:
            way.append(int(before[way[-1]]))
        chain.extend(reversed(way[1:]))
    changed = True
    while changed and len(chain) > 2:
        changed = False
        for at in range(len(chain)):
            if chain[at - 1] == chain[(at + 1) % len(chain)]:
                for gone in sorted({at, (at + 1) % len(chain)}, reverse=True):
                    del chain[gone]
                changed = True
                break
    return np.array(chain, np.int64)
