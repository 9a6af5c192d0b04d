"""The error about a name that does not exist, with the one that was probably meant."""

import difflib
from collections.abc import Iterable

from backend.errors import UsageError


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> UsageError:
    """An error to raise: "There is no preset 'papr'. Did you mean 'paper'?"

    Args:
        kind: of the thing, in a word: "preset", "setting", "method". The error's code is "unknown-" and this.
        name: what was asked for.
        known: all there is. Where nothing comes near, they are listed.
        where: words to follow the name, such as "of eye-motion".
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        advice = f"Did you mean '{near[0]}'?"
    else:
        advice = f"There are: {', '.join(known)}." if known else "There are none."
    place = f" {where}" if where else ""
    return UsageError(f"unknown-{kind.replace(' ', '-')}", f"There is no {kind} '{name}'{place}. {advice}")
