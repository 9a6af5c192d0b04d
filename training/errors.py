"""What can go wrong in a training run and is no wrong command."""

from backend.errors import LifemaskError


class TrainingError(LifemaskError):
    """A run that cannot go on: a loss that is no number, a loss without a weight."""
