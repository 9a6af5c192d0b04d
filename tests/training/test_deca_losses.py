"""DECA's picture terms against loops that say what its published code computes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.losses.deca import (
    code_size,
    eye_distance,
    landmark_distance,
    landmark_weights,
    lip_distance,
    photometric_distance,
)

seeds = st.integers(0, 10_000)


def random(seed, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def weight_by_hand(point):
    if point in (30, 31, 35, 48, 54):
        return 3.0
    if point in (5, 6, 10, 11):
        return 2.0
    return 1.5 if 27 <= point <= 35 or point >= 48 else 1.0


def test_the_published_weights():
    assert landmark_weights().tolist() == [weight_by_hand(point) for point in range(68)]


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_landmark_distance_equals_its_definition(seed):
    predicted, wanted, visible = random(seed, 2, 68, 2), random(seed + 1, 2, 68, 2), random(seed + 2, 2, 68) > 0
    total = weights = 0.0
    for picture in range(2):
        for point in range(68):
            if visible[picture, point]:
                difference = predicted[picture, point] - wanted[picture, point]
                total += weight_by_hand(point) * (abs(float(difference[0])) + abs(float(difference[1])))
                weights += weight_by_hand(point)
    found = landmark_distance(predicted, wanted, visible)
    assert found.item() == pytest.approx(total / (2 * weights), rel=1e-6)


def test_a_landmark_that_is_not_seen_counts_for_nothing():
    wanted, visible = random(0, 1, 68, 2), torch.ones(1, 68, dtype=torch.bool)
    moved = wanted.clone()
    moved[:, 30] += 1
    assert landmark_distance(moved, wanted, visible) > 0
    visible[:, 30] = False
    assert landmark_distance(moved, wanted, visible) == 0


def test_a_picture_without_any_visible_landmark_has_no_loss():
    predicted = random(0, 1, 68, 2).requires_grad_(True)
    loss = landmark_distance(predicted, random(1, 1, 68, 2), torch.zeros(1, 68, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and not predicted.grad.any()


@pytest.mark.parametrize(
    ("distance", "pairs"),
    [
        (eye_distance, ((37, 41), (38, 40), (43, 47), (44, 46))),
        (lip_distance, ((61, 67), (62, 66), (63, 65))),
    ],
)
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_gaps_equal_their_definition(distance, pairs, seed):
    predicted, wanted = random(seed, 3, 68, 2), random(seed + 1, 3, 68, 2)
    total = 0.0
    for one, other in zip(predicted.numpy(), wanted.numpy(), strict=True):
        for upper, lower in pairs:
            total += abs(math.dist(one[upper], one[lower]) - math.dist(other[upper], other[lower]))
    assert distance(predicted, wanted).item() == pytest.approx(total / (3 * len(pairs)), rel=1e-6)


@pytest.mark.parametrize("distance", [eye_distance, lip_distance])
def test_gaps_do_not_see_where_a_face_is_and_have_a_finite_gradient_where_they_close(distance):
    wanted = random(0, 1, 68, 2)
    assert distance(wanted + 0.3, wanted).item() == pytest.approx(0, abs=1e-9)
    shut = torch.zeros(1, 68, 2, dtype=torch.float64, requires_grad=True)
    distance(shut, wanted).backward()
    assert torch.isfinite(shut.grad).all()


def test_photometric_distance_equals_its_definition():
    rendered, image, mask = random(0, 2, 3, 4, 5), random(1, 2, 3, 4, 5), random(2, 2, 4, 5).sigmoid()
    total = 0.0
    for picture in range(2):
        for colour in range(3):
            for row in range(4):
                for column in range(5):
                    place = picture, colour, row, column
                    total += float(mask[picture, row, column]) * abs(float(rendered[place] - image[place]))
    assert photometric_distance(rendered, image, mask).item() == pytest.approx(total / (2 * 3 * 4 * 5), rel=1e-9)


def test_an_empty_mask_passes_no_gradient():
    rendered = random(0, 1, 3, 4, 4).requires_grad_(True)
    photometric_distance(rendered, random(1, 1, 3, 4, 4), torch.zeros(1, 4, 4)).backward()
    assert not rendered.grad.any()


def test_the_size_of_codes_is_summed_over_the_batch():
    codes = random(0, 3, 5)
    assert code_size(codes).item() == pytest.approx(sum(float(value) ** 2 for value in codes.flatten()) / 2)
    assert code_size(torch.cat([codes, codes])).item() == pytest.approx(2 * code_size(codes).item())


@pytest.mark.parametrize("loss", [eye_distance, lip_distance, lambda a, b: landmark_distance(a, b, torch.ones(2, 68))])
def test_gradients(loss):
    wanted, predicted = random(1, 2, 68, 2), random(0, 2, 68, 2).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda points: loss(points, wanted), predicted)


def test_gradients_of_pictures_and_codes():
    image, mask = random(1, 1, 3, 3, 3), random(2, 1, 3, 3).sigmoid()
    rendered = random(0, 1, 3, 3, 3).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda picture: photometric_distance(picture, image, mask), rendered)
    assert torch.autograd.gradcheck(code_size, random(3, 2, 4).requires_grad_(True))
