"""The last layer in closed form: scatters by their definition, directions that solve Fisher's problem, the command."""

import numpy as np
import pytest
import torch

from backend.embedding_files import read_embedding
from backend.errors import UsageError
from backend.networks.iresnet import IResNet
from backend.weights import load_weights, save_weights
from training import last_layer as closed
from training.data.shards import write_shards


def features(people=40, pictures=5, size=12, seed=0, dtype=torch.float32):
    """Of people who differ in the first three numbers, and pictures that differ most in the fourth."""
    rng = torch.Generator().manual_seed(seed)
    spread = torch.zeros(size)
    spread[:3] = 2.0
    noise = torch.ones(size)
    noise[3] = 30.0
    persons = torch.arange(people).repeat_interleave(pictures)
    rows = (spread * torch.randn(people, size, generator=rng))[persons]
    return (rows + noise * torch.randn(len(persons), size, generator=rng) + 0.5).to(dtype), persons


def scatter_of(rows, persons):
    scatter = closed.Scatter(rows.shape[1], int(persons.max()) + 1)
    for start in range(0, len(rows), 7):  # in blocks that cut people apart
        scatter.add(rows[start : start + 7], persons[start : start + 7])
    return scatter


def test_the_scatter_within_people_is_that_of_the_definition():
    rows, persons = features()
    keep = torch.ones(len(rows), dtype=torch.bool)
    keep[1:5] = False  # one person with a single picture
    keep[7] = False
    rows, persons = rows[keep], persons[keep]
    total, freedom = torch.zeros(rows.shape[1], rows.shape[1]), 0
    for person in persons.unique():
        own = rows[persons == person]
        total += (own - own.mean(0)).T @ (own - own.mean(0))
        freedom += len(own) - 1
    assert torch.allclose(scatter_of(rows, persons).within(), total / freedom, rtol=1e-3, atol=1e-3)
    means, counts = scatter_of(rows, persons).means()
    assert len(means) == 39 and counts[0] == 4


def test_the_directions_have_a_variance_of_one_within_people_but_for_their_weight():
    rows, persons = features(people=400)
    scatter = scatter_of(rows, persons)
    weight, bias = closed.last_layer(scatter, 3, shrinkage=1e-6)
    within = weight @ scatter.within() @ weight.T
    assert torch.allclose(within, within.diagonal().diag(), atol=2e-3)
    assert (within.diagonal() < 1).all() and (within.diagonal() > 0.7).all()  # l / (1 + l), l about 4
    assert torch.allclose(rows @ weight.T + bias, (rows - scatter.means()[0].mean(0)) @ weight.T, atol=1e-3)


def test_what_is_loud_but_no_person_is_not_listened_to():
    rows, persons = features(people=400)
    weight, bias = closed.last_layer(scatter_of(rows, persons), 3)
    assert weight[:, 3].abs().max() < 0.05 * weight[:, :3].abs().max()
    new, who = features(people=60, seed=1)
    found = torch.nn.functional.normalize(new @ weight.T + bias).numpy()
    plain = torch.nn.functional.normalize(new).numpy()
    assert closed.verify(found, who.numpy()).auc > 0.85 > 0.6 > closed.verify(plain, who.numpy()).auc


def test_directions_are_the_generalised_eigenvectors():
    rows, persons = features(people=300, dtype=torch.float32)
    scatter = scatter_of(rows, persons)
    weight, _ = closed.last_layer(scatter, 3, shrinkage=1e-6)
    means = scatter.means()[0]
    between, within = torch.cov(means.T).numpy(), scatter.within().numpy()
    values, vectors = np.linalg.eig(np.linalg.solve(within, between))
    wanted = vectors[:, np.argsort(-values.real)[:3]].real
    for number in range(3):
        found = weight[number].numpy()
        cosine = abs(found @ wanted[:, number]) / np.linalg.norm(found) / np.linalg.norm(wanted[:, number])
        assert cosine > 0.98


def test_fewer_people_than_directions_are_refused():
    with pytest.raises(ValueError, match="3 people with two pictures or more do not make 3 directions"):
        closed.last_layer(scatter_of(*features(people=3)), 3)


