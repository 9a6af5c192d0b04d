"""A face model's file is known by what is in it, and what is none is refused with a sentence that helps."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from backend.asset_catalogue import CATALOGUE, FACE_MODEL
from backend.errors import UsageError
from backend.face_models.bfm import read_bfm_front
from backend.face_models.bfm_conversion import FILES as BASEL_FILES
from backend.face_models.bfm_conversion import convert_bfm
from backend.face_models.formats import FORMATS, identify
from tests.face_model_files import (
    flame_content,
    write_bfm_front,
    write_bfm_sources,
    write_flame,
    write_open_flame_content,
)
from tests.stand_in_heads import write_bfm_head, write_flame_head, write_flame_landmarks

SOURCES = ("https://flame.is.tue.mpg.de", "https://faces.dmi.unibas.ch/bfm", "https://github.com/USC-ICT/ICT-FaceKit")


def test_what_is_listed_is_what_is_read():
    """The catalogue can be read without numpy; it says the same as the formats."""
    listed = {entry.name: entry for entry in CATALOGUE if entry.kind == FACE_MODEL and entry.name != "open_head"}
    assert [form.name for form in FORMATS] == list(listed)
    for form in FORMATS:
        entry = listed[form.name]
        assert (form.label, form.source) == (entry.label, entry.source)
        assert (form.licence.name, form.licence.sentence) == (entry.licence, entry.sentence)
        assert form.licence.commercial == entry.commercial


@pytest.mark.parametrize("kind", ["2020", "2023", "2023_open"])
def test_every_flame_is_known_and_read_under_its_name(tmp_path: Path, kind: str):
    path = write_flame_head(tmp_path, kind=kind)
    form = identify(path)
    arrays = form.read(path)
    assert form.name == arrays.name == f"flame{kind}"
    assert (form.label, form.licence, form.source) == (arrays.label, arrays.licence, arrays.source)


def test_the_open_flame_is_known_under_any_name(tmp_path: Path):
    for name in ("generic_model.pkl", "flame2023.pkl", "mine.pkl"):
        path = write_open_flame_content(tmp_path / name, flame_content())
        assert identify(path).name == identify(path).read(path).name == "flame2023_open"
    path = write_flame(tmp_path / "flame2023_Open.pkl")
    assert identify(path).name == identify(path).read(path).name == "flame2023"


@pytest.mark.parametrize("name", ["male_model.pkl", "female_model.pkl", "FLAME_NEUTRAL.pkl"])
def test_variants_of_flame_2020_are_known(tmp_path: Path, name: str):
    assert identify(write_flame(tmp_path / name)).name == "flame2020"


def test_the_front_of_basels_model_is_known_under_any_name(tmp_path: Path):
    path = write_bfm_head(tmp_path, vertices=3000)
    assert identify(path).name == identify(path).read(path).name == identify(tmp_path).name == "bfm2009"
    assert identify(path.rename(tmp_path / "face.mat")).name == "bfm2009"


def test_basels_model_is_converted_from_its_folder_and_from_its_file(tmp_path: Path):
    folder = write_bfm_sources(tmp_path)
    by_hand = read_bfm_front(convert_bfm(folder, tmp_path / "made.mat")).mean
    (tmp_path / "made.mat").unlink()
    for path in (folder, folder / "01_MorphableModel.mat"):
        form = identify(path)
        assert form.name == "bfm2009"
        np.testing.assert_array_equal(form.read(path).mean, by_hand)
    assert not (folder / "BFM_model_front.mat").exists()
    (folder / "Exp_Pca.bin").unlink()
    with pytest.raises(UsageError, match="Exp_Pca.bin \\(from Guo et al."):
        identify(folder).read(folder)


def test_ict_is_known_in_every_form(data_folder: Path, tmp_path: Path):
    packed = data_folder / "face_models/ict_facekit.npz"
    assert identify(packed).name == "ict"
    (tmp_path / "FaceXModel").mkdir()
    (tmp_path / "FaceXModel/generic_neutral_mesh.obj").touch()
    for path in (tmp_path, tmp_path / "FaceXModel", tmp_path / "FaceXModel/generic_neutral_mesh.obj"):
        assert identify(path).name == "ict"


def test_gnm_is_known_by_what_is_in_it(tmp_path: Path):
    names = ("template_vertex_positions", "vertex_identity_basis", "mesh_component_names")
    np.savez(tmp_path / "head.npz", **dict.fromkeys(names, np.zeros(1)))
    assert identify(tmp_path / "head.npz").name == "gnm"


def test_a_format_says_which_files_it_reads(tmp_path: Path, data_folder: Path):
    def names(path: Path) -> list[str]:
        files = identify(path).files(path)
        assert len({file.parent for file in files}) == 1 and all(file.is_file() for file in files)
        return [file.name for file in files]

    for name in ("flame", "basel"):
        (tmp_path / name).mkdir()
    flame = write_flame(tmp_path / "flame" / "generic_model.pkl")
    (flame.parent / "holiday.jpg").touch()
    assert names(flame) == ["generic_model.pkl"]
    write_flame_landmarks(flame.parent)
    assert names(flame) == ["generic_model.pkl", "landmark_embedding.npy"]
    (flame.parent / "landmark_embedding.npy").unlink()
    (flame.parent / "flame_static_embedding.pkl").touch()
    assert names(flame) == ["generic_model.pkl"]
    (flame.parent / "flame_dynamic_embedding.npy").touch()
    assert names(flame) == ["generic_model.pkl", "flame_static_embedding.pkl", "flame_dynamic_embedding.npy"]
    basel = write_bfm_sources(tmp_path / "basel")
    (basel / "holiday.jpg").touch()
    for path in (basel, basel / "01_MorphableModel.mat"):
        assert sorted(names(path)) == sorted(BASEL_FILES)
    write_bfm_front(basel / "BFM_model_front.mat")
    for path in (basel, basel / "BFM_model_front.mat"):
        assert names(path) == ["BFM_model_front.mat"]
    folder = tmp_path / "ICT-FaceKit" / "FaceXModel"
    folder.mkdir(parents=True)
    for name in ("generic_neutral_mesh.obj", "jawOpen.obj", "identity099.obj", "wireframe.obj", "README.md"):
        (folder / name).touch()
    for path in (folder, folder.parent, folder / "generic_neutral_mesh.obj"):
        assert names(path) == ["generic_neutral_mesh.obj", "identity099.obj", "jawOpen.obj"]
    assert names(data_folder / "face_models/ict_facekit.npz") == ["ict_facekit.npz"]


def pickled(content: object) -> bytes:
    return pickle.dumps(content, 2)


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return file.getvalue()


def of_a_version_to_come(archive: bytes) -> bytes:
    """The same archive, whose first member asks for a version of zip that there is not."""
    place = archive.index(b"PK\x01\x02") + 6
    return archive[:place] + b"\x63" + archive[place + 1 :]


def matlab(**content: np.ndarray) -> bytes:
    file = io.BytesIO()
    savemat(file, content)
    return file.getvalue()


def npy(content: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(content, dtype=object), allow_pickle=True)
    return file.getvalue()


MASKS = {name: np.arange(3) for name in ("face", "left_eye_region", "scalp")}
WRONG = {
    "model.pkl empty": ("model.pkl", b"", "it is empty"),
    "generic_model.obj": ("generic_model.obj", b"v 0 0 0\n", "it is a mesh"),
    "bfm 2017": ("model2017-1_face12_nomouth.h5", b"\x89HDF\r\n\x1a\n" + bytes(600), "give the model of 2009"),
    "bfm 2019": ("model2019_bfm.h5", b"\x89HDF\r\n\x1a\n" + bytes(600), "of 2017 and 2019"),
    "masks": ("FLAME_masks.pkl", pickled(MASKS), "list of FLAME's regions"),
    "static embedding": ("flame_static_embedding.pkl", pickled({"lmk_face_idx": 1}), "leave it beside FLAME's model"),
    "embedding": ("landmark_embedding.npy", npy({}), "leave it beside FLAME's model"),
    "eyelids": ("l_eyelid.npy", npy({"x": 1}), "no head with directions"),
    "another pickle": ("other.pkl", pickled({"a": 1}), "no head with directions"),
    "flame's archive": ("FLAME2023Open.zip", zipped("readme.pdf", "flame2023_Open.pkl"), "give flame2023_Open.pkl"),
    "basel's archive": ("BaselFaceModel.tgz", b"\x1f\x8b\x08" + bytes(20), "unpack it"),
    "another mat": ("similarity_Lm3D_all.mat", matlab(lm=np.zeros((68, 3))), "neither idBase and exBase nor shapePC"),
    "cut mat": ("model.mat", matlab(idBase=np.zeros((90, 80)))[:60], "was cut short"),
    "another npz": ("flame2023.npz", zipped("v_template.npy"), "neither GNM Head nor ICT-FaceKit"),
    "cut npz": ("model.npz", zipped("neutral.npy", "identity_q.npy")[:40], "was cut short"),
    "npz of a zip to come": ("model.npz", of_a_version_to_come(zipped("a.npy")), "neither GNM Head nor ICT-FaceKit"),
    "npz with a name that is no text": (
        "model.npz",
        zipped("\u00e9.npy").replace("\u00e9".encode(), b"\xff\xfe"),
        "neither GNM Head nor ICT-FaceKit",
    ),
    "picture": ("face.jpg", b"\xff\xd8\xff", "files of this kind are none"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_face_model_is_refused_with_what_was_expected(tmp_path: Path, kind: str):
    name, content, told = WRONG[kind]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        identify(path)
    assert caught.value.code == "bad-face-model-file"
    assert told in caught.value.sentence and str(path) in caught.value.sentence
    assert all(source in caught.value.sentence for source in SOURCES)


def test_nothing_at_all_and_an_empty_folder_are_refused(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for path, told in ((tmp_path / "nothing.pkl", "There is no file or folder"), (tmp_path / "empty", "is empty")):
        with pytest.raises(UsageError, match=told) as caught:
            identify(path)
        assert caught.value.code == "no-face-model-file" and SOURCES[0] in caught.value.sentence


def test_a_folder_that_holds_a_models_file_says_which(tmp_path: Path):
    (tmp_path / "readme.txt").write_text("read me")
    with pytest.raises(UsageError, match="no face model in the folder"):
        identify(tmp_path)
    write_flame(tmp_path / "generic_model.pkl")
    with pytest.raises(UsageError, match="give generic_model.pkl in it") as caught:
        identify(tmp_path)
    assert caught.value.code == "bad-face-model-file"


@pytest.mark.parametrize(
    ("name", "write", "owner"),
    [
        ("generic_model.pkl", write_flame, SOURCES[0]),
        ("flame2023.pkl", write_flame, SOURCES[0]),
        ("BFM_model_front.mat", write_bfm_front, SOURCES[1]),
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_model_that_was_cut_is_known_by_its_name_and_reading_it_says_so(
    tmp_path: Path, name: str, write, owner: str, share: float
):
    whole = write(tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    form = identify(tmp_path / name)
    with pytest.raises(UsageError) as caught:
        form.read(tmp_path / name)
    assert caught.value.code == "bad-face-model-file"
    assert owner in caught.value.sentence and str(tmp_path / name) in caught.value.sentence


def test_a_variant_whose_expressions_open_the_jaw_is_refused(tmp_path: Path):
    path = write_flame(tmp_path / "flame2023_no_jaw.pkl")
    with pytest.raises(UsageError, match="give flame2023.pkl of the same download"):
        identify(path).read(path)


def test_neither_knowing_nor_reading_a_file_runs_what_is_in_it(tmp_path: Path):
    mark = tmp_path / "was run"

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    for content in ({**flame_content(), "J": Attack()}, Attack()):
        path = tmp_path / "generic_model.pkl"
        path.write_bytes(pickle.dumps(content, 2))
        with pytest.raises(UsageError) as caught:
            identify(path).read(path)
        assert caught.value.code == "unsafe-file"
        assert not mark.exists()
