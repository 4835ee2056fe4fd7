import pytest
import timm
import torch

from fertool.models import build_model
from fertool.models.backbones.timm_backbone import is_timm_model, pretrained_config, timm_network
from fertool.models.listing import CLASSES, MODELS, model_table
from fertool.models.registry import parameter_count


@pytest.fixture
def without_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that nobody looks at are not drawn, which takes most of the time for 300 million of them."""
    for draw in (
        "normal_",
        "uniform_",
        "trunc_normal_",
        "kaiming_normal_",
        "kaiming_uniform_",
        "xavier_uniform_",
    ):
        monkeypatch.setattr(torch.nn.init, draw, lambda tensor, *_, **__: tensor)


def test_the_table_says_what_is_built(without_draws: None) -> None:
    for entry in MODELS:
        if entry.parameters is None:
            continue
        model = build_model(entry.name, CLASSES)
        assert (model.family, model.input_spec.size) == (entry.family, entry.input_size_px), entry.name
        assert parameter_count(model) == entry.parameters, entry.name
        if is_timm_model(entry.name):
            assert pretrained_config(timm_network(entry.name)).hf_hub_id == entry.source
            if entry.weights == "imagenet":
                assert timm.get_pretrained_cfg(timm_network(entry.name).architecture).license == (
                    entry.licence.lower()
                )


def test_a_row_a_model() -> None:
    summary = model_table()
    names = [row["name"] for row in summary.data["models"]]
    assert names == [row[0] for row in summary.tables[0].rows]
    assert {"cnn", "vggface", "vggface2", "dlibface", "facevit", "vit", "multiscale:NAME"} <= set(names)
    assert all(len(row) == len(summary.tables[0].columns) for row in summary.tables[0].rows)
