"""The likeness figures: heads drawn from the front, strangers and missing faces as wrong, the command's files."""

import json
from functools import cache

import cv2
import numpy as np
import pytest
from PIL import Image

from backend.errors import PhotoError, UsageError
from backend.face_models import load_face_model
from backend.fitting import FittedHead
from backend.identity_crop import FACE_SIZE
from training.evaluation import likeness

RED, BLUE = (200, 40, 40), (40, 40, 200)
CODES = {"001": 1.0, "002": -1.0}
"""Of the first identity mode."""


@cache
def head(person: str) -> FittedHead:
    model = load_face_model("open_head")
    code = np.zeros(model.identity_size, np.float32)
    code[0] = CODES[person]
    return FittedHead(model, code, model.neutral(code), None)


def texture(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((64, 64, 3), colour, np.uint8)


def colour_embed(faces: np.ndarray) -> np.ndarray:
    """A stand-in for the recogniser: the mean colour of a face, less grey."""
    found = faces.reshape(len(faces), -1, 3).mean(1)
    found = found - found.mean(1, keepdims=True) + 1e-3
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture
def flat_faces(monkeypatch):
    """Heads are not drawn; their pictures are the first colour of their textures."""

    def flat(model, neutral, texture):
        return np.full((FACE_SIZE, FACE_SIZE, 3), 160 if texture is None else texture[0, 0], np.uint8)

    monkeypatch.setattr(likeness, "frontal_face", flat)


@pytest.fixture
def photographs(tmp_path, flat_faces):
    """Two people, neutral and smiling, whose pictures are nothing but their colour."""
    folder = tmp_path / "photos/london"
    folder.mkdir(parents=True)
    for person, colour in (("001", RED), ("002", BLUE)):
        for face in ("neutral", "smiling"):
            Image.new("RGB", (16, 16), colour).save(folder / f"{person}_{face}.jpg", quality=95)
    return sorted(folder.glob("*.jpg"))


def by_colour(photograph):
    return head("001" if photograph.image[8, 8, 0] > 100 else "002")


SKINS = {
    "grey": lambda head, photograph: None,
    "textured": lambda head, photograph: texture(RED if head.identity[0] > 0 else BLUE),
}


def photographed(paths):
    return {path.stem: colour_embed(np.asarray(Image.open(path))[None])[0] for path in paths}


def test_the_face_lies_where_recognisers_want_it_wherever_the_head_stands():
    one = head("001")
    faces = [likeness.frontal_face(one.model, one.neutral + [shift, 0, 0], texture(RED)) for shift in (0.0, 0.02)]
    assert faces[0].shape == (FACE_SIZE, FACE_SIZE, 3)
    close, far = np.abs(faces[0].astype(int) - faces[1]), np.abs(faces[0].astype(int) - np.roll(faces[0], 11, 1))
    assert close.mean() < 0.5 * far.mean()  # 2 cm are 11 pixels; what is left is perspective
    assert (faces[0][40:100, 35:77, 0] > 2 * faces[0][40:100, 35:77, 2]).all()


def test_grey_heads_show_their_shape_and_no_colour():
    one, two = (likeness.frontal_face(head(name).model, head(name).neutral, None).astype(int) for name in CODES)
    assert np.ptp(one, axis=2).max() == 0 and np.abs(one - two).mean() > 1


def test_people_are_found_by_codes_and_by_their_painted_heads(photographs):
    made = likeness.portraits(photographs, by_colour, SKINS)
    rows = likeness.identify_heads(colour_embed, made, photographed(photographs))
    assert list(rows) == ["codes", "grey", "textured", "head among photographs"]
    for name in ("codes", "textured", "head among photographs"):
        assert (rows[name].right, rows[name].total, rows[name].gallery) == (2, 2, 2), name
        assert rows[name].auc == 1 and rows[name].same > rows[name].different
    assert rows["grey"].right < 2  # this recogniser sees only colours, and these heads have none
    assert set(likeness.mean_seconds(made)) == {"reconstruction", "grey", "textured"}


def test_heads_of_other_people_are_not_the_right_ones(photographs):
    made = likeness.portraits(photographs, by_colour, SKINS)
    made["001_smiling"], made["002_smiling"] = made["002_smiling"], made["001_smiling"]
    rows = likeness.identify_heads(colour_embed, made, photographed(photographs))
    assert rows["codes"].right == rows["textured"].right == rows["head among photographs"].right == 0
    assert rows["textured"].auc == 0


@pytest.mark.parametrize("missing", ["001_neutral", "001_smiling"])
def test_a_person_without_a_face_is_wrong_in_every_row(photographs, missing, caplog):
    order = iter([path.stem for path in photographs])

    def reconstruct(photograph):
        if next(order) == missing:
            raise PhotoError("no-face", "No face was found.")
        return by_colour(photograph)

    made = likeness.portraits(photographs, reconstruct, SKINS)
    assert made[missing] is None and f"{missing}.jpg: No face was found." in caplog.text
    known = photographed(photographs) | {missing: None}
    for name, row in likeness.identify_heads(colour_embed, made, known).items():
        assert (row.missed, row.total) == (1, 2) and row.right <= 1, name


def test_no_face_at_all_gives_a_row_and_no_error():
    rows = likeness.identify_heads(colour_embed, {"001_neutral": None, "001_smiling": None}, {})
    assert rows["codes"].right == 0 and rows["codes"].missed == 1
    assert likeness.mean_seconds({"001_neutral": None}) == {}


def test_the_sheet_shows_photographs_outside_and_heads_between():
    def flat(value):
        return np.full((FACE_SIZE, FACE_SIZE, 3), value, np.uint8)

    made = {"001_neutral": likeness.Portrait(np.zeros(1), {"textured": flat(50)}, {}), "001_smiling": None}
    tiles = likeness.sheet_tiles({"001_neutral": flat(10), "001_smiling": flat(20)}, {"fit": made})
    middle = FACE_SIZE // 2
    assert [int(tiles[0][middle, middle + FACE_SIZE * number, 0]) for number in range(4)] == [10, 50, 0, 20]


def test_the_command_prints_a_table_and_writes_figures_and_a_sheet(photographs, tmp_path, capsys, monkeypatch):
    asked = []

    def fit_photographs(images, focals, method):
        asked.append(method)
        return head("001" if images[0][8, 8, 0] > 100 else "002")

    def faces(paths):
        return {path.stem: np.asarray(Image.open(path).resize((FACE_SIZE, FACE_SIZE))) for path in paths}

    monkeypatch.setattr(likeness, "read_embedding", lambda name: None)
    monkeypatch.setattr(likeness, "embedder", lambda network: colour_embed)
    monkeypatch.setattr(likeness, "photographed_faces", faces)
    monkeypatch.setattr(likeness, "fit_photographs", fit_photographs)
    monkeypatch.setattr(likeness, "make_albedo", lambda head, photographs, options: SKINS["textured"](head, None))
    monkeypatch.setattr(likeness, "TEXTURE_SIZE", 64)
    figures, sheet = tmp_path / "figures.json", tmp_path / "sheet.png"
    wanted = ["--method", "fit", "eye-motion", "fit", "--data", str(tmp_path)]
    assert likeness.main([*wanted, "--json", str(figures), "--sheet", str(sheet)]) == 0
    assert asked == ["fit"] * 4 + ["eye-motion"] * 4
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("photographs", "fit, codes", "eye-motion, plain skin", "seconds a head"))
    found = json.loads(figures.read_text())
    assert found["identified"]["photographs"]["right"] == 2 and found["identified"]["fit, textured"]["right"] == 2
    assert set(found["seconds"]["eye-motion"]) == {"reconstruction", "grey", "plain skin", "textured"}
    assert cv2.imread(str(sheet)).size >= 2 * 6 * FACE_SIZE**2 * 3


def test_photographs_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(likeness, "read_embedding", lambda name: None)
    monkeypatch.setattr(likeness, "embedder", lambda network: colour_embed)
    with pytest.raises(UsageError, match="photos/london"):
        likeness.main(["--data", str(tmp_path)])
    (tmp_path / "photos/london").mkdir(parents=True)
    with pytest.raises(UsageError, match="NNN_neutral.jpg"):
        likeness.main(["--data", str(tmp_path)])
