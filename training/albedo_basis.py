"""Learns the mean and the variation of people's skin: `python3 -m training learn-albedo`.

Principal components of the colours of many synthetic skins at the vertices of the open head. The same seed and count
give the same components, up to the rounding of the linear algebra.
"""

import argparse
import logging
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from backend.face_models.albedo import ASSET, read_albedo_basis
from backend.face_models.open_head import OpenHead
from training.data.scene import sample
from training.data.skin import SkinMaker

log = logging.getLogger(__name__)
COMPONENTS = 40
TEXELS = 512
BLUR_TEXELS = 1.5
"""A vertex stands for the skin round it, not for one hair of a brow."""


def vertex_colours(texture: np.ndarray, vertex_texels: np.ndarray) -> np.ndarray:
    """Linear colours of the vertices.

    Args:
        texture: (S, S, 3) float32 linear.
        vertex_texels: (V, 2) float32, `SkinFields.vertex_texels`.

    Returns:
        (V, 3) float32.
    """
    blurred = cv2.GaussianBlur(texture, (0, 0), BLUR_TEXELS * len(texture) / 512)
    return sample(blurred, vertex_texels)


def principal_components(samples: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, basis and the share of the variance that it explains.

    Args:
        samples: (N, D) float32, N > count.
        count: of components.

    Returns:
        (D,) and (count, D) float32, rows orthogonal, as long as one standard deviation, the largest first; the
        sum of each is positive, so that the sign is fixed.
    """
    mean = samples.mean(axis=0)
    away = samples - mean
    values, vectors = np.linalg.eigh((away @ away.T).astype(np.float64))  # N x N is far smaller than D x D
    order = np.argsort(values)[::-1][:count]
    basis = (vectors[:, order].T.astype(np.float32) @ away) / np.sqrt(len(samples) - 1)
    basis *= np.where(basis.sum(axis=1, keepdims=True) < 0, -1, 1)
    return mean, basis, float(values[order].sum() / values.sum())


def quantised(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A basis (A, V, 3) as int8 (A, V, 3) and steps (A,) float32."""
    step = (np.abs(basis).max(axis=(1, 2)) / 127).astype(np.float32)
    return np.round(basis / step[:, None, None]).astype(np.int8), step


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python3 -m training learn-albedo", description=__doc__)
    parser.add_argument("--count", type=int, default=1500, help="how many skins (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the skins (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ASSET, help="the file to write (default: the project's own)")
    options = parser.parse_args(arguments)
    if options.count <= COMPONENTS:
        parser.error(f"--count must be larger than the number of components, {COMPONENTS}")
    maker = SkinMaker(OpenHead(), TEXELS)
    samples = np.empty((options.count, len(maker.fields.model.mean), 3), np.float32)
    for number in tqdm(range(options.count), unit="skin"):
        skin = maker.random(np.random.default_rng([options.seed, number]))
        samples[number] = vertex_colours(skin.albedo, maker.fields.vertex_texels)
    mean, basis, share = principal_components(samples.reshape(options.count, -1), COMPONENTS)
    basis_q, step = quantised(basis.reshape(COMPONENTS, -1, 3))
    np.savez_compressed(options.output, mean=mean.reshape(-1, 3), basis_q=basis_q, basis_step=step)
    learnt = read_albedo_basis(options.output)
    error = np.abs(learnt.colours(learnt.nearest(samples[:100])) - samples[:100]).mean()
    print(
        f"{options.output.name}: {COMPONENTS} components explain {share:.1%} of the variance of {options.count} skins; "
        f"mean error of the first 100: {error:.4f} of full white."
    )
    return 0
