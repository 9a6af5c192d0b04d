"""The commands of `python3 -m training`. Each is a module of this package with a `main(arguments) -> exit code`."""

import importlib
import sys

from backend import start
from backend.cli import run_command

COMMANDS = {
    ("fit",): ("training.fit", "train a method"),
    ("validate",): ("training.validate", "losses and measures of a run on held-out data"),
    ("export",): ("training.export", "the weights of a run as a file that the backend loads"),
    ("curves",): ("training.curves", "what was measured while training, as a drawing"),
    ("ablate",): ("training.ablate", "the short runs that a method's tables are made from"),
    ("learn-last-layer",): ("training.last_layer", "the last layer of the identity embedding, in closed form"),
    ("synthesise",): ("training.data.synthesise", "pictures of synthetic people, as shards or as a sheet"),
    ("unwrap",): ("training.data.unwrapped", "faces laid out in the texture, for skin detail"),
    ("prepare",): ("training.data.prepare", "landmarks and masks of a folder of real photographs"),
    ("evaluate", "shape"): ("training.evaluation.shape", "scan-to-mesh error on random people"),
    ("evaluate", "now"): (
        "training.evaluation.now_benchmark",
        "predicted heads against the scans of the NoW challenge",
    ),
    ("evaluate", "eyes"): ("training.evaluation.eyes", "eye states and gaze"),
    ("evaluate", "lids"): ("training.evaluation.lids", "whether the lids shut on random people"),
    ("evaluate", "shape-keys"): ("training.evaluation.shape_keys", "symmetry, lids and lips of a face model's keys"),
    ("evaluate", "landmarks"): ("training.evaluation.landmarks", "landmarks of the mesh against detections"),
    ("evaluate", "identity"): ("training.evaluation.identity", "whether people are told apart"),
    ("evaluate", "parsing"): ("training.evaluation.parsing", "intersection over union of the parts of faces"),
    ("evaluate", "likeness"): ("training.evaluation.likeness", "whether reconstructed heads look like the people"),
    ("evaluate", "eye-motion"): ("training.evaluation.eye_motion", "the tables of Eye Motion"),
    ("evaluate", "spectral"): ("training.evaluation.spectral", "the tables of the spectral method"),
    ("evaluate", "deep-fusion"): ("training.evaluation.deep_fusion", "the tables and the speed of deep fusion"),
    ("evaluate", "attribute-detail"): (
        "training.evaluation.attribute_detail",
        "the tables and the speed of skin detail",
    ),
    ("evaluate", "multi-view"): ("training.evaluation.multi_view", "heads of three photographs against true scans"),
    ("evaluate", "eye-motion-faces"): (
        "training.evaluation.eye_motion_faces",
        "test faces and their heads",
    ),
    ("calibrate",): ("training.calibration", "where the detector's landmarks sit on the head"),
    ("learn-landmark-response",): ("training.landmark_response", "how much of a person a landmark detector reports"),
    ("calibrate-landmarks68",): ("training.landmarks68", "the 68 landmarks from the detector's 478"),
    ("learn-albedo",): ("training.albedo_basis", "the mean and the variation of people's skin"),
    ("learn-statistics",): ("training.open_head.learn_statistics", "the mean and the variation of people's heads"),
    ("build-head",): ("training.open_head.build", "the open head in backend/assets"),
    ("contact-sheets",): ("training.open_head.contact_sheets", "pictures of random people and of every shape"),
}
USAGE = (
    "usage: python3 -m training COMMAND [OPTIONS]\n\n"
    + "\n".join(f"  {' '.join(words):<22} {what}" for words, (_, what) in COMMANDS.items())
    + "\n\nAdd --help to a command for its options."
)


def main(arguments: list[str]) -> int:
    """Runs one command in the training environment. Returns its exit code, see `backend.cli.main`."""
    return run_command(lambda: _run(arguments), "training")


def _run(arguments: list[str]) -> int:
    for words, (module, _) in COMMANDS.items():
        if tuple(arguments[: len(words)]) == words:
            start.inside("training", "training", arguments)
            return importlib.import_module(module).main(arguments[len(words) :]) or 0
    asks = not arguments or arguments[0] in ("-h", "--help")
    print(USAGE, file=sys.stdout if asks else sys.stderr)
    return 0 if asks and arguments else 2
