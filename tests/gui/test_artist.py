"""What an artist does with the mouse, from an empty Blender to an exported head, in the window of a real Blender."""

import pytest

pytestmark = [pytest.mark.gui, pytest.mark.slow]

LONGEST_BLOCK_SECONDS = 0.1
CANCEL_SECONDS = 1.5


def test_an_artist_sets_up_drops_photographs_cancels_creates_exports_and_updates(in_window, window_blender):
    run = in_window(window_blender, "artist.py")
    for name, value in run.figures.items():
        print(f"Blender {window_blender}: {name} {value}")
    assert run.figures["cancel_to_idle_seconds"] < CANCEL_SECONDS
    assert run.figures["longest_block_seconds"] < LONGEST_BLOCK_SECONDS


def test_face_models_are_listed_downloaded_removed_and_chosen_with_the_mouse(in_window, window_blender):
    run = in_window(window_blender, "face_models.py", project=True)
    for name in ("face models.png", "choice.png", "not installed.png", "work is sold.png"):
        assert (run.folder / name).stat().st_size > 20_000


def test_the_pictures_of_the_readme_can_be_taken_again(in_window):
    run = in_window("5.2", "pictures.py")
    for name in ("panel.png", "head.png", "camera.png"):
        assert (run.folder / name).stat().st_size > 50_000
