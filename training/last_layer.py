"""The best last layer of a network that recognises people, without a step of training: `python3 -m training
learn-last-layer`.

Fisher, "The Use of Multiple Measurements in Taxonomic Problems", 1936: of all linear maps of what the last convolution
says, the one whose answers differ most between people for how much they differ between pictures of one person. It is
found in closed form from one look at every picture, and takes the place of `fc`. In a short training that layer, the
largest, is far from its best: see docs/methods/spectral.md for the figures.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from backend.embedding_files import METHOD, SHIPPED, read_embedding
from backend.errors import UsageError
from backend.identity_crop import face_crop
from backend.networks.iresnet import IResNet
from backend.output_folder import check_folder_above
from backend.weights import FOLDER, load_weights, save_weights
from training.data.batches import Batches, SyntheticBatches
from training.evaluation.identity import Verification, verify
from training.runs.folder import commit

logger = logging.getLogger(__name__)

SHRINKAGE = 0.03
"""How much of the scatter within people is replaced by the same one in all directions; see `last_layer`.

Of 0.003, 0.01, 0.03 and 0.1 the best for the shipped network on the people held out of its shards, and on the 88 people
of photos/training_ccby.
"""
BLOCK = 512
BATCH = 64
EXTRA_DIRECTIONS = 32
SAID_EVERY = 50


def embedded_by_stages(network: IResNet, faces: Tensor) -> Tensor:
    """What the last layer is given: (B, 3, 112, 112) float -> (B, F) float."""
    features = network.prelu(network.bn1(network.conv1(network.seen(faces))))
    for stage in range(network.stages):
        features = getattr(network, f"layer{stage + 1}")(features)
    return torch.flatten(network.bn2(features), 1)


class Scatter:
    """Sums over features from which the scatter within and between people follows.

    Args:
        size: F, of the features.
        people: more than the highest number of a person.
    """

    def __init__(self, size: int, people: int):
        self.products = torch.zeros(size, size)
        self.sums, self.counts = torch.zeros(people, size), torch.zeros(people)

    def add(self, features: Tensor, people: Tensor) -> None:
        """(B, F) float and (B,) int64."""
        self.products.addmm_(features.T, features)
        self.sums.index_add_(0, people, features)
        self.counts.index_add_(0, people, torch.ones(len(people)))

    def means(self) -> tuple[Tensor, Tensor]:
        """(P, F) mean features and (P,) counts of the people with two pictures or more."""
        known = self.counts > 1
        return self.sums[known] / self.counts[known, None], self.counts[known]

    def within(self) -> Tensor:
        """(F, F) covariance of the pictures of one person, pooled over people."""
        seen = self.counts > 0
        roots = self.sums[seen] / self.counts[seen, None].sqrt()
        return (self.products - roots.T @ roots) / (self.counts.sum() - seen.sum())


def last_layer(scatter: Scatter, outputs: int, shrinkage: float = SHRINKAGE) -> tuple[Tensor, Tensor]:
    """Fisher's discriminant directions, each weighted by how much of what it says is the person.

    With the scatter W within people and B between them, the directions solve B a = l W a, a W a = 1, the largest l
    first. A direction's answer has the variance 1 within people and l between them; it is multiplied by
    sqrt(l / (1 + l)), so that directions which say little of the person count little in a cosine. W is
    (1 - s) W + s mean(diag W), s the shrinkage: there are more directions than pictures could measure.

    Returns:
        weight (outputs, F), bias (outputs,) float.

    Raises:
        ValueError: fewer people with two pictures or more than outputs.
    """
    means, counts = scatter.means()
    if len(means) <= outputs:
        raise ValueError(f"{len(means)} people with two pictures or more do not make {outputs} directions.")
    within = scatter.within()
    level = within.diagonal().mean()
    within.mul_(1 - shrinkage).diagonal().add_(shrinkage * level)
    root = torch.linalg.cholesky(within)
    middle = means.mean(0)
    white = torch.linalg.solve_triangular(root, (means - middle).T, upper=False) / (len(means) - 1) ** 0.5
    asked = min(outputs + EXTRA_DIRECTIONS, *white.shape)
    directions, sizes, _ = torch.svd_lowrank(white, asked, niter=4)
    # The mean of n pictures still has a share 1 / n of the scatter within.
    between = (sizes[:outputs].square() - (1 / counts).mean()).clamp(min=0)
    found = torch.linalg.solve_triangular(root.T, directions[:, :outputs], upper=True)
    weight = (found * (between / (1 + between)).sqrt()).T.contiguous()
    return weight, -weight @ middle


def put(network: IResNet, weight: Tensor, bias: Tensor) -> None:
    """Gives a network this last layer; its last normalisation becomes none."""
    with torch.no_grad():
        network.fc.weight.copy_(weight)
        network.fc.bias.copy_(bias)
        network.features.running_mean.zero_()
        network.features.running_var.fill_(1 - network.features.eps)
        network.features.weight.fill_(1)
        network.features.bias.zero_()


def features_of(
    network: IResNet, batches: Iterable[dict[str, Tensor]], *, mirrored: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the last layer is given of every batch of `training.data.batches`.

    Args:
        network: is looked through as in use.
        batches: of B pictures.
        mirrored: whether each picture is looked at the other way round, too, as one more of the same person.

    Yields:
        (B, F) float and (B,) int64, who is shown; (2 B, F) and (2 B,) with mirrored pictures.
    """
    network = network.eval().to(memory_format=torch.channels_last)
    for batch in batches:
        with torch.inference_mode():
            faces, people = face_crop(batch["image"], batch["landmarks68"]), batch["person"]
            if mirrored:
                faces, people = torch.cat([faces, faces.flip(-1)]), people.repeat(2)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                features = embedded_by_stages(network, faces.contiguous(memory_format=torch.channels_last))
        yield features.float().clone(), people


