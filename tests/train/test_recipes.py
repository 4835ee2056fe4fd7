import math
from dataclasses import replace
from typing import Any

import pytest

from fertool.errors import UserError
from fertool.train.augment import PRESETS, Augmentation
from fertool.train.config import TrainConfig
from fertool.train.recipes import OF_KIND, STRONG, STRONG_OF_KIND, configure

MODELS = (
    "cnn",
    "resnet50",
    "vit",
    "facevit",
    "dlibface",
    "vggface",
    "multiscale:resnet18",
    "mine.nets:small",
)


@pytest.mark.parametrize("model", MODELS)
def test_the_page_is_the_same_plain_training_for_every_model(model: str) -> None:
    config = configure(model, recipe="page")
    assert config == TrainConfig(model=model)
    assert (config.optimizer, config.batch_size, config.epochs, config.lr) == ("adam", 64, 30, 1e-4)
    assert (config.schedule, config.unfreeze, config.freeze_epochs, config.ema) == (
        "constant",
        "all",
        0,
        None,
    )


@pytest.mark.parametrize("model", STRONG)
def test_the_strong_recipe_is_the_models_own_and_settings_win_over_it(model: str) -> None:
    config = configure(model, recipe="strong")
    assert config == TrainConfig(model=model, **STRONG[model]) != TrainConfig(model=model)
    assert configure(f"multiscale:{model}", recipe="strong") == replace(config, model=f"multiscale:{model}")
    assert configure(model, recipe="strong", settings={"epochs": 3}) == replace(config, epochs=3)


@pytest.mark.parametrize("model", ["tf_efficientnet_lite0", "resnet50", "dlibface", "multiscale:resnet18"])
def test_convolutional_networks_of_other_libraries_share_a_strong_recipe(model: str) -> None:
    config = configure(model, recipe="strong")
    assert config == TrainConfig(model=model, **STRONG_OF_KIND["convolutional"]) != configure(model)
    assert replace(config, weights="none") == configure(model, recipe="strong", settings={"weights": "none"})


@pytest.mark.parametrize(("model", "own_smoothing"), [("cnn", 0.1), ("resnet48", 0.05), ("vit", 0.1)])
def test_the_crowds_votes_are_not_smoothed_unless_told_to(model: str, own_smoothing: float) -> None:
    assert configure(model, settings={"labels": "ferplus-soft"}).label_smoothing == 0
    smoothed = configure(model, settings={"labels": "ferplus-soft", "label_smoothing": 0.05})
    assert smoothed.label_smoothing == 0.05
    assert configure(model, settings={"labels": "own"}).label_smoothing == own_smoothing


def test_resnet48_trains_by_its_strong_recipe_unless_told_otherwise() -> None:
    assert configure("resnet48") == configure("resnet48", recipe="strong")
    assert configure("resnet48", recipe="page") == TrainConfig(model="resnet48")


@pytest.mark.parametrize("model", ["vit", "cnn-gap", "mine.nets:small"])
def test_models_without_a_strong_recipe_say_so(model: str) -> None:
    made_for = "made for cnn, resnet48 and convolutional networks of other libraries"
    with pytest.raises(UserError, match=f"{made_for}, not for {model};") as raised:
        configure(model, recipe="strong")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("cnn", "small"),
        ("multiscale:cnn", "small"),
        ("mine.nets:small", "small"),
        ("resnet50", "convolutional"),
        ("mobilenetv2_100", "convolutional"),
        ("multiscale:resnet50", "convolutional"),
        ("vggface", "convolutional"),
        ("vggface2", "convolutional"),
        ("dlibface", "convolutional"),
        ("vit", "transformer"),
        ("facevit", "transformer"),
        ("deit_tiny_patch16_224", "transformer"),
        ("swin_tiny_patch4_window7_224", "transformer"),
        ("multiscale:vit", "transformer"),
    ],
)
def test_without_a_recipe_each_kind_has_its_own(model: str, kind: str) -> None:
    assert configure(model) == TrainConfig(model=model, **OF_KIND[kind])


