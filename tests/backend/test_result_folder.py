"""The contract of the result folder: what is written is read, by both readers; what is broken is said."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from addon import result as addon_result
from backend.licences import Credit
from backend.rendering.camera import Camera
from backend.result_folder import (
    Corrective,
    FaceModelCredit,
    HeadResult,
    PhotographResult,
    ResultFolderError,
    read_result,
    write_result,
)

ARRAYS = ("vertices", "faces", "uv", "face_uv", "part_faces", "key_index", "key_offset", "key_weights", "landmarks68")


@pytest.fixture
def head() -> HeadResult:
    """Two quads and a triangle in two parts, three keys of which one follows another."""
    vertices = np.array([[0, 0, 0], [0.1, 0, 0], [0.1, 0.1, 0], [0, 0.1, 0], [0.2, 0, 0], [0.2, 0.1, 0]], np.float32)
    return HeadResult(
        vertices=vertices,
        faces=np.array([[0, 1, 2, 3], [1, 4, 5, 2], [3, 2, 5, -1]], np.int32),
        uv=np.linspace(0, 1, 20, dtype=np.float32).reshape(10, 2),
        face_uv=np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, -1]], np.int32),
        part_names=("skin", "tongue"),
        part_faces=np.array([[0, 2], [2, 3]], np.int32),
        key_names=("eyeBlinkLeft", "jawOpen", "eyeBlinkLeftCorrective"),
        key_index=np.array([[0, 1], [1, 1], [1, 5], [2, 0]], np.int32),
        key_offset=np.array([[0, 0.01, 0], [0, -0.02, 0], [0.001, 0, 0], [0, 0, 0.004]], np.float32),
        key_weights=np.array([[0.5, 0.25, 1.0], [0, 0, 0]], np.float32),
        landmarks68=np.zeros((68, 3), np.float32),
        face_model=FaceModelCredit("open_head", "CC0-1.0", "Anyone may use it.", True),
        licences=(
            Credit("face model Open Head", "CC0-1.0", "Anyone may use it.", True),
            Credit("weights mine", "BFM", "For research.", False),
        ),
        photographs=(
            PhotographResult(
                "photo_1.jpg", Camera.orbit(0.3, 0.1, 0.6, 400, 300), "mp", 0.02, {"left": 0.5, "right": 0}
            ),
            PhotographResult("photo_2.png", Camera.orbit(-0.3, 0.1, 0.6, 40, 30), "mp", 0.03, {"left": 0, "right": 0}),
        ),
        correctives={"eyeBlinkLeftCorrective": Corrective("eyeBlinkLeft")},
        software={"lifemask": "0.1.0"},
        weights={"calibration": "1"},
        timings={"fit": 0.5},
        warnings=("Ein Satz – mit Umlauten: ü.",),
    )


def test_what_is_written_is_read(head, tmp_path):
    write_result(tmp_path, head)
    read = read_result(tmp_path)
    for name in ARRAYS:
        assert np.array_equal(getattr(read, name), getattr(head, name)), name
        assert getattr(read, name).dtype == getattr(head, name).dtype
    for name in (
        "part_names", "key_names", "face_model", "licences", "correctives", "software", "weights", "timings",
        "warnings",
    ):  # fmt: skip
        assert getattr(read, name) == getattr(head, name), name
    for ours, theirs in zip(read.photographs, head.photographs, strict=True):
        assert ours.camera.to_json() == theirs.camera.to_json()
        assert (ours.file, ours.detector, ours.landmark_error) == (theirs.file, theirs.detector, theirs.landmark_error)
        assert dict(ours.closure) == dict(theirs.closure)


def test_a_result_of_before_there_were_licences_is_read(head, tmp_path):
    write_result(tmp_path, head)
    facts = json.loads((tmp_path / "head.json").read_text("utf-8"))
    del facts["licences"]
    (tmp_path / "head.json").write_text(json.dumps(facts))
    assert read_result(tmp_path).licences == ()


def test_a_warning_may_name_a_file_whose_name_is_no_text(head, tmp_path):
    warnings = ["Anna\udcfc.jpg shows the face from far aside."]
    write_result(tmp_path, dataclasses.replace(head, warnings=warnings))
    assert list(read_result(tmp_path).warnings) == warnings


def test_the_add_ons_reader_reads_the_same(head, tmp_path):
    write_result(tmp_path, head)
    (tmp_path / "albedo.png").write_bytes(b"x")
    read = addon_result.read_result(tmp_path)
    for name in set(ARRAYS) - {"landmarks68"}:
        assert np.array_equal(getattr(read, name), getattr(head, name)), name
    assert (read.part_names, read.key_names) == (head.part_names, head.key_names)
    assert read.correctives == {"eyeBlinkLeftCorrective": ("eyeBlinkLeft", "4*w*(1-w)")}
    assert read.face_part.tolist() == [0, 0, 1]
    assert read.albedo == tmp_path / "albedo.png"
    for ours, theirs in zip(read.photographs, head.photographs, strict=True):
        assert ours.path == tmp_path / theirs.file
        assert ours.camera.fx == theirs.camera.fx and ours.camera.height == theirs.camera.height
        assert np.array_equal(ours.camera.rotation, theirs.camera.rotation)
    posed = read.vertices + np.einsum("k,kvc->vc", read.key_weights[0], read.dense_keys())
    assert np.abs(posed - head.posed_vertices()).max() < 1e-7


def test_the_file_holds_the_posed_head_and_nothing_pickled(head, tmp_path):
    write_result(tmp_path, head)
    with np.load(tmp_path / "head.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert set(arrays) == {*ARRAYS, "posed_vertices", "part_names", "key_names"}
    expected = head.vertices.copy()
    for (key, vertex), offset in zip(head.key_index, head.key_offset, strict=True):
        expected[vertex] += head.key_weights[0, key] * offset
    assert np.abs(arrays["posed_vertices"] - expected).max() < 1e-7
    facts = json.loads((tmp_path / "head.json").read_text("utf-8"))
    assert facts["schema_version"] == 1
    assert facts["photos"][0]["eyes"] == {"left": {"closure": 0.5}, "right": {"closure": 0.0}}
    assert set(facts["photos"][0]["camera"]) >= {"fx", "fy", "cx", "cy", "width", "height", "rotation", "translation"}


def changed(array: np.ndarray, where, value) -> np.ndarray:
    copy = array.copy()
    copy[where] = value
    return copy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: {"vertices": h.vertices.astype(np.float64)}, "vertices should be float32"),
        (lambda h: {"vertices": h.vertices * 1000}, "a head in metres"),
        (lambda h: {"vertices": changed(h.vertices, (0, 0), np.nan)}, "not numbers"),
        (lambda h: {"faces": changed(h.faces, (0, 0), 6)}, "faces points outside"),
        (lambda h: {"faces": changed(h.faces, (0, 0), -1)}, "faces points outside"),
        (lambda h: {"face_uv": changed(h.face_uv, (2, 3), 1)}, "same faces as triangles"),
        (lambda h: {"uv": h.uv + 0.5}, "uv should lie within"),
        (lambda h: {"key_index": changed(h.key_index, (0, 0), 3)}, "key_index names a key"),
        (lambda h: {"key_index": changed(h.key_index, (0, 1), -1)}, "key_index names a vertex"),
        (lambda h: {"key_offset": h.key_offset[:3]}, "key_offset should be"),
        (lambda h: {"key_offset": h.key_offset * 100}, "key_offset should lie within"),
        (lambda h: {"key_weights": h.key_weights * 3}, "key_weights should lie within"),
        (lambda h: {"key_weights": h.key_weights[:1]}, "key_weights should be"),
        (lambda h: {"key_names": ("a", "b", "a")}, "holds a name twice"),
        (lambda h: {"part_faces": changed(h.part_faces, (1, 0), 1)}, "exactly one part"),
        (lambda h: {"correctives": {"frown": Corrective("jawOpen")}}, "not in key_names"),
        (lambda h: {"photographs": (dataclasses.replace(h.photographs[0], file="../a.jpg"),) * 2}, "plain file name"),
        (lambda h: {"photographs": (dataclasses.replace(h.photographs[0], closure={"left": 2}),) * 2}, "closure of"),
    ],
)  # fmt: skip
def test_a_result_that_breaks_the_contract_is_not_written(head, tmp_path, change, words):
    with pytest.raises(ResultFolderError, match=words):
        write_result(tmp_path, dataclasses.replace(head, **change(head)))
    assert list(tmp_path.iterdir()) == []


def replace_array(folder: Path, name: str, array: np.ndarray | None) -> None:
    with np.load(folder / "head.npz") as file:
        arrays = {key: file[key] for key in file.files if key != name}
    if array is not None:
        arrays[name] = array
    np.savez(folder / "head.npz", **arrays)


def replace_fact(folder: Path, name: str, value: object) -> None:
    facts = json.loads((folder / "head.json").read_text("utf-8"))
    (folder / "head.json").write_text(json.dumps({**facts, name: value}))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BREAKAGES = [
    (lambda f: (f / "head.json").unlink(), "has no head.json"),
    (lambda f: (f / "head.npz").unlink(), "has no head.npz"),
    (lambda f: truncate(f / "head.json"), "cannot be read"),
    (lambda f: truncate(f / "head.npz"), "damaged"),
    (lambda f: (f / "head.npz").write_bytes(b""), "damaged"),
    (lambda f: replace_fact(f, "schema_version", 99), "schema version 99"),
    (lambda f: replace_fact(f, "photos", [{"file": "a.jpg"}]), "camera"),
    (lambda f: replace_array(f, "uv", None), "uv"),
    (lambda f: replace_array(f, "part_names", np.array(["a", {}], dtype=object)), "pickled"),
    (lambda f: replace_array(f, "faces", np.full((3, 4), 77, np.int32)), "points outside"),
    (lambda f: replace_array(f, "key_offset", np.zeros((1, 3), np.float32)), "key_offset"),
]


@pytest.mark.parametrize("reader", ["backend", "addon"])
@pytest.mark.parametrize(("breakage", "words"), BREAKAGES)
def test_a_broken_folder_is_said_in_a_sentence(head, tmp_path, breakage, words, reader):
    write_result(tmp_path, head)
    breakage(tmp_path)
    read, error = (
        (read_result, ResultFolderError)
        if reader == "backend"
        else (addon_result.read_result, addon_result.ResultError)
    )
    with pytest.raises(error, match=words):
        read(tmp_path)


def test_a_posed_head_that_is_not_the_first_photograph_is_refused(head, tmp_path):
    write_result(tmp_path, head)
    replace_array(tmp_path, "posed_vertices", head.vertices)
    with pytest.raises(ResultFolderError, match="posed_vertices"):
        read_result(tmp_path)


def test_reading_a_result_loads_no_torch(tmp_path):
    import subprocess

    program = "import sys; import backend.result_folder; sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
