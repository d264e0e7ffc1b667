"""Pictures of maps, the way back to the inputs, and maps of classes."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import Tensor, nn

from hoi_captum import GraphSpectral
from hoi_captum.errors import InputError, ModelOutputError, OptionError, TargetError
from tests.methods.graph_spectral.networks import QUICK, activations, conv, mlp, noise, said

pytestmark = pytest.mark.filterwarnings("ignore::hoi_captum.errors.FidelityWarning")


# ---------------------------------------------------------------- neuron_map
@pytest.mark.parametrize(
    ("graph", "n_nodes", "shape"),
    [
        ("grid", 16, (4, 4)),
        ((2, 5), None, (2, 5)),
        ("ring", 9, (1, 9)),
        ("grid", 11, (3, 4)),
        ("hierarchical", 16, (1, 16)),
    ],
)
def test_maps_have_the_shape_of_the_picture(
    net: nn.Sequential, data: Tensor, graph: object, n_nodes: int | None, shape: tuple[int, int]
) -> None:
    method = GraphSpectral(net, net[1], graph=graph, n_nodes=n_nodes, **QUICK).fit(data)
    found = method.neuron_map(data[:4])
    assert found.shape == (4, *shape)
    u = activations(method, net[:2](data[:4]).detach())
    k = u.shape[1]
    torch.testing.assert_close(found.flatten(1)[:, :k].float(), u)
    assert found.flatten(1)[:, k:].isnan().all()
    assert len(method.unit_names) == k
    for relevance in ("gradient_x_activation", "interaction"):
        assert method.neuron_map(data[:2], target=0, relevance=relevance).shape == (2, *shape)


def test_a_map_for_each_position() -> None:
    model, images = conv(), noise(60, 1, 6, 6)
    method = GraphSpectral(model, model[1], n_nodes=6, **QUICK).fit(images)
    each = method.neuron_map(images[:2], each=True)
    assert each.shape == (2, 16, 2, 3)
    u = activations(method, model[:2](images[:2]).detach().permute(0, 2, 3, 1)).flatten(1, 2)
    torch.testing.assert_close(each.flatten(2).float(), u)
    torch.testing.assert_close(each.mean(1).float(), method.neuron_map(images[:2]).float())


def test_tokens_that_a_mask_leaves_out_have_no_map() -> None:
    linear = nn.Linear(5, 7)

    def forward(x: Tensor, mask: Tensor) -> Tensor:
        return (linear(x).tanh() * mask.unsqueeze(-1)).sum(1)

    tokens, mask = noise(40, 4, 5), torch.ones(40, 4, dtype=torch.long)
    mask[::2, 2:] = 0
    method = GraphSpectral(forward, linear, n_nodes=4, **QUICK).fit(tokens, additional_forward_args=mask)
    each = method.neuron_map(tokens[:2], additional_forward_args=mask[:2], each=True)
    assert each.flatten(2).isnan().all(2).tolist() == [[False, False, True, True], [False] * 4]
    shown = method.neuron_map(tokens[:2], additional_forward_args=mask[:2])
    torch.testing.assert_close(shown.float(), each.nanmean(1).float())


def test_relevance_is_the_derivative_by_each_gate() -> None:
    net = mlp(nn.Tanh).double()
    x = noise(300, 6).double()
    method = GraphSpectral(net, net[1], graph=(2, 3), **QUICK).fit(x)
    found = method.neuron_map(x[:2], target=[1, 2], relevance="gradient_x_activation").flatten(1)
    h = net[:2](x[:2]).detach()
    u, v, scale = activations(method, h), method.units_.decoder.double(), method.units_.scale.double()
    for unit in range(6):
        gate = torch.zeros(6).double()
        gate[unit] = 1e-5
        up, down = (net[2:](h + ((s * gate * u) @ v.T) * scale).detach() for s in (1, -1))
        expected = ((up - down) / 2e-5)[[0, 1], [1, 2]]
        torch.testing.assert_close(found[:, unit], expected, rtol=1e-5, atol=1e-9)
    summed = method.neuron_map(x[:2], target=1, relevance="interaction").flatten(1)
    pairs = GraphSpectral(net, net[1], graph=(2, 3), terms="pairs", **QUICK).fit(x).interact(x[:2], target=1)
    for i in range(2):
        np.testing.assert_allclose(summed[i], np.abs(pairs[i].arrays["pairs"]).sum(1), rtol=1e-6)


def test_unusable_maps_are_refused(fitted: GraphSpectral, data: Tensor) -> None:
    with pytest.raises(OptionError, match="relevance"):
        fitted.neuron_map(data[:1], relevance="beauty")
    with pytest.raises(InputError, match="each=True"):
        fitted.neuron_map(data[:1], 0, relevance="interaction", each=True)
    with pytest.raises(TargetError):
        fitted.neuron_map(data[:1], relevance="gradient_x_activation")


# ---------------------------------------------------------------- pull_back
def test_pulling_back_is_gradient_times_input(
    fitted: GraphSpectral, net: nn.Sequential, data: Tensor
) -> None:
    x = data[:3].clone().requires_grad_()
    u = activations(fitted, net[:2](x))
    for units in (5, [1, 7, 8], np.array([0, 2]), np.flatnonzero(fitted.groups_ == 0)):
        chosen = np.atleast_1d(units).tolist()
        (grad,) = torch.autograd.grad(u[:, chosen].mean(1).sum(), x, retain_graph=True)
        found = fitted.pull_back(data[:3], units)
        torch.testing.assert_close(found.detach(), (grad * x).detach())
    as_tuple = fitted.pull_back((data[:3],), 5)
    assert isinstance(as_tuple, tuple)
    torch.testing.assert_close(
        fitted.pull_back(data[:3], 5, attribution=Saliency, abs=False) * data[:3], as_tuple[0].detach()
    )


def test_integrated_gradients_are_complete(fitted: GraphSpectral, net: nn.Sequential, data: Tensor) -> None:
    region = [0, 1, 4]
    found = fitted.pull_back(data[:3], region, attribution=IntegratedGradients, n_steps=300)
    ends = [activations(fitted, net[:2](x).detach())[:, region].mean(1) for x in (data[:3], 0 * data[:3])]
    torch.testing.assert_close(found.sum(1).float(), ends[0] - ends[1], rtol=1e-2, atol=1e-2)
    units = fitted.unit_forward()
    torch.testing.assert_close(units(data[:3]), activations(fitted, net[:2](data[:3])))


def test_units_that_are_none_are_refused(fitted: GraphSpectral, data: Tensor) -> None:
    for bad in (12, -1, [], [0, 40]):
        with pytest.raises(InputError, match=r"units in 0\.\.11"):
            fitted.pull_back(data[:1], bad)
    with pytest.raises(InputError, match="floating point"):
        fitted.pull_back(torch.ones(1, 6, dtype=torch.long), 0)


def test_a_mask_of_units_is_refused_or_heeded(fitted: GraphSpectral, data: Tensor) -> None:
    mask = np.arange(12) >= 9
    try:
        found = fitted.pull_back(data[:2], mask)
    except InputError:
        return
    torch.testing.assert_close(found, fitted.pull_back(data[:2], [9, 10, 11]))


# ---------------------------------------------------------------- class_maps
def test_class_maps_are_means_and_segments_their_largest(
    fitted: GraphSpectral, net: nn.Sequential, data: Tensor
) -> None:
    labels = torch.tensor([4, 0, 9]).repeat(100)
    found = fitted.class_maps(data, labels, names={0: "zero", 4: "four", 9: "nine"}, n_permutations=19)
    assert found.classes == (0, 4, 9)
    assert found.names == ("zero", "four", "nine")
    assert found.counts.tolist() == [100, 100, 100]
    u = activations(fitted, net[:2](data).detach()).double().numpy()
    means = np.stack([u[labels.numpy() == c].mean(0) for c in (0, 4, 9)])
    np.testing.assert_allclose(found.means, means, rtol=1e-4, atol=1e-5)
    expected = [-1 if np.ptp(u[:, i]) == 0 else int(found.means[:, i].argmax()) for i in range(12)]
    assert found.segments.tolist() == expected
    np.testing.assert_allclose(found.maps, found.means.reshape(3, 3, 4))
    np.testing.assert_allclose(found.contrasts.sum(0), 0, atol=1e-9)
    np.testing.assert_array_equal(found.segmentation.ravel(), found.segments)
    assert str(found).startswith("3 classes, 300 rows: Moran I of class means ")
    assert fitted.class_maps(data, labels, n_permutations=0).names == ("0", "4", "9")
    assert fitted.class_maps(data, labels % 3, names=["a", "b"], n_permutations=0).names == ("a", "b")


def test_batches_bring_their_labels(fitted: GraphSpectral, data: Tensor) -> None:
    labels = torch.arange(300) % 4
    whole = fitted.class_maps(data, labels, n_permutations=9)
    parts = fitted.class_maps(
        ([data[i : i + 70], labels[i : i + 70]] for i in range(0, 300, 70)), n_permutations=9
    )
    np.testing.assert_allclose(parts.means, whole.means, rtol=1e-5, atol=1e-6)
    assert parts.separation.p == whole.separation.p


def test_unusable_classes_are_refused(fitted: GraphSpectral, data: Tensor) -> None:
    with pytest.raises(InputError, match="expected labels"):
        fitted.class_maps(data)
    with pytest.raises(InputError, match="two classes"):
        fitted.class_maps(data, torch.zeros(300, dtype=torch.long))
    with pytest.raises(InputError, match="names for the classes"):
        fitted.class_maps(data, torch.arange(300) % 3, names=["a", "b"])
    with pytest.raises(InputError, match="300 integers"):
        fitted.class_maps(data, torch.arange(299))


# ---------------------------------------------------------------- accuracy_kept
def test_accuracy_kept_runs_the_model_on_what_the_map_says(
    fitted: GraphSpectral, net: nn.Sequential, data: Tensor
) -> None:
    before = net(data).argmax(1)
    after = net[2:](said(fitted, net[:2](data).detach())).argmax(1)
    alone = fitted.accuracy_kept(data)
    assert alone.before == 1.0
    assert alone.after == alone.agreement == pytest.approx(float((before == after).double().mean()))
    labels = (before + (torch.arange(300) % 3 == 0)) % 3
    found = fitted.accuracy_kept(data, labels, internal_batch_size=70)
    assert found.before == pytest.approx(2 / 3)
    assert found.after == pytest.approx(float((after == labels).double().mean()))
    assert found.n_rows == 300


def test_an_output_without_classes_is_refused(net: nn.Sequential, data: Tensor) -> None:
    method = GraphSpectral(lambda x: net(x)[:, 0], net[1], n_nodes=4, **QUICK).fit(data)
    with pytest.raises(ModelOutputError, match="two classes or more"):
        method.accuracy_kept(data)


def test_accuracy_of_outputs_with_logits(net: nn.Sequential, data: Tensor) -> None:
    plain = GraphSpectral(net, net[1], n_nodes=4, **QUICK).fit(data)
    method = GraphSpectral(lambda x: SimpleNamespace(logits=net(x)), net[1], n_nodes=4, **QUICK).fit(data)
    assert method.accuracy_kept(data) == plain.accuracy_kept(data)


def test_labels_that_are_no_columns_are_refused(fitted: GraphSpectral, data: Tensor) -> None:
    for label in (-1, 3):
        with pytest.raises(InputError, match="columns of the output, 0 to 2, got"):
            fitted.accuracy_kept(data, torch.full((300,), label))


def test_an_attribution_is_a_class(fitted: GraphSpectral, data: Tensor) -> None:
    with pytest.raises(OptionError, match=r"captum\.attr\.IntegratedGradients, got 'IG'"):
        fitted.pull_back(data[:2], 0, attribution="IG")  # type: ignore[arg-type]


def test_a_refusal_leaves_no_state_to_be_restored_later(net: nn.Sequential, data: Tensor) -> None:
    method = GraphSpectral(lambda x: net(x)[:, 0], net[1], n_nodes=4, **QUICK).fit(data)
    kept: list[BaseException] = []
    try:
        method.accuracy_kept(data)
    except ModelOutputError as error:
        kept.append(error)
    torch.manual_seed(123)
    mine = torch.get_rng_state()
    kept.clear()  # as the next error in a notebook does with the last one
    gc.collect()
    assert torch.equal(mine, torch.get_rng_state())
