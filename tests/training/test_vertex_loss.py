"""The vertex loss against its definition, and whose vertices weigh how much."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.losses.vertices import vertex_loss, vertex_weights

COUNT = 7


def heads(seed, count=2):
    return torch.randn(count, COUNT, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.1


def regions(**members):
    names = ("face", "eyes", "nose", "forehead", "mouth", "eyeballs", "ears")
    return {name: np.isin(np.arange(COUNT), members.get(name, [])) for name in names}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_loss_equals_its_definition(seed):
    predicted, wanted, weights = heads(seed), heads(seed + 1), torch.rand(COUNT, dtype=torch.float64)
    for head, found in enumerate(vertex_loss(predicted, wanted, weights)):
        total = 0.0
        for vertex in range(COUNT):
            for axis in range(3):
                total += weights[vertex] * abs(predicted[head, vertex, axis] - wanted[head, vertex, axis])
        assert found.item() == pytest.approx(1000 * float(total) / (3 * COUNT), rel=1e-9)


def test_a_head_a_millimetre_off_on_every_axis_has_the_loss_one():
    head = heads(0)
    assert vertex_loss(head + 1e-3, head, torch.ones(COUNT)).tolist() == pytest.approx([1.0, 1.0])


def test_gradient():
    wanted, weights = heads(1), torch.rand(COUNT, dtype=torch.float64)
    predicted = heads(0).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda head: vertex_loss(head, wanted, weights), predicted)


def test_the_face_weighs_150_and_eyeballs_and_ears_next_to_nothing():
    weights = vertex_weights(COUNT, regions(face=[0, 1, 2], eyes=[1], ears=[2, 3], eyeballs=[4]))
    assert weights.tolist() == pytest.approx([150, 150, 0.01, 0.01, 0.01, 1, 1])


def test_the_papers_regions_are_eyes_nose_forehead_and_mouth():
    chosen = regions(face=[0, 1, 2, 3, 5], eyes=[0], nose=[1], forehead=[2], mouth=[3], eyeballs=[4])
    assert vertex_weights(COUNT, chosen, "features").tolist() == pytest.approx([50, 50, 50, 50, 0.01, 1, 1])


def test_even_weights_need_no_regions():
    assert vertex_weights(COUNT, {}, "even").tolist() == [1.0] * COUNT


def test_a_region_that_is_missing_is_named():
    with pytest.raises(KeyError, match="nose"):
        vertex_weights(COUNT, {"eyes": np.zeros(COUNT, bool)}, "features")
