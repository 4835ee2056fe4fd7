from dataclasses import replace

import pytest
import torch

from fertool.errors import UserError
from fertool.runtime.files import read_csv
from fertool.runtime.ranks import join_ranks
from fertool.train import train
from fertool.train.config import TrainConfig
from fertool.train.self_distillation import EarlierPredictions, earlier_share
from fertool.workspace import Workspace

LABELS = torch.tensor([2, 0, 1])


def after(*epochs: torch.Tensor) -> EarlierPredictions:
    """Earlier predictions of three faces, the last face's step coming first, after epochs of these logits."""
    earlier = EarlierPredictions(3, 3, torch.device("cpu"))
    for logits in epochs:
        for rows in (torch.tensor([2]), torch.tensor([0, 1])):
            earlier.note(rows, logits[rows])
        earlier.end_epoch(join_ranks())
    return earlier


def test_at_first_labels_are_all_there_is() -> None:
    assert torch.equal(after().targets(LABELS, 0.9), torch.eye(3)[LABELS])


def test_after_an_epoch_its_predictions_have_their_share() -> None:
    logits = torch.randn(3, 3)
    targets = after(logits).targets(LABELS, 0.25)
    assert torch.allclose(targets, 0.75 * torch.eye(3)[LABELS] + 0.25 * logits.softmax(dim=1))


def test_later_epochs_weigh_more_by_the_papers_moving_mean() -> None:
    epochs = [torch.randn(3, 3) for _ in range(4)]
    mean = torch.zeros(3, 3)
    for logits in epochs:
        mean = 0.6 * mean + 0.4 * logits.softmax(dim=1)
    targets = after(*epochs).targets(LABELS, 1.0)
    assert torch.allclose(targets, mean / (1 - 0.6**4))
    assert torch.allclose(targets.sum(dim=1), torch.ones(3))


def test_distributions_are_mixed_as_labels_are() -> None:
    crowd = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    logits = torch.randn(3, 3)
    assert torch.allclose(after(logits).targets(crowd, 0.5), (crowd + logits.softmax(dim=1)) / 2)


def test_no_gradient_flows_into_what_was_predicted() -> None:
    logits = torch.randn(3, 3, requires_grad=True)
    assert not after(logits).targets(LABELS, 0.5).requires_grad


@pytest.mark.parametrize(("epoch", "share"), [(1, 0.08), (5, 0.4), (10, 0.8)])
def test_the_share_rises_evenly_to_its_largest(epoch: int, share: float) -> None:
    assert earlier_share(0.8, epoch, 10) == pytest.approx(share)


def test_a_network_that_is_asked_for_its_own_predictions_fits_labels_less(synthetic: Workspace) -> None:
    """A network learns the few faces there are by heart; taught by itself, it is less sure of them."""
    config = TrainConfig(
        epochs=8, lr=2e-3, batch_size=16, label_smoothing=0.0, precision="fp32", flip=False, shift=0.0
    )
    losses = {}
    for share in (0.0, 1.0):
        train(synthetic, replace(config, self_distillation=share), name=f"share-{share}", device="cpu")
        rows = read_csv(synthetic.run(f"share-{share}").history_csv)
        losses[share] = [float(row["train_loss"]) for row in rows]
    assert losses[0.0][0] == losses[1.0][0]  # the first epoch has nothing but labels
    assert losses[0.0][1] != losses[1.0][1]
    assert losses[1.0][-1] > 1.2 * losses[0.0][-1]


def test_mixed_faces_have_no_prediction_of_their_own() -> None:
    with pytest.raises(UserError, match=r"--self-distillation: .* --mixup"):
        TrainConfig(self_distillation=0.5, mixup=0.2)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(UserError, match=rf"--self-distillation {share}: must be from 0 to 1"):
        TrainConfig(self_distillation=share)
