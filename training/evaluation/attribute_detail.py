"""What skin detail is worth: `python3 -m training evaluate attribute-detail --table NAME | --pictures FILE | --bench`.

normals: angular error on synthetic people, coarse against refined, with true heads and with fitted ones. riggability:
expressions that the picture does not show, against copying its map. ablation: what the parts of the method do, from the
short runs of `python3 -m training ablate attribute-detail`. photometric: how much more like its photograph a face
becomes, of London's people. pictures: to look at. bench: how long the maps of a photograph take.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

from backend.errors import UsageError
from backend.face_models import load_face_model
from backend.methods.attribute_detail import DEFAULT_WEIGHTS, AttributeDetail
from training.evaluation import detail_tables
from training.evaluation.data_folder import data_folder
from training.evaluation.identity import LONDON

TABLES = ("normals", "riggability", "ablation", "photometric")
PEOPLE = 48
SHOWN = ("024_neutral.jpg", "038_smiling.jpg")
"""Of London's photographs, on the sheet of pictures."""


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate attribute-detail`."""
    parser = argparse.ArgumentParser(prog="evaluate attribute-detail", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--table", choices=TABLES)
    what.add_argument("--pictures", type=Path, metavar="FILE.jpg", help="write a sheet: photographs and their heads")
    what.add_argument("--bench", action="store_true", help="how long the maps of a photograph take here")
    parser.add_argument("--people", type=int, default=PEOPLE, help=f"synthetic people; default {PEOPLE}")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help=f"name or file; default {DEFAULT_WEIGHTS}")
    parser.add_argument(
        "--photos",
        type=Path,
        nargs="+",
        metavar="PHOTO",
        help="files or folders, for photometric and pictures; default London's people, for pictures the demo too",
    )
    parser.add_argument("--data", type=Path, help="folder of test data; default $LIFEMASK_DATA")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    if options.people < 1:
        parser.error("--people must be 1 or more.")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    text, figures = measured(options)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), "utf-8")
    return 0


def measured(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """What was asked for, in words and in figures.

    Args:
        options: of the command line.

    Raises:
        UsageError: weights, photographs or results are missing.
    """
    if options.table == "ablation":
        return detail_tables.ablation_table()
    shows = options.pictures or options.table == "photometric"
    photographs = chosen_photographs(options) if shows else []  # before anything long
    method = AttributeDetail.load(load_face_model("open_head"), options.weights)
    if options.pictures:
        from training.evaluation.detail_pictures import make_sheet

        make_sheet(method, photographs, options.pictures)
        return f"Written: {options.pictures}", {}
    if options.bench:
        from training.evaluation.detail_bench import measure_bench

        return measure_bench(method)
    if options.table == "photometric":
        return detail_tables.photometric_table(method, photographs)
    make = detail_tables.normals_table if options.table == "normals" else detail_tables.riggability_table
    return make(method, options.people)


def chosen_photographs(options: argparse.Namespace) -> list[Path]:
    """The files that were named, or those that are measured or shown without being named.

    Raises:
        UsageError: they are not there.
    """
    from training.data.unwrapped import photographs_in

    if options.photos:
        return [file for path in options.photos for file in (photographs_in(path) if path.is_dir() else [_file(path)])]
    folder = data_folder(options.data, LONDON) / LONDON
    if not options.pictures:
        return photographs_in(folder)
    from backend.cli import DEMO_PHOTOGRAPH

    return [DEMO_PHOTOGRAPH, *(_file(folder / name) for name in SHOWN)]


def _file(path: Path) -> Path:
    if not path.is_file():
        raise UsageError("no-photographs", f"There is no photograph {path}. Name files or folders that are: --photos.")
    return path
