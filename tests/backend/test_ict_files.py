"""ICT-FaceKit is read from its OBJ files and from the packed file, and both are the same model."""

import os
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from backend.errors import UsageError
from backend.face_models.ict_files import EXPRESSIONS, ict_arrays, recognises
from backend.face_models.model_arrays import ModelArrays

KEPT = ("identity000", "identity001", "identity099", "browInnerUp_L", "browInnerUp_R", "jawOpen", "eyeBlink_R")
"""Files that are written out; the others are the neutral head, so their offsets are 0."""
ROUNDING_M = 1e-7


@pytest.fixture(scope="module")
def packed_file(data_folder: Path) -> Path:
    return data_folder / "face_models/ict_facekit.npz"


@pytest.fixture(scope="module")
def data(packed_file: Path) -> dict[str, np.ndarray]:
    with np.load(packed_file) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def packed(packed_file: Path) -> ModelArrays:
    return ict_arrays(packed_file)


def write_obj(path: Path, vertices: np.ndarray, data: dict[str, np.ndarray]) -> None:
    """As the repository has them: a material's file, vertices in centimetres, places in the texture, mixed faces."""
    lines = ["# a comment", "mtllib ICTFaceModelMaterial.mtl"]
    lines += [f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in vertices.astype(np.float64)]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in data["uv"]]
    for number, (corners, places) in enumerate(zip(data["faces"], data["faces_uv"], strict=True)):
        if number % 9000 == 0:
            lines += [f"usemtl M_{number}", "s 1"]
        lines.append("f " + " ".join(f"{v + 1}/{t + 1}" for v, t in zip(corners, places, strict=True) if v >= 0))
    path.write_text("\n".join(lines) + "\n", "utf-8")


@pytest.fixture(scope="module")
def folder(data: dict[str, np.ndarray], tmp_path_factory) -> Path:
    """The published folder, in the repository's."""
    folder = tmp_path_factory.mktemp("repository") / "FaceXModel"
    folder.mkdir()
    neutral = folder / "generic_neutral_mesh.obj"
    write_obj(neutral, data["neutral"], data)
    offsets = dict(zip(data["identity_names"].tolist(), data["identity_q"], strict=True))
    offsets |= dict(zip(data["expression_names"].tolist(), data["expression_q"], strict=True))
    for name in [f"identity{number:03d}" for number in range(100)] + list(EXPRESSIONS):
        if name in KEPT:
            moved = data["neutral"] + offsets[name] * float(data["delta_step"])
            write_obj(folder / f"{name}.obj", moved, data)
        else:
            os.link(neutral, folder / f"{name}.obj")
    return folder


@pytest.fixture(scope="module")
def published(folder: Path) -> ModelArrays:
    return ict_arrays(folder)


def test_the_published_files_hold_the_same_model_as_the_packed_one(packed: ModelArrays, published: ModelArrays):
    np.testing.assert_allclose(published.mean, packed.mean, atol=ROUNDING_M * 10)
    for name in ("faces", "face_uv"):
        np.testing.assert_array_equal(getattr(published, name), getattr(packed, name))
    np.testing.assert_allclose(published.uv, packed.uv, atol=1e-5)
    np.testing.assert_array_equal(published.landmarks68.vertices, packed.landmarks68.vertices)
    for number in (0, 1, 99):
        np.testing.assert_allclose(published.identity_basis[number], packed.identity_basis[number], atol=2e-6)
    for name in ("browInnerUp", "jawOpen", "eyeBlinkRight"):
        np.testing.assert_allclose(published.keys[name], packed.keys[name], atol=3e-6)
    assert not published.identity_basis[2].any() and not published.keys["jawLeft"].any()
    assert set(published.part_faces) == set(packed.part_faces)


