"""Writes face model files with random content in the exact formats of the licensed ones, which may not be passed on."""

import pickle
import struct
from pathlib import Path

import numpy as np
import torch
from scipy.io import savemat
from scipy.sparse import csc_matrix
from scipy.spatial import ConvexHull, Delaunay, cKDTree

from backend.face_models import load_face_model

BFM_VERTICES, FLAME_VERTICES = 35709, 5023
SKIN_TONE = (190.0, 140.0, 115.0)
HALF_WIDTH_DM, HALF_HEIGHT_DM, DEPTH_DM = 0.85, 1.1, 0.9
WAVES = 24


def write_bfm_front(path: Path, seed: int = 0, vertices: int = 2500) -> Path:
    """A `BFM_model_front.mat`: a face-like bulge with a nose, smooth random bases, 68 points about where they belong.

    Args:
        path: of the file.
        seed: of the content.
        vertices: how many; `BFM_VERTICES` in the real file, fewer for speed.
    """
    generator = np.random.default_rng(seed)
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(vertices)  # a sunflower: even, whatever their number
    radius = np.sqrt((np.arange(vertices) + 0.5) / vertices)
    disc = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    faces = Delaunay(disc).simplices.astype(np.int64)
    first, second, third = (disc[faces[:, corner]] for corner in range(3))
    clockwise = np.cross(second - first, third - first) < 0
    faces[clockwise] = faces[clockwise][:, ::-1]
    x, y = disc[:, 0] * HALF_WIDTH_DM, disc[:, 1] * HALF_HEIGHT_DM
    nose = 0.25 * np.exp(-((x / 0.12) ** 2) - ((y + 0.05) / 0.2) ** 2)
    shape = np.stack([x, y, DEPTH_DM * np.sqrt(1 - 0.9 * radius**2) + nose], axis=1) + [0.01, -0.02, 0.03]
    open_head = load_face_model("open_head")
    wanted = open_head.points68.apply(open_head.mean)[:, :2] * 10 + [0.0, 0.3]
    keypoints = cKDTree(shape[:, :2]).query(wanted)[1]
    inner = np.flatnonzero(radius < 0.88)
    front = faces[np.isin(faces, inner).all(axis=1)]

    def waves(count: int, size: float) -> np.ndarray:
        """(3 vertices, count): smooth random fields over the face, later ones smaller."""
        direction, phase = generator.normal(scale=2.5, size=(WAVES, 2)), generator.uniform(0, 2 * np.pi, WAVES)
        field = np.cos(disc @ direction.T + phase)  # (V, WAVES)
        fade = size / np.sqrt(1 + np.arange(count)) / np.sqrt(WAVES)
        mixed = np.einsum("vw,wck->vck", field, generator.normal(size=(WAVES, 3, count)) * fade)
        return mixed.reshape(3 * len(disc), count).astype(np.float32)

    colours = np.array(SKIN_TONE) + generator.normal(scale=4.0, size=(vertices, 3))
    savemat(
        path,
        {
            "meanshape": shape.reshape(1, -1).astype(np.float32),
            "meantex": colours.clip(0, 255).reshape(1, -1).astype(np.float32),
            "idBase": waves(80, 0.05),
            "exBase": waves(64, 0.04),
            "texBase": waves(80, 8.0),
            "tri": (faces + 1).astype(np.float32),
            "point_buf": faces_of_vertices(faces, vertices) + 1,
            "tri_mask2": (front + 1).astype(np.float32),
            "keypoints": (keypoints + 1).astype(np.float32)[None],
            "frontmask2_idx": (inner + 1).astype(np.float32)[:, None],
            "skinmask": (radius < 0.6).astype(np.float32)[None],
        },
    )
    return path


def faces_of_vertices(faces: np.ndarray, vertices: int, columns: int = 8) -> np.ndarray:
    """(V, 8) rows of `faces` round each vertex, the number of faces where there are fewer."""
    result = np.full((vertices, columns), len(faces), np.int64)
    used = np.zeros(vertices, np.int64)
    for row, corners in enumerate(faces):
        for vertex in corners:
            if used[vertex] < columns:
                result[vertex, used[vertex]] = row
                used[vertex] += 1
    return result


