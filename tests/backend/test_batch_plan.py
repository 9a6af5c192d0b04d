"""Who is in a batch: folders, folders of people, CSV files, and names that every file system takes."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.batch_plan import LONGEST_NAME_BYTES, read_plan, safe_name
from backend.errors import UsageError


def test_each_photograph_of_a_folder_is_a_person_and_other_files_are_named(tmp_path: Path):
    for name in ("李小龙.tif", "Béla.PNG", "Ada.jpg", "notes.txt", ".hidden.jpg", "Thumbs.db"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder.jpg").mkdir()
    plan = read_plan(tmp_path)
    assert [person.name for person in plan.people] == ["Ada", "Béla", "李小龙"]
    assert all(len(person.photographs) == 1 for person in plan.people)
    (note,) = plan.notes
    assert "notes.txt" in note and "Thumbs.db" in note and ".hidden" not in note


def test_with_per_person_each_folder_is_a_person_and_the_output_is_nobody(tmp_path: Path):
    for name in (
        "Ada/front.jpg",
        "Ada/left.JPG",
        "Ada/readme.md",
        "Bo/one.png",
        "Cy/film.mp4",
        "heads/Ada/photo_1.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "loose.jpg").write_text("")
    plan = read_plan(tmp_path, per_person=True, output=tmp_path / "heads")
    assert [(person.name, [path.name for path in person.photographs]) for person in plan.people] == [
        ("Ada", ["front.jpg", "left.JPG"]),
        ("Bo", ["one.png"]),
        ("Cy", []),
    ]
    assert any("loose.jpg" in note for note in plan.notes)


def test_a_csv_names_people_photographs_and_faces(tmp_path: Path):
    text = "Name;Photograph;Face\r\nAda;a/1.jpg | a/2.jpg;\r\n\r\nBo;b.jpg;2\r\nAda;/elsewhere/3.jpg;1\r\n"
    (tmp_path / "people.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    ada, bo = read_plan(tmp_path / "people.csv").people
    assert ada.photographs == (tmp_path / "a/1.jpg", tmp_path / "a/2.jpg", Path("/elsewhere/3.jpg"))
    assert ada.faces == (None, None, 1)
    assert (bo.name, bo.photographs, bo.faces) == ("Bo", (tmp_path / "b.jpg",), (2,))


WRONG_TABLES = {
    "other columns": ("person,file\nAda,a.jpg\n", "columns name and photograph, and there are: person, file"),
    "empty": ("", "there are: none"),
    "nobody": ("name,photograph\n", "it names nobody"),
    "no name": ("name,photograph\n ,a.jpg\n", "line 2 has no name"),
    "too many fields": ("name,photograph\nAda,a.jpg,b.jpg\n", "line 2 has more fields"),
    "face zero": ("name,photograph,face\nAda,a.jpg,0\n", "face 0"),
    "face in words": ("name,photograph,face\nAda,a.jpg,left\n", "face left"),
    "a column twice": ("name,photograph,photograph\nAda,a.jpg,b.jpg\n", "a column is there twice"),
    "both columns": ("name,photograph,photographs\nAda,a.jpg,b.jpg\n", "a column is there twice"),
    "torn": ('name,photograph\nAda,"a.jpg\n', "cannot be read as a table"),
    "a picture": (b"\xff\xd8\xff\xe0\x00", "is not a text file"),
}


@pytest.mark.parametrize("case", WRONG_TABLES)
def test_a_wrong_csv_is_told_in_a_sentence_that_shows_the_form(case: str, tmp_path: Path):
    content, words = WRONG_TABLES[case]
    path = tmp_path / "people.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as error:
        read_plan(path)
    assert words in error.value.sentence and "name,photograph" in error.value.sentence


def test_an_input_that_holds_nobody_is_refused_with_what_to_do(tmp_path: Path):
    (tmp_path / "Ada").mkdir()
    with pytest.raises(UsageError, match="no photograph in"):
        read_plan(tmp_path)
    (tmp_path / "Ada" / "a.jpg").write_text("")
    with pytest.raises(UsageError, match="--per-person"):
        read_plan(tmp_path)
    with pytest.raises(UsageError, match="no sub-folder"):
        read_plan(tmp_path / "Ada", per_person=True)
    with pytest.raises(UsageError, match="one photograph"):
        read_plan(tmp_path / "Ada" / "a.jpg")
    with pytest.raises(UsageError, match="There is no folder"):
        read_plan(tmp_path / "nowhere")


def test_a_name_may_begin_with_a_tilde_and_a_path_in_the_home_folder(tmp_path: Path):
    (tmp_path / "people.csv").write_text("name,photograph\nAda,~copy of ada.jpg|~/ada.jpg\n")
    (ada,) = read_plan(tmp_path / "people.csv").people
    assert ada.photographs == (tmp_path / "~copy of ada.jpg", Path.home() / "ada.jpg")


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_an_entry_that_cannot_be_looked_at_is_a_person_whose_turn_comes(tmp_path: Path):
    (tmp_path / "Ada.jpg").write_text("")
    (tmp_path / "Bo.jpg").symlink_to("x" * 300)  # a longer name than file systems know
    assert [person.name for person in read_plan(tmp_path).people] == ["Ada", "Bo"]
    with pytest.raises(UsageError, match="There is no folder"):
        read_plan(tmp_path / ("x" * 300))


@given(st.text(st.characters(exclude_categories=())))  # with the surrogates that stand for bytes that are no text
def test_any_text_becomes_a_folder_name_that_every_file_system_takes(text: str):
    name = safe_name(text)
    assert name and len(name.encode()) <= LONGEST_NAME_BYTES
    assert not set(name) & set('<>:"/\\|?*\0\n') and name[-1] not in ". " and name[0] != "."
    assert name.split(".")[0].lower() not in ("con", "nul", "aux", "prn", "com1")
    assert safe_name(name) == name


def test_people_of_the_same_name_get_folders_of_their_own_even_where_case_does_not_count(tmp_path: Path):
    for name in ("ada.jpg", "ada.png", "Ada.tif"):
        (tmp_path / name).write_text("")
    names = [person.name for person in read_plan(tmp_path).people]
    assert len({name.casefold() for name in names}) == 3
