"""The parts of a batch's loss: class weights, crowd labels, mixes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fertool.errors import UserError
from fertool.models import load_model
from fertool.prepare.ferplus import ANSWERS, crowd_shares
from fertool.runtime.files import read_csv, write_csv
from fertool.train import train
from fertool.train.augment import draw_epoch
from fertool.train.config import TrainConfig
from fertool.train.losses import balancing_weights, hits, mean_loss
from fertool.workspace import Workspace

Accept = Callable[[Workspace, Path, Path], None]

CONFIG = TrainConfig(epochs=1, lr=1e-3, precision="fp32")
LABELS = torch.tensor([0, 0, 0, 1, 2, 2])
LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def test_class_weights_are_inverse_frequencies_of_mean_one() -> None:
    weights = balancing_weights(LABELS, 4)
    assert torch.allclose(weights, torch.tensor([6 / 9, 2.0, 1.0, 0.0]))
    assert weights[LABELS].mean() == pytest.approx(1)


def test_class_weights_of_distributions_give_every_class_the_same_mass() -> None:
    shares = torch.tensor([[0.7, 0.3, 0.0, 0.0], [0.6, 0.2, 0.2, 0.0], [0.9, 0.1, 0.0, 0.0]])
    weights = balancing_weights(shares, 4)
    assert torch.allclose((weights * shares).sum(dim=0), torch.tensor([1.0, 1.0, 1.0, 0.0]))
    assert torch.allclose(balancing_weights(F.one_hot(LABELS, 4).float(), 4), balancing_weights(LABELS, 4))


@pytest.mark.parametrize("mixup", [0.0, 0.4])
@pytest.mark.parametrize("class_weights", [None, torch.tensor([0.5, 2.0, 1.0])])
def test_distributions_of_one_class_are_labels(class_weights: torch.Tensor | None, mixup: float) -> None:
    config = replace(CONFIG, mixup=mixup)
    _, draws = draw_epoch(6, 48, 0, 1, config.augmentation)
    rows = torch.arange(6)
    hard = mean_loss(LOGITS, LABELS, rows, draws, class_weights, config)
    soft = mean_loss(LOGITS, F.one_hot(LABELS, 3).float(), rows, draws, class_weights, config)
    assert hard.item() == pytest.approx(soft.item(), abs=1e-6)


def test_a_mix_asks_for_both_faces_by_their_shares() -> None:
    config = replace(CONFIG, mixup=0.4, label_smoothing=0.0)
    _, draws = draw_epoch(6, 48, 0, 1, config.augmentation)
    rows = torch.tensor([4, 1, 3])
    mixed = draws.own_shares[rows, None] * F.one_hot(LABELS[rows], 3)
    mixed = mixed + (1 - draws.own_shares[rows, None]) * F.one_hot(LABELS[draws.partners[rows]], 3)
    expected = -(mixed * LOGITS[:3].log_softmax(dim=1)).sum(dim=1).mean()
    assert mean_loss(LOGITS[:3], LABELS, rows, draws[rows], None, config).item() == pytest.approx(
        expected.item(), abs=1e-6
    )
    share_hit = mixed.gather(1, LOGITS[:3].argmax(dim=1, keepdim=True)).sum()
    assert hits(LOGITS[:3], LABELS, rows, draws[rows], config).item() == pytest.approx(
        share_hit.item(), abs=1e-6
    )


def test_shares_of_the_crowd() -> None:
    votes = np.zeros((3, len(ANSWERS)), dtype=np.int64)
    votes[0, [0, 3, ANSWERS.index("contempt")]] = 6, 2, 2
    votes[1, ANSWERS.index("not_face")] = 10
    votes[2, 5] = 9
    shares = crowd_shares(votes, ANSWERS[:7])
    assert shares[0].tolist() == [0.75, 0, 0, 0.25, 0, 0, 0]
    assert np.isnan(shares[1]).all() and shares[2, 5] == 1
    assert crowd_shares(votes, [ANSWERS[3], ANSWERS[0]])[0].tolist() == [0.25, 0.75]


def test_training_follows_the_crowd(synthetic: Workspace, accept: Accept) -> None:
    """All votes say one class: a network trained on them says it too, whatever the labels are."""
    rows = read_csv(synthetic.faces_csv("train"))
    columns = [*rows[0], *(f"votes_{answer}" for answer in ANSWERS)]
    votes = [10 * (answer == "sad") for answer in ANSWERS]
    write_csv(synthetic.faces_csv("train"), columns, [[*row.values(), *votes] for row in rows])
    accept(synthetic, synthetic.dataset_json, synthetic.faces_csv("train"))
    train(synthetic, replace(CONFIG, epochs=3, labels="ferplus-soft"), name="crowd", device="cpu")
    model = load_model(synthetic.run("crowd").best)
    with torch.inference_mode():
        predicted = model(torch.from_numpy(np.array(synthetic.load_faces("val")))).argmax(dim=1)
    assert (predicted == synthetic.dataset()["classes"].index("sad")).all()


def test_without_votes_there_are_no_crowd_labels(synthetic: Workspace) -> None:
    with pytest.raises(
        UserError, match="these faces carry no votes; run 'fertool prepare' again with --ferplus"
    ):
        train(synthetic, replace(CONFIG, labels="ferplus-soft"), name="crowd", device="cpu")
    assert not synthetic.run("crowd").folder.exists()


def test_balance_changes_what_is_learnt(synthetic: Workspace, accept: Accept) -> None:
    """With one class left almost alone, a balanced training predicts the others more often."""
    rows = read_csv(synthetic.faces_csv("train"))
    for number, row in enumerate(rows):
        row["label"] = "3" if number % 8 else row["label"]
    write_csv(synthetic.faces_csv("train"), list(rows[0]), [list(row.values()) for row in rows])
    accept(synthetic, synthetic.dataset_json, synthetic.faces_csv("train"))
    share = {}
    for balance in (False, True):
        config = replace(CONFIG, epochs=2, batch_size=16, balance=balance)
        train(synthetic, config, name=f"balance-{balance}", device="cpu")
        model = load_model(synthetic.run(f"balance-{balance}").best)
        with torch.inference_mode():
            chances = model(torch.from_numpy(np.array(synthetic.load_faces("train")))).softmax(dim=1)
        share[balance] = chances[:, 3].mean().item()
    assert share[True] < share[False] - 0.1
