"""Chebyshev filters against the definition, the published sizes, and the three traps of the published code."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from backend.networks.chebyshev import ChebyshevConvolution, SparseMatrix, scaled_laplacian
from backend.networks.mesh_autoencoder import MeshAutoencoder
from backend.networks.mesh_levels import MeshLevels, mesh_levels

FLAME_SIZES = (5023, 1256, 314, 79, 20)


def bumpy_grid(count: int = 9) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.meshgrid(*[np.linspace(-0.1, 0.1, count)] * 2, indexing="ij")
    points = np.stack([x, y, 0.02 * np.sin(40 * x) * np.cos(30 * y)], axis=-1).reshape(-1, 3)
    corner = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).reshape(-1)
    first = np.stack([corner, corner + 1, corner + count + 1], axis=1)
    return points, np.concatenate([first, np.stack([corner, corner + count + 1, corner + count], axis=1)])


@pytest.fixture(scope="module")
def levels() -> MeshLevels:
    return mesh_levels(*bumpy_grid(), (2, 2, 2, 2))


def strips(sizes: tuple[int, ...]) -> MeshLevels:
    """Levels of given sizes whose shapes mean nothing."""
    faces = [np.stack([np.arange(size - 2), np.arange(1, size - 1), np.arange(2, size)], axis=1) for size in sizes]
    selection = [np.arange(size) for size in sizes[1:]]
    corners = [np.zeros((size, 3), np.int64) for size in sizes[:-1]]
    shares = [np.full((size, 3), 1 / 3, np.float32) for size in sizes[:-1]]
    points = np.zeros((sizes[0], 3), np.float32)
    return MeshLevels(points, tuple(faces), tuple(selection), tuple(corners), tuple(shares))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def convolution_by_hand(features, weight, bias, faces):
    """One vertex at a time: sum over k of T_k(x) W_k, with T of -A / sqrt(d_i d_j)."""
    batch, vertices, channels = features.shape
    neighbours = [set() for _ in range(vertices)]
    for a, b, c in faces.tolist():
        neighbours[a] |= {b, c}
        neighbours[b] |= {a, c}
        neighbours[c] |= {a, b}

    def laplacian(values):
        result = torch.zeros_like(values)
        for vertex, ring in enumerate(neighbours):
            for other in ring:
                result[:, vertex] -= values[:, other] / math.sqrt(len(ring) * len(neighbours[other]))
        return result

    terms = [features, laplacian(features)]
    while len(terms) < len(weight):
        terms.append(2 * laplacian(terms[-1]) - terms[-2])
    answer = torch.zeros(batch, vertices, weight.shape[2]) + (0 if bias is None else bias)
    for term, matrix in zip(terms, weight, strict=False):
        for vertex in range(vertices):
            answer[:, vertex] += term[:, vertex] @ matrix
    return answer


@pytest.mark.parametrize("order", [1, 2, 6])
@pytest.mark.parametrize("channels", [(3, 5), (5, 3)], ids=["widens", "narrows"])
def test_the_sparse_filter_equals_the_definition_without_any_graph_library(order, channels):
    """Trap (c): nothing but a product with a sparse matrix."""
    points, faces = bumpy_grid(5)
    filters = ChebyshevConvolution(*channels, order)
    nn.init.normal_(filters.bias)
    features = torch.randn(2, len(points), channels[0])
    found = filters(features, scaled_laplacian(faces, len(points)))
    assert torch.allclose(found, convolution_by_hand(features, filters.weight, filters.bias, faces), atol=1e-5)


def test_the_scaled_laplacian_has_its_eigenvalues_between_minus_one_and_one_and_a_vertex_alone_is_zero():
    points, faces = bumpy_grid(5)
    matrix = scaled_laplacian(faces, len(points) + 1)
    dense = matrix(torch.eye(len(points) + 1))
    assert torch.allclose(dense, dense.T)
    values = torch.linalg.eigvalsh(dense)
    assert values.min() >= -1 - 1e-5 and values.max() <= 1 + 1e-5
    assert values.min() == pytest.approx(-1, abs=1e-5)
    assert not dense[-1].any()


def test_gradients_of_a_sparse_product_that_is_not_symmetric():
    matrix = SparseMatrix(np.array([0, 2, 2]), np.array([1, 0, 3]), np.array([0.5, -2.0, 3.0]), (3, 4)).double()
    dense = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(matrix, (dense,))
    assert torch.allclose(matrix(dense)[2], -2 * dense[0] + 3 * dense[3])


@pytest.mark.parametrize("channels", [(2, 3), (3, 2)], ids=["widens", "narrows"])
def test_gradients_of_a_filter(channels):
    points, faces = bumpy_grid(3)
    laplacian = scaled_laplacian(faces, len(points)).double()
    filters = ChebyshevConvolution(*channels, 4).double()
    features = torch.randn(2, len(points), channels[0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda values, weight: torch.func.functional_call(filters, {"weight": weight}, (values, laplacian)),
        (features, filters.weight),
    )


def test_parameters_are_as_many_as_published():
    """30,056 in the checkpoint of the authors; 30,059 with a bias in the last convolution, as the port has it."""
    original = MeshAutoencoder(strips(FLAME_SIZES))
    encoder = count(original.encoder) + count(original.to_code)
    decoder = count(original.from_code) + count(original.decoder) + count(original.last)
    assert (encoder, decoder, count(original)) == (11_640, 18_416, 30_056)
    assert count(MeshAutoencoder(strips(FLAME_SIZES), latent_activation="relu")) == 30_056
    assert count(MeshAutoencoder(strips(FLAME_SIZES), activation="elu", last_bias=True)) == 30_059
    assert original.sizes == FLAME_SIZES and original.to_code.in_features == 640


def test_a_state_holds_parameters_and_the_normalisation_alone(levels):
    network = MeshAutoencoder(levels)
    state = network.state_dict()
    assert sum(value.numel() for value in state.values()) == count(network) + 2 * 3 * levels.sizes[0]
    again = MeshAutoencoder(levels)
    assert not again.is_normalised
    network.normalise_as(torch.zeros(81, 3), torch.full((81, 3), 0.01))
    again.load_state_dict(network.state_dict())
    assert again.is_normalised


def test_the_code_is_linear_so_that_two_heads_can_be_each_others_opposite(levels):
    """Trap (a): with ReLU codes have no negative parts; cosines are never below 0 and undefined where all are 0."""
    torch.manual_seed(0)
    heads = torch.from_numpy(levels.vertices) + 0.01 * torch.randn(64, 81, 3)
    linear, clipped = MeshAutoencoder(levels), MeshAutoencoder(levels, latent_activation="relu")
    clipped.load_state_dict(linear.state_dict())
    for network in (linear, clipped):
        network.normalise_as(torch.from_numpy(levels.vertices), torch.full((81, 3), 0.01))
        network.to_code.bias.data.zero_()
    codes = linear.encode(heads)
    assert (codes < 0).any() and (codes > 0).any()
    assert torch.equal(clipped.encode(heads), codes.clamp(min=0))
    with torch.no_grad():
        for network in (linear, clipped):
            network.to_code.bias.fill_(-100)
    assert not clipped.encode(heads).any(), "a code without direction"
    assert linear.encode(heads).norm(dim=1).min() > 0
    with pytest.raises(ValueError, match="linear"):
        clipped.whiten_codes(codes)


def test_the_last_convolution_reaches_neighbours_everywhere_on_the_finest_level(levels):
    """Trap (b): with the coarsest level's neighbours all but a few vertices would be on their own."""
    torch.manual_seed(0)
    network = MeshAutoencoder(levels)
    seen = []
    network.last.by_vertex = lambda features, laplacian: (
        seen.append((features, laplacian)) or type(network.last).by_vertex(network.last, features, laplacian)
    )
    network.decode(torch.randn(1, 8))
    (features, laplacian), *_ = seen
    assert laplacian is network.laplacians[0] and laplacian.shape == (81, 81)
    features = features.detach().requires_grad_()
    middle_of_grid = 40
    type(network.last).by_vertex(network.last, features, laplacian)[middle_of_grid].sum().backward()
    reached = features.grad.abs().sum(dim=(1, 2)) > 0
    assert reached.sum() > 60  # five edges away, of 81 vertices
    for vertex in range(81):  # and no vertex is without neighbours
        assert (network.laplacians[0].index_forth[0] == vertex).sum() >= 2
    with pytest.raises(ValueError, match="vertices"):
        network.last.by_vertex(features, network.laplacians[-1])


