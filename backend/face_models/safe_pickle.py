"""Reads the pickles that face models come in without running what is in them.

A pickle is a program: it names functions and calls them. FLAME's files need a handful of names: arrays of numpy, sparse
matrices of scipy, arrays of chumpy, a package that no current Python can import, and tensors of torch. All of them get
stand-ins of our own, from which arrays are made afterwards; every other name is refused before anything of it is
imported.
"""

import io
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from scipy import sparse

from backend.errors import UsageError

SPARSE_KINDS = ("csc_matrix", "csr_matrix", "coo_matrix")
CHUMPY_VALUE = "x"
"""Where chumpy's plain array keeps its numbers."""
TORCH_MAGIC, TORCH_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""How torch's older files begin, in which a pickled tensor keeps its numbers."""
TORCH_KINDS = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "LongStorage": "i8", "IntStorage": "i4",
    "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip
LARGEST_DENSE = 1 << 27
"""Numbers of a sparse matrix written out, a gigabyte of doubles: a few bytes can claim any size."""
NUMBERS = re.compile(r"[<>=|]?[biufSU]\d+")
OBJECTS = re.compile(r"\|?O\d*")


def read_pickle(path: Path, owner: str = "its makers") -> Any:
    """What a pickle holds, strings of Python 2 decoded as Latin-1, sparse matrices and chumpy's arrays as numpy arrays.

    Args:
        path: of the file.
        owner: where a person gets it anew.

    Returns:
        Built of dict, list, tuple, set, str, bytes, numbers, None and numpy arrays; arrays of objects as flat lists.

    Raises:
        UsageError: the file is missing ("no-face-model-file"), cannot be read as a pickle ("bad-face-model-file"), or
            names something that a face model has no use for ("unsafe-file"); nothing in it has then been run.
    """
    with _told(path, "a face model", owner), path.open("rb") as file:
        return _Plain(path).of(_RestrictedUnpickler(file).load())


def read_npy(path: Path, owner: str = "its makers") -> Any:
    """What an .npy file holds, an array of objects too: read as `read_pickle` reads.

    Args:
        path: of the file.
        owner: where a person gets it anew.

    Returns:
        An array of numbers; of one of objects what it holds: one object if it has no axes, else a flat list.

    Raises:
        UsageError: as `read_pickle`.
    """
    with _told(path, "an .npy file", owner), path.open("rb") as file:
        version = npy_format.read_magic(file)
        header = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, _, kind = header(file)
        if not kind.hasobject:
            return np.load(path, allow_pickle=False)
        content = _Plain(path).of(_RestrictedUnpickler(file).load())
        if not isinstance(content, list) or len(content) != np.prod(shape, dtype=np.int64):
            raise pickle.UnpicklingError("an array of objects that is none")
        return content if shape else content[0]


class _Unsafe(Exception):
    """A pickle asks for this name, which is not allowed."""


@contextmanager
def _told(path: Path, wanted: str, owner: str) -> Iterator[None]:
    """Whatever goes wrong in reading a file becomes an error that a person can act on."""
    if not path.is_file():
        raise UsageError("no-face-model-file", f"There is no file {path}.")
    try:
        yield
    except UsageError:
        raise
    except _Unsafe as error:
        raise UsageError(
            "unsafe-file",
            f"{path} asks for {error}, which no face model needs. It was not opened any further, and nothing in it "
            f"was run. Get the file anew from {owner}.",
        ) from error
    except Exception as error:  # damaged files fail in every way there is
        reason = str(error) or type(error).__name__
        raise UsageError(
            "bad-face-model-file",
            f"{path} cannot be read as {wanted}; it may be damaged ({reason}). Get it anew from {owner}.",
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


class _Ordered(dict):
    """Stands for collections.OrderedDict."""

    def __setstate__(self, state: Any) -> None:
        """Attributes are not kept; with this a pickle cannot set any of the class itself either, see `_Callable`."""


class _ArrayKind:
    """Stands for numpy.ndarray, which a file only names to have one made."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("an array of an unknown kind")


class _Callable:
    """A function that a pickle may call, and not change: a pickle can set attributes of whatever it has named."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function with a state")


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


class _TorchKind:
    """Stands for a class of torch's storages, which names what kind of numbers is stored."""

    def __init__(self, name: str):
        self.name = name


