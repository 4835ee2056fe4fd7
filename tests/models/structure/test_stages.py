import pytest

from fertool.models import build_model
from fertool.models.structure.stages import parameter_stages


@pytest.mark.parametrize(
    ("name", "size"),
    [("cnn", None), ("test_resnet", 64), ("test_vit", 64), ("dlibface", None), ("multiscale:cnn", None)],
)
def test_every_parameter_has_one_stage_and_the_head_the_last(name: str, size: int | None) -> None:
    model = build_model(name, 7, image_size=size)
    stages = parameter_stages(model)
    names = [parameter for stage in stages for parameter in stage]
    assert sorted(names) == sorted(parameter for parameter, _ in model.network.named_parameters())
    assert all(stages)
    assert all(parameter.startswith(f"{model.head}.") for parameter in stages[-1])
    assert not any(parameter.startswith(f"{model.head}.") for stage in stages[:-1] for parameter in stage)


def test_stages_go_from_the_input_to_the_head() -> None:
    stages = parameter_stages(build_model("cnn", 7))
    assert [stage[0].partition(".")[0] for stage in stages] == [
        "conv1",
        "conv2",
        "conv3",
        "hidden",
        "classifier",
    ]


def test_a_transformers_blocks_are_a_stage_each() -> None:
    model = build_model("vit_tiny_patch16_224", 7, image_size=64)
    stages = parameter_stages(model)
    assert stages[0][0] == "cls_token"
    for number, stage in enumerate(stages[1:13]):
        assert all(name.startswith((f"blocks.{number}.", "norm.")) for name in stage)


def test_two_heads_are_the_last_stage() -> None:
    stages = parameter_stages(build_model("deit_tiny_distilled_patch16_224", 7, image_size=48))
    assert stages[-1] == ["head.weight", "head.bias", "head_dist.weight", "head_dist.bias"]
    assert not any("head" in name for stage in stages[:-1] for name in stage)


def test_branches_share_their_stages() -> None:
    alone = parameter_stages(build_model("cnn", 7))
    both = parameter_stages(build_model("multiscale:cnn", 7))
    for one, two in zip(alone[:-1], both[:-1], strict=True):
        assert sorted(two) == sorted(f"branches.{branch}.{name}" for branch in (0, 1) for name in one)