def test_every_vertex_and_face_is_kept_in_the_order_of_the_file(packed: ModelArrays, data: dict[str, np.ndarray]):
    assert packed.mean.shape == (26719, 3) and packed.identity_basis.shape == (100, 26719, 3)
    np.testing.assert_array_equal(packed.faces, data["faces"])
    np.testing.assert_allclose(packed.mean, data["neutral"] / 100, atol=ROUNDING_M)
    by_hand = data["identity_q"][41, 5000].astype(float) * float(data["delta_step"]) / 100
    np.testing.assert_allclose(packed.identity_basis[41, 5000], by_hand, atol=ROUNDING_M)
    np.testing.assert_array_equal(packed.landmarks68.vertices[:, 0], data["landmarks68"])


def test_parts_are_those_of_the_readme_and_cover_every_face_once(packed: ModelArrays):
    rows = np.concatenate(list(packed.part_faces.values()))
    assert len(rows) == len(np.unique(rows)) == 26384
    sides = {name: packed.mean[np.unique(packed.faces[packed.part_faces[name]])[1:], 0].mean() for name in (
        "eyeball_left", "eyeball_right", "eye_socket_left", "eye_socket_right", "lacrimal_left", "lacrimal_right"
    )}  # fmt: skip
    assert all((x > 0) == name.endswith("left") for name, x in sides.items()), "the subject's left is +X"


def test_keys_are_51_of_arkit_and_both_sides_are_summed(packed: ModelArrays, data: dict[str, np.ndarray]):
    assert len(packed.keys) == 51 and "tongueOut" not in packed.keys
    ours = set(names_by_hand(data))
    assert set(packed.keys) == ours - {"cheekRaiserLeft", "cheekRaiserRight"}
    names = data["expression_names"].tolist()
    step = float(data["delta_step"]) / 100
    for name in ("browInnerUp", "cheekPuff"):
        both = (data["expression_q"][names.index(f"{name}_{side}")].astype(float) for side in "LR")
        np.testing.assert_allclose(packed.keys[name], sum(both) * step, atol=ROUNDING_M)
    left = packed.keys["mouthSmileLeft"]
    assert np.abs(left[packed.mean[:, 0] > 0.02]).max() > 5 * np.abs(left[packed.mean[:, 0] < -0.02]).max()
    np.testing.assert_array_equal(packed.expression_basis[EXPRESSIONS.index("jawOpen")], packed.keys["jawOpen"])


def names_by_hand(data: dict[str, np.ndarray]) -> list[str]:
    endings = {"_L": "Left", "_R": "Right"}
    names = [name for name in data["expression_names"].tolist() if not name.startswith("PupilDilate")]
    whole = [name[:-2] if name[:-2] in ("browInnerUp", "cheekPuff") else name for name in names]
    return [name[:-2] + endings[name[-2:]] if name[-2:] in endings else name for name in whole]


def test_the_texture_is_one_square_where_the_tiles_do_not_lie_over_each_other(packed: ModelArrays):
    assert packed.uv.min() > 0 and packed.uv.max() < 1
    boxes = {}
    for name in ("skin", "teeth", "gums_tongue", "eyeball_left", "eyeball_right", "lashes"):
        rows = packed.face_uv[packed.part_faces[name]]
        used = packed.uv[np.unique(rows[rows >= 0])]
        boxes[name] = used if name != "skin" else used[used[:, 1] < 0.999]
    grid = {name: {tuple(cell) for cell in (places * 64).astype(int)} for name, places in boxes.items()}
    names = sorted(grid)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            assert not grid[first] & grid[second], (first, second)


def test_the_shape_of_a_tile_stays_as_it_was(packed: ModelArrays, data: dict[str, np.ndarray]):
    """One face of the skin: its triangle in the texture is the file's, shrunk."""
    for face in (0, 4000, 9229, 9500):
        theirs, ours = data["uv"][data["faces_uv"][face, :3]], packed.uv[packed.face_uv[face, :3]]
        scale = np.linalg.norm(ours[1] - ours[0]) / np.linalg.norm(theirs[1] - theirs[0])
        np.testing.assert_allclose(ours[2] - ours[0], scale * (theirs[2] - theirs[0]), atol=1e-6)
        assert scale == pytest.approx((0.75 if face < 9230 else 0.25) * (1 - 2 / 256), rel=1e-3)


