"""`evaluate lids` on any face model: what is asked of eyes that are meshes of their own, and of those that are not."""

import pytest

from backend.face_models import RegisteredHead, load_face_model
from training.evaluation import lids


def eye(uncovered=0.0, deep=-0.3):
    weights = lids.BLINK_WEIGHTS
    return lids.LidFigures(
        100,
        {weight: 1.0 - weight * (1.0 - uncovered) for weight in weights},
        {weight: deep for weight in weights},
        {weight: weight for weight in weights},
        {},
    )


def test_lids_inside_a_ball_that_nobody_sees_do_no_harm():
    assert not lids.meets_requirement([eye(deep=0.5)])
    assert lids.meets_requirement([eye(deep=0.5)], ball_is_seen=False)


@pytest.mark.parametrize("ball_is_seen", [True, False])
def test_an_eye_that_stays_open_is_never_good(ball_is_seen):
    assert lids.meets_requirement([eye()], ball_is_seen)
    assert not lids.meets_requirement([eye(), eye(uncovered=0.05)], ball_is_seen)


def test_eyes_in_one_piece_with_the_lids_are_told_from_eyeballs(prepared_bfm):
    assert lids.has_eyeballs(load_face_model("open_head"))
    assert not lids.has_eyeballs(RegisteredHead.load(prepared_bfm))


def test_the_command_measures_a_model_by_name(capsys):
    assert lids.main(["--face-model", "open_head", "--people", "1", "--mixed", "0"]) == 0
    assert "open_head, 1 people" in capsys.readouterr().out
