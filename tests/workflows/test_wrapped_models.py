"""Compiled models and DataParallel: explained as the model that is inside, and left as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hoi_captum as hoi
from hoi_captum.errors import InputError
from hoi_captum.testing import Case, tiny_llama
from hoi_captum.testing.models import noise
from hoi_captum.testing.suite import scores_of
from tests.workflows.methods import ALL, close, features

Wrap = Callable[[nn.Module], nn.Module]
WRAPPERS: Mapping[str, Wrap] = {
    "DataParallel": nn.DataParallel,
    "DataParallel of a device": lambda net: nn.DataParallel(net, device_ids=[0]),
    "compiled": lambda net: torch.compile(net, backend="eager"),
    "compiled ahead of time": lambda net: torch.compile(net, backend="aot_eager"),
    "compiled DataParallel": lambda net: torch.compile(nn.DataParallel(net), backend="eager"),
}


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    """What one test compiled is none of the next one's: recompilations are counted, and limited."""
    yield
    torch._dynamo.reset()


class Tells(nn.Module):
    """The case's model, which notes whether its own code ran since: compiled code does not."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        # beyond the answers' sixth digit, and seen all the same
        return out if torch.compiler.is_compiling() else out + 1000


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def answers(method: Any, case: Case) -> tuple[Tensor, Any]:
    """Attributions of all rows, and the table of the first."""
    return method.attribute(case.inputs, **case.call), method.interact(case.inputs[:1], **case.call)[0]


@pytest.fixture(scope="module")
def plain() -> Mapping[str, tuple[Tensor, Any]]:
    """What each method says of the model as it is."""
    case = features()
    return {name: answers(build(case), case) for name, build in ALL.items()}


@pytest.mark.parametrize("wrap", ["DataParallel", "compiled DataParallel", "compiled ahead of time"])
@pytest.mark.parametrize("name", ALL)
def test_a_wrapped_model_has_the_models_answers(
    name: str, wrap: str, plain: Mapping[str, tuple[Tensor, Any]]
) -> None:
    case = features()
    wrapped = WRAPPERS[wrap](case.model)
    with torch.no_grad():  # what is compiled is there before the hooks are
        wrapped(case.background)
        before = wrapped(case.inputs)
    method = ALL[name](replace(case, model=wrapped))
    attributions, table = answers(method, case)
    close(attributions, plain[name][0], 1e-6)
    assert scores_of(table) == pytest.approx(scores_of(plain[name][1]), rel=1e-4, abs=1e-5)
    assert table.provenance.model == ("Sequential",)
    assert not hooks(wrapped)
    with torch.no_grad():
        assert torch.equal(wrapped(case.inputs), before)


@pytest.mark.parametrize("device_ids", [None, [0]])
@pytest.mark.parametrize("name", ["TaylorCAM", "SecondGlance", "LayerLocalCorEx", "GraphSpectral"])
def test_device_ids_are_no_matter_on_a_processor(
    name: str, device_ids: list[int] | None, plain: Mapping[str, tuple[Tensor, Any]]
) -> None:
    case = features()
    wrapped = nn.DataParallel(case.model, device_ids=device_ids)
    # the same layer, by the way that leads to it
    method = ALL[f"{name}, at a layer"](replace(case, model=wrapped, layer=wrapped.module[1]))
    method.device_ids = device_ids
    close(method.attribute(case.inputs, **case.call), plain[f"{name}, at a layer"][0], 1e-6)


def test_coalitions_stay_compiled_and_derivatives_do_not() -> None:
    """Where outputs are all that is asked for, the compiled model gives them; hooks need the model itself."""
    case = features()
    model = torch.compile(Tells(case.model), backend="eager")
    shapley = hoi.GeneralizableAndOr(model).interact(case.inputs[:1], target=1)[0]
    assert abs(float(shapley.base)) < 100
    read: list[float] = []

    def watched(x: Tensor) -> Tensor:
        out: Tensor = model(x)
        read.append(float(out.detach().abs().max()))
        return out

    hoi.TaylorCAM(watched, case.layer, synergy=0, mode="exact").attribute(case.inputs, target=1)
    assert min(read) > 100


def test_attention_is_gated_in_compiled_models() -> None:
    llama, embeddings = tiny_llama(), noise(2, 4, 16, seed=1)
    compiled = torch.compile(llama, backend="eager")
    with torch.no_grad():
        compiled(embeddings)
    for mode in ("auto", "occlusion"):
        found, expected = (
            hoi.TaylorCAM(model, mode=mode, synergy=0).attribute(embeddings, target=1)
            for model in (compiled, llama)
        )
        assert float(expected.abs().max()) > 0.1
        close(found, expected, 1e-6)


def test_a_compiled_part_of_a_model_is_a_layer() -> None:
    """Compiled piece by piece, as large models are: in place, or in the place of the piece."""
    case = features()
    expected = hoi.TaylorCAM(case.model, case.layer).attribute(case.inputs, target=1)
    pieces = copy.deepcopy(case.model)
    for index in (1, 2):
        pieces[index].compile(backend="eager")
    with torch.no_grad():
        pieces(case.inputs)
    close(hoi.TaylorCAM(pieces, pieces[1]).attribute(case.inputs, target=1), expected, 1e-6)
    pieces[1] = torch.compile(case.model[1], backend="eager")
    with torch.no_grad():
        pieces(case.inputs)
    close(hoi.TaylorCAM(pieces, pieces[1]).attribute(case.inputs, target=1), expected, 1e-6)
    close(hoi.TaylorCAM(pieces, case.model[1]).attribute(case.inputs, target=1), expected, 1e-6)


def test_what_a_layer_taught_is_loaded_for_the_wrapped_model(tmp_path: Any) -> None:
    """The layer has one name, whatever is around its model; another would be warned of."""
    case = features()
    method = ALL["GraphSpectral, at a layer"](replace(case, model=nn.DataParallel(case.model)))
    method.save(tmp_path / "map.safetensors")
    compiled = torch.compile(case.model, backend="eager")
    again = hoi.GraphSpectral.load(tmp_path / "map.safetensors", compiled, case.layer)
    assert again.layer_name_ == "1"
    close(again.attribute(case.inputs), method.attribute(case.inputs), 1e-6)


# ---------------------------------------------------------------- one call
MODELS: Mapping[str, tuple[Any, dict[str, Any]]] = {
    "sentiment-bert-a": ("not a bad film", {"target": "negative"}),
    "sentiment-llama-a": (
        "not a bad film",
        {"target": ("good", "bad"), "template": "review : {} sentiment :"},
    ),
    "digits-resnet": (None, {"target": 3, "players": (2, 2)}),
}
EXPLAINED: Mapping[str, Mapping[str, Any]] = {"generalizable-and-or": {}, "taylor-cam": {"synergy": 0}}


def explained(name: str, model: Any, processor: Any, method: str) -> hoi.Explanation:
    data, options = MODELS[name]
    if data is None:
        data = hoi.zoo.samples(name, 1)[0][0]
    options = options | {"transforms" if name == "digits-resnet" else "tokenizer": processor}
    return hoi.explain(model, data, method=method, **options, **EXPLAINED[method])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", EXPLAINED)
def test_wrapped_models_are_explained_in_one_call(name: str, method: str) -> None:
    model, processor = hoi.zoo.load(name)
    expected = explained(name, model, processor, method)
    wraps = ["DataParallel", "DataParallel of a device"]
    if (name, method) == ("sentiment-bert-a", "generalizable-and-or"):  # the compiler takes its time
        wraps.append("compiled DataParallel")
    for wrap in wraps:
        found = explained(name, WRAPPERS[wrap](model), processor, method)
        assert found.interactions.provenance.model == expected.interactions.provenance.model
        assert found.interactions.players == expected.interactions.players
        close(found.attributions, expected.attributions, 1e-5)
    assert not hooks(model)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", EXPLAINED)
def test_models_in_half_precision_are_explained_in_one_call(name: str, method: str) -> None:
    model, processor = hoi.zoo.load(name)
    half = model.bfloat16()
    twin = copy.deepcopy(half).float()  # of the same weights
    found, expected = (explained(name, m, processor, method).attributions for m in (half, twin))
    assert found.dtype == torch.float32
    # differences of gradients of a ReLU network keep one digit of the two and a half that its outputs have
    kept = 0.2 if (name, method) == ("digits-resnet", "taylor-cam") else 0.03
    close(found, expected, kept)


def test_layers_of_wrapped_models_are_known_by_their_own_names() -> None:
    model, transforms = hoi.zoo.load("digits-resnet")
    image, _ = hoi.zoo.samples("digits-resnet", 1)[0]
    call: dict[str, Any] = {"method": "taylor-cam", "target": 3, "transforms": transforms, "players": (2, 2)}
    expected = hoi.explain(model, image, layer="layer2", **call).attributions
    assert expected.shape == (1, 1, 14, 14)
    for wrap in ("DataParallel", "compiled DataParallel"):
        wrapped = WRAPPERS[wrap](model)
        for layer in ("layer2", model.layer2):
            close(hoi.explain(wrapped, image, layer=layer, **call).attributions, expected, 1e-5)
    with pytest.raises(InputError, match=r"no layer 'module\.layer2'; did you mean 'layer2'"):
        hoi.explain(nn.DataParallel(model), image, layer="module.layer2", **call)


def test_methods_that_learn_learn_from_wrapped_models() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).eval()
    rows = noise(80, 4, seed=2)
    call: dict[str, Any] = {"target": 1, "background": rows, "layer": "1", "n_factors": 2, "n_clusters": 1}
    expected = hoi.explain(net, rows[0], method="layer-local-corex", **call)
    for wrap in ("DataParallel", "compiled"):
        found = hoi.explain(WRAPPERS[wrap](net), rows[0], method="layer-local-corex", **call)
        close(found.attributions, expected.attributions, 1e-6)