def test_every_way_to_point_at_the_model_is_known(folder: Path, packed_file: Path, tmp_path: Path):
    for path in (folder, folder.parent, folder / "generic_neutral_mesh.obj", packed_file):
        assert recognises(path)
    np.savez(tmp_path / "other.npz", vertices=np.zeros(3))
    (tmp_path / "ict_facekit.npz").write_bytes(b"cut")
    assert recognises(tmp_path / "ict_facekit.npz")
    for path in (tmp_path, tmp_path / "other.npz", tmp_path / "nothing"):
        assert not recognises(path)


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy", copy_function=os.link))


def replaced(path: Path, text: str) -> None:
    path.unlink()  # a link to a file that others use
    path.write_text(text, "utf-8")


def test_missing_files_are_named(folder: Path, tmp_path: Path):
    copy = copied(folder, tmp_path)
    for name in ("identity007", "jawOpen", "mouthLeft", "mouthPucker", "noseSneer_L"):
        (copy / f"{name}.obj").unlink()
    with pytest.raises(UsageError) as caught:
        ict_arrays(copy)
    assert caught.value.code == "no-face-model-file"
    assert "identity007.obj, jawOpen.obj, mouthLeft.obj, mouthPucker.obj and 1 more" in caught.value.sentence
    assert "https://github.com/" in caught.value.sentence


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("generic_neutral_mesh", lambda text: text[: len(text) // 4], "vertices, where 26719 were expected"),
        ("generic_neutral_mesh", lambda text: text.replace("\nf ", "\n# ", 1), "does not have 26384 faces"),
        ("generic_neutral_mesh", lambda text: text.replace("/", "//"), "no triangle or quad"),
        ("generic_neutral_mesh", lambda text: text.replace("\nf ", "\nf -", 1), "counted from 1"),
        ("generic_neutral_mesh", lambda text: text.replace("\nf ", "\nf 0/1 1/1 2/1 3/1\n# ", 1), "counted from 1"),
        ("generic_neutral_mesh", lambda text: text.replace("\nf ", "\nf 1/1 2/2\n# ", 1), "name vertices that are not"),
        ("generic_neutral_mesh", lambda text: text.replace("\nf ", "\nf 1/1 2/2 26720/3\n# ", 1), "among its 26719"),
        ("generic_neutral_mesh", lambda text: text.replace("\nf ", "\nf 1/1 2/2 3/28912\n# ", 1), "among its 28911"),
        ("identity000", lambda text: text.replace("\nv ", "\nv a", 1), "does not hold 3 numbers"),
        ("identity000", lambda text: text.replace("\nv ", "\n# ", 1), "has 26718 vertices"),
    ],
    ids=["cut", "face", "texture", "negative", "zero", "two", "beyond", "place", "letters", "vertex"],
)
def test_what_is_wrong_with_a_file_is_said(folder: Path, tmp_path: Path, name: str, change, told: str):
    copy = copied(folder, tmp_path)
    path = copy / f"{name}.obj"
    replaced(path, change(path.read_text("utf-8")))
    with pytest.raises(UsageError) as caught:
        ict_arrays(copy)
    assert caught.value.code == "bad-face-model-file"
    assert told in caught.value.sentence and path.name in caught.value.sentence


def test_another_order_of_faces_is_told(data: dict[str, np.ndarray], tmp_path: Path):
    kept = {name: values for name, values in data.items() if name not in ("identity_q", "meta")}
    turned = {name: np.roll(data[name], 40, axis=0) for name in ("faces", "faces_uv")}
    turned = {**kept, "identity_q": np.zeros((100, 26719, 3), np.int16), **turned}
    np.savez(tmp_path / "ict_facekit.npz", **turned)
    with pytest.raises(UsageError, match="are not the part face"):
        ict_arrays(tmp_path / "ict_facekit.npz")


def first(values: np.ndarray, value: float) -> np.ndarray:
    """The same with another first number."""
    changed = values.copy()
    changed.flat[0] = value
    return changed


