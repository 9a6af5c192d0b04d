"""The losses against loops that state their mathematics, and their gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.identity_crop import FACE_SIZE, TEMPLATE, face_crop, five_of_68
from backend.rendering.camera import Camera
from training.losses import supervised
from training.losses.additive_angular_margin import AdditiveAngularMargin
from training.losses.landmark import landmark_loss, landmark_weights
from training.losses.local_dynamic import (
    EYELID_PAIRS,
    LIP_PAIRS,
    local_dynamic_loss,
    pair_weights,
    relative_gaps,
    widths_of_pairs,
)
from training.losses.perceptual import perceptual_loss
from training.losses.photometric import photo_loss
from training.losses.regularisers import coefficient_loss, light_loss, reflectance_loss

SIZE = 128
seeds = st.integers(0, 2**31 - 1)


def random(seed, *shape, scale=1.0, dtype=torch.float32):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def faces(seed, batch=3, dtype=torch.float32):
    """(B, 68, 2) landmarks of a face-like arrangement in a crop of 128 pixels."""
    return 64 + random(seed, batch, 68, 2, scale=20.0, dtype=dtype)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_landmark_loss_is_the_weighted_mean_of_squared_pixels_of_224(seed):
    predicted, wanted = faces(seed), faces(seed + 1)
    total = 0.0
    for one, other in zip(predicted.numpy(), wanted.numpy(), strict=True):
        for point in range(68):
            weight = 1.5 if 36 <= point else 1.0  # eyes are 36 to 47, the mouth 48 to 67
            total += weight * float(((one[point] - other[point]) ** 2).sum()) * (224 / SIZE) ** 2
    assert landmark_loss(predicted, wanted, SIZE).item() == pytest.approx(total / (3 * 68), rel=1e-4)


def test_landmark_weights_stress_eyes_and_mouth_only():
    assert landmark_weights()[:36].tolist() == [1.0] * 36
    assert landmark_weights()[36:].tolist() == [1.5] * 32


def test_landmark_loss_does_not_depend_on_the_size_of_the_crop():
    predicted, wanted = faces(0), faces(1)
    larger = landmark_loss(predicted * 2, wanted * 2, SIZE * 2)
    assert larger.item() == pytest.approx(landmark_loss(predicted, wanted, SIZE).item(), rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from([0, 1]), st.sampled_from([0, 1]))
def test_local_dynamic_loss_equals_equation_5(seed, eyes, mouth):
    predicted, wanted = faces(seed), faces(seed + 1)
    corners = {**dict.fromkeys(EYELID_PAIRS[:2], (36, 39)), **dict.fromkeys(EYELID_PAIRS[2:], (42, 45))}
    total = 0.0
    for one, other in zip(predicted.numpy(), wanted.numpy(), strict=True):
        for pair in EYELID_PAIRS + LIP_PAIRS:
            weight = eyes if pair in EYELID_PAIRS else mouth
            first, second = corners.get(pair, (48, 54))
            width = max(np.linalg.norm(other[first] - other[second]), 0.05 * SIZE)
            gaps = [np.linalg.norm(points[pair[0]] - points[pair[1]]) / width for points in (one, other)]
            total += weight * abs(gaps[0] - gaps[1])
    found = local_dynamic_loss(predicted, wanted, pair_weights(eyes, mouth), SIZE)
    assert found.item() == pytest.approx(total / 3, rel=1e-4, abs=1e-6)


def test_local_dynamic_loss_sees_a_lid_and_not_where_the_face_is():
    wanted = faces(0, 1)
    moved = wanted + torch.tensor([7.0, -3.0])
    assert local_dynamic_loss(moved, wanted, pair_weights(1, 1), SIZE).item() == pytest.approx(0, abs=1e-5)
    shut = wanted.clone()
    shut[:, 37] = shut[:, 41]
    assert local_dynamic_loss(shut, wanted, pair_weights(1, 0), SIZE).item() > 0.01
    assert local_dynamic_loss(shut, wanted, pair_weights(0, 1), SIZE).item() == 0


def test_local_dynamic_loss_has_a_finite_gradient_where_lids_meet():
    wanted = faces(0, 1)
    shut = wanted.clone()
    shut[:, 37] = shut[:, 41]
    shut.requires_grad_(True)
    local_dynamic_loss(shut, wanted, pair_weights(1, 1), SIZE).backward()
    assert torch.isfinite(shut.grad).all()


def test_local_dynamic_gradient():
    wanted = faces(0, 1, torch.float64)
    predicted = faces(1, 1, torch.float64).requires_grad_(True)
    weights = pair_weights(1, 1).double()
    assert torch.autograd.gradcheck(lambda points: local_dynamic_loss(points, wanted, weights, SIZE), predicted)


def test_gaps_of_meshes_do_not_depend_on_their_size():
    points = random(0, 2, 68, 3)
    first = relative_gaps(points, widths_of_pairs(points))
    assert torch.allclose(relative_gaps(3 * points, widths_of_pairs(3 * points)), first, atol=1e-4)


def test_photo_loss_is_the_mean_distance_over_the_mask():
    rendered, image = random(0, 2, 3, 4, 5).sigmoid(), random(1, 2, 3, 4, 5).sigmoid()
    mask = (random(2, 2, 4, 5) > 0).float()
    total = 0.0
    for picture in range(2):
        for row in range(4):
            for column in range(5):
                difference = rendered[picture, :, row, column] - image[picture, :, row, column]
                total += float(mask[picture, row, column]) * math.sqrt(float((difference**2).sum()) + 1e-6)
    assert photo_loss(rendered, image, mask).item() == pytest.approx(total / float(mask.sum()), rel=1e-5)


def test_photo_loss_of_an_empty_mask_is_zero_and_passes_no_gradient():
    rendered = random(0, 1, 3, 4, 4).requires_grad_(True)
    loss = photo_loss(rendered, rendered.detach() + 1, torch.zeros(1, 4, 4))
    loss.backward()
    assert loss.item() == 0 and not rendered.grad.any()


def test_photo_loss_has_a_finite_gradient_where_pictures_agree():
    rendered = random(0, 1, 3, 4, 4).requires_grad_(True)
    photo_loss(rendered, rendered.detach(), torch.ones(1, 4, 4)).backward()
    assert torch.isfinite(rendered.grad).all()


@settings(max_examples=15, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(0.5, 2.0), st.floats(-10, 10), st.floats(-10, 10))
def test_the_face_crop_brings_the_five_points_to_the_template(roll, scale, right, down):
    template = np.array(TEMPLATE)
    turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    points = (template - template.mean(0)) @ turn.T + [100 + right, 100 + down]
    landmarks = np.zeros((1, 68, 2), np.float32)
    for targets, place in (((36, 39), 0), ((42, 45), 1), ((30,), 2), ((48,), 3), ((54,), 4)):
        landmarks[0, list(targets)] = points[place]
    # A picture whose colours are its pixel coordinates shows where every pixel of the crop comes from.
    y, x = torch.meshgrid(torch.arange(200) + 0.5, torch.arange(200) + 0.5, indexing="ij")
    crop = face_crop(torch.stack([x / 200, y / 200, 0 * x])[None], torch.from_numpy(landmarks))
    assert crop.shape == (1, 3, FACE_SIZE, FACE_SIZE)
    for place in range(5):
        u, v = (template[place]).astype(int)
        found = (crop[0, :2, v, u] + 1) / 2 * 200
        wanted = (np.array([u, v]) + 0.5 - template.mean(0)) @ turn.T + [100 + right, 100 + down]
        assert np.allclose(found.numpy(), wanted, atol=0.05)
    assert np.allclose(five_of_68(torch.from_numpy(landmarks))[0].numpy(), points, atol=1e-3)


def test_perceptual_loss_is_one_minus_the_cosine():
    first, second = random(0, 4, 16), random(1, 4, 16)
    cosines = [float(a @ b / a.norm() / b.norm()) for a, b in zip(first, second, strict=True)]
    assert perceptual_loss(first, second).item() == pytest.approx(1 - np.mean(cosines), abs=1e-5)
    assert perceptual_loss(first, 3 * first).item() == pytest.approx(0, abs=1e-5)


def test_regularisers_have_deep3ds_shares():
    identity, expression, albedo = random(0, 2, 5), random(1, 2, 4), random(2, 2, 3)
    wanted = np.mean(
        [
            float((a**2).sum() + 0.8 * (b**2).sum() + 0.017 * (c**2).sum())
            for a, b, c in zip(identity, expression, albedo, strict=True)
        ]
    )
    assert coefficient_loss(identity, expression, albedo).item() == pytest.approx(wanted, rel=1e-5)


def test_white_light_and_even_skin_cost_nothing():
    white = random(0, 2, 9, 1).expand(2, 9, 3)
    assert light_loss(white).item() == pytest.approx(0, abs=1e-10)
    assert light_loss(random(0, 2, 9, 3)).item() > 0.1
    even = torch.full((1, 6, 3), 0.4)
    even[0, 5] = 9.0  # no skin
    assert reflectance_loss(even, torch.arange(5)).item() == pytest.approx(0, abs=1e-10)
    assert reflectance_loss(even, torch.arange(6)).item() > 1


def test_reflectance_sums_the_colours_and_averages_the_skin():
    albedo = torch.rand(2, 7, 3, generator=torch.Generator().manual_seed(1))
    skin = [0, 2, 3, 6]
    by_hand = 0.0
    for picture in albedo:
        middle = picture[skin].mean(0)
        by_hand += sum(float((picture[vertex] - middle).square().sum()) for vertex in skin) / len(skin)
    assert reflectance_loss(albedo, torch.tensor(skin)).item() == pytest.approx(by_hand / 2, rel=1e-5)


def test_the_gram_matrix_gives_the_distance_of_the_vertices():
    offsets, difference = random(0, 4, 10, 3, scale=0.001), random(1, 4)
    moved = torch.einsum("k,kvc->vc", difference, offsets) * 1000
    found = difference @ supervised.shape_gram(offsets) @ difference
    assert found.item() == pytest.approx(moved.square().sum(1).mean().item(), rel=1e-4)


def test_pictures_without_truth_do_not_count():
    predicted, truth = random(0, 3, 5), random(1, 3, 5)
    known = torch.tensor([True, False, True])
    wanted = (predicted - truth).square().mean(1)[known].mean()
    assert supervised.code_loss(predicted, truth, known).item() == pytest.approx(wanted.item(), rel=1e-5)
    assert supervised.code_loss(predicted, truth, torch.zeros(3, dtype=torch.bool)).item() == 0


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_the_pose_of_the_crop_shows_the_head_where_it_is_and_as_large(seed):
    generator = np.random.default_rng(seed)
    camera = Camera.orbit(*generator.uniform(-0.5, 0.5, 2), generator.uniform(0.5, 1.5), 128, focal_pixels=500)
    camera = camera.with_pose(camera.rotation, camera.translation + [*generator.uniform(-0.03, 0.03, 2), 0])
    pose = [torch.from_numpy(values)[None].float() for values in (camera.rotation, camera.translation)]
    rotation, translation = supervised.crop_pose(
        *pose, torch.from_numpy(camera.intrinsics)[None].float(), (580.0, 580.0, 64.0, 64.0)
    )
    other = Camera(580, 580, 64, 64, 128, 128, rotation[0].numpy(), translation[0].numpy())
    ring = 0.02 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    assert np.allclose(other.project(np.zeros(3)), camera.project(np.zeros(3)), atol=1e-2)
    assert np.allclose(other.project(ring), camera.project(ring), atol=0.8)
    assert np.allclose(rotation[0].numpy() @ rotation[0].numpy().T, np.eye(3), atol=1e-5)


def test_a_turn_by_a_degree_moves_the_face_as_far_as_it_is_from_the_middle():
    angle = math.radians(1.0)
    turned = torch.tensor([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1.0]])
    loss = supervised.rotation_loss(turned[None], torch.eye(3)[None], torch.ones(1, dtype=torch.bool))
    assert loss.item() == pytest.approx((70 * angle) ** 2, rel=1e-3)


def test_arcface_equals_its_equation():
    loss = AdditiveAngularMargin(6, 5, scale=16.0, margin=0.4)
    embeddings, people = random(3, 4, 6), torch.tensor([0, 4, 2, 2])
    total = 0.0
    for embedding, person in zip(embeddings, people.tolist(), strict=True):
        angles = [math.acos(float(embedding @ w / embedding.norm() / w.norm())) for w in loss.weight.detach()]
        logits = [16.0 * math.cos(angle + (0.4 if n == person else 0)) for n, angle in enumerate(angles)]
        total += math.log(sum(math.exp(value) for value in logits)) - logits[person]
    assert loss(embeddings, people).item() == pytest.approx(total / 4, rel=1e-4)


def test_arcface_still_pulls_an_embedding_that_is_opposite_to_its_person():
    loss = AdditiveAngularMargin(4, 3)
    embedding = (-loss.weight[1:2].detach() + 0.001).requires_grad_(True)
    loss(embedding, torch.tensor([1])).backward()
    assert torch.isfinite(embedding.grad).all() and embedding.grad.abs().sum() > 0
