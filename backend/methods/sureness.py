"""How far a network's codes were from the truth of people it had never seen, kept with its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, nn

if TYPE_CHECKING:
    from backend.weights import Weights

PREFIX = "sureness."
Network = TypeVar("Network", bound=nn.Module)
Known = TypeVar("Known", bound="IdentitySureness")


@dataclass(frozen=True)
class IdentitySureness:
    """Of identities.

    Attributes:
        identity_gain: (I,) factor that an identity coefficient is to be multiplied by: below 1 where the network says
            more than it knows.
        identity_deviation: (I,) root mean square of what is then left.
    """

    identity_gain: Tensor
    identity_deviation: Tensor

    def state(self) -> dict[str, Tensor]:
        """For the file of the weights."""
        return {f"{PREFIX}{name}": value for name, value in vars(self).items()}

    @classmethod
    def from_state(cls: type[Known], state: dict[str, Tensor]) -> Known:
        """The inverse of `state`; other names are left."""
        return cls(**{name: state[f"{PREFIX}{name}"].float() for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Sureness(IdentitySureness):
    """Of identities and expressions.

    Attributes:
        expression_deviation: (E,) root mean square of what is left.
        expression_mean, expression_spread: (E,) mean and standard deviation of the people it was trained on, which its
            answers contain: a network that sees nothing of a key answers with their mean.
    """

    expression_deviation: Tensor
    expression_mean: Tensor
    expression_spread: Tensor


def trained(
    weights: str | Path, method: str, make: Callable[[dict[str, Any]], Network], sureness: type[Known]
) -> tuple[Weights, Network, Known]:
    """Weights by name or file, the network they belong to, and how sure it is, for the open head.

    Args:
        make: the network of the weights' facts, such as `EyeMotionNetwork.from_facts`.

    Raises:
        SetupError, UsageError: weights are missing, damaged, of another method or face model.
    """
    from backend.weights import load_weights

    loaded = load_weights(weights, method, face_model="open_head")
    network = make(loaded.facts["network"])
    network.load_state_dict({name: value.float() for name, value in loaded.state.items() if PREFIX not in name})
    return loaded, network, sureness.from_state(loaded.state)