def test_every_level_is_convolved_with_its_own_neighbours(levels):
    network, used = MeshAutoencoder(levels), []
    for number, laplacian in enumerate(network.laplacians):
        laplacian.register_forward_hook(lambda *_, number=number: used.append(number))
    codes = network.encode(torch.from_numpy(levels.vertices)[None])
    assert used == [level for level in range(4) for _ in range(5)]
    used.clear()
    network.decode(codes)
    assert used == [level for level in (3, 2, 1, 0, 0) for _ in range(5)]


def test_a_batch_is_encoded_as_its_heads_one_by_one_and_comes_back_in_metres(levels):
    network = MeshAutoencoder(levels)
    heads = torch.from_numpy(levels.vertices) + 0.01 * torch.randn(3, 81, 3)
    codes = network.encode(heads)
    assert codes.shape == (3, 8) and network.decode(codes).shape == (3, 81, 3)
    assert torch.allclose(codes, torch.cat([network.encode(head[None]) for head in heads]), atol=1e-5)
    assert torch.allclose(network.in_metres(network.normalised(heads)), heads, atol=1e-6)
    with pytest.raises(ValueError, match="81 vertices"):
        network.encode(heads[:, :-1])


def test_a_head_of_mean_and_deviation_is_normalised_to_one(levels):
    network, mean = MeshAutoencoder(levels), torch.from_numpy(levels.vertices)
    deviation = torch.rand(81, 3) / 100 + 1e-3
    network.normalise_as(mean, deviation)
    assert torch.allclose(network.normalised((mean + deviation)[None]), torch.ones(1, 81, 3), atol=1e-3)
    network.normalise_as(mean, torch.zeros(81, 3))
    assert torch.isfinite(network.normalised(mean[None] + 1e-6)).all()


