"""Reads the pickles that face models come in without running what is in them.

A pickle is a program: it names functions and calls them. FLAME's files need a handful of names: arrays of numpy, sparse
matrices of scipy, and arrays of chumpy, a package that no current Python can import. All of them get stand-ins of our
own, from which arrays are made afterwards; every other name is refused before anything of it is imported.
"""

import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from scipy import sparse

from backend.errors import UsageError

SPARSE_KINDS = ("csc_matrix", "csr_matrix", "coo_matrix")
CHUMPY_VALUE = "x"
"""Where chumpy's plain array keeps its numbers."""
NUMBERS = re.compile(r"[<>=|]?[biufSU]\d+")
OBJECTS = re.compile(r"\|?O\d*")


def read_pickle(path: Path) -> Any:
    """What a pickle holds, strings of Python 2 decoded as Latin-1, sparse matrices and chumpy's arrays as numpy arrays.

    Args:
        path: of the file.

    Returns:
        Built of dict, list, tuple, set, str, bytes, numbers, None and numpy arrays; arrays of objects as flat lists.

    Raises:
        UsageError: the file is missing ("no-face-model-file"), cannot be read as a pickle ("bad-face-model-file"), or
            names something that a face model has no use for ("unsafe-file"); nothing in it has then been run.
    """
    if not path.is_file():
        raise UsageError("no-face-model-file", f"There is no file {path}.")
    try:
        with path.open("rb") as file:
            return _Plain(path).of(_RestrictedUnpickler(file, path).load())
    except UsageError:
        raise
    except Exception as error:  # damaged pickles fail in every way there is
        reason = str(error) or type(error).__name__
        raise UsageError(
            "bad-face-model-file", f"{path} cannot be read as a face model; it may be damaged ({reason})."
        ) from error


class _StandIn:
    """An object of a class that is not imported: its class's name and the state that the pickle gives it."""

    wanted_class = ""

    def __new__(cls, *arguments: Any, **named: Any) -> "_StandIn":
        made = object.__new__(cls)
        made.state = {}
        return made

    def __init__(self, *arguments: Any, **named: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"{self.wanted_class} with a state that is no dictionary")
        self.state = {str(name): value for name, value in state.items()}


class _SparseStandIn(_StandIn):
    """A sparse matrix of scipy."""

    kind = ""


class _ChumpyStandIn(_StandIn):
    """A value of chumpy."""


class _ArrayKind:
    """Stands for numpy.ndarray, which a file only names to have one made."""


class _Kind:
    """Stands for numpy.dtype: ("f8", False, True), then the byte order as state."""

    def __init__(self, name: Any, align: Any = False, copy: Any = True):
        name = name if isinstance(name, str) else ""
        self.is_object = OBJECTS.fullmatch(name) is not None
        if not self.is_object and not NUMBERS.fullmatch(name):
            raise pickle.UnpicklingError(f"an array of '{name}'")
        self.name = name.lstrip("<>=|")
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError("a kind of number without its byte order")
        self.order = order

    def numbers(self, raw: Any) -> np.ndarray:
        """(N,) from bytes, which Python 2 wrote as a string."""
        raw = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
        return np.frombuffer(raw, np.dtype(self.name).newbyteorder(self.order))


class _Array:
    """Stands for an array: made empty, then filled by its state."""

    def __init__(self, kind: Any, shape: Any, code: Any):
        if kind is not _ArrayKind:
            raise pickle.UnpicklingError("an array of an unknown kind")
        self.content: np.ndarray | list | None = None

    def __setstate__(self, state: Any) -> None:
        shape, kind, is_fortran, raw = state[-4:]  # a version comes first, but for the oldest
        if not isinstance(kind, _Kind):
            raise pickle.UnpicklingError("an array of an unknown kind")
        if kind.is_object:
            self.content = list(raw)
        else:
            self.content = _shaped(kind.numbers(raw), shape, "F" if is_fortran else "C")


def _array_from_buffer(raw: Any, kind: Any, shape: Any, order: Any) -> _Array:
    """How the newest protocol writes an array."""
    if not isinstance(kind, _Kind) or kind.is_object:
        raise pickle.UnpicklingError("an array of an unknown kind")
    made = _Array(_ArrayKind, None, None)
    made.content = _shaped(kind.numbers(raw), shape, "F" if order == "F" else "C")
    return made


def _shaped(numbers: np.ndarray, shape: Any, order: str) -> np.ndarray:
    return numbers.reshape(tuple(int(side) for side in shape), order=order)


def _scalar(kind: Any, raw: Any) -> Any:
    if not isinstance(kind, _Kind) or kind.is_object:
        raise pickle.UnpicklingError("a number of an unknown kind")
    return kind.numbers(raw)[0]


def _reconstruct(kind: Any, base: Any, state: Any) -> _StandIn:
    """How Python 2 starts an object in its oldest protocols."""
    if not (isinstance(kind, type) and issubclass(kind, _StandIn)) or base is not _StandIn:
        raise pickle.UnpicklingError("an object of an unknown kind")
    return kind()


def _latin1_bytes(text: Any, encoding: Any = "latin1") -> bytes:
    """How Python 3 writes bytes in the protocols of Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in {encoding}")
    return text.encode("latin1")


def _numpy_names(module: str) -> dict[tuple[str, str], Any]:
    return {
        (f"{module}.multiarray", "_reconstruct"): _Array,
        (f"{module}.multiarray", "scalar"): _scalar,
        (f"{module}.numeric", "_frombuffer"): _array_from_buffer,
    }


ALLOWED: dict[tuple[str, str], Any] = {
    **_numpy_names("numpy.core"),
    **_numpy_names("numpy._core"),
    ("numpy", "ndarray"): _ArrayKind,
    ("numpy", "dtype"): _Kind,
    ("copy_reg", "_reconstructor"): _reconstruct,
    ("copyreg", "_reconstructor"): _reconstruct,
    ("__builtin__", "object"): _StandIn,
    ("builtins", "object"): _StandIn,
    ("_codecs", "encode"): _latin1_bytes,
    **{(module, kind.__name__): kind for module in ("__builtin__", "builtins") for kind in (set, frozenset)},
}
"""(module, name) that a pickle may ask for, and what it gets; classes of scipy.sparse and chumpy besides."""


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, path: Path):
        super().__init__(file, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if module.split(".")[:2] == ["scipy", "sparse"] and name in SPARSE_KINDS:
            return type(name, (_SparseStandIn,), {"wanted_class": f"{module}.{name}", "kind": name})
        if module.split(".")[0] == "chumpy" and name.isidentifier():
            return type(name, (_ChumpyStandIn,), {"wanted_class": f"{module}.{name}"})
        raise UsageError(
            "unsafe-file",
            f"{self._path} asks for {module}.{name}, which no face model needs. It was not opened any further, and "
            "nothing in it was run. Get the file anew from its makers.",
        )

    def persistent_load(self, identifier: Any) -> Any:
        raise pickle.UnpicklingError("a pickle that leans on another file")


class _Plain:
    """Turns what an unpickler made into data, stand-ins into arrays."""

    def __init__(self, path: Path):
        self._path = path
        self._done: dict[int, Any] = {}  # an object that is used twice is turned once

    def of(self, value: Any) -> Any:
        if value is None or isinstance(value, str | bytes | bytearray | bool | int | float | complex | np.generic):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = self._turned(value)
        return self._done[id(value)]

    def _turned(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self.of(key): self.of(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return type(value)(self.of(item) for item in value)
        if isinstance(value, _Array):
            return self.of(value.content) if isinstance(value.content, list) else value.content
        if isinstance(value, _SparseStandIn):
            return self._dense(value)
        if isinstance(value, _ChumpyStandIn):
            return self._chumpy_value(value)
        raise pickle.UnpicklingError("something that is no data")

    def _chumpy_value(self, value: _ChumpyStandIn) -> np.ndarray:
        numbers = self.of(value.state.get(CHUMPY_VALUE))
        if not isinstance(numbers, np.ndarray):
            raise UsageError(
                "bad-face-model-file",
                f"{self._path} holds a computation of chumpy ({value.wanted_class}) where numbers were expected. "
                "Convert it to plain arrays where chumpy is installed.",
            )
        return numbers

    def _dense(self, matrix: _SparseStandIn) -> np.ndarray:
        state = {name: self.of(item) for name, item in matrix.state.items()}
        shape = tuple(int(side) for side in state.get("_shape", ()))
        if matrix.kind == "coo_matrix":
            rows, columns = state["coords"] if "coords" in state else (state["row"], state["col"])
            return sparse.coo_matrix((state["data"], (rows, columns)), shape).toarray()
        made = getattr(sparse, matrix.kind)((state["data"], state["indices"], state["indptr"]), shape)
        made.check_format(full_check=True)
        return made.toarray()