def write_bfm_sources(
    folder: Path, basel: int = 90, with_expressions: int = 70, front: int = 40, seed: int = 0
) -> Path:
    """The six files that a `BFM_model_front.mat` is made of, with random content.

    Args:
        folder: to write into.
        basel, with_expressions, front: how many vertices; 53,490, 53,215 and 35,709 in the real files.
        seed: of the content.
    """
    generator = np.random.default_rng(seed)

    def numbers(*shape: int, scale: float = 1.0) -> np.ndarray:
        return generator.normal(scale=scale, size=shape).astype(np.float32)

    disc = generator.normal(size=(front, 2))
    faces = Delaunay(disc).simplices.astype(np.int64)
    eigenvalues = {f"{kind}EV": 1 + np.abs(numbers(199, 1, scale=1e5)) for kind in ("shape", "tex")}
    savemat(
        folder / "01_MorphableModel.mat",
        {
            "shapePC": numbers(3 * basel, 199, scale=0.01),
            "texPC": numbers(3 * basel, 199, scale=0.01),
            **eigenvalues,
            "shapeMU": numbers(3 * basel, 1, scale=5e4),
            "texMU": 120 + numbers(3 * basel, 1, scale=20),
        },
        do_compression=True,
    )
    with (folder / "Exp_Pca.bin").open("wb") as file:
        file.write(struct.pack("<i", 79))
        numbers(3 * with_expressions, scale=1e3).tofile(file)
        numbers(79, 3 * with_expressions).tofile(file)
    np.savetxt(folder / "std_exp.txt", np.abs(numbers(79, scale=1e4)))
    chosen = 1 + generator.permutation(with_expressions)[:front]
    savemat(folder / "BFM_front_idx.mat", {"idx": chosen.astype(np.int32)[:, None]})
    kept = 1 + np.sort(generator.permutation(basel)[:with_expressions])
    savemat(folder / "BFM_exp_idx.mat", {"trimIndex": kept.astype(np.int32)[:, None]})
    savemat(
        folder / "facemodel_info.mat",
        {
            "tri": (faces + 1).astype(np.float32),
            "point_buf": faces_of_vertices(faces, front) + 1,
            "tri_mask2": (faces[::2] + 1).astype(np.float32),
            "keypoints": generator.integers(1, front + 1, (1, 68)).astype(np.float32),
            "frontmask2_idx": np.arange(1, front // 2)[:, None],
            "skinmask": generator.integers(0, 2, (1, front)).astype(np.float32),
        },
    )
    return folder


class ChumpyArray:
    """What chumpy's `Ch` puts in a pickle."""

    def __init__(self, numbers: np.ndarray):
        self.x = numbers
        self._dirty_vars = {"x"}
        self._itr = None
        self._depends_on_deps: dict = {}
        self._make_dense = False
        self._make_sparse = False


class SparseMatrix:
    """What the `csc_matrix` of old scipy puts in a pickle."""

    def __init__(self, matrix: csc_matrix):
        self._shape, self.maxprint = matrix.shape, 50
        self.data, self.indices, self.indptr = matrix.data, matrix.indices, matrix.indptr


class PythonTwoPickler(pickle._Pickler):
    """Writes what cPickle of Python 2 wrote in protocol 2: one kind of string, and the names of that time."""

    dispatch = dict(pickle._Pickler.dispatch)
    names = {ChumpyArray: ("chumpy.ch", "Ch"), SparseMatrix: ("scipy.sparse.csc", "csc_matrix")}

    def __init__(self, file):
        super().__init__(file, protocol=2, fix_imports=True)

    def save_string(self, text):
        content = text.encode("latin1") if isinstance(text, str) else text
        short = len(content) < 256
        head = pickle.SHORT_BINSTRING + bytes([len(content)]) if short else pickle.BINSTRING
        self.write(head + (b"" if short else struct.pack("<i", len(content))) + content)
        self.memoize(text)

    def save_class(self, kind):
        if kind not in self.names:
            return self.save_global(kind)
        module, name = self.names[kind]
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(kind)

    dispatch[str] = dispatch[bytes] = save_string
    dispatch[type] = save_class


def flame_content(seed: int = 0, vertices: int = 400) -> dict[str, np.ndarray | str]:
    """The arrays of a `generic_model.pkl` by their names there: an egg, smooth random bases; all plain.

    Args:
        seed: of the content.
        vertices: how many; `FLAME_VERTICES` in the real file, fewer for speed.
    """
    generator = np.random.default_rng(seed)
    height = 1 - 2 * (np.arange(vertices) + 0.5) / vertices
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(vertices)
    around = np.sqrt(1 - height**2)
    sphere = np.stack([around * np.cos(turn), height, around * np.sin(turn)], axis=1)
    faces = ConvexHull(sphere).simplices
    first, second, third = (sphere[faces[:, corner]] for corner in range(3))
    inwards = (np.cross(second - first, third - first) * first).sum(axis=1) < 0
    faces[inwards] = faces[inwards][:, ::-1]
    joints = np.array([[0, -0.1, 0], [0, -0.06, -0.01], [0, -0.01, 0.01], [0.03, 0.03, 0.07], [-0.03, 0.03, 0.07]])
    shape = sphere * [0.08, 0.12, 0.1]
    near = np.exp(-(np.linalg.norm(shape[:, None] - joints, axis=2) ** 2) / 0.04**2) + 1e-3
    nearest = cKDTree(shape).query(joints, k=4)[1]
    regressor = np.zeros((5, vertices))
    regressor[np.arange(5)[:, None], nearest] = 0.25
    return {
        "v_template": shape,
        "f": faces.astype(np.uint32),
        "shapedirs": generator.normal(scale=1e-3, size=(vertices, 3, 400)),
        "posedirs": generator.normal(scale=1e-4, size=(vertices, 3, 36)),
        "weights": near / near.sum(axis=1, keepdims=True),
        "J_regressor": regressor,
        "J": joints,
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


def write_flame(path: Path, seed: int = 0, vertices: int = 400, **other: object) -> Path:
    """A `generic_model.pkl` as Python 2 wrote it, some arrays those of chumpy, the regressor sparse.

    Args:
        path: of the file.
        seed, vertices: see `flame_content`.
        other: contents to write instead, by name.
    """
    return write_flame_content(path, {**flame_content(seed, vertices), **other})


def write_flame_content(
    path: Path,
    content: dict[str, object],
    chumpy: tuple[str, ...] = ("v_template", "shapedirs", "posedirs", "weights", "J"),
) -> Path:
    """Arrays by their names in the file, as Python 2 wrote them; what is None is left out.

    Args:
        path: of the file.
        content: see `flame_content`.
        chumpy: which are arrays of chumpy.
    """
    content = dict(content)
    for name in chumpy:
        if isinstance(content[name], np.ndarray):
            content[name] = ChumpyArray(content[name])
    if isinstance(content["J_regressor"], np.ndarray):
        content["J_regressor"] = SparseMatrix(csc_matrix(content["J_regressor"]))
    with path.open("wb") as file:
        PythonTwoPickler(file).dump({name: value for name, value in content.items() if value is not None})
    return path


OPEN_FLAME = {"expr_source": "SUPR", "supr_gender": "neutral", "expr_components": "last_100", "n_expr": 100}
"""What the file of FLAME 2023 Open says of its expressions."""


def write_open_flame_content(path: Path, content: dict[str, object], **about: object) -> Path:
    """The same as FLAME 2023 Open's file has it: written by Python 3, no chumpy, and said where its expressions lie."""
    plain = {
        **content,
        "J_regressor": csc_matrix(content["J_regressor"]),
        "supr_expression_metadata": OPEN_FLAME | about,
    }
    path.write_bytes(pickle.dumps(plain))
    return path


def write_landmark_embedding(
    folder: Path, contour: tuple[np.ndarray, np.ndarray], inner: tuple[np.ndarray, np.ndarray], layout: str = "deca"
) -> Path:
    """Landmarks on FLAME as they are given out.

    Args:
        folder: to write into.
        contour: (79, 17) rows of faces and (79, 17, 3) weights; the first is the one that is seen from the front.
        inner: (51,) and (51, 3), the same for the points inside the face.
        layout: "deca", one file whose contour is made of tensors of torch, or "ringnet", two files.
    """
    if layout == "ringnet":
        names = ("lmk_face_idx", "lmk_b_coords")
        with (folder / "flame_static_embedding.pkl").open("wb") as file:
            PythonTwoPickler(file).dump(dict(zip(names, (inner[0].astype(np.uint32), inner[1]), strict=True)))
        moving = dict(zip(names, contour, strict=True))
        np.save(folder / "flame_dynamic_embedding.npy", np.array(moving, dtype=object), allow_pickle=True)
        return folder / "flame_static_embedding.pkl"
    content = {
        "static_lmk_faces_idx": inner[0],
        "static_lmk_bary_coords": inner[1],
        "dynamic_lmk_faces_idx": torch.from_numpy(contour[0].astype(np.int64)),
        "dynamic_lmk_bary_coords": torch.from_numpy(contour[1].astype(np.float32)),
        "full_lmk_faces_idx": np.concatenate([contour[0][0], inner[0]])[None],
        "full_lmk_bary_coords": np.concatenate([contour[1][0], inner[1]])[None].astype(np.float32),
    }
    np.save(folder / "landmark_embedding.npy", np.array(content, dtype=object), allow_pickle=True)
    return folder / "landmark_embedding.npy"
