"""The face set by hand: mirror, reset, neutral, as photographed; and the camera view."""

from pathlib import Path

import pytest

from addon import arkit_regions
from backend.face_models import load_face_model

pytestmark = pytest.mark.blender
SCENARIOS = Path(__file__).with_name("panel_scenarios.py")
START = {"eyeBlinkLeft": 0.5, "mouthSmileLeft": 0.25, "mouthSmileRight": 0.75, "jawOpen": 0.625, "jawLeft": 0.125}
"""As the scenario sets it before each button; correctives follow the blinks."""


@pytest.fixture(scope="module")
def measured(in_blender, blender_version, result_folder) -> dict:
    return in_blender(blender_version, "sliders", SCENARIOS, result=result_folder)


@pytest.fixture(scope="module")
def values(measured) -> dict:
    """Values after each button, the driven correctives left out."""
    return {
        name: {key: value for key, value in of_keys.items() if not key.endswith("Corrective")}
        for name, of_keys in measured["values"].items()
    }


def test_the_regions_hold_each_key_of_the_open_head_once():
    free = [name for name in load_face_model("open_head").key_names if not name.endswith("Corrective")]
    assert sorted(arkit_regions.ALL_KEYS) == sorted(free)
    assert len(set(arkit_regions.ALL_KEYS)) == 52


def test_every_slider_says_what_it_does():
    tooltips = [slider.tooltip for region in arkit_regions.REGIONS for slider in region.sliders]
    assert all(len(tooltip) > 15 and not tooltip.endswith(".") for tooltip in tooltips)
    assert len(set(tooltips)) == len(tooltips)


def test_mirroring_copies_one_side_of_the_face(values):
    assert values["left to right"] == START | {"eyeBlinkRight": 0.5, "mouthSmileRight": 0.25}
    assert values["right to left"] == {
        "mouthSmileLeft": 0.75,
        "mouthSmileRight": 0.75,
        "jawOpen": 0.625,
        "jawLeft": 0.125,
    }


def test_swapping_turns_the_expression_around_with_the_jaw(values):
    assert values["swap"] == {
        "eyeBlinkRight": 0.5,
        "mouthSmileLeft": 0.75,
        "mouthSmileRight": 0.25,
        "jawOpen": 0.625,
        "jawRight": 0.125,
    }


def test_mirror_and_reset_keep_to_their_region(values):
    assert values["mirror eyes"] == START | {"eyeBlinkRight": 0.5}
    assert values["reset mouth"] == {"eyeBlinkLeft": 0.5, "jawOpen": 0.625, "jawLeft": 0.125}


def test_reset_and_neutral_bring_every_key_to_rest(values):
    assert values["reset"] == values["neutral"] == {}


def test_a_photographs_expression_replaces_the_present_one(values, measured):
    assert values["second photograph"] == {"tongueOut": 0.75}
    assert "Head was made from 2 photographs only." in measured["sentence"]


def test_a_click_on_a_name_tries_both_sides_and_takes_them_back(values):
    assert values["on"] == START | {"noseSneerLeft": 1.0, "noseSneerRight": 1.0}
    assert values["off"] == {key: value for key, value in START.items() if key != "eyeBlinkLeft"}


def test_keys_that_the_person_removed_are_skipped(values):
    assert values["without the right blink"] == START | {"mouthSmileRight": 0.25}


def test_driven_keys_stay_with_their_drivers(measured):
    assert measured["drivers_kept"]
    assert measured["values"]["swap"]["eyeBlinkRightCorrective"] == 1.0


def test_with_automatic_keyframing_what_changed_is_keyframed(measured):
    assert not measured["action_before"]
    assert measured["keyed"] == ["eyeBlinkRight"]


def test_the_buttons_need_a_head(measured):
    assert measured["polls"] == [True, False]


def test_the_camera_view_is_that_of_the_photograph(in_blender, blender_version, result_folder, made_up_head):
    seen = in_blender(blender_version, "camera_view", SCENARIOS, result=result_folder)
    camera = made_up_head.photographs[1].camera
    assert seen["camera"] == "Head photo_2" and seen["size"] == [camera.width, camera.height]
    assert set(seen["views"]) == {"CAMERA"} and set(seen["colours"]) == {"TEXTURE"}
    assert seen["cameras_shown"] == ["Head photo_2"], "no other camera stands before the face"
    assert seen["beside_one_that_is_switched_off"] == ["FINISHED"]
    assert seen["camera_counts_as_head"]
    assert seen["selected"] == ["Head", True], "a hidden head is found again"
    missing_camera, missing_head, missing_log = seen["sentences"]
    assert "The camera of this photograph is not in the scene" in missing_camera
    assert "The head is not in this scene any more." in missing_head
    assert "no log at" in missing_log
