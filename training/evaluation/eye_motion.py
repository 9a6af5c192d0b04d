"""The tables of Eye Motion: `python3 -m training evaluate eye-motion --table elam|ldl|shape`."""

import argparse
import logging
import sys
from pathlib import Path

TABLES = ("elam", "ldl", "shape")


def main(arguments: list[str]) -> int:
    """`python3 -m training evaluate eye-motion`."""
    parser = argparse.ArgumentParser(prog="evaluate eye-motion", description=__doc__)
    parser.add_argument("--table", choices=TABLES, default="elam")
    parser.add_argument("--data", type=Path, help="folder of test data; default $LIFEMASK_DATA")
    parser.add_argument("--weights", help="name or file of the eye-state detector's weights, for elam")
    parser.add_argument("--only", choices=("synthetic", "cew", "ict"), nargs="+", default=("synthetic", "cew", "ict"))
    parser.add_argument("--faces", type=int, help="only so many pictures of each kind, for a quick look")
    parser.add_argument("--people", type=int, default=24, help="people of ICT-FaceKit")
    parser.add_argument("--synthetic", type=int, default=400, help="pictures of synthetic people, for elam")
    parser.add_argument("--without-fit", action="store_true", help="elam: read states before the fit, for a quick look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.table == "elam":
        from training.evaluation.elam import elam_table

        print(elam_table(options))
        return 0
    from training.evaluation import eye_motion_tables

    make = eye_motion_tables.ldl_table if options.table == "ldl" else eye_motion_tables.shape_table
    print(make(options))
    return 0
