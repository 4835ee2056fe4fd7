"""Trying a user's own network: faults that would spoil maps or probabilities in silence, found when it is made."""

import copy

import torch
from torch import Tensor, nn

from fertool.errors import UserError
from fertool.models.classifier import InputSpec
from fertool.models.frozen_eval import frozen_eval
from fertool.runtime.user_function import first_line

FACES = 4  # random inputs, of which two are tried alone as well
SAME = 1e-3  # largest difference of logits that counts as rounding, in shares of the largest logit
SUMS_TO_ONE = 1e-3


def check_output(name: str, output: object, classes: int) -> None:
    """Check the output for one face. Raises UserError, with the probable cause, where it is not (1, classes)."""
    if isinstance(output, Tensor) and output.shape == (1, classes):
        return
    if isinstance(output, Tensor):
        found = f"shape {tuple(output.shape)}"
        cause = "let the function take num_classes"
        if output.shape == (classes,):
            cause = "squeeze() takes a batch of one away: take flatten(1) in its place"
        elif output.ndim > 2:
            cause = "flatten its maps and end in a classifier"
    else:
        found = type(output).__name__
        cause = "let its function return the logits alone"
        if isinstance(output, dict) and output:
            cause += f", one of the values {', '.join(map(str, list(output)[:5]))}"
        elif isinstance(output, tuple | list):
            cause += f", one of its {len(output)} values"
    raise UserError(
        f"--model {name}: gives {found} for one face, not logits of shape (1, {classes}); {cause}"
    )


def check_behaviour(name: str, network: nn.Module, spec: InputSpec) -> None:
    """Try a network in evaluation mode on random inputs; PyTorch's generators stay as they are.

    Raises:
        UserError: where the same inputs have other logits the second time (dropout that stays on) or alone (norms with
            the batch's statistics), where outputs are probabilities, their logarithms or those of a sigmoid, and where
            the network cannot be copied.
    """
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(FACES, spec.channels, spec.size, spec.size, generator=generator)
    with torch.random.fork_rng(devices=[]):
        with frozen_eval(network), torch.no_grad():
            logits, again = network(inputs), network(inputs)
            alone = torch.cat([network(inputs[row : row + 1]) for row in range(2)])
            with torch.enable_grad():
                last = network(inputs[:1].requires_grad_().clone()).grad_fn  # some overwrite it
        _check_logits(name, logits, again, alone)
        _check_last(name, last)
        _check_copy(name, network, inputs[:1])


def _check_logits(name: str, logits: Tensor, again: Tensor, alone: Tensor) -> None:
    if not torch.isfinite(logits).all():
        raise UserError(
            f"--model {name}: gives logits that are nan or infinite for random inputs; check its weights and norms"
        )
    if _differ(logits, again):
        raise UserError(
            f"--model {name}: gives other logits for the same faces each time in evaluation mode; a dropout stays on: "
            "take nn.Dropout, or F.dropout(..., training=self.training)"
        )
    if _differ(logits[: len(alone)], alone):
        raise UserError(
            f"--model {name}: gives a face other logits alone than in a batch; a norm uses the batch's statistics in "
            "evaluation mode: keep running statistics (track_running_stats=True)"
        )
    for kind, sums in (
        ("softmax", torch.where((logits >= 0).all(dim=1), logits.sum(dim=1), torch.inf)),
        ("log_softmax", logits.exp().sum(dim=1)),
    ):
        if bool((sums - 1).abs().max() < SUMS_TO_ONE):
            raise _no_logits(name, kind)


def _check_last(name: str, last: torch.autograd.graph.Node | None) -> None:
    # its rows add up to nothing that is known
    if last is not None and last.name() == "SigmoidBackward0":
        raise _no_logits(name, "sigmoid")


def _no_logits(name: str, kind: str) -> UserError:
    return UserError(
        f"--model {name}: its outputs are those of a {kind}, not logits; leave the {kind} at its end out (training and "
        "every probability apply their own)"
    )


def _differ(first: Tensor, second: Tensor) -> bool:
    return bool((first - second).abs().max() > SAME * first.abs().max().clamp(min=1e-6))


def _check_copy(name: str, network: nn.Module, inputs: Tensor) -> None:
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        with torch.enable_grad():
            network(inputs)  # some keep what they computed, with its graph, and cannot be copied from then on
        copy.deepcopy(network)
    except Exception as error:
        raise UserError(
            f"--model {name}: cannot be copied, as a training does ({first_line(error)}); keep no results of forward "
            "in it"
        ) from None
    finally:
        for module, mode in modes:
            module.training = mode
