"""Arrays of objects and pickled tensors are read for their numbers, and nothing in them is run."""

import builtins
import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from backend.errors import UsageError
from backend.face_models.safe_pickle import read_npy, read_pickle

FUNCTIONS = [os.system, os.mkdir, builtins.eval, builtins.exec, np.load, torch.load]


class Attack:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def save_object(path: Path, content: object) -> Path:
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


TENSORS = {
    "whole": torch.arange(24).reshape(2, 3, 4),
    "part": torch.arange(24, dtype=torch.int32).reshape(2, 3, 4)[:, 1:, ::2],
    "turned": torch.rand(3, 4, generator=torch.Generator().manual_seed(1)).T,
    "number": torch.tensor(3.5, dtype=torch.float64),
    "empty": torch.zeros(0, 3),
    "truth": torch.tensor([True, False]),
    "short": torch.arange(3, dtype=torch.int16),
    "half": torch.tensor([0.5, 1.5]).half(),
    "learnt": torch.ones(2, requires_grad=True),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_of_torch_becomes_an_array(tmp_path: Path, name: str):
    path = save_object(tmp_path / "x.npy", {name: TENSORS[name], "plain": np.arange(3)})
    content, wanted = read_npy(path), TENSORS[name].detach().numpy()
    np.testing.assert_array_equal(content[name], wanted)
    assert content[name].dtype == wanted.dtype and content[name].shape == wanted.shape
    np.testing.assert_array_equal(content["plain"], [0, 1, 2])


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_tensors_are_read_from_pickles_too(tmp_path: Path, protocol: int):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps([TENSORS["part"]], protocol))
    np.testing.assert_array_equal(read_pickle(path)[0], TENSORS["part"].numpy())


def test_an_array_of_numbers_and_a_row_of_objects_are_read(tmp_path: Path):
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(read_npy(tmp_path / "x.npy"), np.arange(6.0).reshape(2, 3))
    row = np.empty(2, object)
    row[:] = ["a", {"b": 1}]
    np.save(tmp_path / "x.npy", row, allow_pickle=True)
    assert read_npy(tmp_path / "x.npy") == ["a", {"b": 1}]


SETTINGS = {  # what a pickle names, and an attribute that it tries to set of that
    "collections\nOrderedDict": "__setitem__",
    "numpy\nndarray": "__setstate__",
    "numpy\ndtype": "numbers",
    "numpy.core.multiarray\n_reconstruct": "__setstate__",
    "numpy.core.multiarray\nscalar": "__defaults__",
    "_codecs\nencode": "__defaults__",
    "chumpy.ch\nCh": "__setstate__",
}


@pytest.mark.parametrize("named", SETTINGS)
def test_a_pickle_changes_nothing_for_the_next_one(tmp_path: Path, named: str):
    name, path = SETTINGS[named].encode(), tmp_path / "x.pkl"
    attack = b"\x80\x02c" + named.encode() + b"\nN}X" + len(name).to_bytes(4, "little") + name
    value = b"N" if name == b"__defaults__" else b"c__builtin__\nset\n"
    path.write_bytes(attack + value + b"s\x86b.")  # BUILD with (None, {attribute: value})
    with pytest.raises(UsageError, match="cannot be read"):
        read_pickle(path)
    content = {"a": OrderedDict(b=np.arange(3.0)), "c": np.float32(2), "d": b"\xff"}
    path.write_bytes(pickle.dumps(content, 2))
    found = read_pickle(path)
    np.testing.assert_array_equal(found["a"]["b"], [0, 1, 2])
    assert (found["c"], found["d"]) == (2, b"\xff")


