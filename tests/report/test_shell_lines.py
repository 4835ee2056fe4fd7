import shlex

import pytest
from typer.testing import CliRunner

from fertool.cli import app
from fertool.report.shell_lines import new_train_line, option_words, score_line, train_line
from fertool.train.config import TrainConfig
from fertool.train.recipes import configure


def test_a_line_names_what_differs_from_the_recipe_and_nothing_else() -> None:
    line = train_line(
        vars(configure("cnn", "page", settings={"lr": 1e-3, "epochs": 4, "flip": False, "balance": True}))
    )
    assert (
        line == "fertool train --model cnn --recipe page --epochs 4 --lr 0.001 --balance --no-flip --seed 0"
    )
    assert train_line(vars(configure("cnn", "page"))) == "fertool train --model cnn --recipe page --seed 0"


def test_changes_and_seeds_stand_in_the_place_of_the_run_s_own() -> None:
    config = vars(configure("dlibface", "page", settings={"freeze_epochs": 2, "epochs": 8}))
    line = train_line(config, seeds="0,1", weights="none", freeze_epochs=0)
    assert line == "fertool train --model dlibface --recipe page --weights none --epochs 8 --seeds 0,1"


def test_guidance_is_named_only_where_there_is_one() -> None:
    guided = TrainConfig(guide="regions", guide_weight=0.3, guide_regions=(("eyes", 2.0), ("mouth", 1.0)))
    assert "--guide regions --guide-weight 0.3 --guide-regions eyes=2,mouth=1" in train_line(vars(guided))
    assert "--guide" not in train_line(vars(TrainConfig(guide_weight=0.3)))


def test_options_are_words_of_a_shell() -> None:
    assert option_words("mean", (0.5, 0.25)) == ["--mean", "0.5,0.25"]
    assert option_words("backbone_lr", None) == []
    assert (
        shlex.split(score_line(["causal"], explainer="gradcam@layer=a b", target="label"))[3]
        == "gradcam@layer=a b"
    )


@pytest.mark.parametrize(
    "line",
    [
        new_train_line("cnn", guide="background", guide_weight="0,0.3,1"),
        new_train_line("dlibface", weights="none"),
        score_line(["attention", "causal"], explainer="rollout", target="label", grid=7, split="val"),
    ],
)
def test_the_command_line_knows_every_option_of_a_line(line: str, tmp_path) -> None:
    result = CliRunner().invoke(app, [*shlex.split(line)[1:], "--workspace", str(tmp_path)])
    assert result.exit_code != 2, result.output


def test_a_line_makes_the_same_settings_again() -> None:
    wanted = TrainConfig(model="cnn", lr=1e-3, epochs=4, mixup=0.2, noise=0.01, rotate_deg=3.0, jitter=0.0)
    words = shlex.split(train_line(vars(wanted)))[2:]
    options = dict(zip(words[::2], words[1::2], strict=True))
    given = {
        name: type(value)(options[f"--{name.replace('_', '-')}"])
        for name, value in vars(wanted).items()
        if name != "model" and f"--{name.replace('_', '-')}" in options
    }
    assert configure("cnn", recipe=options["--recipe"], settings=given) == wanted
