"""Where the open head's surface lies on another face model, and the other way round, from what the model keeps of it.

A model that was prepared says for every vertex of the open head which point of its own it became, and how far that is
to be trusted (`place`, `trust`). Here this is completed: the whole open head laid on the model's mean, with teeth and
tongue, and for the model's own vertices the point of the open head that each is.
"""

import numpy as np
from scipy.spatial import cKDTree

from backend.alignment import similarity
from backend.face_models.albedo import AlbedoBasis, load_albedo_basis
from backend.face_models.morphable_model import MorphableModel, SurfacePoints
from backend.face_models.open_head import OpenHead
from backend.face_models.registration import skin_triangles
from backend.surface import OrientedSurface, mesh_normals

TRUSTED = 0.5
FOLLOWED = 8
"""Trusted vertices whose movement one that is not trusted takes."""


def is_registered(model: MorphableModel) -> bool:
    """Whether it is known which point of the model is which of the open head; of the open head it need not be."""
    return getattr(model, "place", None) is not None


def laid_open_head(model: MorphableModel, head: OpenHead) -> np.ndarray:
    """The open head on the mean head of a registered model: (S, 3) float64 metres.

    Where the correspondence is not to be trusted, vertices move as the nearest ones do where it is.
    """
    known = trusted_skin(model, head)
    at = model.place.apply(model.mean.astype(np.float64))
    mean = head.mean.astype(np.float64)
    scale, rotation, shift = similarity(mean[known], at[known])
    aligned = scale * mean @ rotation.T + shift
    near, row = cKDTree(aligned[known]).query(aligned, k=FOLLOWED)
    share = 1 / np.maximum(near, 1e-6) ** 2
    share /= share.sum(axis=1, keepdims=True)
    moved = (at - aligned)[known]
    result = aligned + np.einsum("nk,nkc->nc", share, moved[row])
    result[known] = at[known]
    return result


def trusted_skin(model: MorphableModel, head: OpenHead) -> np.ndarray:
    """(K,) int64: vertices of the open head's skin whose place on a registered model is known."""
    skin = np.unique(skin_triangles(head))
    return skin[model.trust[skin] >= TRUSTED]


def place_on_open_head(model: MorphableModel, head: OpenHead, laid: np.ndarray) -> SurfacePoints:
    """The point of the open head's skin that each of the model's vertices is; of eyes and teeth it means nothing.

    Args:
        model: registered; head: the open head; laid: `laid_open_head` of both.
    """
    surface = OrientedSurface(laid, skin_triangles(head))
    mean = model.mean.astype(np.float64)
    vertices, weights, _ = surface.closest(mean, mesh_normals(mean, model.topology.triangles))
    return SurfacePoints(vertices.astype(np.int32), weights.astype(np.float32))


def carried_albedo(model: MorphableModel, head: OpenHead) -> AlbedoBasis:
    """The open head's colours at the vertices of a registered model: the same coefficients give the same skin."""
    basis = load_albedo_basis()
    place = place_on_open_head(model, head, laid_open_head(model, head))
    return AlbedoBasis(place.apply(basis.mean), np.ascontiguousarray(place.apply(basis.basis)))