@pytest.mark.parametrize(
    ("key", "change", "told"),
    [
        ("uv", lambda values: values[:, 0], "its uv is 28911, where 14455 x 2 was expected"),
        ("uv", lambda values: values.astype(str), "its uv holds no numbers"),
        ("uv", lambda values: first(values, np.nan), "its uv holds numbers that are not finite"),
        ("uv", lambda values: values[:100], "places in the texture that are not among its 100"),
        ("neutral", lambda values: values.astype(complex), "its neutral holds no numbers"),
        ("neutral", lambda values: first(values, np.inf), "its neutral holds numbers that are not finite"),
        ("faces", lambda values: values.astype(float), "its faces holds no whole numbers"),
        ("faces", lambda values: first(values, -1), "name vertices that are not among its 26719"),
        ("faces", lambda values: first(values, 26719), "name vertices that are not among its 26719"),
        ("faces_uv", lambda values: first(values, 28911), "places in the texture that are not among its 28911"),
        ("faces_uv", lambda values: first(values, -7), "places in the texture that are not among its 28911"),
        ("faces_uv", lambda values: np.where(np.arange(4) == 3, -1, values), "three vertices and four places"),
        ("delta_step", lambda values: np.ones(3), "its delta_step is 3, where one number was expected"),
        ("delta_step", lambda values: np.array("much"), "its delta_step holds no numbers"),
        ("delta_step", lambda values: np.array(np.inf), "its delta_step holds numbers that are not finite"),
        ("expression_names", lambda values: np.array("jawOpen"), "its expression_names is one number"),
        ("expression_names", lambda values: np.arange(len(values)), "its expression_names holds no names"),
    ],
)
def test_what_is_wrong_with_a_packed_array_is_said(data, tmp_path: Path, key: str, change, told: str):
    small = {
        **data,
        "identity_q": np.zeros((100, 26719, 3), np.int8),
        "expression_q": np.zeros((57, 26719, 3), np.int8),
    }
    if key == "expression_names" and not change(data[key]).ndim:
        small["expression_q"] = small["expression_q"][:1]
    np.savez(tmp_path / "ict_facekit.npz", **{**small, key: change(data[key])})
    with pytest.raises(UsageError) as caught:
        ict_arrays(tmp_path / "ict_facekit.npz")
    assert caught.value.code == "bad-face-model-file" and told in caught.value.sentence


@pytest.mark.parametrize("length", [0, 100, 20_000])
def test_a_packed_file_that_was_cut_is_told(packed_file: Path, tmp_path: Path, length: int):
    with packed_file.open("rb") as file:
        (tmp_path / "ict_facekit.npz").write_bytes(file.read(length))
    with pytest.raises(UsageError, match="may be damaged"):
        ict_arrays(tmp_path / "ict_facekit.npz")


def test_an_npz_of_something_else_is_told(tmp_path: Path):
    np.savez(tmp_path / "other.npz", neutral=np.zeros((3, 3)))
    with pytest.raises(UsageError, match="it has no uv, faces"):
        ict_arrays(tmp_path / "other.npz")


def test_an_archive_that_claims_a_huge_array_is_not_unpacked(tmp_path: Path):
    path = tmp_path / "ict_facekit.npz"
    np.savez(path, neutral=np.zeros(1), identity_q=np.zeros(1), expression_q=np.zeros(1))
    content = bytearray(path.read_bytes())
    size = content.index(b"PK\x01\x02") + 24  # of the first member, unpacked, as the list of members has it
    content[size : size + 4] = struct.pack("<I", 1 << 30)
    path.write_bytes(content)
    with pytest.raises(UsageError, match="larger than those of the model"):
        ict_arrays(path)


@pytest.mark.parametrize("damage", ["a version of zip to come", "a name that is no text"])
def test_looking_at_a_strange_archive_raises_nothing(tmp_path: Path, damage: str):
    path = tmp_path / "strange.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("\u00e9.npy", b"")
    content = bytearray(path.read_bytes())
    if damage == "a name that is no text":
        content = content.replace("\u00e9".encode(), b"\xff\xfe")
    else:
        content[content.index(b"PK\x01\x02") + 6] = 99
    path.write_bytes(content)
    with pytest.raises((NotImplementedError, UnicodeDecodeError)):
        zipfile.ZipFile(path)
    assert not recognises(path)
