"""Multi-PIE in TP-GAN's version: 337 people from 13 sides under 20 lights, one crop of 128 pixels a file.

Gross et al., "Multi-PIE", FG 2008; Huang et al., "Beyond Face Rotation: Global and Local Perception GAN", ICCV 2017,
whose crops (some 140,000) DF-MVR trains on. To be bought from Carnegie Mellon University, for research; TP-GAN's
authors may not pass the photographs on, but their script makes the crops. The set has neither scans nor points in
space.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from backend.errors import UsageError
from training.data.folders import existing_folder, wrong_folder
from training.data.triples import Triple, TripleFolder

FILE_NAME = re.compile(r"(\d{3})_(\d{2})_(\d{2})_(\d{3})_(\d{2})(?:_cropped)?\.(?:png|jpe?g)", re.IGNORECASE)
"""Subject, session, recording, camera, light."""
YAW_OF_CAMERA = {
    "110": 90.0, "120": 75.0, "090": 60.0, "080": 45.0, "130": 30.0, "140": 15.0, "051": 0.0,
    "050": -15.0, "041": -30.0, "190": -45.0, "200": -60.0, "010": -75.0, "240": -90.0,
}  # fmt: skip
"""Degrees, positive where the subject's left side shows: TP-GAN's angles with the other sign. Of a crop that it
publishes from camera 010 the five points show a nose to the right of both eyes."""
CAMERA_OF_YAW = {yaw: camera for camera, yaw in YAW_OF_CAMERA.items()}
ANGLES = tuple(sorted({abs(yaw) for yaw in CAMERA_OF_YAW} - {0.0}))
TREE = """\
  ROOT/
    001_01_01_051_06_cropped.png       at any depth, with or without _cropped:
    001_01_01_080_06_cropped.png       SUBJECT_SESSION_RECORDING_CAMERA_LIGHT
    ...                                camera 051 is the front, 080 and 190 are 45 degrees aside"""


def open_multi_pie(root: Path, angles: Sequence[float] = (45.0,)) -> TripleFolder:
    """The triples of a folder: the same subject, session, recording and light from the front and from both sides.

    Args:
        root: see `TREE`.
        angles: degrees of the views from aside, of `ANGLES`; a moment gives a triple for each.

    Raises:
        UsageError: "no-such-folder"; "wrong-data-folder", with the tree that was expected and what is there;
            "bad-angle"; "no-triples".
    """
    if wrong := [angle for angle in angles if float(angle) not in ANGLES]:
        known = ", ".join(f"{angle:.0f}" for angle in ANGLES)
        raise UsageError("bad-angle", f"Multi-PIE has no views from {wrong[0]} degrees aside; it has {known}.")
    root = existing_folder(root, "Multi-PIE")
    moments: dict[tuple[str, ...], dict[str, Path]] = {}
    for path in sorted(root.rglob("*")):
        if found := FILE_NAME.fullmatch(path.name):
            subject, session, recording, camera, light = found.groups()
            moments.setdefault((subject, session, recording, light), {})[camera] = path
    if not moments:
        raise wrong_folder(root, f"{root} holds no pictures named as Multi-PIE's.", TREE)
    triples, left_out = [], {}
    for moment, pictures in sorted(moments.items()):
        for angle in angles:
            yaw = (float(angle), 0.0, -float(angle))
            name = f"{'_'.join(moment)}/{angle:.0f}"
            if missing := [CAMERA_OF_YAW[side] for side in yaw if CAMERA_OF_YAW[side] not in pictures]:
                left_out[name] = f"the camera {missing[0]} is missing"
                continue
            triples.append(Triple(moment[0], name, tuple(pictures[CAMERA_OF_YAW[side]] for side in yaw), yaw))
    if not triples:
        name, why = next(iter(left_out.items()))
        raise UsageError(
            "no-triples",
            f"None of the {len(moments)} moments in {root} has pictures from the front and from both sides at "
            f"{', '.join(f'{angle:.0f}' for angle in angles)} degrees. {name}: {why}. Expected:\n{TREE}",
        )
    return TripleFolder(root, triples, left_out)
