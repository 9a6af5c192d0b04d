"""Photographs of scanned people in batches: groups of one person, everybody as often, others for validation, and what
is said of folders that are not what they should be. No face is looked for here."""

from pathlib import Path

import numpy as np
import pytest

from backend.errors import UsageError
from backend.rendering.camera import Camera
from tests.training.test_mica_layout import a_set, parameters
from training.data import scanned_people as scanned
from training.data.folders import open_folder
from training.data.landmark_sources import Landmarks
from training.data.mica_layout import open_sets
from training.data.prepare import cut_out
from training.data.prepared import PreparedSettings, describe, write_face
from training.data.scanned_people import JoinedPictures, ScannedBatches, ScannedPeople, ScannedPictures

SIZE = 48


@pytest.fixture(scope="module")
def points68() -> np.ndarray:
    from backend.face_models import load_face_model

    model = load_face_model("open_head")
    return Camera.orbit(0.0, 0.0, 1.0, 64, focal_pixels=200).project(model.landmarks68(model.mean))


def prepared(root: Path, points68: np.ndarray, without_face: str = "nobody") -> Path:
    """As `prepare` would have made the pictures of a root ready; those with a word in their name show no face."""
    folder = root / "prepared"
    folder.mkdir(parents=True)
    describe(folder, PreparedSettings("mediapipe", 72))
    lines = ["name,code,reason"]
    for item in open_folder(root, "mica").items:
        if without_face in item.name:
            lines.append(f"{item.name},no-face,none")
        else:
            write_face(folder, item.name, cut_out(np.full((64, 64, 3), 99, np.uint8), Landmarks(points68), 72))
    (folder / "left_out.csv").write_text("\n".join(lines) + "\n")
    return root


def data_of(root: Path, batch_size: int = 4, **options) -> ScannedPeople:
    data = ScannedPeople(None, SIZE, batch_size, together=2, scans=root, **options)
    data.prepare_data()
    data.setup()
    return data


def test_all_sets_of_a_folder_are_found_or_the_one_that_it_is(tmp_path: Path):
    a_set(a_set(tmp_path, "LYHM", actors=2), "STIRLING", actors=1)
    assert [(one.name, len(one)) for one in open_sets(tmp_path)] == [("LYHM", 2), ("STIRLING", 1)]
    assert [one.name for one in open_sets(tmp_path / "STIRLING")] == ["STIRLING"]
    assert len(open_folder(tmp_path, "mica")) == 15 and len(open_folder(tmp_path / "LYHM", "mica")) == 10


def test_of_the_sets_only_the_actors_photographs_are_prepared(tmp_path: Path):
    a_set(tmp_path, actors=1, pictures=2)
    for elsewhere in ("prepared/faces/LYHM/a.jpg", "LYHM/registrations/00000/texture.png"):
        (tmp_path / elsewhere).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / elsewhere).touch()
    names = [item.name for item in open_folder(tmp_path, "mica").items]
    assert names == [f"LYHM/arcface_input/00000/view/{number}" for number in (0, 1)]


def test_a_folder_without_sets_gets_the_tree_that_was_expected(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError) as caught:
        ScannedPeople(None, SIZE, 4, together=2, scans=tmp_path).prepare_data()
    assert caught.value.code == "no-scans"
    for words in ("FACEWAREHOUSE, LYHM, STIRLING and FLORENCE", "FLAME_parameters/ACTOR/*.npz", "photos/"):
        assert words in caught.value.sentence


def test_photographs_are_made_ready_once_and_with_the_settings_they_were_begun_with(
    tmp_path: Path, points68: np.ndarray, monkeypatch
):
    asked = []
    monkeypatch.setattr(scanned, "prepare", lambda *arguments, **options: asked.append(arguments))
    monkeypatch.setattr(scanned, "in_sentences", lambda *_: "")
    scans = ScannedPeople(None, SIZE, 4, together=2, scans=a_set(tmp_path, actors=2))
    scans.prepare_data()
    assert asked.pop() == (tmp_path, tmp_path / "prepared", PreparedSettings("mediapipe", 336))
    prepared(tmp_path, points68, without_face="00000/view/1")
    scans.prepare_data()
    assert not asked
    (tmp_path / "prepared/faces/LYHM/arcface_input/00001/view/3.labels.npy").unlink()
    scans.prepare_data()
    assert asked.pop()[2] == PreparedSettings("mediapipe", 72)


def test_a_picture_of_a_scanned_person_says_who_and_which_head_and_no_more(tmp_path: Path, points68: np.ndarray):
    prepared(a_set(tmp_path, actors=2, pictures=2), points68)
    second = parameters(tmp_path / "LYHM/FLAME_parameters/00001/other.npz", 9)["betas"]
    people = scanned.scanned_people(tmp_path, tmp_path / "prepared", 2)
    assert [person.name for person in people] == ["LYHM/00000", "LYHM/00001"]
    pictures = ScannedPictures(tmp_path / "prepared", SIZE, people, first=70)
    assert pictures.persons.tolist() == [70, 71, 70, 71]  # everybody's first one first
    item = pictures.read(3, np.random.default_rng(0))
    first = np.load(tmp_path / "LYHM/FLAME_parameters/00001/00001.npz")["betas"]
    assert np.allclose(item["identity"], (first + second)[:300] / 2, atol=1e-6)
    assert item["person"] == 71 and item["identity_known"] and item["image"].shape == (SIZE, SIZE, 3)
    assert item["landmarks68"].shape == (68, 2) and item["parsing"].any()
    assert not {"has_truth", "key_weights", "rotation", "light"} & set(item)