def tiny() -> IResNet:
    torch.manual_seed(0)
    return IResNet((1, 1, 1, 1), width=4, embedding=4, size=32)


def test_the_network_answers_with_the_new_layer():
    network = tiny().eval()
    weight, bias = torch.randn(4, network.fc.in_features), torch.randn(4)
    closed.put(network, weight, bias)
    faces = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        wanted = closed.embedded_by_stages(network, faces) @ weight.T + bias
        assert torch.allclose(network(faces), wanted, rtol=1e-3, atol=1e-4)


def test_mirrored_pictures_are_more_of_the_same_person():
    network, image = tiny(), torch.rand(3, 3, 140, 140)
    landmarks = torch.rand(3, 68, 2) * 60 + 40
    batch = {"image": image, "landmarks68": landmarks, "person": torch.tensor([4, 5, 4])}
    plain, people = next(closed.features_of(network, [batch]))
    both, twice = next(closed.features_of(network, [batch], mirrored=True))
    assert people.tolist() == [4, 5, 4] and twice.tolist() == [4, 5, 4, 4, 5, 4]
    assert torch.allclose(both[:3], plain, atol=1e-3) and not torch.allclose(both[3:], plain, atol=1e-3)


def test_too_few_people_are_said_in_a_sentence():
    rows, persons = features(people=3, size=tiny().fc.in_features)
    with pytest.raises(UsageError, match="Give shards of more people"):
        closed.learn(tiny(), [(rows, persons)], 3, 0.1)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shards"
    write_shards(folder, seed=5, first=0, count=64, size=48)
    return folder


@pytest.mark.parametrize("more", [[], ["--mirrored"]])
def test_the_command_writes_weights_with_their_card(more, shards, tmp_path):
    facts = {"network": {"blocks": [1, 1, 1, 1], "width": 4, "embedding": 4, "size": 32}}
    save_weights(tmp_path / "tiny.safetensors", tiny().state_dict(), "identity-embedding", "open_head", facts)
    output = tmp_path / "better.safetensors"
    words = ["--weights", str(tmp_path / "tiny.safetensors"), "--shards", str(shards), "--size", "48"]
    assert closed.main([*words, *more, "--output", str(output)]) == 0
    before, after = tiny(), read_embedding(output)
    assert torch.allclose(after.conv1.weight, before.conv1.weight, atol=1e-3)
    assert not torch.allclose(after.fc.weight, before.fc.weight, atol=1e-3)
    found = load_weights(output, "identity-embedding").facts
    assert found["network"] == facts["network"] and found["last_layer"]["shrinkage"] == closed.SHRINKAGE
    card = output.with_suffix(".md").read_text()
    assert "## Last layer" in card and "learn-last-layer" in card and ("--mirrored" in card) == bool(more)


def test_people_of_several_folders_are_not_taken_for_one_another(shards, tmp_path, monkeypatch):
    """The same folder twice is twice as many people, and the answer is the same."""
    facts = {"network": {"blocks": [1, 1, 1, 1], "width": 4, "embedding": 4, "size": 32}}
    save_weights(tmp_path / "tiny.safetensors", tiny().state_dict(), "identity-embedding", "open_head", facts)
    numbers, learnt = [], closed.learn

    def learn(network, features, people, shrinkage):
        rows = list(features)
        numbers.append((torch.cat([persons for _, persons in rows]).unique().tolist(), people))
        learnt(network, rows, people, shrinkage)

    monkeypatch.setattr(closed, "learn", learn)
    words = [
        "--weights",
        str(tmp_path / "tiny.safetensors"),
        "--size",
        "48",
        "--output",
        str(tmp_path / "w.safetensors"),
    ]
    for folders in ([shards], [shards, shards]):
        assert closed.main([*words, "--shards", *map(str, folders)]) == 0
    (once, people), (twice, all_people) = numbers
    assert all_people == 2 * people and twice == once + [number + people for number in once]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--output", "w.pth"], "should end in .safetensors"),
        (["--output", "w.safetensors", "--shrinkage", "0"], "above 0"),
    ],
)
def test_wrong_words_are_refused(words, sentence, tmp_path):
    with pytest.raises(UsageError, match=sentence):
        closed.main(["--shards", str(tmp_path), *words])
