"""The tables of skin detail: `evaluate attribute-detail --table normals|riggability|ablation|photometric`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from backend.errors import UsageError
from backend.methods.attribute_detail import METHOD, AttributeDetail
from backend.wrinkle_groups import WRINKLE_GROUPS
from training.ablate import read_results
from training.evaluation.ablation_tables import Results, check_complete, mean_figures, spread
from training.evaluation.detail_figures import KnownFaces, measured_faces

LOWER_PERCENT = 15.0
"""By how much normals with detail should be nearer to the truth than those without."""
ABLATION_ROWS = {
    "full": "all of it",
    "without-drconv": "one region (without DRConv)",
    "without-adversarial": "without adversarial loss",
    "without-annealing": "without annealing",
    "without-swapping": "without swapped attributes",
    "poster": "network as in the poster",
}
PAPER_CLAIMS = {
    "without-drconv": "regions help",
    "without-adversarial": "the adversarial loss helps",
    "without-annealing": "annealing helps",
}
SHIPPED_PRESET = "open-small"

Table = tuple[str, dict[str, Any]]
"""In words, and its figures."""


def normals_table(method: AttributeDetail, count: int) -> Table:
    """Normal angular error, coarse against refined, with true heads and with fitted ones.

    Args:
        method: with the network.
        count: of people.

    Raises:
        UsageError: nobody is seen well enough.
    """
    from training.evaluation.detail_fitted import fitted_errors

    faces = KnownFaces(method.layout, count)
    true, fitted = [], []
    for measured in tqdm(measured_faces(method, faces), total=count, desc="people", mininterval=2):
        true.append(measured.seen())
        if errors := fitted_errors(method, faces.model, measured.known):
            fitted.append(errors)
    if not fitted:
        raise UsageError("too-few-people", "No head could be fitted. Measure more people: --people.")
    return normals_words(true, fitted)


def normals_words(true: Sequence[dict[str, float]], fitted: Sequence[dict[str, float]]) -> Table:
    """The table of normals.

    Args:
        true: a `MeasuredFace.seen` for each person.
        fitted: a `fitted_errors` for each person.
    """
    rows = {"true heads": mean_figures(true), "fitted heads": mean_figures(fitted)}
    people = {"true heads": len(true), "fitted heads": len(fitted)}
    lines = [f"{'normal angular error':22} {'people':>6} {'coarse':>8} {'refined':>8} {'lower by':>9}"]
    for name, row in rows.items():
        row["lower_percent"] = lower_percent(row["coarse_degrees"], row["refined_degrees"])
        row["people"] = people[name]
        lines.append(
            f"{name:22} {people[name]:6d} {row['coarse_degrees']:8.2f} {row['refined_degrees']:8.2f} "
            f"{row['lower_percent']:7.1f} %   at least {LOWER_PERCENT:.0f} %: "
            f"{'reached' if row['lower_percent'] >= LOWER_PERCENT else 'NOT reached'}"
        )
    row = rows["fitted heads"]
    row["perfect_lower_percent"] = lower_percent(row["coarse_degrees"], row["perfect_degrees"])
    lines += [
        f"Fitted heads with the true detail: {row['perfect_degrees']:.2f}, {row['perfect_lower_percent']:.1f} % lower, "
        "the most that detail can do; the rest is the coarse shape's. True heads with the true detail, in the same "
        f"pixels: {row['true_head_degrees']:.2f}.",
        "Degrees; synthetic people whom no training has seen, pictures of 512 pixels. True heads: over the texels of "
        "the face that the picture shows. Fitted heads: over the pixels of skin and nose that are trusted; the fit "
        "knows the picture and its focal length.",
    ]
    return "\n".join(lines), rows


def riggability_table(method: AttributeDetail, count: int) -> Table:
    """Normals in expressions that the picture does not show, by group of keys. Arguments as of `normals_table`."""
    faces = KnownFaces(method.layout, count)
    people = [
        {group: errors for group in WRINKLE_GROUPS if (errors := measured.unseen(group))}
        for measured in tqdm(measured_faces(method, faces), total=count, desc="people", mininterval=2)
    ]
    return riggability_words(people)


def riggability_words(people: Sequence[Mapping[str, dict[str, float]]]) -> Table:
    """The table of expressions that were not seen.

    Args:
        people: for each one, by the name of the group, a `MeasuredFace.unseen` that is not empty.
    """
    by_group = {group: [person[group] for person in people if group in person] for group in WRINKLE_GROUPS}
    by_group["all groups"] = [mean_figures(list(person.values())) for person in people if person]
    if not by_group["all groups"]:
        raise UsageError("too-few-people", "Nobody wrinkles enough to be measured. Measure more people: --people.")
    lines = [f"{'expression not shown':22} {'people':>6} {'coarse':>8} {'copied':>8} {'network':>8} {'lower by':>10}"]
    figures = {}
    for group, rows in by_group.items():
        if not rows:
            lines.append(f"{group:22} {0:6d}   (wrinkles next to nothing)")
            continue
        row = figures[group] = mean_figures(rows) | {"people": float(len(rows))}
        gain = lower_percent(row["unseen_copied_degrees"], row["unseen_degrees"])
        lines.append(
            f"{group:22} {len(rows):6d} {row['unseen_coarse_degrees']:8.2f} {row['unseen_copied_degrees']:8.2f} "
            f"{row['unseen_degrees']:8.2f} {gain:10.1f} %"
        )
    row = figures["all groups"]
    verdict = "reached" if row["unseen_degrees"] < row["unseen_copied_degrees"] else "NOT reached"
    lines += [
        f"The network is to be better than copying the map of the picture: {verdict}.",
        "Degrees between normals, synthetic people, true heads, all keys of a group at 1, over the texels that wrinkle "
        "in it. Coarse: no detail. Copied: the network's detail of the picture's own expression.",
    ]
    return "\n".join(lines), figures


def ablation_table() -> Table:
    """Printed from the short runs of `python3 -m training ablate attribute-detail`.

    Raises:
        UsageError: an ablation has not been trained.
    """
    return ablation_words(read_results(METHOD))


def ablation_words(results: Results) -> Table:
    """The table of ablations. Raises UsageError where one is missing."""
    check_complete(results, METHOD, ABLATION_ROWS)
    runs = {name: [run["figures"] for run in results[name]] for name in ABLATION_ROWS}
    for figures in (figures for rows in runs.values() for figures in rows):
        figures["lower_percent"] = lower_percent(figures["coarse_degrees"], figures["refined_degrees"])
    columns = {"coarse_degrees": 2, "refined_degrees": 2, "lower_percent": 1}
    columns |= {"unseen_copied_degrees": 2, "unseen_degrees": 2}
    titles = ("coarse", "refined", "lower by %", "unseen copied", "unseen")
    lines = [f"{'':30} " + " ".join(f"{title:>14}" for title in titles) + f" {'steps':>7}"]
    for name, words in ABLATION_ROWS.items():
        cells = [spread([run[column] for run in runs[name]], digits) for column, digits in columns.items()]
        steps = results[name][0]["steps"]
        lines.append(f"{words:30} " + " ".join(f"{cell:>14}" for cell in cells) + f" {steps:7d}")
    means = {name: mean_figures(rows) for name, rows in runs.items()}
    seeds = min(len(rows) for rows in runs.values())
    lines.append(
        f"Degrees between normals, {means['full'].get('people', 0):.0f} synthetic people, true heads, {seeds} seed(s). "
        "Unseen: expressions that the picture does not show."
    )
    lines += [claim_words(means, column) for column in ("refined_degrees", "unseen_degrees")]
    return "\n".join(lines), means


def claim_words(means: Mapping[str, Mapping[str, float]], column: str) -> str:
    """Which of the claims a column of the ablation bears out, in a sentence."""
    whole = means["full"][column]
    held = [claim for name, claim in PAPER_CLAIMS.items() if whole < means[name][column]]
    failed = [claim for name, claim in PAPER_CLAIMS.items() if whole >= means[name][column]]
    what = "unseen expressions" if column.startswith("unseen") else "the picture's expression"
    return f"By normals of {what}: {'; '.join(held) or 'none'}. Not: {'; '.join(failed) or 'none'}."


def photometric_table(method: AttributeDetail, photographs: Sequence[Path]) -> Table:
    """How much more like its photograph a face becomes.

    Args:
        method: with the network.
        photographs: files.

    Raises:
        UsageError: none of them shows a face.
    """
    from training.evaluation.detail_fitted import photometric_people
    from training.methods.attribute_detail import AttributeDetailSettings
    from training.settings import load_settings

    rendering = load_settings(AttributeDetailSettings, METHOD, SHIPPED_PRESET).rendering
    errors = photometric_people(method, photographs, rendering)
    if not errors:
        raise UsageError("no-faces", "None of the photographs shows a face that was found. Name others: --photos.")
    return photometric_words(errors, len(photographs))


def photometric_words(errors: Mapping[str, dict[str, float]], count: int) -> Table:
    """The table of photometric errors, by the photograph's name, of `count` photographs."""
    mean = mean_figures(list(errors.values()))
    gain = lower_percent(mean["coarse"], mean["refined"])
    better = sum(row["refined"] < row["coarse"] for row in errors.values())
    lines = [
        f"photometric error of {len(errors)} of {count} photographs, steps of 255: {mean['coarse']:.2f} before, "
        f"{mean['refined']:.2f} with relief, {gain:.1f} % lower; lower in {better} of {len(errors)}",
        "Mean absolute difference over the trusted texels of the face, weighted as in training; fitted heads, the "
        "light found from the photograph.",
    ]
    if "refined_and_albedo" in mean:
        also = lower_percent(mean["coarse"], mean["refined_and_albedo"])
        lines.insert(
            1,
            f"With the fine brightness that the network says of the skin besides: "
            f"{mean['refined_and_albedo']:.2f}, {also:.1f} % lower",
        )
    return "\n".join(lines), {"mean": mean, "lower_percent": gain, "photographs": dict(errors)}


def lower_percent(before: float, after: float) -> float:
    """By how much a figure fell."""
    return 100 * (1 - after / before)