def _torch_storage(raw: Any) -> np.ndarray:
    """How torch pickles a tensor's numbers: as a file of its own, in the older format; (N,).

    Such a file is a row of pickles: a magic number, a protocol, facts of the computer, what is stored, the keys of all
    storages; then, for each, the count of its numbers and the numbers.
    """
    raw = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
    file = io.BytesIO(raw)
    stored: list[Any] = []

    def next_object() -> Any:
        return _TorchUnpickler(file, stored).load()

    if next_object() != TORCH_MAGIC or next_object() != TORCH_PROTOCOL:
        raise pickle.UnpicklingError("a tensor in a format that is not known")
    facts = next_object()
    if not (isinstance(facts, dict) and facts.get("little_endian", True) is True):
        raise pickle.UnpicklingError("a tensor whose numbers have their bytes the other way round")
    next_object()
    if next_object() != [identifier[2] for identifier in stored] or len(stored) != 1:
        raise pickle.UnpicklingError("a tensor with more than one storage")
    kind = stored[0][1]
    if not isinstance(kind, _TorchKind) or kind.name not in TORCH_KINDS:
        raise pickle.UnpicklingError("a tensor of an unknown kind")
    count = int.from_bytes(file.read(8), "little")
    return np.frombuffer(raw, np.dtype(TORCH_KINDS[kind.name]).newbyteorder("<"), count, file.tell())


def _torch_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> _Array:
    """How torch makes a tensor of a storage: the first number's place, lengths and steps of its axes."""
    if not isinstance(storage, np.ndarray) or len(size) != len(stride) or min((offset, *size, *stride)) < 0:
        raise pickle.UnpicklingError("a tensor without its numbers")
    if np.prod(size, dtype=np.float64) > len(storage):
        raise pickle.UnpicklingError("a tensor of more numbers than are stored")
    places = np.full(tuple(size), offset, np.int64)
    for axis, (length, step) in enumerate(zip(size, stride, strict=True)):
        places += (np.arange(length) * step).reshape(-1, *[1] * (len(size) - axis - 1))
    made = _Array(_ArrayKind, None, None)
    made.content = storage[places]  # numpy refuses places outside
    return made


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
    ("collections", "OrderedDict"): _Ordered,
    ("torch._utils", "_rebuild_tensor_v2"): _torch_tensor,
    ("torch.storage", "_load_from_bytes"): _torch_storage,
    **{(module, kind.__name__): kind for module in ("__builtin__", "builtins") for kind in (set, frozenset)},
}
"""(module, name) that a pickle may ask for, and what it gets; classes of scipy.sparse and chumpy besides."""


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ALLOWED:
            allowed = ALLOWED[module, name]
            return allowed if isinstance(allowed, type) else _Callable(allowed)
        if module.split(".")[:2] == ["scipy", "sparse"] and name in SPARSE_KINDS:
            return type(name, (_SparseStandIn,), {"wanted_class": f"{module}.{name}", "kind": name})
        if module.split(".")[0] == "chumpy" and name.isidentifier():
            return type(name, (_ChumpyStandIn,), {"wanted_class": f"{module}.{name}"})
        raise _Unsafe(f"{module}.{name}")

    def persistent_load(self, identifier: Any) -> Any:
        raise pickle.UnpicklingError("a pickle that leans on another file")


class _TorchUnpickler(pickle.Unpickler):
    """For the file within a pickled tensor: its storages are named in place, their numbers follow later."""

    def __init__(self, file: BinaryIO, stored: list[Any]):
        super().__init__(file, encoding="latin1")
        self._stored = stored

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in TORCH_KINDS:
            return _TorchKind(name)
        raise _Unsafe(f"{module}.{name}")

    def persistent_load(self, identifier: Any) -> Any:
        if not isinstance(identifier, tuple) or len(identifier) < 3 or identifier[0] != "storage":
            raise pickle.UnpicklingError("a tensor that leans on another file")
        self._stored.append(identifier)
        return identifier[2]


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
        if np.prod(shape, dtype=np.float64) > LARGEST_DENSE:
            raise pickle.UnpicklingError(f"a sparse matrix of {' x '.join(map(str, shape))}")
        if matrix.kind == "coo_matrix":
            rows, columns = state["coords"] if "coords" in state else (state["row"], state["col"])
            return sparse.coo_matrix((state["data"], (rows, columns)), shape).toarray()
        made = getattr(sparse, matrix.kind)((state["data"], state["indices"], state["indptr"]), shape)
        made.check_format(full_check=True)
        return made.toarray()