def test_every_actor_is_seen_once_with_other_pictures_before_anybody_again():
    persons = np.repeat(np.arange(5), [2, 3, 9, 4, 2])
    batches = ScannedBatches(persons, 4, shuffled=True, vary=False, persons=persons, together=2, synthetic=0, share=0.5)
    order = batches._order().reshape(-1, 2)
    assert (persons[order[:, 0]] == persons[order[:, 1]]).all() and (order[:, 0] != order[:, 1]).all()
    assert len(order) == len(batches) * 2
    for start in range(0, len(order) - 4, 5):
        assert sorted(persons[order[start : start + 5, 0]]) == [0, 1, 2, 3, 4]
    assert np.array_equal(order.reshape(-1), batches._order())


@pytest.mark.parametrize(("share", "scanned_groups"), [(0.5, 2), (0.3, 1), (0.01, 1), (0.99, 3)])
def test_a_batch_has_its_share_of_scanned_people(share: float, scanned_groups: int):
    persons = np.concatenate([np.repeat(np.arange(6), 8), np.repeat(np.arange(6, 9), 2)])
    batches = ScannedBatches(
        persons, 8, shuffled=True, vary=False, persons=persons, together=2, synthetic=48, share=share
    )
    groups = persons[batches._order()].reshape(len(batches), 4, 2)
    assert (groups[..., 0] == groups[..., 1]).all()
    assert ((groups[..., 0] >= 6).sum(1) == scanned_groups).all()


def test_held_out_people_are_others_and_always_the_same(tmp_path: Path, points68: np.ndarray):
    prepared(a_set(tmp_path, actors=4, pictures=2), points68)
    people = [data_of(tmp_path) for _ in range(2)]
    learnt, held = (
        {tuple(identity) for identity in one.identities} for one in (people[0].training, people[0].validation)
    )
    assert (len(learnt), len(held)) == (3, 1) and not learnt & held
    assert np.array_equal(people[0].validation.identities, people[1].validation.identities)


def test_people_of_shards_have_other_numbers(tmp_path: Path, points68: np.ndarray, monkeypatch):
    from tests.training.test_shards import Cards
    from training.data.shards import write_shards

    prepared(a_set(tmp_path / "scans", actors=3, pictures=2), points68)
    write_shards(tmp_path / "shards", 1, 0, 16, SIZE, "aligned", pictures_per_shard=8, album=Cards)
    monkeypatch.setattr(ScannedPictures, "face_model", "open_head")  # of which there are shards without FLAME
    data = ScannedPeople(tmp_path / "shards", SIZE, 8, together=2, scans=tmp_path / "scans")
    data.setup()
    assert isinstance(data.training, JoinedPictures) and isinstance(data.validation, ScannedPictures)
    persons = data._persons(data.training)
    synthetic = persons[: len(data.training.synthetic)]
    assert synthetic.max() < persons[len(synthetic) :].min() and len(persons) == len(data.training)
    items = [data.training.read(position, np.random.default_rng(0)) for position in range(len(persons))]
    assert [int(item["person"]) for item in items] == persons.tolist()
    small = ScannedPeople(tmp_path / "shards", SIZE, 2, together=2, scans=tmp_path / "scans")
    small.setup()
    with pytest.raises(UsageError, match="no room for 2 photographs of a scanned person and 2 of a synthetic one"):
        small.train_dataloader()


def test_people_with_too_few_faces_are_left_out_and_nobody_left_is_said(tmp_path: Path, points68: np.ndarray):
    prepared(a_set(tmp_path, actors=2, pictures=2), points68, without_face="00000/view/1")
    assert [person.name for person in scanned.scanned_people(tmp_path, tmp_path / "prepared", 2)] == ["LYHM/00001"]
    for path in (tmp_path / "prepared/faces").rglob("1.labels.npy"):
        path.unlink()
    with pytest.raises(UsageError, match="No actor in .* has 2 photographs in which a face was found") as caught:
        scanned.scanned_people(tmp_path, tmp_path / "prepared", 2)
    assert caught.value.code == "no-actors"


def test_damaged_parameters_are_said_before_the_training(tmp_path: Path, points68: np.ndarray):
    prepared(a_set(tmp_path, actors=2, pictures=2), points68)
    (tmp_path / "LYHM/FLAME_parameters/00001/00001.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(UsageError, match="00001.npz cannot be read"):
        data_of(tmp_path)


def test_what_lies_beyond_a_tight_photograph_is_not_seen(points68: np.ndarray):
    chin = int(points68[8, 1])
    image = np.full((chin - 3, 64, 3), 99, np.uint8)  # cut off above the chin
    face = cut_out(image, Landmarks(points68), 72)
    below = np.arange(72) + 0.5 > face.crop.points_in([0, len(image)])[1]
    assert below.any() and not face.parsing[below].any() and face.parsing[~below].any()


def test_landmarks_beyond_a_tight_photograph_are_not_visible(tmp_path: Path, points68: np.ndarray):
    image = np.full((int(points68[8, 1]) - 3, 64, 3), 99, np.uint8)
    describe(tmp_path, PreparedSettings("mediapipe", 72))
    write_face(tmp_path, "a", cut_out(image, Landmarks(points68), 72))
    visible = np.load(tmp_path / "faces/a.labels.npy")["visible68"]
    assert not visible[8] and visible[30] and np.array_equal(visible, points68[:, 1] < len(image))
