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
from backend.face_models.flame import EXPRESSION_SIZE, IDENTITY_SIZE, flame_arrays, read_flame
from backend.face_models.flame_landmarks import find_landmarks
from backend.face_models.safe_pickle import ALLOWED, read_pickle
from backend.lid_rig import boundary_loops
from tests.face_model_files import (
    FLAME_VERTICES,
    ChumpyArray,
    PythonTwoPickler,
    flame_content,
    write_flame,
    write_open_flame_content,
)
from tests.stand_in_heads import flame_content as stand_in_content
from tests.stand_in_heads import write_flame_head, write_flame_landmarks


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
    with pytest.raises(UsageError, match="no FLAME model at .* Register at https://flame") as caught:
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


def test_the_open_edition_is_known_by_what_it_says_of_its_expressions(tmp_path: Path):
    content = flame_content()
    for name in ("generic_model.pkl", "flame2023.pkl", "flame2023_Open.pkl"):
        assert not read_flame(write_flame(tmp_path / name)).licence.commercial
        model = read_flame(write_open_flame_content(tmp_path / name, content))
        assert model.licence.commercial and model.edition == "flame2023_open"
        np.testing.assert_array_equal(model.joint_regressor, content["J_regressor"])


def test_the_other_editions_are_known_by_their_names(tmp_path: Path):
    names = {"generic_model": "flame2020", "male_model": "flame2020", "flame2023": "flame2023"}
    for name, edition in names.items():
        assert flame_arrays(write_flame(tmp_path / f"{name}.pkl")).name == edition


def test_expressions_that_lie_elsewhere_are_refused(path: Path):
    write_open_flame_content(path, flame_content(), n_expr=50)
    with pytest.raises(UsageError, match="are not the last 100"):
        read_flame(path)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("flame2023_no_jaw.pkl", flame_content(), "give flame2023.pkl of the same download"),
        ("FLAME_masks.pkl", dict.fromkeys(("face", "neck", "scalp", "nose"), np.arange(3)), "list of FLAME's regions"),
        ("flame_static_embedding.pkl", {"lmk_face_idx": np.arange(51)}, "leave it beside the model"),
        ("SMPL_NEUTRAL.pkl", {**flame_content(), "weights": np.ones((400, 24))}, "400 x 24, where 400 x 5"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith("pkl") else "",
)
def test_other_files_of_the_same_owner_are_known(tmp_path: Path, name: str, content: dict, told: str):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UsageError) as caught:
        read_flame(path)
    assert told in caught.value.sentence and "https://flame.is.tue.mpg.de" in caught.value.sentence


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Path:
    """A file of the published size, in a folder of its own."""
    return write_flame_head(tmp_path_factory.mktemp("head"))


def test_the_head_of_these_tests_has_the_shapes_of_the_published_files(head: Path):
    content = stand_in_content()
    assert content["v_template"].shape == (5023, 3)
    assert content["f"].dtype == np.uint32 and content["f"].max() == 5022
    assert len(np.unique(content["f"])) == 5023
    assert content["shapedirs"].shape == (5023, 3, 400)
    assert content["posedirs"].shape == (5023, 3, 36)
    assert content["kintree_table"][0, 0] == 2**32 - 1
    np.testing.assert_allclose(content["weights"].sum(axis=1), 1, atol=1e-12)
    pieces = boundary_loops(content["f"].astype(np.int64))
    assert len(pieces) == 4, "neck, mouth and two eyes"


def test_a_head_is_read_with_its_parts_and_joints(head: Path):
    arrays = flame_arrays(head)
    assert (arrays.name, arrays.label, arrays.metres_per_unit) == ("flame2020", "FLAME 2020", 1.0)
    assert arrays.mean.dtype == np.float32 and arrays.faces.shape == (9902, 4) and (arrays.faces[:, 3] == -1).all()
    assert arrays.identity_basis.shape == (300, 5023, 3) and arrays.expression_basis.shape == (100, 5023, 3)
    assert sorted(arrays.part_faces) == ["eyeball_left", "eyeball_right", "skin"]
    rows = np.concatenate(list(arrays.part_faces.values()))
    assert len(rows) == len(arrays.faces) == len(np.unique(rows))
    used = arrays.faces[arrays.part_faces["eyeball_left"]][:, :3]
    assert used.min() == 3931 and len(np.unique(used)) == 546
    assert (arrays.mean[np.unique(used), 0] > 0).all(), "the subject's left is +X"
    assert arrays.landmarks68 is None and arrays.contour is None and arrays.albedo is None


def test_skinning_by_the_definition_turns_the_jaw(head: Path):
    """With no turn nothing moves; with the jaw's alone, a vertex that hangs on it moves by the rotation."""
    arrays = flame_arrays(head)
    skinning = arrays.skinning
    joints = skinning.regressor @ arrays.mean
    assert skinning.names == ("root", "neck", "jaw", "left eye", "right eye")
    assert skinning.parents.tolist() == [-1, 0, 1, 1, 1]
    ball = arrays.mean[np.unique(arrays.faces[arrays.part_faces["eyeball_left"]][:, :3])]
    np.testing.assert_allclose(joints[3], ball.mean(axis=0), atol=1e-5)
    chin = int((skinning.weights[:, 2] * (arrays.mean[:, 2] > 0.0)).argmax())
    assert skinning.weights[chin, 2] > 0.95
    assert joints[2, 2] < arrays.mean[chin, 2], "the jaw hangs behind the chin"


@pytest.mark.parametrize("layout", ["deca", "ringnet"])
@pytest.mark.parametrize("first_rows_turned", ["right", "left"])
def test_landmarks_beside_a_model_are_read_whichever_way_their_first_rows_turn(
    head: Path, tmp_path: Path, layout: str, first_rows_turned: str
):
    written = write_flame_landmarks(tmp_path, layout=layout, first_rows_turned=first_rows_turned)
    assert find_landmarks(tmp_path) == written
    arrays = flame_arrays(head, written)
    np.testing.assert_array_equal(arrays.contour.yaw, np.arange(-39, 40))
    for yaw in (-39.0, -20.0, 20.0, 39.0):
        seen = arrays.contour.at(yaw).apply(arrays.mean)
        across = arrays.mean @ np.array([np.cos(np.radians(yaw)), 0, -np.sin(np.radians(yaw))])
        points = seen @ np.array([np.cos(np.radians(yaw)), 0, -np.sin(np.radians(yaw))])
        # a camera on the subject's left sees the right cheek end there: nothing of that height lies further out
        point, out = (3, -1) if yaw > 0 else (13, 1)
        level = (np.abs(arrays.mean[:, 1] - seen[point, 1]) < 0.004) & (arrays.mean[:, 2] > seen[:, 2].min())
        assert (out * across[level]).max() < out * points[point] + 0.004
    front = arrays.contour.at(0.0)
    np.testing.assert_array_equal(arrays.landmarks68.vertices[:17], front.vertices)
    chin, left_lid, nose = arrays.landmarks68.apply(arrays.mean)[[8, 44, 30]]
    assert nose[2] > chin[2] and left_lid[0] > 0.02 and chin[1] < nose[1] < left_lid[1]


def test_landmarks_beside_the_model_are_found(tmp_path: Path):
    path = write_flame_head(tmp_path, kind="2023_open")
    write_flame_landmarks(tmp_path, layout="ringnet", kind="2023_open")
    assert flame_arrays(path).landmarks68.vertices.shape == (68, 3)
    (tmp_path / "flame_dynamic_embedding.npy").unlink()
    assert flame_arrays(path).landmarks68 is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data.pop("dynamic_lmk_faces_idx"), "it has no dynamic_lmk_faces_idx"),
        (lambda data: data.update(static_lmk_faces_idx=np.arange(50)), None),
        (lambda data: data.update(full_lmk_faces_idx=np.full((1, 68), 9902)), "are not among the model's 9902"),
        (lambda data: data.update(full_lmk_bary_coords=np.full((1, 68, 3), 0.5)), "do not sum to 1"),
        (lambda data: data.update(dynamic_lmk_faces_idx=np.zeros((78, 17), int)), "does not hold 79 x 17 points"),
    ],
    ids=["missing", "not needed", "beyond", "weights", "rows"],
)
def test_what_is_wrong_with_landmarks_is_said(head: Path, tmp_path: Path, change, told: str | None):
    written = write_flame_landmarks(tmp_path)
    content = np.load(written, allow_pickle=True)[()]
    change(content)
    np.save(written, np.array(content, dtype=object), allow_pickle=True)
    if told is None:
        assert flame_arrays(head, written).landmarks68 is not None
        return
    with pytest.raises(UsageError) as caught:
        flame_arrays(head, written)
    assert told in caught.value.sentence and str(written) in caught.value.sentence


def test_the_sizes_are_those_of_the_published_files():
    assert (IDENTITY_SIZE, EXPRESSION_SIZE) == (300, 100)
