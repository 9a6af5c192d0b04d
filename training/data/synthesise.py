"""Pictures of synthetic people: shards for training, or a sheet to look at. `python3 -m training synthesise`."""

import argparse
import os
import time
from pathlib import Path

import torch

from backend.errors import UsageError
from backend.view_order import SLOTS
from training.data import sheet
from training.data.shards import PICTURES_PER_PERSON, PICTURES_PER_SHARD, ShardSettings, people, write_shards

SHEET_COUNT = 48
MEASURED_PICTURES = 64
TRIPLES_PER_SHARD = 170


def main(arguments: list[str]) -> int:
    """`python3 -m training synthesise --count N --output FOLDER`, or `--sheet FILE`, or `--measure`."""
    parser = argparse.ArgumentParser(
        prog="python3 -m training synthesise",
        description="Makes pictures of synthetic people whose every label is known.",
    )
    parser.add_argument("--output", type=Path, help="folder for WebDataset shards; a stopped run goes on where it was")
    parser.add_argument("--sheet", type=Path, help="write one picture (PNG or JPEG) that shows many")
    parser.add_argument("--measure", action="store_true", help="say how many pictures a second are made")
    parser.add_argument("--labels", action="store_true", help="beside each face of the sheet, what is known of it")
    parser.add_argument("--seed", type=int, default=0, help="of all people; others for training and for testing")
    parser.add_argument("--first", type=int, default=0, help="number of the first picture")
    parser.add_argument("--count", type=int, help=f"of pictures; {SHEET_COUNT} on a sheet")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures in pixels")
    parser.add_argument(
        "--framing", choices=("portrait", "aligned"), default="portrait", help="a portrait, or what a regressor gets"
    )
    parser.add_argument(
        "--face-model",
        default="open_head",
        help="what the people are made of: open_head, or a whole head that was added",
    )
    parser.add_argument(
        "--views",
        choices=("any", "triples"),
        default="any",
        help="triples: a person's pictures are a left, a front and a right view of one expression in one light",
    )
    parser.add_argument("--dense", action="store_true", help="depth, normals and displacement too")
    parser.add_argument("--triples", action="store_true", help="a sheet of left, front and right views")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--pictures-per-shard", type=int, help=f"default {PICTURES_PER_SHARD}, and {TRIPLES_PER_SHARD} triples"
    )
    parser.add_argument(
        "--pictures-per-person",
        type=int,
        help=f"default {PICTURES_PER_PERSON}, and {len(SLOTS)} of triples; fewer make more people of as many pictures",
    )
    options = parser.parse_args(arguments)
    triples = options.views == "triples"
    if options.pictures_per_person is None:
        options.pictures_per_person = len(SLOTS) if triples else PICTURES_PER_PERSON
    if options.pictures_per_shard is None:
        options.pictures_per_shard = len(SLOTS) * TRIPLES_PER_SHARD if triples else PICTURES_PER_SHARD
    _check(options)
    settings = ShardSettings(
        options.seed,
        options.size,
        options.framing,
        options.dense or options.labels,
        options.pictures_per_person,
        face_model=options.face_model,
        views=options.views,
    )
    if options.measure:
        print(_measured(settings, options.processes))
    if options.sheet:
        count = options.count or SHEET_COUNT
        sheet.write(options.sheet, sheet.tiles(people(settings), options.first, count, options.labels, options.triples))
        print(f"Written: {options.sheet}")
    if options.output:
        made = write_shards(
            options.output,
            options.seed,
            options.first,
            options.count,
            options.size,
            options.framing,
            options.dense,
            options.processes,
            pictures_per_person=options.pictures_per_person,
            pictures_per_shard=options.pictures_per_shard,
            face_model=options.face_model,
            views=options.views,
        )
        print(f"{made} pictures made, {options.count - made} were there. Folder: {options.output}")
    return 0


def _check(options: argparse.Namespace) -> None:
    if not (options.output or options.sheet or options.measure):
        raise UsageError("nothing-to-do", "Say what to make: --output FOLDER, --sheet FILE or --measure.")
    if options.output and options.count is None:
        raise UsageError("no-count", "Say how many pictures to make, such as --count 20000.")
    if (options.count is not None and options.count < 1) or options.size < 16 or options.seed < 0 or options.first < 0:
        raise UsageError("bad-number", "--count must be at least 1, --size at least 16, --seed and --first at least 0.")
    if min(options.pictures_per_shard, options.pictures_per_person, options.processes) < 1:
        raise UsageError(
            "bad-number", "--pictures-per-shard, --pictures-per-person and --processes must be at least 1."
        )
    if options.views == "triples" and options.pictures_per_person != len(SLOTS):
        raise UsageError("bad-number", "A triple is three pictures of a person: leave --pictures-per-person out.")
    if options.pictures_per_shard % options.pictures_per_person:
        raise UsageError(
            "bad-number",
            f"--pictures-per-shard is {options.pictures_per_shard}; make it a multiple of --pictures-per-person, "
            f"{options.pictures_per_person}, so that a person's pictures stay together.",
        )


def _measured(settings: ShardSettings, processes: int) -> str:
    """Pictures a second of one process, its start left out."""
    torch.set_num_threads(1)
    album = people(settings)
    album.photograph(0)
    start = time.perf_counter()
    for index in range(8, 8 + MEASURED_PICTURES):
        album.photograph(index)
    rate = MEASURED_PICTURES / (time.perf_counter() - start)
    return (
        f"{settings.size} px {settings.framing}: {rate:.1f} pictures/s in one process "
        f"({1000 / rate:.1f} ms each, {processes} processes by default)"
    )