def numbered_from(first: int, features: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same with higher numbers of people, so that those of several folders are not taken for one another."""
    for row, persons in features:
        yield row, persons + first


def learn(network: IResNet, features: Iterable[tuple[Tensor, Tensor]], people: int, shrinkage: float) -> None:
    """Looks at all pictures once and gives the network its new last layer.

    Args:
        network: is changed.
        features: as `features_of`.
        people: more than the highest number of a person.
        shrinkage: as `last_layer`.

    Raises:
        UsageError: too few people.
    """
    scatter = Scatter(network.fc.in_features, people)
    rows: list[tuple[Tensor, Tensor]] = []
    for number, row in enumerate(features):
        rows.append(row)
        if sum(len(persons) for _, persons in rows) >= BLOCK:
            scatter.add(*(torch.cat(part) for part in zip(*rows, strict=True)))
            rows = []
        if number % SAID_EVERY == SAID_EVERY - 1:
            logger.info("%d batches seen", number + 1)
    if rows:
        scatter.add(*(torch.cat(part) for part in zip(*rows, strict=True)))
    try:
        put(network, *last_layer(scatter, network.fc.out_features, shrinkage))
    except ValueError as error:
        raise UsageError(
            "too-few-people", f"{error} Give shards of more people (python3 -m training synthesise)."
        ) from error


def figures(network: IResNet, features: Iterable[tuple[Tensor, Tensor]]) -> Verification:
    """How well people who were not learnt from are told apart, by the network's last layer as it is."""
    found, people = [], []
    for row, persons in features:
        with torch.inference_mode():
            found.append(torch.nn.functional.normalize(network.features(network.fc(row))))
        people.append(persons)
    return verify(torch.cat(found).numpy(), torch.cat(people).numpy())


def main(arguments: list[str]) -> int:
    """`python3 -m training learn-last-layer`."""
    parser = argparse.ArgumentParser(prog="python3 -m training learn-last-layer", description=__doc__)
    parser.add_argument("--weights", default=SHIPPED, metavar="FILE", help=f"of {METHOD}; default {SHIPPED}")
    parser.add_argument(
        "--shards", type=Path, required=True, nargs="+", metavar="FOLDER", help="of synthetic people, others in each"
    )
    parser.add_argument("--size", type=int, default=128, help="side of the pictures in the shards, pixels")
    parser.add_argument("--shrinkage", type=float, default=SHRINKAGE, help="0 to 1, see the code")
    parser.add_argument("--mirrored", action="store_true", help="look at mirrored pictures too, see the docs")
    parser.add_argument("--threads", type=int, default=0, help="of torch's calculations; 0 leaves it to torch")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="NAME.safetensors")
    options = parser.parse_args(arguments)
    if options.output.suffix != ".safetensors":
        raise UsageError("bad-output", f"{options.output} should end in .safetensors.")
    if not 0 < options.shrinkage <= 1:
        raise UsageError("bad-shrinkage", f"--shrinkage should be above 0 and at most 1, not {options.shrinkage}.")
    check_folder_above(options.output)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.threads:
        torch.set_num_threads(options.threads)
    weights, network = load_weights(options.weights, METHOD), read_embedding(options.weights)
    learnt_from, held_out, people = [], [], 0
    for folder in options.shards:
        data = SyntheticBatches(folder, options.size, BATCH)
        data.setup()
        in_order = [Batches(part, BATCH, shuffled=False, vary=False) for part in (data.training, data.validation)]
        learnt_from.append(numbered_from(people, features_of(network, in_order[0], mirrored=options.mirrored)))
        held_out += numbered_from(people, features_of(network, in_order[1]))
        people += int(data.validation.folder.persons.max()) + 1
    before = figures(network, held_out)
    about = {
        "shrinkage": options.shrinkage,
        "mirrored": options.mirrored,
        "shards": " and ".join(folder.name for folder in options.shards),
        "commit": commit(),
    }
    learn(network, chain.from_iterable(learnt_from), people, options.shrinkage)
    save(network, weights, options.output, before, figures(network, held_out), about)
    print(options.output)
    return 0


def save(network, weights, path: Path, before: Verification, after: Verification, about: dict) -> None:
    """The weights with their new last layer, and their model card: the one they had, and what was done since."""
    facts = {**about, "held_out_before": asdict(before), "held_out": asdict(after)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, network.state_dict(), METHOD, weights.face_model, {**weights.facts, "last_layer": facts})
    card = FOLDER / f"{weights.name}.md"
    text = card.read_text("utf-8") if card.is_file() else f"# {path.stem}\n"
    path.with_suffix(".md").write_text(text.split("\n## Last layer")[0].rstrip() + "\n" + section(facts), "utf-8")


def section(facts: dict) -> str:
    """Of the model card."""
    before, after = facts["held_out_before"], facts["held_out"]
    rows = [
        f"| {name.replace('_', ' ')} | {before[name]:.4g} | {after[name]:.4g} |"
        for name in ("accuracy", "auc", "same", "different")
    ]
    return "\n".join(
        [
            "",
            "## Last layer",
            "",
            "`fc` was then computed in closed form from the pictures of its training: `python3 -m training "
            f"learn-last-layer --shards {facts['shards']} --shrinkage {facts['shrinkage']:g}"
            f"{' --mirrored' * facts['mirrored']}`, commit {facts['commit']}.",
            "All pairs of pictures of the people held out:",
            "",
            "| | trained | computed |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )
