"""The front of the Basel Face Model is made of the files that its owners give out."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from backend.errors import SetupError, UsageError
from backend.face_models.bfm import read_bfm_front
from backend.face_models.bfm_conversion import FILES, can_convert, convert_bfm
from tests.face_model_files import write_bfm_sources

BASEL_VERTICES, WITH_EXPRESSIONS, FRONT_VERTICES = 90, 70, 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sources = tmp_path / "sources"
    sources.mkdir()
    return write_bfm_sources(sources, BASEL_VERTICES, WITH_EXPRESSIONS, FRONT_VERTICES)


def by_hand(folder: Path) -> dict[str, np.ndarray]:
    """One vertex, one axis, one component at a time, as FACTS 5.1 has it."""
    basel = loadmat(folder / "01_MorphableModel.mat")
    front = loadmat(folder / "BFM_front_idx.mat")["idx"].ravel()
    trimmed = loadmat(folder / "BFM_exp_idx.mat")["trimIndex"].ravel()
    spread = [float(line) for line in (folder / "std_exp.txt").read_text().split()]
    raw = (folder / "Exp_Pca.bin").read_bytes()
    count = np.frombuffer(raw, "<i4", 1)[0]
    numbers = np.frombuffer(raw, "<f4", offset=4)
    mean_of_expressions, components = numbers[: 3 * WITH_EXPRESSIONS], numbers[3 * WITH_EXPRESSIONS :]
    assert len(components) == count * len(mean_of_expressions)
    made = {
        "meanshape": np.zeros((1, 3 * len(front))),
        "meantex": np.zeros((1, 3 * len(front))),
        "idBase": np.zeros((3 * len(front), 80)),
        "texBase": np.zeros((3 * len(front), 80)),
        "exBase": np.zeros((3 * len(front), 64)),
    }
    for vertex, with_expressions in enumerate(front - 1):
        of_basel = trimmed[with_expressions] - 1
        for axis in range(3):
            row, there = 3 * vertex + axis, 3 * of_basel + axis
            made["meanshape"][0, row] = basel["shapeMU"][there, 0] / 1e5
            made["meantex"][0, row] = basel["texMU"][there, 0]
            for component in range(80):
                made["idBase"][row, component] = (
                    basel["shapePC"][there, component] * basel["shapeEV"][component, 0] / 1e5
                )
                made["texBase"][row, component] = basel["texPC"][there, component] * basel["texEV"][component, 0]
            for component in range(64):
                place = component * 3 * WITH_EXPRESSIONS + 3 * with_expressions + axis
                made["exBase"][row, component] = components[place] * spread[component] / 1e5
    return made


def test_the_conversion_equals_the_definition(folder: Path, tmp_path: Path):
    content = loadmat(convert_bfm(folder, tmp_path / "BFM_model_front.mat"))
    for name, wanted in by_hand(folder).items():
        assert content[name].shape == wanted.shape
        np.testing.assert_allclose(content[name], wanted, rtol=1e-5, atol=1e-9)
    about = loadmat(folder / "facemodel_info.mat")
    for name in ("tri", "point_buf", "tri_mask2", "keypoints", "frontmask2_idx", "skinmask"):
        np.testing.assert_array_equal(content[name], about[name])


def test_what_is_made_is_read_as_the_model(folder: Path, tmp_path: Path):
    model = read_bfm_front(convert_bfm(folder, tmp_path / "BFM_model_front.mat"))
    assert model.mean.shape == (FRONT_VERTICES, 3) and model.identity_basis.shape == (80, FRONT_VERTICES, 3)
    assert list(tmp_path.glob("*")) == sorted([tmp_path / "BFM_model_front.mat", folder])


def test_a_folder_can_be_converted_that_holds_the_model_of_2009(folder: Path, tmp_path: Path):
    assert can_convert(folder) and not can_convert(tmp_path)


def test_missing_files_are_named_with_their_owners(folder: Path, tmp_path: Path):
    for name in ("Exp_Pca.bin", "std_exp.txt", "facemodel_info.mat"):
        (folder / name).unlink()
    with pytest.raises(UsageError) as caught:
        convert_bfm(folder, tmp_path / "BFM_model_front.mat")
    assert caught.value.code == "no-face-model-file"
    for told in ("Exp_Pca.bin (from Guo", "std_exp.txt and facemodel_info.mat (from folder BFM of https://github.com/"):
        assert told in caught.value.sentence
    assert "01_MorphableModel.mat" not in caught.value.sentence
    assert not (tmp_path / "BFM_model_front.mat").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_cut_is_named(folder: Path, tmp_path: Path, name: str):
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(UsageError) as caught:
        convert_bfm(folder, tmp_path / "BFM_model_front.mat")
    assert caught.value.code == "bad-face-model-file"
    assert name in caught.value.sentence and FILES[name] in caught.value.sentence
    assert not (tmp_path / "BFM_model_front.mat").exists()


@pytest.mark.parametrize(
    ("name", "key", "change", "told"),
    [
        ("BFM_front_idx.mat", "idx", lambda values: values - values.min(), "does not count from 1 to 70"),
        ("BFM_exp_idx.mat", "trimIndex", lambda values: values + 90, "does not count from 1 to 90"),
        ("BFM_exp_idx.mat", "trimIndex", lambda values: values[:-1], "does not"),
        ("BFM_front_idx.mat", "idx", lambda values: values + 0.5, "whole numbers"),
        ("01_MorphableModel.mat", "shapePC", lambda values: values[:, :79], "80 components or more"),
        ("01_MorphableModel.mat", "texPC", lambda values: values * np.nan, "does not hold numbers only"),
        ("01_MorphableModel.mat", "shapeMU", None, "it has no shapeMU"),
        ("facemodel_info.mat", "tri", lambda values: values + 40, "not among the 40"),
    ],
    ids=["from zero", "beyond", "fewer", "halves", "modes", "not finite", "missing", "triangles"],
)
def test_what_is_wrong_with_a_file_is_said(folder: Path, tmp_path: Path, name: str, key: str, change, told: str):
    content = {key: value for key, value in loadmat(folder / name).items() if not key.startswith("__")}
    value = content.pop(key)
    savemat(folder / name, content if change is None else {**content, key: change(value)})
    with pytest.raises(UsageError) as caught:
        convert_bfm(folder, tmp_path / "BFM_model_front.mat")
    assert told in caught.value.sentence and caught.value.code == "bad-face-model-file"


def test_a_place_that_cannot_be_written_is_a_sentence(folder: Path, tmp_path: Path):
    with pytest.raises(SetupError, match="cannot be written"):
        convert_bfm(folder, tmp_path / "not there" / "BFM_model_front.mat")
