"""What is wrong with the photographs of one head is said in words, and nothing is said of those that go together."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import backend
from backend import view_checks
from backend.calibration import ViewDirection, load_calibration
from backend.detection import find_face
from backend.errors import Fix, PhotoError
from backend.face_mesh_points import MIRROR
from backend.face_models import load_face_model
from backend.fitting import Observation
from backend.photographs import Photograph, load_photograph
from backend.rendering.camera import Camera
from backend.view_checks import check_sides, check_together, find_faces, view_of

DEMO = Path(backend.__file__).parent / "assets/demo/astronaut.png"


def seen(name: str, image: np.ndarray, face):
    return Photograph(Path(name), image, None, []), face


@pytest.fixture(scope="module")
def astronaut():
    picture = load_photograph(DEMO)
    return seen("astronaut.png", picture.image, find_face(picture.image, "astronaut.png"))


def mirrored(photograph, name: str):
    picture, face = photograph
    points = face.points[MIRROR] * [-1, 1] + [picture.image.shape[1], 0]
    return seen(name, np.ascontiguousarray(picture.image[:, ::-1]), replace(face, points=points))


def scaled(photograph, name: str, factor: float):
    picture, face = photograph
    image = cv2.resize(picture.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return seen(name, image, replace(face, points=face.points * factor))


def in_other_light(photograph, name: str, *gains: float):
    """In linear light, for red, green and blue."""
    picture, face = photograph
    linear = np.power(picture.image / 255, 2.2) * np.array(gains)
    return seen(name, np.clip(255 * np.power(linear, 1 / 2.2), 0, 255).astype(np.uint8), face)


def alone(photograph) -> Observation:
    picture, face = photograph
    return Observation(face.points, *picture.image.shape[1::-1])


@pytest.fixture
def without_people(monkeypatch):
    """Whether they are one person takes seconds and is looked at elsewhere."""
    monkeypatch.setattr(view_checks, "_different_people", lambda *photographs: [])


def remarks(*photographs) -> dict[str, str]:
    pictures, faces = zip(*photographs, strict=True)
    found = check_together(pictures, faces, [alone(photograph) for photograph in photographs])
    return {remark.code: remark.sentence for remark in found}


# What does not go together.


def test_of_one_photograph_nothing_is_said(astronaut):
    assert remarks(astronaut) == {}


def test_the_same_photograph_twice_is_noticed_though_one_is_a_smaller_copy(astronaut, without_people):
    said = remarks(astronaut, scaled(astronaut, "copy.png", 0.6))
    assert list(said) == ["same-photograph"]
    assert "astronaut.png and copy.png" in said["same-photograph"] and "Leave one out" in said["same-photograph"]


def test_a_mirrored_copy_for_the_other_side_is_noticed(astronaut, without_people):
    said = remarks(astronaut, mirrored(scaled(astronaut, "", 0.7), "flipped.png"))
    assert list(said) == ["mirrored-photograph"]
    assert said["mirrored-photograph"].startswith("flipped.png is astronaut.png mirrored")


def test_wildly_different_light_is_said_with_how_much_and_in_which(astronaut, without_people):
    dark = in_other_light(mirrored(astronaut, ""), "dark.png", 0.15, 0.15, 0.15)
    said = remarks(dark, astronaut)
    assert "times as bright in astronaut.png as in dark.png" in said["other-light"] and "other-colour" not in said
    assert "other-light" not in remarks(astronaut, in_other_light(astronaut, "dusk.png", 0.4, 0.4, 0.4))


def test_light_of_another_colour_is_said(astronaut, without_people):
    said = remarks(astronaut, in_other_light(astronaut, "lamp.png", 1.0, 0.7, 0.3))
    assert "another colour in astronaut.png than in lamp.png" in said["other-colour"] and "other-light" not in said
    assert "other-colour" not in remarks(astronaut, in_other_light(astronaut, "shade.png", 1.0, 0.9, 0.8))


def test_wildly_different_zoom_is_said_and_some_is_not(astronaut, without_people):
    said = remarks(scaled(astronaut, "far.png", 0.5), scaled(astronaut, "near.png", 2.5))
    assert "5 times as large in near.png as in far.png" in said["other-zoom"]
    assert "other-zoom" not in remarks(astronaut, scaled(astronaut, "near.png", 3.0))


def test_a_black_photograph_is_dark_and_nothing_worse(astronaut, without_people):
    assert "other-light" in remarks(astronaut, in_other_light(astronaut, "black.png", 0.0, 0.0, 0.0))


def test_two_people_are_told_apart_and_two_moods_of_one_are_not(astronaut, data_folder):
    found = {}
    for name in ("london/001_neutral", "london/001_smiling"):
        picture = load_photograph(data_folder / f"photos/{name}.jpg")
        found[name] = picture, find_face(picture.image, picture.path.name)
    assert remarks(*found.values()) == {}
    said = remarks(astronaut, found["london/001_neutral"])["different-people"]
    assert "astronaut.png and 001_neutral.jpg seem to show different people" in said and "one person only" in said


@pytest.mark.parametrize(
    ("likeness", "resemblance", "yaw", "are_two"),
    [(0.9, 0.5, 0, False), (0.2, 0.5, 0, True), (0.9, 0.05, 0, True), (0.9, 0.05, 60, False), (0.9, -0.1, 60, True)],
)
def test_people_are_two_by_their_heads_or_by_their_faces_and_less_is_asked_of_views_far_apart(
    likeness, resemblance, yaw, are_two, monkeypatch
):
    """Two heads with a cosine between their identities, and two faces to the network that recognises people."""
    heads = iter([(1.0, 0.0, 0), (likeness, np.sqrt(1 - likeness**2), yaw)] * 3)

    def fitted(*_):
        *identity, turned = next(heads)
        photograph = SimpleNamespace(view=ViewDirection(turned, 0.0))
        return SimpleNamespace(identity=np.array(identity), photographs=[photograph])

    monkeypatch.setattr(view_checks, "fit", fitted)
    told = np.array([[1.0, resemblance], [resemblance, 1.0]])
    monkeypatch.setattr(view_checks, "_resemblance", lambda pictures, faces: told)
    pictures = [Photograph(Path(name), np.zeros((1, 1, 3), np.uint8), None, []) for name in ("a.jpg", "b.jpg")]
    observations = [Observation(np.zeros((478, 2)), 1, 1)] * 2
    assert bool(list(view_checks._different_people(pictures, [None, None], observations))) is are_two


# From which side.


def turned(yaw: float, name: str, pitch: float = 0.0):
    """A photograph in which the mean head's landmarks are where the detector would find them."""
    camera = Camera.orbit(np.radians(yaw), np.radians(pitch), 0.8, 400, focal_pixels=900)
    view = ViewDirection.from_pose(camera.rotation, camera.translation)
    points = camera.project(load_calibration().embedding(view).apply(load_face_model("open_head").mean.astype(float)))
    return Photograph(Path(name), np.zeros((400, 400, 3), np.uint8), None, []), SimpleNamespace(points=points)