def test_a_small_file_cannot_claim_a_huge_matrix(tmp_path: Path):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"J_regressor": sparse.csr_matrix((5, 10**10))}))
    with pytest.raises(UsageError, match="a sparse matrix of 5 x 10000000000") as caught:
        read_pickle(path)
    assert caught.value.code == "bad-face-model-file"


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: f"{function.__module__}.{function.__name__}")
@pytest.mark.parametrize("where", ["pickle", "npy", "chumpy state", "within a tensor"])
def test_a_function_is_refused_by_name_and_not_run(tmp_path: Path, function, where: str, monkeypatch):
    mark = tmp_path / "was run"
    monkeypatch.chdir(tmp_path)
    arguments = {"eval": f"open({str(mark)!r}, 'w')", "exec": f"open({str(mark)!r}, 'w')", "system": f"touch '{mark}'"}
    attack = Attack(function, arguments.get(function.__name__, str(mark)))
    path = tmp_path / "x.npy"
    if where == "npy":
        save_object(path, {"static_lmk_faces_idx": attack})
    elif where == "within a tensor":
        path.write_bytes(pickle.dumps(Attack(torch.storage._load_from_bytes, pickle.dumps(attack))))
    elif where == "chumpy state":
        path.write_bytes(b"cchumpy.ch\nCh\n)\x81}(X\x01\x00\x00\x00x" + pickle.dumps(attack, 2)[2:-1] + b"ub.")
    else:
        path.write_bytes(pickle.dumps({"v_template": [attack]}))
    with pytest.raises(UsageError, match="nothing in it was run") as caught:
        (read_npy if where == "npy" else read_pickle)(path)
    assert caught.value.code == "unsafe-file" and function.__name__ in caught.value.sentence
    assert str(path) in caught.value.sentence
    assert not mark.exists()


def test_the_attacks_of_these_tests_do_run_where_pickles_are_trusted(tmp_path: Path):
    for number, function in enumerate((os.mkdir, builtins.exec)):
        mark = tmp_path / str(number)
        attack = Attack(function, f"open({str(mark)!r}, 'w')" if function is builtins.exec else str(mark))
        pickle.loads(pickle.dumps(Attack(pickle.loads, pickle.dumps(attack))))
        assert mark.exists()


def tensor_pickle(inner: bytes, offset: int, size: tuple, stride: tuple) -> bytes:
    class Made:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (Stored(), offset, size, stride, False, {})

    class Stored:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (inner,)

    return pickle.dumps(Made())


def stored_bytes(count: int = 6) -> bytes:
    file = io.BytesIO()
    numbers = torch.arange(count)
    storage = torch.storage.TypedStorage(wrap_storage=numbers.untyped_storage(), dtype=numbers.dtype, _internal=True)
    torch.save(storage, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def test_the_tensors_of_the_next_test_are_right_where_nothing_is_changed(tmp_path: Path):
    path = tmp_path / "x.pkl"
    path.write_bytes(tensor_pickle(stored_bytes(), 0, (2, 3), (3, 1)))
    np.testing.assert_array_equal(read_pickle(path), [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(pickle.loads(path.read_bytes()).numpy(), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("inner", "offset", "size", "stride"),
    [
        (stored_bytes(), 1, (2, 3), (3, 1)),
        (stored_bytes(), -1, (2,), (1,)),
        (stored_bytes(), 0, (2,), (-1,)),
        (stored_bytes(), 0, (10**6, 10**6), (0, 0)),
        (stored_bytes(), 0, (2, 3), (3,)),
        (stored_bytes()[:-9], 0, (2, 3), (3, 1)),
        (b"", 0, (2, 3), (3, 1)),
        (b"PK\x03\x04" + stored_bytes(), 0, (2, 3), (3, 1)),
    ],
    ids=["beyond", "before", "backwards", "huge", "axes", "cut", "empty", "newer"],
)
def test_tensors_that_reach_beyond_their_numbers_are_refused(tmp_path: Path, inner, offset, size, stride):
    path = tmp_path / "x.pkl"
    path.write_bytes(tensor_pickle(inner, offset, size, stride))
    with pytest.raises(UsageError, match="may be damaged") as caught:
        read_pickle(path)
    assert caught.value.code == "bad-face-model-file"


@pytest.mark.parametrize("length", [0, 3, 40, 130, 200])
def test_a_cut_npy_file_is_a_sentence(tmp_path: Path, length: int):
    path = save_object(tmp_path / "x.npy", {"a": np.arange(9.0)})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UsageError, match="cannot be read as an .npy file") as caught:
        read_npy(path)
    assert caught.value.code == "bad-face-model-file"


def test_a_missing_npy_file_is_a_sentence(tmp_path: Path):
    with pytest.raises(UsageError) as caught:
        read_npy(tmp_path / "x.npy")
    assert caught.value.code == "no-face-model-file"
