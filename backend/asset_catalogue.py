"""The face models and files that Lifemask knows: what they are called, whose they are, where they are given out.

Standard library only, so that a bare Python can list them. What is said of a face model here is what its format says
(`backend/face_models/formats.py`, which needs numpy); a test holds the two equal.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from .downloads import KnownFile
from .errors import Fix, UsageError
from .face_landmarker import FACE_LANDMARKER
from .gnm_file import GNM_FILE
from .gnm_file import PAGE as GNM_PAGE

OPEN_HEAD = "open_head"
FACE_MODEL, DETECTOR = "face_model", "detector"
ADD_COMMAND = "python3 -m backend assets add FILE"
LIST_COMMAND = "python3 -m backend assets list"
ADD = Fix("add-face-model", "Add a face model", ADD_COMMAND)


@dataclass(frozen=True)
class KnownAsset:
    """Something that can be added, or that is built in.

    Attributes:
        name: as on the command line.
        label: for people.
        kind: "face_model" or "detector".
        licence: SPDX identifier or the licence's own name.
        sentence: what the licence means for a person.
        commercial: whether results may be sold.
        source: where its owner gives it out, for people.
        expected: which file or folder a person gives, in words.
        files: names that its files have.
        download: the file, where the licence lets anyone download it and its content is known; None elsewhere.
    """

    name: str
    label: str
    kind: str
    licence: str
    sentence: str
    commercial: bool
    source: str
    expected: str = ""
    files: tuple[str, ...] = ()
    download: KnownFile | None = None

    @property
    def how_to_get(self) -> str:
        """A sentence with the command."""
        if self.download is not None:
            return f"Download it: python3 -m backend assets fetch {self.name}."
        return f"Get {self.expected} from its owner at {self.source}, then: {ADD_COMMAND}."

    @property
    def fix(self) -> Fix:
        """What brings it here."""
        if self.download is not None:
            return Fix("fetch-asset", "Download it", f"python3 -m backend assets fetch {self.name}")
        return ADD


CATALOGUE = (
    KnownAsset(
        OPEN_HEAD,
        "Open Head",
        FACE_MODEL,
        "CC0-1.0",
        "Made from MakeHuman's CC0 data: heads made with it may be used for anything, sold included.",
        commercial=True,
        source="comes with Lifemask",
    ),
    KnownAsset(
        "flame2020",
        "FLAME 2020",
        FACE_MODEL,
        "FLAME",
        "FLAME, Max Planck Society: for research that is not commercial, unless the licence in your download says "
        "more.",
        commercial=False,
        source="https://flame.is.tue.mpg.de",
        expected="generic_model.pkl",
        files=("generic_model.pkl",),
    ),
    KnownAsset(
        "flame2023",
        "FLAME 2023",
        FACE_MODEL,
        "FLAME",
        "FLAME, Max Planck Society: for research that is not commercial, unless the licence in your download says "
        "more.",
        commercial=False,
        source="https://flame.is.tue.mpg.de",
        expected="flame2023.pkl",
        files=("flame2023.pkl",),
    ),
    KnownAsset(
        "flame2023_open",
        "FLAME 2023 Open",
        FACE_MODEL,
        "CC-BY-4.0",
        "FLAME 2023 Open, Max Planck Society: free for any use that names its makers, within its terms.",
        commercial=True,
        source="https://flame.is.tue.mpg.de",
        expected="flame2023_Open.pkl",
        files=("flame2023_Open.pkl",),
    ),
    KnownAsset(
        "bfm2009",
        "Basel Face Model 2009",
        FACE_MODEL,
        "BFM",
        "Basel Face Model, University of Basel: for research that is not commercial; neither the model nor what is "
        "made from it may be passed on without its licence.",
        commercial=False,
        source="https://faces.dmi.unibas.ch/bfm",
        expected="BFM_model_front.mat or the folder of 01_MorphableModel.mat",
        files=("BFM_model_front.mat", "01_MorphableModel.mat"),
    ),
    KnownAsset(
        "ict",
        "ICT-FaceKit",
        FACE_MODEL,
        "MIT",
        "ICT-FaceKit, copyright 2020 USC Institute for Creative Technologies: free for any use with this notice.",
        commercial=True,
        source="https://github.com/USC-ICT/ICT-FaceKit",
        expected="the folder FaceXModel",
        files=("ict_facekit.npz", "FaceXModel"),
    ),
    KnownAsset(
        "gnm",
        "GNM Head 3",
        FACE_MODEL,
        "Apache-2.0",
        "GNM Head, copyright 2026 Google LLC: free for any use; who passes it on adds the licence's text.",
        commercial=True,
        source=GNM_PAGE,
        expected=GNM_FILE.name,
        files=(GNM_FILE.name,),
        download=GNM_FILE,
    ),
    KnownAsset(
        "face_landmarker",
        "MediaPipe Face Landmarker",
        DETECTOR,
        "Apache-2.0",
        "MediaPipe Face Landmarker, Google: free for any use, heads that it helped to make may be sold.",
        commercial=True,
        source=FACE_LANDMARKER.source,
        files=(FACE_LANDMARKER.name,),
        download=FACE_LANDMARKER,
    ),
)
"""The built-in head first."""


def known(name: str) -> KnownAsset | None:
    """The entry of that name, or None."""
    return next((asset for asset in CATALOGUE if asset.name == name), None)


def known_by_file(file: str) -> KnownAsset | None:
    """The entry one of whose files has this name, or None. Anyone can give a file a name: it permits nothing."""
    return next((asset for asset in CATALOGUE if file.lower() in map(str.lower, asset.files)), None)


def no_such_asset(name: str, there: Iterable[str], begin: str) -> UsageError:
    """The error that there is nothing of this name.

    Args:
        name: as given.
        there: the names that there are.
        begin: of the sentence: "There is no face model flame".
    """
    there = list(there)
    possible = [*there, *(asset.name for asset in CATALOGUE if asset.kind == FACE_MODEL)]
    near = difflib.get_close_matches(name.lower().replace("-", "_"), possible, n=1, cutoff=0.5)
    meant = f" Did you mean {near[0]}?" if near else ""
    return UsageError(
        "no-such-face-model",
        f"{begin}. There is: {', '.join(there)}.{meant} What can be added, and where it is from: {LIST_COMMAND}.",
    )