@pytest.mark.parametrize("pitch", [0, 15])
@pytest.mark.parametrize("yaw", [-60, -40, -20, 0, 20, 40, 60])
def test_yaw_is_measured_and_positive_where_the_left_side_shows(yaw, pitch):
    picture, face = turned(yaw, "a.jpg", pitch)
    assert view_of(face.points, 400, 400).yaw == pytest.approx(yaw, abs=7)


def sides(*photographs) -> list[str]:
    pictures, faces = zip(*photographs, strict=True)
    return [remark.code for remark in check_sides(pictures, faces)]


def test_three_frontal_views_and_a_mirrored_side_are_said_and_three_sides_are_not():
    views = {yaw: turned(yaw, f"{yaw}.jpg") for yaw in (-40, -3, 2, 5, 40, 50)}
    assert sides(views[40], views[2], views[-40]) == []
    assert sides(views[-3], views[2], views[5]) == ["only-front"]
    assert sides(views[2], views[40], views[50]) == ["same-side"]


def test_of_one_photograph_it_is_said_that_the_method_is_for_several():
    (remark,) = check_sides(*([each] for each in turned(0, "only.jpg")))
    assert remark.code == "one-photograph" and "only.jpg" in remark.sentence and "Add one" in remark.sentence


def test_photographs_of_the_back_of_the_head_are_refused_by_their_names():
    with pytest.raises(PhotoError, match="back.jpg is turned away") as caught:
        sides(turned(130, "back.jpg"))
    assert caught.value.code == "no-face-shown" and caught.value.fix.action == "choose-another-photo"


# Without a face.


@pytest.fixture
def pictures(monkeypatch):
    def found(image, name, number):
        if name.startswith("empty"):
            raise PhotoError("no-face", f"No face was found in {name}. It should be larger.", Fix("choose", "Choose"))
        return name, number

    monkeypatch.setattr(view_checks, "find_face", found)
    return lambda *names: [Photograph(Path(name), np.zeros((1, 1, 3), np.uint8), None, []) for name in names]


def test_of_every_photograph_the_face_that_was_asked_for_is_taken(pictures):
    assert find_faces(pictures("a", "b", "c"), (None, 2)) == [("a", 1), ("b", 2), ("c", 1)]


def test_one_photograph_without_a_face_is_refused_as_ever(pictures):
    with pytest.raises(PhotoError) as caught:
        find_faces(pictures("empty.jpg"), ())
    assert caught.value.sentence == "No face was found in empty.jpg. It should be larger."


def test_all_photographs_without_a_face_are_named_at_once_and_what_to_do_about_them(pictures):
    with pytest.raises(PhotoError) as caught:
        find_faces(pictures("empty1.jpg", "a", "b", "empty2.jpg"), ())
    assert caught.value.code == "no-face" and caught.value.fix.action == "choose-another-photo"
    assert caught.value.sentence == (
        "No face was found in empty1.jpg. It should be larger. empty2.jpg cannot be used either. The other 2 "
        "photographs show a face: leave out what does not, or choose another in its place."
    )


def test_where_no_photograph_shows_a_face_none_is_to_be_left_out(pictures):
    with pytest.raises(PhotoError) as caught:
        find_faces(pictures("empty1.jpg", "empty2.jpg"), ())
    assert "leave out" not in caught.value.sentence and "empty2.jpg cannot be used either" in caught.value.sentence
