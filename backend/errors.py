"""The errors a person may see: a code for programs, a sentence for people, and what mends it."""

from dataclasses import dataclass

LACK_OF_MEMORY = ("DefaultCPUAllocator", "Insufficient memory", "out of memory")


@dataclass(frozen=True)
class Fix:
    """What mends an error.

    Attributes:
        action: a short code that a panel turns into a button, such as "choose-another-photo" or "repair-environment".
        label: the same in words, in the imperative.
        command: a command line that does it, or None where there is none.
    """

    action: str
    label: str
    command: str | None = None


class LifemaskError(Exception):
    """Something went wrong that a person can be told in a sentence.

    Args:
        code: stable, lower case with hyphens, for programs: "no-face", "disk-full".
        sentence: what happened, to what, and what to do, for a person.
        fix: what mends it, if something does.
    """

    exit_code = 1

    def __init__(self, code: str, sentence: str, fix: Fix | None = None):
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.fix = fix


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that the computer's memory was not enough. PyTorch and OpenCV have no class for it."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in LACK_OF_MEMORY)


class UsageError(LifemaskError):
    """A wrong command, or a file or folder that cannot be read or written."""

    exit_code = 2


class PhotoError(LifemaskError):
    """A photograph from which no head can be made."""

    exit_code = 3


class SetupError(LifemaskError):
    """An environment (interpreter and packages) that is missing, broken or cannot be made."""

    def __init__(self, code: str, sentence: str, fix: Fix | None = None, exit_code: int = 1):
        super().__init__(code, sentence, fix)
        self.exit_code = exit_code


class Cancelled(LifemaskError):
    """The person asked to stop."""

    exit_code = 130

    def __init__(self, sentence: str = "Stopped. No half-written result was left behind."):
        super().__init__("cancelled", sentence)
