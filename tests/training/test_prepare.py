"""Real photographs made ready for training, and what finds their landmarks."""

import csv
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from backend.aligned_crop import align
from backend.detection import detect_faces
from backend.errors import SetupError, UsageError
from backend.eye_landmarks import elam
from backend.methods.eye_states import EyeStateDetector
from backend.photographs import load_photograph
from training.data import landmark_sources, prepare
from training.data.batches import SyntheticBatches
from training.data.face_masks import parsing_of_landmarks
from training.data.landmark_sources import (
    FaceAlignmentSource,
    Landmarks,
    MediaPipeSource,
    find_weights,
    landmark_source,
)
from training.data.prepare import cut_out, in_sentences, read_left_out
from training.data.prepared import ROOM, PreparedPictures, PreparedSettings
from training.data.sample import PARSING_CLASSES

SETTINGS = PreparedSettings("mediapipe", 168)
FACES = ("astronaut.png", "biden.jpg", "obama.jpg")


@pytest.fixture
def photographs(data_folder: Path, tmp_path: Path) -> Path:
    """Three portraits, a meadow, and a file that was cut short."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in FACES:
        image = load_photograph(data_folder / "photos/public_domain" / name).image
        reduced = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / name), reduced[..., ::-1])
    meadow = np.random.default_rng(1).integers(0, 255, (120, 160, 3)).astype(np.uint8)
    cv2.imwrite(str(folder / "meadow.png"), meadow)
    (folder / "short.jpg").write_bytes((folder / "obama.jpg").read_bytes()[:2000])
    return folder


def test_faces_are_prepared_and_the_rest_is_left_out_with_a_reason(photographs: Path, tmp_path: Path):
    report = prepare.prepare(photographs, tmp_path / "out", SETTINGS)
    assert report == {"prepared": 3, "no-face": 1, "truncated-picture": 1}
    assert read_left_out(tmp_path / "out") == {"meadow": "no-face", "short": "truncated-picture"}
    with (tmp_path / "out/left_out.csv").open(newline="") as stream:
        assert all(row["reason"] for row in csv.DictReader(stream))
    said = in_sentences(report, tmp_path / "out")
    assert "3 of 5" in said and "1 x no-face" in said


def test_a_second_run_makes_nothing_again_and_says_the_same(photographs: Path, tmp_path: Path, monkeypatch):
    first = prepare.prepare(photographs, tmp_path / "out", SETTINGS)
    looked_at = []
    monkeypatch.setattr(MediaPipeSource, "find", lambda self, image: looked_at.append(1))
    assert prepare.prepare(photographs, tmp_path / "out", SETTINGS) == first
    assert not looked_at
    prepare.prepare(photographs, tmp_path / "out", SETTINGS, again=True)
    assert len(looked_at) == 1  # the meadow


def test_what_was_stopped_goes_on(photographs: Path, tmp_path: Path, monkeypatch):
    find = MediaPipeSource.find
    seen = []

    def stops(self, image):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(1)
        return find(self, image)

    monkeypatch.setattr(MediaPipeSource, "find", stops)
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare(photographs, tmp_path / "out", SETTINGS)
    assert len(PreparedPictures(tmp_path / "out", 112)) == 2
    monkeypatch.setattr(MediaPipeSource, "find", find)
    assert prepare.prepare(photographs, tmp_path / "out", SETTINGS)["prepared"] == 3


def test_processes_prepare_the_same(photographs: Path, tmp_path: Path):
    prepare.prepare(photographs, tmp_path / "one", SETTINGS)
    prepare.prepare(photographs, tmp_path / "two", SETTINGS, processes=2)
    one = {path.name: path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file()}
    two = {path.name: path.read_bytes() for path in (tmp_path / "two").rglob("*") if path.is_file()}
    assert one == two and len(one) == 2 + 3 * len(FACES)


def test_other_settings_are_refused(photographs: Path, tmp_path: Path):
    prepare.prepare(photographs, tmp_path / "out", SETTINGS)
    with pytest.raises(UsageError, match="at 168 px") as caught:
        prepare.prepare(photographs, tmp_path / "out", PreparedSettings("mediapipe", 224))
    assert caught.value.code == "prepared-otherwise"


def test_prepared_faces_come_as_a_regressor_gets_them(photographs: Path, tmp_path: Path):
    prepare.prepare(photographs, tmp_path / "out", SETTINGS)
    faces = PreparedPictures(tmp_path / "out", 112)
    eye_distances = []
    for position in range(len(faces)):
        item = faces.read(position, np.random.default_rng(position))
        assert item["image"].shape == (112, 112, 3) and item["image"].std() > 20
        own = align(item["landmarks68"], 112)
        assert 0.88 < own.scale < 1.12 and abs(own.left) < 12 and abs(own.top) < 12
        eye_distances.append(np.linalg.norm(item["landmarks68"][45] - item["landmarks68"][36]))
        assert item["visible478"].mean() > 0.9
        right, left = (item["landmarks68"][rows].mean(0).astype(int) for rows in (slice(36, 42), slice(42, 48)))
        assert (item["parsing"][tuple(right[::-1])], item["parsing"][tuple(left[::-1])]) == (5, 4)
    twice = [faces.read(0, np.random.default_rng(seed))["landmarks68"] for seed in (1, 2)]
    assert np.abs(twice[0] - twice[1]).max() > 0.5  # cropped a little differently each time


def test_real_photographs_are_a_share_of_each_batch_without_truth(photographs: Path, tmp_path: Path):
    from tests.training.test_shards import Cards
    from training.data.shards import write_shards

    prepare.prepare(photographs, tmp_path / "out", SETTINGS)
    write_shards(tmp_path / "shards", 1, 0, 24, 112, "aligned", pictures_per_shard=8, album=Cards)
    data = SyntheticBatches(tmp_path / "shards", 112, 6, real_folders=[tmp_path / "out"], real_share=1 / 3)
    data.setup()
    for batch in data.train_dataloader():
        assert batch["has_truth"].tolist() == [True] * 4 + [False] * 2
        assert (batch["person"][4:] == -1).all() and not batch["identity"][4:].any()
        assert batch["landmarks68"][4:].min() > 0 and batch["image"][4:].std() > 0.05
    assert all(batch["has_truth"].all() for batch in data.val_dataloader())


def test_a_folder_that_was_not_prepared_says_what_was_expected(tmp_path: Path):
    with pytest.raises(UsageError, match=r"prepared\.json"):
        PreparedPictures(tmp_path, 112)


def test_the_command_says_where_its_result_is(photographs: Path, tmp_path: Path, capsys):
    code = prepare.main([str(photographs), "--output", str(tmp_path / "out"), "--size", "96", "--processes", "1"])
    assert code == 0 and "3 of 5" in capsys.readouterr().out
    with pytest.raises(UsageError, match="at least 64"):
        prepare.main([str(photographs), "--output", str(tmp_path / "out"), "--size", "10"])


def test_the_stored_picture_has_room_round_the_aligned_crop():
    chance = np.random.default_rng(4)
    points = np.stack(np.meshgrid(np.linspace(0, 80, 4), np.linspace(0, 90, 17)), -1).reshape(68, 2)
    points = points + [210.0, 160.0] + chance.normal(0, 1, (68, 2))
    face = cut_out(chance.integers(0, 255, (500, 500, 3)).astype(np.uint8), Landmarks(points), 168)
    inner = align(points, round(168 / ROOM))
    assert face.crop.scale == pytest.approx(inner.scale)
    middle = [inner.size / 2, inner.size / 2]
    np.testing.assert_allclose(face.crop.points_in(inner.points_out(middle)), [84.0, 84.0], atol=1e-9)
    np.testing.assert_allclose(face.crop.points_out(face.landmarks68), points)


def test_masks_of_landmarks_have_the_ten_classes_where_they_belong():
    from backend.face_models import load_face_model
    from backend.rendering.camera import Camera

    model = load_face_model("open_head")
    camera = Camera.orbit(0.0, 0.0, 1.0, 256, focal_pixels=1100)
    names = {"mouthOpen": "jawOpen"}
    keys = model.key_offsets(model.mean)
    weights = np.zeros(len(keys.names), np.float32)
    weights[list(keys.names).index(names["mouthOpen"])] = 0.7
    vertices = keys.apply(model.mean, weights)
    points68, points478 = camera.project(model.landmarks68(vertices)), camera.project(model.landmarks478(vertices))
    both = [parsing_of_landmarks(points68, points, 256) for points in (points478, None)]
    for parsing in both:
        assert set(np.unique(parsing)) == set(range(len(PARSING_CLASSES)))
        columns = {name: np.nonzero(parsing == row)[1].mean() for row, name in enumerate(PARSING_CLASSES)}
        rows = {name: np.nonzero(parsing == row)[0].mean() for row, name in enumerate(PARSING_CLASSES)}
        assert columns["right_eye"] < 128 < columns["left_eye"] and columns["right_brow"] < 128 < columns["left_brow"]
        assert (
            rows["left_brow"] < rows["left_eye"] < rows["nose"] < rows["upper_lip"] < rows["mouth"] < rows["lower_lip"]
        )
    assert (both[0] == both[1]).mean() > 0.85


def test_elam_opens_or_shuts_what_the_detector_says(data_folder: Path):
    """On closed eyes that MediaPipe's landmarks leave open; both sources see the same face."""
    pictures = sorted((data_folder / "eyes/cew_research_only/closed").glob("*.jpg"))[:12]
    plain, adjusted = landmark_source("mediapipe"), landmark_source("mediapipe-elam")
    moved = 0
    for path in pictures:
        image = np.asarray(Image.open(path).convert("RGB"))
        before, after = plain.find(image), adjusted.find(image)
        states = elam(image, detect_faces(image)[0], EyeStateDetector.load())
        np.testing.assert_allclose(after.points478, states.points)
        moved += bool(states.adjusted) and not np.allclose(before.points68[36:48], after.points68[36:48])
        assert bool(states.adjusted) or np.allclose(before.points478, after.points478)
    assert moved >= 1


