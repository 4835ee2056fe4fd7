import pytest
from hypothesis import given
from hypothesis import strategies as st

from fertool.errors import UserError
from fertool.explain.methods.nulls import NULLS
from fertool.explain.registry import EXPLAINERS, explainers_of, parse_request

WRITTEN = [
    "gradcam",
    "rollout@discard=0.9,fusion=max",
    "attention@block=3",
    "attention@block=0,head=2",
    "gradcam@layer=blocks.4",
    "swapped@of=guided-gradcam@layer=stage1",
    "rise@keep=0.25,masks=100",
    "integrated-gradients@baseline=0.0",
    "random@of=rollout",
    "swapped@of=gradcam",
]


@pytest.mark.parametrize("text", [*EXPLAINERS, *WRITTEN])
def test_a_key_is_read_as_it_is_written(text: str) -> None:
    assert parse_request(text).key == text
    assert parse_request(parse_request(text).key) == parse_request(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("rollout@fusion=max,discard=0.9", "rollout@discard=0.9,fusion=max"),
        ("rollout@discard=.90,fusion=mean", "rollout@discard=0.9"),
        ("rollout@discard=0", "rollout"),
        ("rollout@", "rollout"),
        ("attention@block=-1", "attention"),
        ("attention@head=none,block=3", "attention@block=3"),
        ("uniform", "uniform@of=gradcam"),
    ],
)
def test_the_same_maps_have_one_key(text: str, key: str) -> None:
    assert parse_request(text).key == key


@given(
    st.sampled_from(["mean", "max", "min"]),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1),
)
def test_options_survive_being_written(fusion: str, discard: float, residual: float) -> None:
    text = f"rollout@fusion={fusion},discard={discard},residual={residual}"
    request = parse_request(parse_request(text).key)
    options = {**request.explainer.options, **request.options}
    assert options == {"fusion": fusion, "discard": discard, "residual": residual}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gradcamm", "no explainer 'gradcamm'; nearest are gradcam, .*; there are gradcam, .*, uniform"),
        ("", "no explainer ''"),
        ("input-gradient@layer=3", "no option 'layer'; 'input-gradient' takes no options"),
        ("gradcam@layer=../../elsewhere", r"'\.\./\.\./elsewhere' is no name for 'layer'"),
        ("gradcam@layer=", "'' is no name for 'layer'"),
        ("rollout@discount=1", "no option 'discount'; 'rollout' takes fusion, discard, residual"),
        ("rollout@discard=much", "'much' is no float for 'discard'"),
        ("rollout@discard=nan", "'nan' is no float for 'discard'"),
        ("smoothgrad@noise=inf", "'inf' is no float for 'noise'"),
        ("attention@head=first", "'first' is no int for 'head'"),
        ("attention@block=none", "'none' is no int for 'block'"),
        ("rise@masks=10.5", "'10.5' is no int for 'masks'"),
        ("random@seed=1", "'random' takes only 'of'"),
        ("random@of=nothing", "no explainer 'nothing'"),
        ("random@of=uniform", "'of' takes one of gradcam"),
        ("random@of=rollout@discard=most", "'most' is no float"),
    ],
)
def test_what_is_none(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_request(text)


def test_no_null_looks_at_the_target() -> None:
    assert parse_request("gradcam").looks_at_target
    assert not parse_request("rollout").looks_at_target
    assert not any(parse_request(name).looks_at_target for name in NULLS)


def test_which_explain_which_family() -> None:
    of_cnn, of_vit, of_swin = (
        explainers_of("cnn", 0),
        explainers_of("transformer", 12),
        explainers_of("transformer", 0),
    )
    assert {"gradcam", "gradcam-abs", "guided-gradcam", "rise"} <= set(of_cnn) and "rollout" not in of_cnn
    assert {"gradcam", "rollout", "attention", "all-blocks", "attention-gradcam"} <= set(of_vit)
    assert "guided-gradcam" not in of_vit
    assert "gradcam" in of_swin and "rollout" not in of_swin and "guided-backprop" not in of_swin


def test_a_null_beside_an_explainer_with_options_has_a_key_of_its_own() -> None:
    request = parse_request("swapped@of=rollout@discard=0.9,fusion=max")
    assert request.key == "swapped@of=rollout@discard=0.9,fusion=max"
    assert request.beside.key == "rollout@discard=0.9,fusion=max"
    assert parse_request(request.key) == request
