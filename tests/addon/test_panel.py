"""The sidebar tab: what it shows in each state, the list of photographs, faces, thumbnails, the drop.

Drawing goes to a layout that raises for everything Blender does not know (recording_layout.py).
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

pytestmark = pytest.mark.blender
SCENARIOS = Path(__file__).with_name("panel_scenarios.py")
LARGEST_COLOUR_ERROR = 0.12  # JPEG


@pytest.fixture(scope="module")
def drawn(in_blender, blender_version, result_folder, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("photographs")
    return in_blender(blender_version, "states", SCENARIOS, result=result_folder, folder=folder)["drawn"]


@pytest.fixture(scope="module")
def listed(in_blender, blender_version) -> dict:
    return in_blender(blender_version, "photographs", SCENARIOS)


def buttons(face: dict) -> list[str]:
    return [entry["operator"] for entry in face["operators"]]


def button(face: dict, operator: str) -> dict:
    return next(entry for entry in face["operators"] if entry["operator"] == operator)


def words(face: dict) -> str:
    return " ".join(face["texts"])


def test_before_the_set_up_there_is_one_button_and_it_says_what_it_downloads(drawn):
    face = drawn["not set up"]
    assert face["panels"] == ["lifemask"]
    assert buttons(face) == ["lifemask.set_up"]
    assert "Downloads about 0.5 GB" in words(face) and "1.5 GB on the disk" in words(face)
    for name in ("folder", "device", "existing_environment", "wheel_folder", "python"):
        assert f"LIFEMASK_preferences.{name}" in face["properties"]


def test_without_online_access_the_panel_asks_for_it_and_waits(drawn):
    face = drawn["not set up"]
    assert "PreferencesSystem.use_online_access" in face["properties"]
    assert not button(face, "lifemask.set_up")["enabled"]


def test_an_existing_environment_needs_no_network(drawn):
    face = drawn["existing environment"]
    assert button(face, "lifemask.set_up")["enabled"]
    assert "Nothing is downloaded" in words(face)
    assert "PreferencesSystem.use_online_access" not in face["properties"]


def test_the_set_up_shows_step_bytes_and_a_way_out(drawn):
    face = drawn["setting up"]
    assert face["bars"] == [["37 %", 0.37]]
    assert "Installing PyTorch: torch" in face["texts"] and "112 MB of 1.9 GB" in words(face)
    assert buttons(face) == ["lifemask.cancel"]


def test_an_empty_list_asks_for_photographs_only(drawn):
    face = drawn["empty"]
    assert button(face, "lifemask.add_photographs")["text"] == "Choose Photographs"
    assert "lifemask.reconstruct" not in buttons(face)


def test_photographs_come_with_a_button_that_creates_the_head_and_the_options(drawn):
    face = drawn["ready"]
    assert button(face, "lifemask.reconstruct")["text"] == "Create Head"
    assert face["lists"] == ["LIFEMASK_UL_photographs"]
    for name in ("use_texture", "texture_size", "use_detail", "focal_length", "face_model", "method"):
        assert f"LIFEMASK_PG_scene.{name}" in face["properties"]
    assert "CC0" in words(face)
    assert "lifemask.pick_face" not in buttons(face)


def test_a_method_for_several_photographs_asks_for_more_than_one(drawn):
    advice = "several photographs together: add one"
    assert advice in words(drawn["one for deep fusion"])
    assert all(advice not in words(drawn[state]) for state in ("several for deep fusion", "ready"))


def test_where_a_photograph_shows_several_people_one_is_chosen(drawn):
    before, after = drawn["several people"], drawn["second person"]
    assert "Whose head?" in before["texts"]
    choices = [entry for entry in before["operators"] if entry["operator"] == "lifemask.pick_face"]
    assert [entry["properties"] for entry in choices] == [{"photograph": 1, "face": n} for n in (1, 2, 3)]
    assert [entry["depress"] for entry in choices] == [True, False, False]
    assert [entry["enabled"] for entry in choices] == [True, True, False], "the third face is too small"
    assert "Largest of 3 people" in before["texts"] and "Person 2 of 3 people" in after["texts"]
    choices = [entry for entry in after["operators"] if entry["operator"] == "lifemask.pick_face"]
    assert [entry["depress"] for entry in choices] == [False, True, False]


def test_a_photograph_without_a_face_says_so_in_the_list(drawn):
    assert "No face found" in drawn["several people"]["texts"]


def test_work_shows_stage_share_and_time_and_can_be_cancelled_once(drawn):
    face = drawn["working"]
    assert face["bars"] == [["Fitting the head", 0.42]] and "1:05" in face["texts"]
    assert button(face, "lifemask.cancel")["enabled"]
    assert not button(drawn["cancelling"], "lifemask.cancel")["enabled"]


def test_a_finished_head_says_how_well_it_fits_and_offers_the_next_steps(drawn):
    face = drawn["done and selected"]
    assert "Ada was made from 2 photographs." in words(face)
    assert "Fits closely: landmarks 1.6 %" in words(face)
    assert "The chin is hidden." in face["texts"]
    steps = ["show_camera_view", "set_neutral", "set_expression", "export_head", "save_as_asset", "dismiss"]
    assert buttons(face)[: len(steps)] == [f"lifemask.{name}" for name in steps]


def test_a_finished_head_that_is_not_selected_can_be_selected(drawn):
    face = drawn["done"]
    assert button(face, "lifemask.select_head")["properties"] == {"head_id": "ada"}
    assert "lifemask.set_neutral" not in buttons(face)


def test_a_result_that_waits_says_why_and_is_added_with_one_button(drawn):
    face = drawn["waiting"]
    assert "The scene is gone." in words(face)
    assert buttons(face)[0] == "lifemask.build_result"


def test_a_batch_ends_with_its_folder(drawn, tmp_path_factory):
    face = drawn["batch done"]
    assert button(face, "wm.path_open")["properties"]["filepath"]


@pytest.mark.parametrize(
    ("action", "operator", "properties"),
    [
        ("choose-another-photo", "lifemask.dismiss", {}),
        ("retry", "lifemask.retry", {}),
        ("free-space", "lifemask.retry", {}),
        ("repair-environment", "lifemask.set_up", {"repair": True}),
        ("set-up", "lifemask.set_up", {}),
        ("choose-folder", "lifemask.show_preferences", {}),
        ("choose-face-model", "lifemask.dismiss", {}),
        ("add-face-model", "lifemask.show_preferences", {}),
        ("allow-online-access", "lifemask.allow_online_access", {}),
        ("use-cpu", "lifemask.use_processor", {}),
        ("install-python", "wm.url_open", {"url": "https://www.python.org/downloads/"}),
    ],
)
def test_an_error_is_a_sentence_with_the_button_that_mends_it(drawn, action, operator, properties):
    face = drawn[f"error {action}"]
    assert "No face was found in two people.jpg." in words(face)
    first = face["operators"][0]
    assert (first["operator"], first["properties"]) == (operator, properties)
    assert buttons(face)[1:3] == ["lifemask.dismiss", "lifemask.open_log"]


def test_an_error_that_a_command_mends_shows_the_command(drawn):
    assert "sudo apt install libgl1" in drawn["error install-library"]["texts"]


def test_an_error_without_a_mend_or_a_log_leads_back(drawn):
    assert buttons(drawn["error"])[0] == "lifemask.dismiss"
    assert "lifemask.open_log" not in buttons(drawn["error"])


def test_the_panels_of_the_head_are_there_while_a_head_is_selected(drawn):
    assert drawn["done"]["panels"] == ["lifemask", "batch"]
    assert drawn["head"]["panels"] == ["lifemask", "head", "expression", "export", "batch"]


def test_a_head_shows_its_photographs_with_camera_and_expression_and_its_licence(drawn):
    face = drawn["head"]
    assert {"first.jpg", "second.jpg"} <= set(face["texts"])
    for name in ("set_expression", "show_camera_view"):
        found = [entry["properties"] for entry in face["operators"] if entry["operator"] == f"lifemask.{name}"]
        assert found == [{"photograph": 0}, {"photograph": 1}]
    updates = [entry["properties"] for entry in face["operators"] if entry["operator"] == "lifemask.update_head"]
    assert updates == [{}, {"use_list": True}], "the list above is not empty"
    assert "Anyone may use it." in face["texts"]


def test_every_arkit_key_has_a_slider_and_a_name_that_explains_it(drawn):
    face = drawn["head"]
    assert face["properties"].count("ShapeKey.value") == 52
    assert buttons(face).count("lifemask.toggle_key") == 32  # one a line, left and right together
    assert buttons(face).count("lifemask.reset_keys") == 7


def test_keys_that_the_person_removed_have_no_slider(drawn):
    face = drawn["head without keys"]
    assert face["properties"].count("ShapeKey.value") == 50
    assert "Tongue" not in face["texts"], "its only key is gone"
    assert "Blink" in face["texts"], "the other side is there"


def test_menus_hold_what_the_operator_search_must_find(drawn):
    for name in ("show_camera_view", "set_neutral", "set_expression", "update_head", "export_head", "save_as_asset"):
        assert f"lifemask.{name}" in buttons(drawn["LIFEMASK_MT_head"])
    assert "lifemask.release" in buttons(drawn["LIFEMASK_MT_more"])
    assert "lifemask.clear_photographs" in buttons(drawn["LIFEMASK_MT_photographs"])


@pytest.fixture(scope="module")
def models(in_blender, blender_version, tmp_path_factory) -> dict:
    return in_blender(blender_version, "face_models", SCENARIOS, folder=tmp_path_factory.mktemp("photographs"))


def assets_of(face: dict, operator: str) -> list[str]:
    return [each["properties"]["asset"] for each in face["operators"] if each["operator"] == f"lifemask.{operator}"]


def test_the_preferences_list_what_there_is_with_licence_sale_and_size(models):
    face = models["drawn"]["list"]
    columns = ["Name", "May results be sold?", "Size"]
    lines = [
        ("Open Head", "Yes", "3 MB", "Free."),
        ("FLAME 2023", "No", "105 MB", "For research only."),
        ("ICT-FaceKit", "Yes", "430 MB", "Anyone may sell it."),
        ("Basel Face Model 2009", "No", None, "For those who signed."),
        ("MediaPipe Face Landmarker", "Yes", "4 MB", "Anyone may use it."),
    ]
    texts = face["texts"]
    assert texts[texts.index("Name") :][:3] == columns
    for label, sold, size, sentence in lines:
        line = texts[texts.index(label) :][:6]
        assert line[1] == sold and (size is None or line[2] == size) and sentence in line
    assert "Landmark Detectors" in texts
    assert assets_of(face, "remove_face_model") == ["flame2023", "face_landmarker"], "the open head is built in"
    assert assets_of(face, "download_face_model") == ["ict"]
    assert assets_of(face, "open_owners_page") == ["bfm2009"]
    assert {"lifemask.add_face_model", "lifemask.refresh_face_models"} <= set(buttons(face))
    assert "LIFEMASK_preferences.for_sale" in face["properties"]


def test_the_preferences_say_of_an_outdated_model_why_it_cannot_be_used_and_what_to_do(models):
    face = models["drawn"]["outdated"]
    assert "FLAME 2023 was prepared by another version of Lifemask. Add its file again in the preferences." in words(
        face
    )
    assert "ICT-FaceKit was prepared by another version of Lifemask. Download it again" in words(face)
    assert "Open Head was" not in words(face) and "prepared by" not in words(models["drawn"]["list"])
    assert assets_of(face, "remove_face_model") == ["flame2023"]
    assert assets_of(face, "download_face_model") == ["ict"]


def test_details_and_tooltip_have_source_and_checksum(models):
    for text in (words(models["drawn"]["details"]).replace(" ", ""), models["tooltips"]["face_model_details"]):
        assert "ab" * 32 in text and "https://github.com/USC-ICT/ICT-FaceKit" in text and "MIT" in text
    assert models["tooltips"]["open_owners_page"].endswith("https://github.com/USC-ICT/ICT-FaceKit")


def test_the_preferences_show_what_is_going_on_and_what_went_wrong(models):
    drawn = models["drawn"]
    assert drawn["adding"]["bars"] == [["Laying the open head over it", 0.5]]
    assert "lifemask.cancel" in buttons(drawn["adding"])
    assert "Lifemask is at work" in words(drawn["at work elsewhere"])
    assert "This is not FLAME." in words(drawn["failed"])
    assert {"lifemask.open_log", "lifemask.retry", "lifemask.dismiss"} <= set(buttons(drawn["failed"]))
    assert "The packages are damaged." in words(drawn["no list"]) and "lifemask.open_log" in buttons(drawn["no list"])
    assert "FLAME 2023 is installed." in words(drawn["news"])
    face = drawn["not set up"]
    assert "not set up yet" in words(face) and "Open Head" in face["texts"]
    assert "lifemask.add_face_model" not in buttons(face)


def test_the_question_before_a_download_states_licence_size_and_address(models):
    text = words(models["drawn"]["download"])
    for said in ("Anyone may sell it.", "may be sold", "MIT", "430 MB", "https://github.com/USC-ICT/ICT-FaceKit"):
        assert said in text


def test_the_panel_says_what_may_not_be_sold_and_stops_where_work_is_sold(models):
    drawn = models["drawn"]
    free, sold, missing = (drawn[f"panel, {name}"] for name in ("not for sale", "for sale", "not installed"))
    assert "For research only." in free["texts"] and "Heads made from it may not be sold." in words(free)
    assert button(free, "lifemask.reconstruct")["enabled"]
    assert "FLAME 2023 may not be sold" in words(sold) and not button(sold, "lifemask.reconstruct")["enabled"]
    assert "face model Basel Face Model 2009 is not installed" in words(missing)
    assert not button(missing, "lifemask.reconstruct")["enabled"]
    assert "lifemask.show_preferences" in buttons(missing)
    outdated = drawn["panel, outdated"]
    assert "FLAME 2023 was prepared by another version of Lifemask. Add its file again" in words(outdated)
    assert not button(outdated, "lifemask.reconstruct")["enabled"]
    assert "lifemask.show_preferences" in buttons(outdated)
    drop = drawn["drop, not installed"]
    assert "Basel Face Model 2009 is not installed" in words(drop)
    assert "LIFEMASK_OT_drop_photographs.start" not in drop["properties"]


def test_photographs_are_added_once_and_other_files_are_left_out(listed):
    assert listed["added"] == ["ä b.JPG", "c.png", "d.webp"]
    assert [(Path(path).name, face) for path, face in listed["chosen"]] == [
        ("ä b.JPG", None),
        ("c.png", None),
        ("d.webp", None),
    ]


def test_photographs_are_moved_removed_and_cleared(listed):
    assert listed["moved"] == ["c.png", "ä b.JPG", "d.webp"] and listed["active_after_move"] == 1
    assert listed["removed"] == ["c.png", "d.webp"]
    assert listed["active_after_last"] == 0
    assert listed["cleared"] == [] and not listed["can_remove_from_nothing"]
    assert "The list holds 0 photographs only." in listed["refused"]


def test_dropped_photographs_replace_the_list_or_join_it(listed):
    assert listed["dropped"] == ["c.png", "d.webp"]
    assert listed["dropped_alone"] == ["e.jpg"]
    assert listed["dropped_besides"] == ["e.jpg", "f.jpg"]


def test_blender_offers_the_drop_in_the_3d_view_for_every_kind_of_picture(listed):
    assert listed["takes"] == "lifemask.drop_photographs"
    assert {".jpg", ".jpeg", ".png", ".webp", ".heic"} <= set(listed["extensions"].split(";"))
    assert listed["drop_in"] == {"VIEW_3D": True, "OUTLINER": False}


def test_the_drop_asks_for_little(listed):
    popup = listed["popup"]
    assert popup["texts"][:7] == [*(f"{number}.jpg" for number in range(6)), "and 2 more"]
    assert "LIFEMASK_OT_drop_photographs.keep" in popup["properties"]
    assert "LIFEMASK_OT_drop_photographs.start" in popup["properties"]


@pytest.fixture(scope="module")
def pictures(in_blender, blender_version, tmp_path_factory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp("Bilder mit Ä")
    quarters = Image.new("RGB", (96, 64), (200, 40, 40))
    quarters.paste((40, 200, 40), (48, 0, 96, 32))
    quarters.paste((40, 40, 200), (0, 32, 48, 64))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        quarters.save(folder / f"turned_{orientation}.jpg", exif=exif, quality=95)
    quarters.save(folder / "plain.jpg", quality=95)
    (folder / "broken.png").write_bytes(b"no picture")
    return in_blender(blender_version, "pictures", SCENARIOS, folder=folder), folder


def test_thumbnails_are_upright_whatever_the_camera_noted(pictures):
    measured, folder = pictures
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
        thumbnail = measured[f"upright_{path.stem}"]
        assert (thumbnail.shape[1] > thumbnail.shape[0]) == (upright.width > upright.height), path.name
        for across in (0.25, 0.75):
            for down in (0.25, 0.75):
                seen = thumbnail[int(down * thumbnail.shape[0]), int(across * thumbnail.shape[1]), :3]
                wanted = np.array(upright.getpixel((int(across * upright.width), int(down * upright.height)))) / 255
                assert np.abs(seen - wanted).max() < LARGEST_COLOUR_ERROR, path.name


def test_thumbnails_are_squares_inside_the_picture(pictures):
    measured, _ = pictures
    assert measured["middle"].shape == (40, 40)
    assert measured["middle"][0, 0] == 10, "the middle of a picture 60 wide begins at column 10"
    assert measured["face"].shape == (20, 20)  # 12 pixels wide and high, and a margin
    assert measured["corner"][-1, -1] == 40 * 60 - 1, "a face in the corner stays inside"


def test_thumbnails_come_large_and_as_small_as_a_line_of_text(pictures):
    measured, _ = pictures
    grid = np.arange(40 * 60).reshape(40, 60)[:, :40]
    assert np.allclose(measured["shrunk"], grid.reshape(8, 5, 8, 5).mean(axis=(1, 3)))
    assert np.array_equal(measured["grown"], grid[:4, :4].repeat(2, axis=0).repeat(2, axis=1))
    assert measured["sizes"] == [[64, 64], [32, 32]]
    assert 0.2 < measured["icon_mean"] < 0.8


def test_a_picture_that_cannot_be_read_has_no_thumbnail_and_breaks_nothing(pictures):
    measured, _ = pictures
    assert measured["in_background"] == 0
    assert measured["more"] == [True, False]
    assert measured["icons"] == {"broken": 0, "gone": 0}


def test_disabling_the_addon_takes_everything_away_and_enabling_brings_it_back(in_blender, blender_version):
    measured = in_blender(blender_version, "gone", SCENARIOS)
    classes, entries, has_settings = measured["before"]
    assert "LIFEMASK_PT_lifemask" in classes and entries and has_settings
    assert measured["disabled"] == [[], 0, False]
    assert measured["again"] == measured["before"]
    assert measured["with a relative folder"], "enabled at the start of Blender, whatever is in the preferences"
