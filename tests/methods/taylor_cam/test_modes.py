"""What auto stands for, row by row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import hoi_captum as hoi
from hoi_captum.core.arguments import Arguments
from hoi_captum.core.attention_gates import AttentionGates
from hoi_captum.core.coalitions import Players
from hoi_captum.core.gates import InputGates
from hoi_captum.core.passes import PassSize
from hoi_captum.methods.taylor_cam.modes import MODES, Settings, choose_modes, operator_of
from hoi_captum.methods.taylor_cam.operators import (
    AlongPath,
    Exact,
    GradientDifference,
    Occlusion,
    RowByRow,
    Softplus,
    Stein,
)

X = torch.tensor([[0.7, -1.2, 0.5], [1.1, 0.3, -0.4]], dtype=torch.float64)
SETTINGS = Settings(mode="auto", h=0.25, n_samples=32, stdev=0.2, beta=4.0, seed=5)


def gates_of(f) -> InputGates:
    arguments = Arguments(f, X)
    return InputGates(arguments, Players.from_feature_mask(arguments.inputs, None))


def test_modes_have_their_operators_and_settings():
    size, told = PassSize(7), print
    found = {mode: operator_of((mode, mode), SETTINGS, size, told) for mode in MODES if mode != "auto"}
    assert found == {
        "exact": Exact(size, on_rows=told),
        "grad_diff": GradientDifference(size, 0.25, on_rows=told),
        "stein": Stein(size, 32, 0.2, 5, on_rows=told),
        "softplus": Softplus(size, beta=4.0, on_rows=told),
        "occlusion": Occlusion(size, on_rows=told),
        "path": AlongPath(size, on_rows=told),
    }
    mixed = operator_of(("occlusion", "exact", "occlusion"), SETTINGS, size, told)
    assert isinstance(mixed, RowByRow)
    assert isinstance(mixed.usual, Exact)
    assert isinstance(mixed.other, Occlusion)
    assert mixed.chosen.tolist() == [True, False, True]


def test_auto_looks_for_relus():
    smooth, relus = gates_of(lambda x: x.tanh().prod(1)), gates_of(lambda x: x.relu().sum(1).tanh())
    assert choose_modes("auto", "taylor", smooth, PassSize(8)) == ("exact", "exact")
    assert choose_modes("auto", "taylor", relus, PassSize(8)) == ("grad_diff", "grad_diff")
    assert choose_modes("auto", "cam", relus, PassSize(8)) == ("grad_diff", "grad_diff")
    assert choose_modes("auto", "cam_basic", relus, PassSize(8)) == ("exact", "exact")
    for mode in MODES[1:]:
        assert choose_modes(mode, "taylor", relus, PassSize(8)) == (mode, mode)


class Looker(nn.Module):
    """One causal attention over three tokens, and a sigmoid of what the last one sees."""

    def forward(self, x: Tensor, sharpness: Tensor) -> Tensor:
        heads = x.unsqueeze(1)
        seen = functional.scaled_dot_product_attention(heads * 0, heads * 0, heads, is_causal=True)
        return torch.sigmoid(sharpness * (seen[:, 0, -1].sum(1, keepdim=True) - 0.2))


def test_a_saturated_row_is_switched_off_and_the_others_are_not():
    x = torch.tensor([[[0.0], [1.0], [2.0]]]).double().expand(3, -1, -1)
    sharpness = torch.tensor([[0.5], [60.0], [0.5]]).double()
    mask = torch.tensor([-1, 0, 1]).view(1, 3, 1)  # the first is never off, as a begin of text is
    given = {"target": 0, "additional_forward_args": sharpness}
    method = hoi.TaylorCAM(Looker())
    tables = method.interact(x, feature_mask=mask, **given)
    modes = [table.provenance.details["mode"] for table in tables]
    assert modes == ["exact", "occlusion", "exact"]
    assert tables[1].provenance.details["how"] == "occlusion by gates on attention"
    # rows of a batch are as they are alone
    for row, table in enumerate(tables):
        one = slice(row, row + 1)
        alone = method.interact(x[one], feature_mask=mask, target=0, additional_forward_args=sharpness[one])
        torch.testing.assert_close(torch.tensor(alone[0].pairs.copy()), torch.tensor(table.pairs.copy()))
    for mode in ("exact", "occlusion"):
        same = hoi.TaylorCAM(Looker(), mode=mode).interact(x, feature_mask=mask, **given)
        row = modes.index(mode)
        assert (same[row].pairs == tables[row].pairs).all()
    values = hoi.TaylorCAM(Looker(), gate="value").interact(x, feature_mask=mask, **given)
    assert {table.provenance.details["mode"] for table in values} == {"exact"}


@pytest.mark.parametrize("name", ["sentiment-llama-a", "sentiment-llama-b"])
def test_a_trained_model_on_its_texts_is_seldom_saturated(name):
    prompt = hoi.zoo.prompt(name)
    texts = [text for text, _ in hoi.zoo.samples(name, 60) if len(text.split()) <= 12][:12]
    found = [
        hoi.explain(f"zoo:{name}", text, "taylor-cam", template=prompt, target=("good", "bad"), synergy=0)
        for text in texts
    ]
    modes = [explanation.interactions.provenance.details["mode"] for explanation in found]
    assert modes.count("exact") >= 10


def test_a_healthy_row_is_not_touched_by_what_its_neighbour_needs():
    """Only the saturated row is switched off."""
    x = torch.tensor([[[0.0], [1.0], [2.0]]]).double().expand(2, -1, -1)

    class Picky(Looker):
        def forward(self, x: Tensor, sharpness: Tensor) -> Tensor:
            value = super().forward(x, sharpness)
            seen.append(len(x))
            return value

    seen: list[int] = []
    mask = torch.tensor([-1, 0, 1]).view(1, 3, 1)
    given = {"target": 0, "additional_forward_args": torch.tensor([[0.5], [60.0]]).double()}
    tables = hoi.TaylorCAM(Picky(), synergy=0).interact(x, feature_mask=mask, **given)
    assert [t.provenance.details["mode"] for t in tables] == ["exact", "occlusion"]
    # a probe, a look for steps, two for saturation and one for its gradient, one exact, four switched off,
    # and one each for first derivatives and the size of rounding
    assert seen == [2, 1, 2, 2, 2, 1, 4, 2, 2]


def test_many_units_of_a_saturated_row_are_not_all_switched_off():
    positions = 70
    x = torch.arange(positions).double().view(1, -1, 1)
    mask = torch.cat([torch.tensor([-1]), torch.arange(positions - 1)]).view(1, -1, 1)
    sharp = torch.tensor([[60.0]]).double()
    arguments = Arguments(Looker(), x, target=0, additional_forward_args=sharp)
    gates = AttentionGates(arguments, Players.from_feature_mask(arguments.inputs, (mask,)))
    assert choose_modes("auto", "taylor", gates, PassSize(8)) == ("path",)