def test_mediapipe_finds_both_sets_of_points(data_folder: Path):
    image = load_photograph(data_folder / "photos/public_domain/astronaut.png").image
    found = landmark_source("mediapipe").find(image)
    assert found.points68.shape == (68, 2) and found.points478.shape == (478, 2)
    assert np.ptp(found.points68[:, 0]) == pytest.approx(np.ptp(found.points478[:, 0]), rel=0.15)
    assert landmark_source("mediapipe").find(np.full((200, 200, 3), 127, np.uint8)) is None


def test_an_unknown_source_is_said():
    with pytest.raises(UsageError, match="mediapipe, mediapipe-elam, face-alignment-2d"):
        landmark_source("dlib")


@pytest.mark.parametrize("name", ["face-alignment-2d", "face-alignment-3d"])
def test_face_alignment_without_its_weights_is_a_sentence_and_no_download(name: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("it downloads"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    monkeypatch.setenv(landmark_sources.WEIGHTS_VARIABLE, str(tmp_path / "mine"))
    with pytest.raises(SetupError, match="2DFAN4|3DFAN4") as caught:
        landmark_source(name)
    assert caught.value.code == "no-face-alignment-weights" and str(tmp_path / "mine") in caught.value.sentence
    assert not (tmp_path / "cache").exists()


def test_face_alignment_that_is_not_installed_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(SetupError, match="not installed") as caught:
        FaceAlignmentSource(2)
    assert caught.value.code == "no-face-alignment"


def test_a_given_folder_comes_before_the_variable_and_the_cache(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    monkeypatch.setenv(landmark_sources.WEIGHTS_VARIABLE, str(tmp_path / "variable"))
    for place in ("cache/checkpoints", "variable", "given"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "a.tar").touch()
        assert find_weights(["a.tar"], tmp_path / "given")["a.tar"] == tmp_path / place / "a.tar"


@pytest.mark.slow
def test_face_alignment_takes_its_weights_from_the_folder(data_folder: Path, tmp_path: Path, monkeypatch):
    """With random weights: the places mean nothing, but lie in the face's crop, and nothing is downloaded."""
    from face_alignment.models import FAN

    torch.manual_seed(0)
    torch.save(FAN(4).state_dict(), tmp_path / "2DFAN4-11f355bf06.pth.tar")
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("it downloads"))
    monkeypatch.setenv(landmark_sources.WEIGHTS_VARIABLE, str(tmp_path))
    source = landmark_source("face-alignment-2d")
    assert source.name == "face-alignment-2d"
    image = load_photograph(data_folder / "photos/public_domain/astronaut.png").image
    found = source.find(image)
    assert found.points68.shape == (68, 2) and found.depth68 is None and found.points478 is None
    face = MediaPipeSource().find(image).points478
    middle, reach = face.mean(0), np.ptp(face, axis=0).max()
    assert (np.abs(found.points68 - middle) < 1.2 * reach).all()
