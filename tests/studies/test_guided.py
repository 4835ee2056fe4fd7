"""The runs that the study of guidance trains, and the runs that it scores on each split."""

from itertools import pairwise
from pathlib import Path

import pytest

from fertool.models import build_model
from fertool.train.guidance.maps import check_guidance
from tests.studies.stand_in import calls_of

STUDY = Path(__file__).with_name("guided.sh")


@pytest.fixture(scope="module")
def transformer_calls(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    return study(tmp_path_factory.mktemp("study"), "transformers", "null")


def study(folder: Path, parts: str, chosen: str) -> list[list[str]]:
    """Run parts of the study. Returns the calls of `fertool`: the workspace's name, then the arguments."""
    for name in ("synthetic", "fer2013/masks"):
        (folder / name).mkdir(parents=True)
    (folder / "fer2013/masks/test.npz").touch()
    places = {"STUDY": str(folder / "synthetic"), "FER2013": str(folder / "fer2013")}
    return calls_of(STUDY, folder, {"PARTS": parts, "CHOSEN": chosen, **places})


def run_names(call: list[str]) -> set[str]:
    return {name for option, name in pairwise(call) if option == "--run"}


def scored(calls: list[list[str]], page: str, split: str) -> list[set[str]]:
    """The runs of each call of `score` on a split that scores runs of a page."""
    on_split = [
        run_names(call) for call in calls if call[1] == "score" and call[call.index("--split") + 1] == split
    ]
    return [names for names in on_split if any(name.startswith(f"{page}-") for name in names)]


def seed_names(prefix: str, seeds: int) -> set[str]:
    return {f"{prefix}-s{seed}" for seed in range(seeds)}


def test_planted_scores_test_for_the_chosen_lambda_its_placebo_and_lambda_0_only(tmp_path: Path) -> None:
    calls = study(tmp_path, "planted", "3.0")
    every = set().union(*(seed_names(f"cnn-g{weight}", 3) for weight in (0, 1, 3, 10)))
    placebo = seed_names("cnn-shuffled", 3)
    on_val, on_test = scored(calls, "cnn", "val"), scored(calls, "cnn", "test")
    assert len(on_val) == 3 and all(runs == every | placebo for runs in on_val)
    assert len(on_test) == 3
    assert all(runs == seed_names("cnn-g0", 3) | seed_names("cnn-g3", 3) | placebo for runs in on_test)
    (shuffled,) = (call for call in calls if "shuffled" in call and "cnn-shuffled" in call)
    assert shuffled[shuffled.index("--guide-weight") + 1] == "3.0"
    for page in ("cnn-val", "cnn-test", "gap-val", "gap-test"):
        assert (tmp_path / f"synthetic/{page}.html").exists()
        assert (tmp_path / f"synthetic/{page}.json").exists()


def test_without_a_chosen_lambda_test_is_scored_for_the_unguided_runs_only(tmp_path: Path) -> None:
    calls = study(tmp_path, "planted fer2013", "null")
    assert scored(calls, "cnn", "test") == 3 * [seed_names("cnn-g0", 3)]
    assert scored(calls, "guided-e6", "test") == 4 * [seed_names("guided-e6-g0", 5)]
    assert not any("shuffled" in call and "cnn" in call for call in calls if call[0] == "synthetic")


@pytest.mark.parametrize("parts", ["fer2013", "transformers fer2013"])
def test_fer2013_scores_val_for_every_lambda(tmp_path: Path, parts: str) -> None:
    calls = [call for call in study(tmp_path, parts, "0.3") if call[0] == "fer2013"]
    own = set().union(*(seed_names(f"guided-e6-g{weight}", 5) for weight in ("0", "0.1", "0.3", "1", "3")))
    shuffled = set().union(
        *(seed_names(f"guided-e6-shuffled-g{weight}", 5) for weight in ("0.1", "0.3", "1", "3"))
    )
    on_val, on_test = scored(calls, "guided-e6", "val"), scored(calls, "guided-e6", "test")
    assert len(on_val) == 4 and all(runs == own | shuffled for runs in on_val)
    chosen = seed_names("guided-e6-g0.3", 5) | seed_names("guided-e6-shuffled-g0.3", 5)
    assert len(on_test) == 4 and all(runs == seed_names("guided-e6-g0", 5) | chosen for runs in on_test)
    explainers = {call[call.index("--explainer") + 1] for call in calls if "--explainer" in call}
    assert explainers == {"gradcam-abs", "gradcam", "occlusion@stride=8"}


@pytest.mark.parametrize(("network", "seeds"), [("small", 3), ("tiny", 1)])
def test_guided_transformers_share_one_unguided_network(
    transformer_calls: list[list[str]], network: str, seeds: int
) -> None:
    calls, explainers = transformer_calls, {}
    for guide in ("attention", "rollout", "all-blocks", "gradcam"):
        guided = f"{network}-{guide}"
        on_test = scored(calls, guided, "test")
        assert len(on_test) == 2
        assert all(
            runs == seed_names(f"{network}-plain", seeds) | seed_names(guided, seeds) for runs in on_test
        )
        pages = [call for call in calls if call[1] == "score" and f"{guided}-s0" in call]
        explainers[guide] = {call[call.index("--explainer") + 1] for call in pages} - {"occlusion@stride=8"}
    assert explainers == {
        "attention": {"attention"},
        "rollout": {"rollout"},
        "all-blocks": {"all-blocks"},
        "gradcam": {"gradcam-abs"},
    }
    # gradcam-abs reads the same layer of guided and unguided networks
    trained = [
        call for call in calls if call[1] == "train" and f"{network}-" in call[call.index("--name") + 1]
    ]
    assert len(trained) == 5
    assert {call[call.index("--cam-layer") + 1] for call in trained} == {"norm_pre"}


def test_the_small_transformer_can_be_guided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(STUDY.parent)
    model = build_model("small_vit:small_vit", 7, image_size=48, cam_layer="norm_pre")
    assert len(model.attention_blocks) == 6
    assert check_guidance(model, "gradcam", None) == ("gradcam", "abs")


def test_combinations_are_compared_on_val_only(tmp_path: Path) -> None:
    calls = study(tmp_path, "combinations", "10.0")
    guided = [call for call in calls if "--guide" in call]
    assert len({(call[call.index("--model") + 1], *call[call.index("--guide") :]) for call in guided}) == 8
    for call in guided:
        name = call[call.index("--name") + 1]
        head = name.partition("-")[0]
        assert {"cnn": "cnn", "cnn-gap": "gap"}[call[call.index("--model") + 1]] == head
        compared = set().union(
            seed_names(f"{head}-unguided", 3), *(seed_names(f"{name}-g{weight}", 3) for weight in (3, 10))
        )
        assert scored(calls, name, "val") == 3 * [compared]
        assert not scored(calls, name, "test")
