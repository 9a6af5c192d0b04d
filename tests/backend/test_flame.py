"""FLAME's file is read for its numbers, and nothing in it is run."""

import io
import os
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_matrix, csr_matrix

from backend.errors import UsageError
from backend.face_models.flame import EXPRESSION_SIZE, IDENTITY_SIZE, read_flame
from backend.face_models.safe_pickle import ALLOWED, read_pickle
from tests.face_model_files import FLAME_VERTICES, ChumpyArray, PythonTwoPickler, flame_content, write_flame


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "generic_model.pkl"


def test_the_fixture_is_a_pickle_of_python_2_that_names_chumpy_and_old_scipy(path: Path):
    opcodes = [(op.name, argument) for op, argument, _ in pickletools.genops(write_flame(path).read_bytes())]
    names = {argument for op, argument in opcodes if op == "GLOBAL"}
    assert {"chumpy.ch Ch", "scipy.sparse.csc csc_matrix", "__builtin__ set"} <= names
    assert ("SHORT_BINSTRING", "v_template") in opcodes
    assert not {"BINUNICODE", "BINBYTES"} & {op for op, _ in opcodes}


def test_every_array_comes_back_as_it_was_written(path: Path):
    model, content = read_flame(write_flame(path, seed=3)), flame_content(seed=3)
    np.testing.assert_array_equal(model.template, content["v_template"])
    np.testing.assert_array_equal(model.faces, content["f"])
    np.testing.assert_array_equal(model.identity_basis[7], content["shapedirs"][:, :, 7])
    np.testing.assert_array_equal(model.expression_basis[2], content["shapedirs"][:, :, IDENTITY_SIZE + 2])
    np.testing.assert_array_equal(model.pose_basis[35], content["posedirs"][:, :, 35])
    np.testing.assert_array_equal(model.skinning_weights, content["weights"])
    np.testing.assert_array_equal(model.joint_regressor, content["J_regressor"])
    np.testing.assert_array_equal(model.parents, [-1, 0, 1, 1, 1])


def test_a_file_of_the_published_size_is_read(path: Path):
    model = read_flame(write_flame(path, vertices=FLAME_VERTICES))
    assert model.template.shape == (5023, 3)
    assert model.identity_basis.shape == (300, 5023, 3)
    assert model.expression_basis.shape == (100, 5023, 3)


def test_shapes_add_identity_and_expression_to_the_template(path: Path):
    model, content = read_flame(write_flame(path)), flame_content()
    identity, expression = np.array([1.0, -2.0]), np.array([0.0, 0.5, 0.25])
    by_hand = content["v_template"].copy()
    for column, weight in ((0, 1.0), (1, -2.0), (301, 0.5), (302, 0.25)):
        by_hand += weight * content["shapedirs"][:, :, column]
    np.testing.assert_allclose(model.shaped(identity, expression), by_hand, atol=1e-12)


def test_arrays_of_today_are_read_in_every_protocol(path: Path):
    content = flame_content()
    content["J_regressor"] = csr_matrix(content["J_regressor"])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(content, protocol))
        model = read_flame(path)
        np.testing.assert_array_equal(model.template, content["v_template"])
        np.testing.assert_array_equal(model.joint_regressor, content["J_regressor"].toarray())


def test_arrays_in_the_order_of_columns_and_of_the_other_byte_order_are_read(path: Path):
    wanted = np.arange(12.0).reshape(3, 4)
    path.write_bytes(pickle.dumps([np.asfortranarray(wanted), wanted.astype(">f4"), np.float64(2.5)], 2))
    columns, swapped, number = read_pickle(path)
    np.testing.assert_array_equal(columns, wanted)
    np.testing.assert_array_equal(swapped, wanted)
    assert number == 2.5


def test_sparse_matrices_of_coordinates_are_read(path: Path):
    wanted = np.diag([1.0, 2.0, 3.0])
    path.write_bytes(pickle.dumps(coo_matrix(wanted), 2))
    np.testing.assert_array_equal(read_pickle(path), wanted)


class Attack:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("where", ["alone", "in a value"])
def test_a_file_made_to_run_code_does_not_run_it(path: Path, tmp_path: Path, protocol: int, where: str):
    mark = tmp_path / "was run"
    attack = Attack(os.mkdir, str(mark))
    path.write_bytes(pickle.dumps(attack if where == "alone" else {**flame_content(), "J": [attack]}, protocol))
    assert_refused_unrun(path, mark)


def test_code_in_the_state_of_a_stand_in_is_not_run(path: Path, tmp_path: Path):
    mark = tmp_path / "was run"
    write_flame(path, J=ChumpyArray(Attack(os.mkdir, str(mark))))
    assert_refused_unrun(path, mark)


