"""Hooks on the layers that HuggingFace calls in its own ways."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM
from transformers.modeling_outputs import BaseModelOutput

from hoi_captum.core.layers import _gathered, read_layer, tapped, tensors_in, with_tensors
from hoi_captum.errors import InputError

H, T, B = 8, 5, 2
IDS = torch.arange(B * T).view(B, T) % 17

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def hooks(model: nn.Module) -> int:
    return sum(len(getattr(m, name)) for m in model.modules() for name in HOOKS)


@pytest.fixture(scope="module")
def bert() -> nn.Module:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=17, hidden_size=H, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=T,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def llama() -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=17, hidden_size=H, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=12, max_position_embeddings=T,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def logits(model: nn.Module, ids: Tensor = IDS) -> Tensor:
    return model(input_ids=ids).logits


@pytest.fixture(scope="module")
def states(bert, llama) -> dict[str, tuple[Tensor, ...]]:
    """The hidden states that the models themselves report: embeddings, layer 0, layer 1."""
    with torch.no_grad():
        return {
            "bert": bert(input_ids=IDS, output_hidden_states=True).hidden_states,
            "llama": llama(input_ids=IDS, output_hidden_states=True).hidden_states,
        }


# layer, which reported hidden state enters it and which leaves it (None: none of them)
LAYERS = [
    ("bert", "", None, None),
    ("bert", "bert", None, None),
    ("bert", "bert.embeddings", None, 0),
    ("bert", "bert.embeddings.word_embeddings", None, None),
    ("bert", "bert.encoder", 0, 2),
    ("bert", "bert.encoder.layer.0", 0, 1),
    ("bert", "bert.encoder.layer.1", 1, 2),
    ("bert", "bert.encoder.layer.0.attention", 0, None),
    ("bert", "bert.encoder.layer.1.attention.self", 1, None),
    ("bert", "bert.encoder.layer.0.output", None, 1),
    ("bert", "bert.pooler", 2, None),
    ("bert", "classifier", None, None),
    ("llama", "model", None, None),
    ("llama", "model.embed_tokens", None, 0),
    ("llama", "model.layers.0", 0, 1),
    ("llama", "model.layers.1", 1, None),
    ("llama", "model.layers.0.mlp", None, None),
    ("llama", "model.layers.0.self_attn", None, None),
    ("llama", "model.norm", None, 2),
    ("llama", "lm_head", 2, None),
]


@pytest.mark.parametrize(("family", "name", "enters", "leaves"), LAYERS)
def test_what_flows_through_a_layer_is_what_the_model_reports(request, states, family, name, enters, leaves):
    model = request.getfixturevalue(family)
    layer = model.get_submodule(name)
    own = hooks(model)  # transformers has some of its own
    run = lambda ids: logits(model, ids)  # noqa: E731
    output = read_layer(run, layer, (IDS,)).tensors
    if name:  # the model itself is called with ids, its first tensor
        entering = read_layer(run, layer, (IDS,), at_input=True).tensors
        if enters is not None:
            torch.testing.assert_close(entering[0], states[family][enters])
    if leaves is not None:
        torch.testing.assert_close(output[0], states[family][leaves])
    assert all(not t.requires_grad for t in output)
    assert hooks(model) == own


@pytest.mark.parametrize("at_input", [False, True])
@pytest.mark.parametrize(
    ("family", "name"), [(f, n) for f, n, *_ in LAYERS if "embed" not in n or n == "bert.embeddings"]
)
def test_replacing_with_the_same_tensors_changes_nothing_and_with_others_everything(
    request, family, name, at_input
):
    model = request.getfixturevalue(family)
    layer = model.get_submodule(name)
    own = hooks(model)
    with torch.no_grad():
        before = logits(model)
        with tapped(layer, lambda tensors: tuple(t.clone() for t in tensors), at_input=at_input):
            assert torch.equal(logits(model), before)

        def disturb(tensors):
            return tuple(t * 1.5 + 1 if t.is_floating_point() else (t + 1) % 5 for t in tensors)

        with tapped(layer, disturb, at_input=at_input):
            assert not torch.allclose(logits(model), before)
        assert torch.equal(logits(model), before)
    assert hooks(model) == own


def test_replacing_the_last_hidden_state_gives_the_head_of_it(llama):
    new = torch.randn(B, T, H)
    with torch.no_grad(), tapped(llama.model, lambda tensors: (new, *tensors[1:])):
        out = logits(llama)
    torch.testing.assert_close(out, llama.lm_head(new).detach())


def test_keyword_inputs_come_after_positional_ones_and_can_be_replaced():
    class Inner(nn.Module):
        def forward(self, a, flag, *, b, c=None):
            assert flag == "kept"
            assert c is None
            return a - 2 * b

    inner = Inner()

    def run(x):
        return inner(x, "kept", b=x + 1, c=None)

    x = torch.tensor([[5.0]])
    assert [t.item() for t in read_layer(run, inner, (x,), at_input=True).tensors] == [5, 6]
    with tapped(inner, lambda tensors: (tensors[0] * 10, tensors[1] * 100), at_input=True):
        assert run(x).item() == 50 - 1200


@pytest.mark.parametrize("at_input", [False, True])
def test_hooks_are_gone_after_an_exception_of_hook_or_model(at_input):
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(3, 1))

    def fail(tensors):
        raise KeyError("hook")

    with pytest.raises(KeyError), tapped(net[1], fail, at_input=at_input):
        net(torch.ones(1, 2))
    assert hooks(net) == 0
    with pytest.raises(RuntimeError):  # the last layer has another size
        read_layer(net, net[0], (torch.ones(1, 2),), at_input=at_input)
    assert hooks(net) == 0


def test_an_in_place_relu_does_not_change_what_was_seen():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True), nn.Linear(3, 1))
    x = torch.randn(4, 3)
    (before,) = read_layer(net, net[0], (x,)).tensors
    torch.testing.assert_close(before, net[0](x).detach())
    assert (before < 0).any()
    (entering,) = read_layer(net, net[1], (x,), at_input=True).tensors
    assert torch.equal(entering, before)
    (after,) = read_layer(net, net[1], (x,)).tensors
    assert torch.equal(after, before.clamp(min=0))


def test_what_is_seen_is_detached_even_where_the_model_turns_gradients_on():
    net = nn.Linear(2, 2)

    def energy(x):
        with torch.enable_grad():
            return net(x)

    (seen,) = read_layer(energy, net, (torch.ones(1, 2, requires_grad=True),)).tensors
    assert not seen.requires_grad


def test_a_layer_that_runs_twice_counts_the_last_time():
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(3)
    (seen,) = read_layer(lambda x: net(net(x)), net, (torch.ones(1, 1),)).tensors
    assert seen.item() == 9


def test_additional_arguments_reach_the_model():
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(1)
    (seen,) = read_layer(lambda x, k, name: net(x * k), net, (torch.ones(1, 1),), (5, "name")).tensors
    assert seen.item() == 5


def test_a_layer_that_never_runs():
    net, stranger = nn.Linear(2, 2), nn.Conv1d(1, 1, 1)
    with pytest.raises(InputError, match="Conv1d did not run"):
        read_layer(net, stranger, (torch.ones(1, 2),))
    assert hooks(stranger) == 0


@pytest.mark.parametrize("at_input", [False, True])
def test_a_layer_without_tensors(at_input):
    class Words(nn.Module):
        def forward(self, text):
            return text.upper()

    words = Words()
    with pytest.raises(
        InputError, match=f"the {'input' if at_input else 'output'} of the layer Words holds no"
    ):
        read_layer(lambda x: (words("a"), x)[1], words, (torch.ones(1),), at_input=at_input)


def test_second_derivatives_go_through_the_tapped_tensor():
    net = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)).double()
    x = torch.randn(1, 3).double()
    kept = []
    with tapped(net[1], lambda tensors: kept.append(tensors[0])):
        out = (net(x) ** 2).sum()
    (gradient,) = torch.autograd.grad(out, kept[0], create_graph=True)
    rows = [torch.autograd.grad(g, kept[0], retain_graph=True)[0].squeeze(0) for g in gradient.squeeze(0)]
    w = net[2].weight.detach()
    torch.testing.assert_close(torch.stack(rows), 2 * w.T @ w)  # Hessian of (w a + c)^2
    assert gradient.detach().allclose(2 * (w * net(x).detach()))


def test_derivatives_go_through_a_replaced_tensor():
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1, bias=False)).double()
    gate = torch.ones(2, dtype=torch.float64, requires_grad=True)
    x = torch.randn(1, 3).double()
    with tapped(net[0], lambda tensors: (tensors[0] * gate,)):
        out = net(x).sum()
    (gradient,) = torch.autograd.grad(out, gate)
    torch.testing.assert_close(gradient, (net[0](x) * net[1].weight).squeeze(0).detach())


Pair = namedtuple("Pair", ["first", "second"])
a, b = torch.zeros(1), torch.ones(1)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (a, 1),
        ((a, None, b), 2),
        ([a, "x", b], 2),
        (Pair(a, None), 1),
        (Pair(a, b), 2),
        ({"k": a, "n": 3}, 1),
        (BaseModelOutput(last_hidden_state=a, hidden_states=(b,)), 1),
        (torch.rand(3, 3).max(1), 2),
        ((), 0),
        (None, 0),
        ("text", 0),
        ((a, (b, b)), 1),  # what is nested (caches) is left alone
    ],
    ids=lambda v: type(v).__name__,
)
def test_tensors_are_found_and_replaced_in_order(value, count):
    found = tensors_in(value)
    assert len(found) == count
    new = tuple(torch.full((1,), 7.0 + i) for i in range(count))
    changed = with_tensors(value, new)
    assert type(changed) is type(value)
    assert all(x is y for x, y in zip(tensors_in(changed), new, strict=True))
    assert all(x is y for x, y in zip(tensors_in(value), found, strict=True))  # the original is untouched


def test_a_changed_model_output_answers_by_name_key_and_number():
    output = BaseModelOutput(last_hidden_state=a, hidden_states=(b,))
    changed = with_tensors(output, (b,))
    assert changed.last_hidden_state is b
    assert changed["last_hidden_state"] is b
    assert changed[0] is b
    assert changed.hidden_states == (b,)


@pytest.mark.parametrize("new", [(), (a,), (a, a, a)])
@pytest.mark.parametrize("value", [(a, b), [a, b, None], {"x": a, "y": b}])
def test_another_number_of_tensors_is_refused(value, new):
    with pytest.raises(InputError, match=f"expected 2 tensors .* got {len(new)}"):
        with_tensors(value, new)


def test_a_named_tuple_flows_on_as_one():
    class Inner(nn.Module):
        def forward(self, x):
            return Pair(x, None)

    inner = Inner()
    with tapped(inner, lambda tensors: (tensors[0] + 1,)):
        out = inner(torch.zeros(1))
    assert out.first.item() == 1
    assert out.second is None


def test_rows_of_replicas_are_put_together_in_the_order_of_the_devices():
    first, second = torch.device("cuda", 0), torch.device("cuda", 1)  # only their numbers count here
    seen = {second: (torch.zeros(2, 3),), first: (torch.ones(1, 3),)}
    (together,) = _gathered(seen, [0, 1])
    assert together.tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    (reversed_,) = _gathered(seen, [1, 0])
    assert reversed_[0].tolist() == [0, 0, 0]
    for ids in (None, [0]):
        with pytest.raises(InputError, match="device_ids"):
            _gathered(seen, ids)


def test_the_output_is_read_with_the_layer():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    x = torch.randn(4, 2)
    reading = read_layer(net, net[0], (x,))
    assert torch.equal(reading.output, net(x))
    assert torch.equal(reading.tensors[0], net[0](x))
    assert not reading.output.requires_grad
