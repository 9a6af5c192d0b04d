"""Writes GNM Head files with made-up content: the 23 arrays of the published file, their shapes, kinds and rules.

Where each rule is stated: `backend/face_models/gnm.py`.
"""

from pathlib import Path

import numpy as np

IDENTITY = (
    [f"head_{n:03d}" for n in range(170)] + [f"eyes_{n:03d}" for n in range(3)] + [f"teeth_{n:03d}" for n in range(80)]
)
EXPRESSION = (
    [f"left_eye_region_{n:03d}" for n in range(100)]
    + [f"right_eye_region_{n:03d}" for n in range(100)]
    + [f"lower_face_region_{n:03d}" for n in range(150)]
    + ["tongue_mean"]
    + [f"tongue_{n:03d}" for n in range(31)]
    + ["pupils_000"]
)
JOINTS = {
    "neck": (0.0, 0.12, 0.0),
    "head": (0.0, 0.22, 0.03),
    "left_eye": (0.032, 0.3, 0.09),
    "right_eye": (-0.032, 0.3, 0.09),
}
PARENTS = (-1, 0, 1, 1)
COMPONENTS = ("skin", "left_eye", "right_eye", "upper_teeth_and_gums", "lower_teeth_and_gums", "tongue")
PATCHES = (  # component, side in vertices, centre in metres, side in metres
    ("skin", 18, (0.0, 0.27, 0.1), 0.2),
    ("left_eye", 7, (0.032, 0.3, 0.095), 0.02),
    ("left_eye", 7, (0.032, 0.3, 0.1), 0.022),
    ("right_eye", 7, (-0.032, 0.3, 0.095), 0.02),
    ("right_eye", 7, (-0.032, 0.3, 0.1), 0.022),
    ("upper_teeth_and_gums", 8, (0.0, 0.24, 0.08), 0.04),
    ("lower_teeth_and_gums", 8, (0.0, 0.23, 0.08), 0.04),
    ("tongue", 6, (0.0, 0.235, 0.07), 0.03),
)
INTERIORS, EXTERIORS = (1, 3), (2, 4)


def gnm_content(seed: int = 0, modes: tuple[int, int] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a GNM Head file: flat sheets in the places of skin, eyes, teeth and tongue, 684 vertices.

    Args:
        seed: of the content.
        modes: how many of identity and expression; 253 and 383 as in the published file by default.
    """
    generator = np.random.default_rng(seed)
    vertices, quads, uvs, patch = [], [], [], []
    for number, (_, side, centre, size) in enumerate(PATCHES):
        across, up = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side))
        sheet = np.stack([across.ravel(), up.ravel()], axis=1)
        corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
        own = np.stack([corner, corner + 1, corner + side + 1, corner + side], axis=1)  # seen from +Z
        quads.append(own + sum(map(len, vertices)))
        uvs.append((0.05 + 0.9 * sheet)[own])
        bulge = 0.1 * size * np.cos(np.pi * (sheet - 0.5)).prod(axis=1)
        vertices.append(np.column_stack([(sheet - 0.5) * size, bulge]) + centre)
        patch.append(np.full(side * side, number))
    template, quads, uvs = np.concatenate(vertices), np.concatenate(quads), np.concatenate(uvs)
    patch, size = np.concatenate(patch), len(template)
    identity, expression = (IDENTITY, EXPRESSION) if modes is None else (IDENTITY[: modes[0]], EXPRESSION[: modes[1]])
    groups = _groups(template, patch)
    near = np.stack([np.exp(-np.sum((template - place) ** 2, axis=1) / 0.03**2) for place in JOINTS.values()])
    regressor = near / near.sum(axis=1, keepdims=True)
    basis = generator.normal(scale=0.002, size=(len(identity), size, 3))
    moved = np.isin(patch, (0, 5, 6, 7))  # no expression moves the eyes
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [2, 3, 0]]])
    return {
        "version": np.array("3.0"),
        "variant": np.array("head"),
        "template_vertex_positions": template.astype(np.float32),
        "template_joint_positions": (regressor @ template).astype(np.float32),
        "vertex_identity_basis": basis.astype(np.float32),
        "joint_identity_basis": np.einsum("jv,kvc->kjc", regressor, basis).astype(np.float32),
        "expression_basis": (
            generator.normal(scale=0.002, size=(len(expression), size, 3)) * moved[None, :, None]
        ).astype(np.float32),
        "identity_names": np.array(identity),
        "joint_names": np.array(list(JOINTS)),
        "expression_names": np.array(expression),
        "joint_parent_indices": np.array(PARENTS, np.int32),
        "skinning_weights": (near / near.sum(axis=0)).astype(np.float32),
        "quads": quads.astype(np.int32),
        "triangles": triangles.astype(np.int32),
        "quad_uvs": uvs.astype(np.float32),
        "triangle_uvs": np.concatenate([uvs[:, [0, 1, 2]], uvs[:, [2, 3, 0]]]).astype(np.float32),
        "mesh_component_names": np.array(COMPONENTS),
        "mirror_indices": _mirror(template, patch).astype(np.int32),
        "joint_regressor": regressor.astype(np.float32),
        "pose_correctives_regressor": np.zeros((9 * len(JOINTS), 3 * size), np.float32),
        "bone_aligned_template_joint_orientations": np.tile(np.eye(3, dtype=np.float32), (len(JOINTS), 1, 1)),
        "vertex_groups": np.stack(list(groups.values())).astype(np.float32),
        "vertex_group_names": np.array(list(groups)),
    }


def write_gnm(path: Path, content: dict[str, np.ndarray] | None = None) -> Path:
    """A `gnm_head.npz`, compressed as the published one is.

    Args:
        path: of the file.
        content: of `gnm_content`, changed or not.
    """
    np.savez_compressed(path, **(gnm_content() if content is None else content))
    return path


def _groups(template: np.ndarray, patch: np.ndarray) -> dict[str, np.ndarray]:
    """Vertex group -> (V,) weights from 0 to 1; the soft edge of a group has small weights."""
    component = np.array([entry[0] for entry in PATCHES])[patch]
    groups = {name: (component == name).astype(float) for name in COMPONENTS}
    groups["eye_interiors"] = np.isin(patch, INTERIORS).astype(float)
    groups["eye_exteriors"] = np.isin(patch, EXTERIORS).astype(float)
    mouth = np.hypot(template[:, 0], template[:, 1] - 0.235) / 0.04
    groups["mouth_sock"] = np.where((patch == 0) & (mouth < 1), np.clip(2 - 2 * mouth, 0.01, 1), 0)
    middle = np.select([patch == 5, patch == 6], [0.24, 0.23], np.nan)
    groups["teeth"] = (np.abs(template[:, 1] - middle) < 0.012).astype(float)
    teeth_and_gums = np.isin(patch, (5, 6))
    groups["gums"] = (teeth_and_gums & ~(np.abs(template[:, 1] - middle) < 0.008)).astype(float)
    groups["left"], groups["right"] = (template[:, 0] > 0).astype(float), (template[:, 0] < 0).astype(float)
    return groups


def _mirror(template: np.ndarray, patch: np.ndarray) -> np.ndarray:
    """(V,) the vertex on the other side."""
    other = np.array([0, 3, 4, 1, 2, 5, 6, 7])[patch]
    result = np.empty(len(template), int)
    for number in range(len(PATCHES)):
        own, wanted = np.flatnonzero(other == number), np.flatnonzero(patch == number)
        distance = np.linalg.norm((template[own] * [-1, 1, 1])[:, None] - template[wanted], axis=2)
        result[own] = wanted[distance.argmin(axis=1)]
    return result