def assert_refused_unrun(path: Path, mark: Path) -> None:
    with pytest.raises(UsageError, match="nothing in it was run") as caught:
        read_flame(path)
    assert caught.value.code == "unsafe-file" and "mkdir" in caught.value.sentence
    assert not mark.exists()


def test_the_attack_of_these_tests_does_run_where_pickles_are_trusted(path: Path, tmp_path: Path):
    mark = tmp_path / "was run"
    pickle.loads(pickle.dumps(Attack(os.mkdir, str(mark))))
    assert mark.exists()


@pytest.mark.parametrize(
    "names",
    ["os\nsystem", "builtins\neval", "builtins\ngetattr", "numpy\nload", "numpy.core.multiarray\nfromfile",
     "scipy.sparse\nload_npz", "copy_reg\n__newobj__", "chumpyish\nCh", "scipy.sparsely\ncsc_matrix"],
)  # fmt: skip
def test_names_outside_the_list_are_refused(path: Path, names: str):
    path.write_bytes(b"c" + names.encode() + b"\n.")
    with pytest.raises(UsageError, match="which no face model needs") as caught:
        read_pickle(path)
    assert caught.value.code == "unsafe-file"


def test_dotted_names_do_not_reach_into_modules(path: Path):
    file = io.BytesIO()
    pickler = pickle._Pickler(file, 4)
    pickler.write(pickle.PROTO + b"\x04")
    for text in ("chumpy.ch", "os.system"):
        pickler.save(text)
    file.write(pickle.STACK_GLOBAL + pickle.STOP)
    path.write_bytes(file.getvalue())
    with pytest.raises(UsageError) as caught:
        read_pickle(path)
    assert caught.value.code == "unsafe-file"


def test_nothing_that_is_allowed_comes_from_a_module_that_acts_on_the_computer():
    own = {"backend.face_models.safe_pickle", "builtins"}
    assert {allowed.__module__ for allowed in ALLOWED.values()} <= own
    assert {allowed for allowed in ALLOWED.values() if allowed.__module__ == "builtins"} == {set, frozenset}


def test_a_missing_file_is_a_sentence(path: Path):
    with pytest.raises(UsageError, match="no file") as caught:
        read_flame(path)
    assert caught.value.code == "no-face-model-file"


@pytest.mark.parametrize("content", [b"", b"no pickle at all", b"\x80\x02}q\x01(U\x01"], ids=["empty", "text", "cut"])
def test_a_damaged_file_is_a_sentence(path: Path, content: bytes):
    path.write_bytes(content)
    with pytest.raises(UsageError, match="may be damaged") as caught:
        read_flame(path)
    assert caught.value.code == "bad-face-model-file"


def test_a_file_that_was_cut_short_is_a_sentence(path: Path):
    whole = write_flame(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="may be damaged"):
        read_flame(path)


def test_arrays_whose_size_and_content_disagree_are_refused(path: Path):
    whole = pickle.dumps({"v_template": np.zeros((7, 3))}, 2)
    path.write_bytes(whole.replace(b"K\x07K\x03", b"K\x08K\x03"))
    with pytest.raises(UsageError, match="may be damaged"):
        read_pickle(path)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"shapedirs": None}, "it has no shapedirs"),
        ({"v_template": np.zeros((400, 2))}, "its v_template is 400 x 2, where 400 x 3 was expected"),
        ({"weights": np.full((400, 5), np.nan)}, "its weights holds numbers that are not finite"),
        ({"posedirs": "none"}, "its posedirs holds no array of numbers"),
        ({"f": np.full((4, 3), 400)}, "its f names vertices that are not among its 400"),
        ({"kintree_table": np.array([[0, 0, 3, 1, 1], [0, 1, 2, 3, 4]])}, "no tree of joints"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_file_is_said(path: Path, other: dict, told: str):
    with pytest.raises(UsageError) as caught:
        read_flame(write_flame(path, **other))
    assert told in caught.value.sentence and str(path) in caught.value.sentence


def test_a_computation_of_chumpy_is_said_to_be_one(path: Path):
    class Product(ChumpyArray):
        def __init__(self):
            self.a, self.b = np.zeros(3), np.zeros(3)

    class Pickler(PythonTwoPickler):
        names = {**PythonTwoPickler.names, Product: ("chumpy.ch_ops", "multiply")}

    with path.open("wb") as file:
        Pickler(file).dump({**flame_content(), "v_template": Product()})
    with pytest.raises(UsageError, match="a computation of chumpy \\(chumpy.ch_ops.multiply\\)"):
        read_flame(path)


def test_the_open_edition_is_known_by_its_name(tmp_path: Path):
    assert not read_flame(write_flame(tmp_path / "generic_model.pkl")).licence.commercial
    assert read_flame(write_flame(tmp_path / "flame2023_Open.pkl")).licence.commercial


def test_the_sizes_are_those_of_the_published_files():
    assert (IDENTITY_SIZE, EXPRESSION_SIZE) == (300, 100)