@pytest.mark.parametrize("model", ["resnet50", "vit"])
def test_nothing_but_weights_differs_from_the_control(model: str) -> None:
    pretrained = configure(model, settings={"weights": "auto"})
    control = configure(model, settings={"weights": "none"})
    assert replace(control, weights="auto") == pretrained


def test_settings_win_over_recipe_and_preset_and_none_is_no_setting() -> None:
    config = configure("vit", augment="strong", settings={"lr": 0.25, "rotate_deg": 3.0, "epochs": None})
    assert config.lr == 0.25 and config.rotate_deg == 3.0
    assert config.epochs == OF_KIND["transformer"]["epochs"] != TrainConfig().epochs
    assert config.erase == PRESETS["strong"].erase
    assert configure("resnet50", settings={"flip": False, "warmup_epochs": 0.0}).flip is False
    assert configure("resnet50", settings={"warmup_epochs": 0.0}).warmup_epochs == 0


@pytest.mark.parametrize("model", ["cnn", "resnet50"])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_all_of_the_augmentation(model: str, preset: str) -> None:
    config = configure(model, augment=preset)
    assert config.augmentation == PRESETS[preset]
    assert configure(model, augment="none").augmentation == Augmentation()


def test_one_cycle_has_a_warm_up_of_its_own() -> None:
    assert (
        configure("resnet50").warmup_epochs
        > 0
        == configure("resnet50", settings={"schedule": "one-cycle"}).warmup_epochs
    )
    with pytest.raises(UserError, match="--warmup-epochs: the schedule one-cycle has a warm-up of its own"):
        configure("cnn", settings={"schedule": "one-cycle", "warmup_epochs": 2.0})


def test_statistics_are_read_as_numbers() -> None:
    config = configure("mine.nets:small", settings={"mean": "0.5,0.4,0.3", "std": "1"})
    assert config.mean == (0.5, 0.4, 0.3) and config.std == (1.0,)
    with pytest.raises(UserError, match=r"^--mean 0.5;0.4: give a number for each channel"):
        configure("mine.nets:small", settings={"mean": "0.5;0.4"})


def test_names_that_are_none_are_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match="no recipe 'pages'; there are page, strong"):
        configure("cnn", recipe="pages")
    with pytest.raises(UserError, match="--augment wild: there are none, light, strong"):
        configure("cnn", augment="wild")
    with pytest.raises(UserError, match=r"^--lr -1: must be above 0"):
        configure("cnn", settings={"lr": -1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip": math.inf}, "--clip inf: must be 0 or more"),
        ({"lr": math.inf}, "--lr inf: must be above 0, and finite"),
        ({"weight_decay": math.nan}, "--weight-decay nan: "),
        ({"mean": "nan"}, "--mean nan: give a number"),
        ({"epochs": 2, "warmup_epochs": 5.0}, "--warmup-epochs 5: the training has 2 epochs only"),
        ({"epochs": 2, "freeze_epochs": 3}, "--freeze-epochs 3: the training has 2 epochs only"),
        (
            {"epochs": 2, "guide": "background", "guide_warmup": 2.5},
            "--guide-warmup 2.5: the training has 2 epochs",
        ),
        ({"seed": 2**64}, "--seed 18446744073709551616: must be from 0 to below 2"),
    ],
)
def test_values_by_which_no_training_could_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        configure("mine.nets:small", settings=settings)


def test_a_recipes_own_warm_up_gives_way_in_a_short_training() -> None:
    warmup_epochs = configure("resnet48").warmup_epochs
    assert configure("resnet48", settings={"epochs": 2}).warmup_epochs == 2 < warmup_epochs
    assert configure("resnet48", settings={"epochs": 9}).warmup_epochs == warmup_epochs


def test_no_clipping_can_be_asked_for() -> None:
    assert configure("resnet50").clip > 0 == configure("resnet50", settings={"clip": 0.0}).clip
