"""The losses of DF-MVR against loops that state their mathematics, their gradients and what must not change them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from backend.alignment import similarity as least_squares_similarity
from training.data.landmarks101 import BFM_VERTICES, SEVEN, SEVEN_OF_68, landmarks68_of_101
from training.losses import deep_fusion, landmarks3d

seeds = st.integers(0, 2**31 - 1)
ALL = torch.ones(2, 3, dtype=torch.bool)


def random(seed, *shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def a_face(seed=0, count=101, dtype=torch.float64):
    """(1, P, 3) points about as far apart as those of a face, in millimetres."""
    return random(seed, 1, count, 3, dtype=dtype) * torch.tensor([45.0, 45.0, 20.0], dtype=dtype)


def test_the_photo_loss_is_equation_2():
    rendered, image = random(0, 2, 3, 3, 4, 5).sigmoid(), random(1, 2, 3, 3, 4, 5).sigmoid()
    weights = torch.where(random(2, 2, 3, 4, 5) > 0, 254, 32).to(torch.uint8)
    coverage = random(3, 2, 3, 4, 5).sigmoid()
    by_hand = []
    for b in range(2):
        for view in range(3):
            above = below = 0.0
            for row in range(4):
                for column in range(5):
                    m = float(weights[b, view, row, column]) / 255 * float(coverage[b, view, row, column])
                    pixels = rendered[b, view, :, row, column] - image[b, view, :, row, column]
                    above, below = above + m * math.sqrt(float(pixels.square().sum()) + 1e-6), below + m
            by_hand.append(above / below)
    found = deep_fusion.photo_loss(rendered, image, weights, coverage, ALL)
    assert found.item() == pytest.approx(np.mean(by_hand), rel=1e-4)


def test_a_feature_weighs_eight_times_the_background():
    image = torch.zeros(1, 1, 3, 8, 8)
    weights = torch.full((1, 1, 8, 8), 32.0)
    weights[..., 0] = 254.0
    losses = []
    for column in (0, 1):
        rendered = image.clone()
        rendered[..., column] = 1.0
        covered, there = torch.ones(1, 1, 8, 8), torch.ones(1, 1, dtype=torch.bool)
        losses.append(deep_fusion.photo_loss(rendered, image, weights, covered, there).item())
    assert losses[0] / losses[1] == pytest.approx(254 / 32, rel=0.02)


def test_a_view_that_is_missing_counts_for_nothing_and_gets_no_gradient():
    rendered = random(0, 2, 3, 3, 6, 6).sigmoid().requires_grad_(True)
    image, weights, coverage = (
        random(1, 2, 3, 3, 6, 6).sigmoid(),
        torch.full((2, 3, 6, 6), 128.0),
        torch.ones(2, 3, 6, 6),
    )
    present = torch.tensor([[True, True, False], [False, True, False]])
    loss = deep_fusion.photo_loss(rendered, image, weights, coverage, present)
    each = [deep_fusion.photo_loss(*(t[b : b + 1, v : v + 1] for t in (rendered, image, weights, coverage, ALL)))
            for b, v in ((0, 0), (0, 1), (1, 1))]  # fmt: skip
    assert loss.item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-5)
    loss.backward()
    assert not rendered.grad[~present].any() and rendered.grad[present].abs().sum() > 0
    points, wanted = random(2, 2, 3, 68, 2), random(3, 2, 3, 68, 2)
    apart = wanted + 1000 * (~present)[..., None, None]
    same = deep_fusion.landmark_loss(points, wanted, present, 224)
    assert deep_fusion.landmark_loss(points, apart, present, 224).item() == pytest.approx(same.item(), rel=1e-6)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    assert deep_fusion.photo_loss(rendered, image, weights, coverage, nothing).item() == 0
    assert deep_fusion.landmark_loss(points, wanted, nothing, 224).item() == 0


def test_a_face_gains_nothing_by_covering_less():
    coverage = torch.full((1, 1, 6, 6), 0.5, requires_grad=True)
    rendered = random(0, 1, 1, 3, 6, 6).sigmoid().requires_grad_(True)
    there = torch.ones(1, 1, dtype=torch.bool)
    image, weights = torch.zeros(1, 1, 3, 6, 6), torch.full((1, 1, 6, 6), 128.0)
    deep_fusion.photo_loss(rendered, image, weights, coverage, there).backward()
    assert coverage.grad is None and torch.isfinite(rendered.grad).all()


def test_the_mask_loss_is_the_cross_entropy_of_the_views_present():
    logits, labels = random(0, 2, 3, 10, 4, 5), torch.randint(0, 10, (2, 3, 4, 5), generator=torch.manual_seed(1))
    present = torch.tensor([[True, False, True], [False, False, True]])
    by_hand = []
    for b, view in zip(*np.nonzero(present.numpy()), strict=True):
        chances = logits[b, view].softmax(0)
        picked = [-math.log(float(chances[labels[b, view, y, x], y, x])) for y in range(4) for x in range(5)]
        by_hand.append(np.mean(picked))
    found = deep_fusion.mask_loss(logits, labels.to(torch.uint8), present)
    assert found.item() == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_the_gradient_of_the_mask_loss_reaches_the_render_through_the_frozen_network():
    parsing = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 10, 1))
    parsing.eval().requires_grad_(False)
    rendered = random(0, 2, 3, 3, 8, 8).sigmoid().requires_grad_(True)
    logits = parsing(rendered.flatten(0, 1)).unflatten(0, (2, 3))
    labels = torch.randint(0, 10, (2, 3, 8, 8), generator=torch.manual_seed(1))
    loss = deep_fusion.mask_loss(logits, labels, ALL)
    loss.backward()
    assert (rendered.grad.flatten(2).abs().sum(2) > 0).all()
    with torch.no_grad():
        better = parsing((rendered - 5 * rendered.grad).flatten(0, 1)).unflatten(0, (2, 3))
    assert deep_fusion.mask_loss(better, labels, ALL) < loss
    assert all(parameter.grad is None for parameter in parsing.parameters())


@settings(max_examples=10, deadline=None)
@given(seeds, st.sampled_from(["published", "paper"]))
def test_the_landmark_loss_is_the_weighted_distance_in_pixels_of_224(seed, weighting):
    predicted, wanted = 30 * random(seed, 2, 3, 68, 2), 30 * random(seed + 1, 2, 3, 68, 2)
    total = 0.0
    for one, other in zip(predicted.reshape(-1, 68, 2).numpy(), wanted.reshape(-1, 68, 2).numpy(), strict=True):
        for point in range(68):
            stressed = point in (28, 29, 30) or point >= 60 or (weighting == "published" and 36 <= point <= 47)
            total += (20 if stressed else 1) * np.linalg.norm(one[point] - other[point]) * 224 / 112
    found = deep_fusion.landmark_loss(predicted, wanted, ALL, 112, weighting)
    assert found.item() == pytest.approx(total / (6 * 68), rel=1e-4)


def test_landmarks_that_are_right_cost_nothing_and_have_a_finite_gradient():
    points = random(0, 2, 3, 68, 2).requires_grad_(True)
    loss = deep_fusion.landmark_loss(points, points.detach(), ALL, 224)
    loss.backward()
    assert loss.item() < 1e-2 and torch.isfinite(points.grad).all()


def turned(points, seed, scale=3.0):
    rotation = torch.from_numpy(Rotation.random(random_state=seed).as_matrix()).to(points)
    return scale * points @ rotation.T + torch.tensor([5.0, -70.0, 900.0]).to(points)


def test_3d_landmarks_in_another_place_pose_and_unit_cost_nothing():
    points = a_face()
    assert landmarks3d.aligned_landmark_loss(turned(points, 1, 0.01), points, SEVEN).item() < 1e-5
    assert landmarks3d.aligned_landmark_loss(points.float(), turned(points, 2).float(), SEVEN).item() < 1e-2


def test_3d_landmarks_are_compared_in_millimetres_after_the_alignment_by_seven():
    points = a_face()
    off = points.clone()
    other = next(row for row in range(101) if row not in SEVEN)
    off[0, other] += torch.tensor([3.0, 0.0, 4.0])
    found = landmarks3d.aligned_landmark_loss(turned(off, 3, 0.01), points, SEVEN)
    assert found.item() == pytest.approx(5 / 101, rel=1e-3)  # the seven, and so the alignment, are untouched


def test_the_alignment_is_the_least_squares_similarity():
    predicted, wanted = a_face(1), turned(a_face(1) + 4 * random(5, 1, 101, 3, dtype=torch.float64), 4)
    weights = random(6, 1, 101, dtype=torch.float64).abs()
    scale, rotation, shift = landmarks3d.similarity(predicted, wanted, weights)
    own = least_squares_similarity(predicted[0].numpy(), wanted[0].numpy(), weights[0].numpy())
    assert scale.item() == pytest.approx(own[0])
    assert np.allclose(rotation[0].numpy(), own[1]) and np.allclose(shift[0].numpy(), own[2])


def test_the_alignment_never_mirrors():
    points = a_face()
    _, rotation, _ = landmarks3d.similarity(points, points * torch.tensor([-1.0, 1.0, 1.0]), torch.ones(1, 101))
    assert torch.linalg.det(rotation).item() == pytest.approx(1)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_gradient_goes_through_the_alignment(mirrored):
    flip = torch.tensor([-1.0 if mirrored else 1.0, 1.0, 1.0], dtype=torch.float64)
    predicted = (turned(a_face(1, 12), 1, 0.1) + random(2, 1, 12, 3, dtype=torch.float64)).requires_grad_(True)
    wanted = a_face(1, 12) * flip
    assert torch.autograd.gradcheck(
        lambda points: landmarks3d.aligned_landmark_loss(points, wanted, range(7)), predicted, rtol=1e-4
    )


def test_the_gradient_is_finite_where_two_singular_values_are_alike():
    """Four points of a square: x and y spread alike, so that the gradient of the singular vectors is infinite."""
    square = torch.tensor([[[1.0, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0], [0, 0, 1]]])
    predicted = square.clone().requires_grad_(True)
    wanted = square.clone()
    wanted[0, 4] += torch.tensor([0.5, 0.2, 0.0])
    landmarks3d.aligned_landmark_loss(predicted, wanted, range(4)).backward()
    assert torch.isfinite(predicted.grad).all() and 0 < predicted.grad.abs().max() < 1


def test_points_that_are_unknown_count_for_nothing():
    predicted = torch.cat([a_face(0), a_face(1), a_face(2)]).requires_grad_(True)
    wanted = predicted.detach() + random(3, 3, 101, 3, dtype=torch.float64)
    known = torch.ones(3, 101, dtype=torch.bool)
    known[0, 90:] = known[0, 47] = known[2, list(SEVEN[2:])] = False  # the third has two anchors left
    spoilt = torch.where(known[..., None], wanted, torch.nan)
    loss = landmarks3d.aligned_landmark_loss(predicted, spoilt, SEVEN, known)
    loss.backward()
    rows = [row for row in range(90) if row != 47]
    chosen = [rows.index(row) for row in SEVEN if row in rows]
    first = landmarks3d.aligned_landmark_loss(predicted[:1, rows], wanted[:1, rows], chosen)
    second = landmarks3d.aligned_landmark_loss(predicted[1:2], wanted[1:2], SEVEN)
    assert loss.item() == pytest.approx((first + second).item() / 2)
    assert torch.isfinite(predicted.grad).all() and not predicted.grad[2].any()
    assert landmarks3d.aligned_landmark_loss(predicted, wanted, SEVEN, torch.zeros_like(known)).item() == 0


def test_a_model_with_68_landmarks_learns_from_the_101_points():
    points = a_face(0)[0].numpy()
    wanted, known = landmarks68_of_101(points)
    assert known.sum() == 60 and not known[[37, 38, 40, 41, 43, 44, 46, 47]].any()
    assert np.array_equal(wanted[list(SEVEN_OF_68)], points[list(SEVEN)])
    predicted = torch.from_numpy(np.where(known[:, None], wanted, 123.0))[None]
    loss = landmarks3d.aligned_landmark_loss(
        turned(predicted, 7, 0.001), torch.from_numpy(wanted)[None], SEVEN_OF_68, torch.from_numpy(known)[None]
    )
    assert loss.item() < 1e-5
    with pytest.raises(ValueError, match="101"):
        landmarks68_of_101(points[:100])


def test_the_published_vertices_of_the_seven_are_those_of_the_published_evaluation():
    assert len(BFM_VERTICES) == 101
    assert [BFM_VERTICES[row] for row in SEVEN] == [2215, 5828, 10455, 14065, 8192, 5522, 10795]
