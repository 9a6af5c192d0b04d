"""Photographs in any order go to the slots that their yaw says, and what is missing or doubtful is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.view_order import order_views

angles = st.lists(st.floats(-120, 120), min_size=1, max_size=6)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("yaw", [(45, 0, -45), (25, 15, -40), (80, -12, -20), (31, 8, -16)])
def test_three_views_go_to_their_slots_in_whatever_order_they_come(order, yaw):
    found = order_views([yaw[place] for place in order])
    assert [order[place] for place in found.slots] == [0, 1, 2]
    assert not found.rest and not found.warnings and found.refusal is None


def test_of_more_than_three_those_nearest_to_45_and_0_degrees_are_chosen_and_the_rest_is_kept():
    found = order_views([70, 12, 40, -3, -20, -50, 100])
    assert found.slots == (2, 3, 5) and found.rest == (0, 1, 4, 6) and not found.warnings


def test_one_photograph_stands_in_the_slot_of_its_side_without_a_warning():
    assert order_views([4]).slots == (None, 0, None)
    assert order_views([50]).slots == (0, None, None)
    assert order_views([-50]).slots == (None, None, 0)
    assert not order_views([50]).warnings


def test_as_many_slots_as_can_be_are_filled():
    assert order_views([28, 20, -50]).slots == (0, 1, 2)  # 28 degrees could be the front, too
    assert order_views([20, -20]).slots.count(None) == 1


def remarks(*yaw, names=None):
    found = order_views(yaw, names)
    return [remark.code for remark in found.warnings], " ".join(remark.sentence for remark in found.warnings)


def test_three_views_from_the_front_are_said():
    codes, sentence = remarks(-3, 2, 5)
    assert codes == ["only-front"] and "All 3" in sentence and "-3, 2 and 5 degrees" in sentence
    assert order_views([-3, 2, 5]).slots == (None, 1, None)


@pytest.mark.parametrize(("yaw", "side", "other"), [((0, 40, 48), "left", "right"), ((2, -40, -48), "right", "left")])
def test_two_views_of_one_side_may_be_a_mirrored_one(yaw, side, other):
    codes, sentence = remarks(*yaw, names=["front.jpg", "a.jpg", "b.jpg"])
    assert codes == ["same-side"]
    assert f"a.jpg and b.jpg both show the {side} side" in sentence and f"none the {other} side" in sentence
    assert "mirrored" in sentence
    assert len(order_views(yaw).rest) == 1


@pytest.mark.parametrize(
    ("yaw", "code"), [((45, 0), "no-right"), ((0, -45), "no-left"), ((45, -45), "no-front"), ((50, 28), "no-right")]
)
def test_a_view_that_is_missing_is_said(yaw, code):
    codes, sentence = remarks(*yaw)
    assert codes == [code] and "Add one" in sentence


def test_photographs_of_the_back_of_the_head_are_refused():
    found = order_views([130, -170], ["a.jpg", "b.jpg"])
    assert found.slots == (None, None, None) and found.rest == (0, 1)
    assert found.refusal.code == "no-face-shown" and "a.jpg and b.jpg are turned away" in found.refusal.sentence


@given(angles)
def test_every_photograph_has_one_place_and_a_missing_slot_is_never_silent(yaw):
    found = order_views(yaw)
    placed = [number for number in found.slots if number is not None]
    assert sorted([*placed, *found.rest]) == list(range(len(yaw)))
    assert (found.refusal is None) == bool(placed)
    if len(yaw) > 1 and 0 < len(placed) < 3:
        assert found.warnings
    left, front, right = (yaw[number] if number is not None else None for number in found.slots)
    assert (left is None or left >= 15) and (right is None or right <= -15) and (front is None or abs(front) <= 30)


@given(angles)
def test_a_mirrored_set_is_as_good(yaw):
    sums = []
    for sign in (1, -1):
        slots = order_views([sign * value for value in yaw]).slots
        off = [
            abs(sign * yaw[place] - best) for place, best in zip(slots, (45, 0, -45), strict=True) if place is not None
        ]
        sums.append((len(off), sum(off)))
    assert sums[0] == pytest.approx(sums[1])


@pytest.mark.parametrize("yaw", [[], [float("nan")], [0.0, float("inf")]])
def test_yaw_that_is_no_number_is_an_error(yaw):
    with pytest.raises(ValueError, match="yaw"):
        order_views(yaw)