def test_gradients_reach_the_heads_that_are_encoded(levels):
    network = MeshAutoencoder(levels, activation="elu").double()
    heads = (torch.from_numpy(levels.vertices).double() + 0.01 * torch.randn(2, 81, 3)).requires_grad_()
    assert torch.autograd.gradcheck(network.encode, (heads,), fast_mode=True)
    assert torch.autograd.gradcheck(network.decode, (network.encode(heads).detach().requires_grad_(),), fast_mode=True)


def test_half_precision_does_not_touch_lengths(levels):
    network = MeshAutoencoder(levels)
    heads = torch.from_numpy(levels.vertices) + 0.01 * torch.randn(2, 81, 3)
    wanted = network(heads)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(heads)
    assert found.dtype == torch.float32 and torch.equal(found, wanted)


def test_whitened_codes_decode_to_the_same_heads(levels):
    torch.manual_seed(1)
    network = MeshAutoencoder(levels, activation="elu")
    heads = torch.from_numpy(levels.vertices) + 0.05 * torch.randn(400, 81, 3)
    before = network(heads)
    network.whiten_codes(network.encode(heads))
    codes = network.encode(heads)
    assert codes.mean(dim=0).abs().max() < 1e-3
    assert torch.allclose(codes.T @ codes / len(codes), torch.eye(8), atol=1e-2)
    assert torch.allclose(network(heads), before, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card")
def test_a_graphics_card_gives_the_same_codes_and_gradients(levels):
    network = MeshAutoencoder(levels, activation="elu")
    heads = torch.from_numpy(levels.vertices) + 0.01 * torch.randn(3, 81, 3)
    results = []
    for device in ("cpu", "cuda"):
        network.to(device).zero_grad()
        network(heads.to(device)).square().mean().backward()
        results.append((network.encode(heads.to(device)).cpu(), network.encoder[0].weight.grad.cpu().clone()))
    for first, second in zip(*results, strict=True):
        assert torch.allclose(first, second, rtol=1e-3, atol=1e-5)
