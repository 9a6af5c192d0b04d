"""What the licences of everything that takes part in a head say together: may it be sold?

A head carries the licences of its face model, of the weights of the networks that its codes come from, and of the
detector of its landmarks. Standard library only, so that a wrong use is refused before anything is installed or read.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import asset_store
from .asset_catalogue import OPEN_HEAD, known, known_by_file
from .errors import Fix, UsageError
from .options import ReconstructOptions

WEIGHTS_FOLDER = Path(__file__).parent / "assets" / "weights"
_EYE_MOTION = ("eye-motion-open-small", "eye-state-open-small")
WEIGHTS_OF_METHOD = {
    "deep-fusion": ("deep-fusion-open-small", "face-parsing-open-small", *_EYE_MOTION),
    "eye-motion": _EYE_MOTION,
    "fit": (),
    "spectral": ("spectral-open-small", *_EYE_MOTION),
}
"""The weights that a method takes where nobody names others; a test holds them equal to the methods'."""
WEIGHTS_OF_DETAIL = ("attribute-detail-open-small", "face-parsing-open-small")
"""Those of the skin's displacement maps."""
LONGEST_HEADER_BYTES = 10_000_000


@dataclass(frozen=True)
class Credit:
    """One thing that took part in a head, and what its licence allows.

    Attributes:
        what: "face model FLAME 2020", "weights eye-motion-open-small", "detector MediaPipe".
        name: of the licence, an SPDX identifier where there is one.
        sentence: what it means for a person.
        commercial: whether heads may be sold.
    """

    what: str
    name: str
    sentence: str
    commercial: bool

    def as_json(self) -> dict:
        """As head.json has it."""
        return asdict(self)


DETECTOR = Credit(
    "detector MediaPipe",
    "Apache-2.0",
    "MediaPipe, Google: free for any use, heads that it helped to make may be sold.",
    commercial=True,
)


def of_options(options: ReconstructOptions) -> tuple[Credit, ...]:
    """Everything that takes part in a head that is made with these options."""
    weights = WEIGHTS_OF_METHOD.get(options.method, ())
    if options.detail and options.face_model == OPEN_HEAD:
        weights += WEIGHTS_OF_DETAIL
    return of_head(options.face_model, dict.fromkeys(weights))


def of_head(face_model: str, weights: Iterable[str | Path]) -> tuple[Credit, ...]:
    """Everything that takes part in a head: the face model, weights by name or file, and the detector."""
    return (of_face_model(face_model), *(of_weights(each, face_model) for each in weights), DETECTOR)


def of_face_model(name: str) -> Credit:
    """The licence of a face model: as it was added, else as Lifemask knows it; an unknown one allows nothing.

    Weights of an older Lifemask may have the name of the model's file instead: it can forbid a sale, never allow one.
    """
    asset = asset_store.find(name) or known(name)
    by_file = None if asset else known_by_file(name)
    if by_file is not None and not by_file.commercial:
        asset = by_file
    if asset is None:
        sentence = f"Nobody has told Lifemask under which licence {name} may be used."
        return Credit(f"face model {name}", "unknown", sentence, commercial=False)
    return Credit(f"face model {asset.label}", asset.licence, asset.sentence, asset.commercial)


def of_weights(weights: str | Path, face_model: str) -> Credit:
    """The licence of a network's weights: that of the face model that they were trained with.

    Args:
        weights: the name of weights that ship, or a file that `python3 -m training export` wrote.
        face_model: that the head is made from; weights that do not say theirs were trained with it.
    """
    path = Path(weights)
    if path.suffix != ".safetensors":
        path = WEIGHTS_FOLDER / f"{weights}.safetensors"
    trained_with = _face_model_in(path) or face_model
    if path.parent == WEIGHTS_FOLDER and path.is_file() and trained_with == OPEN_HEAD:
        sentence = (
            "Trained by Lifemask's makers on data that leaves the use free: heads made with it may be used for "
            "anything, sold included."
        )
        return Credit(f"weights {path.stem}", "free for any use", sentence, commercial=True)
    model = of_face_model(trained_with)
    what = f"weights {path.stem} (trained with the {model.what})"
    return Credit(what, model.name, model.sentence, model.commercial)


def combined(credits: Sequence[Credit]) -> Credit:
    """All licences as one: commercial only where all of them are; else the sentence names those that forbid it."""
    forbidding = [credit for credit in credits if not credit.commercial]
    counted = forbidding or credits
    names = " and ".join(dict.fromkeys(credit.name for credit in counted))
    if forbidding:
        sentence = f"Heads made with {_listed(forbidding)} may not be sold. {_sentences(forbidding)}"
    else:
        sentence = f"Heads may be sold, within the licences of {_listed(credits)}."
    return Credit("head", names, sentence, commercial=not forbidding)


def check_sale(credits: Sequence[Credit], for_sale: bool) -> None:
    """Raises UsageError("licence-forbids-sale") where a head is to be sold and a licence forbids it."""
    if not for_sale or (together := combined(credits)).commercial:
        return
    raise UsageError(
        "licence-forbids-sale",
        f"{together.sentence} Choose another face model, as open_head, or leave out --for-sale (in Blender: My work is "
        "sold).",
        Fix("choose-face-model", "Choose another face model"),
    )


def warnings(credits: Sequence[Credit]) -> list[str]:
    """A sentence where heads may not be sold."""
    together = combined(credits)
    return [] if together.commercial else [together.sentence]


def _listed(credits: Sequence[Credit]) -> str:
    names = [f"the {credit.what}" for credit in credits]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentences(credits: Sequence[Credit]) -> str:
    return " ".join(dict.fromkeys(credit.sentence for credit in credits))


def _face_model_in(path: Path) -> str | None:
    """The face model that the header of a safetensors file names; None where it names none."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > LONGEST_HEADER_BYTES:
                return None
            return str(json.loads(file.read(length))["__metadata__"]["face_model"])
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
