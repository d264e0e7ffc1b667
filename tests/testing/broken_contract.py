"""Methods that break Captum's contract, one defect each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from captum.attr import Attribution
from captum.log import log_usage
from torch import Tensor

from hoi_captum.core.row_method import Call
from hoi_captum.errors import HoiError, PluginError
from tests.testing.references import CrossDerivatives, Dividends
from tests.testing.table import caught_by


@contextmanager
def asking(method: Any, change: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """The method's forward function changed for the while."""
    model = method.forward_func
    method.forward_func = change(model)
    try:
        yield
    finally:
        method.forward_func = model


# ---------------------------------------------------------------- the class
@caught_by("test_it_can_be_registered", "kinds are", raises=PluginError)
class KindsUndeclared(Dividends):
    """No kinds."""

    kinds = ()


@caught_by("test_it_can_be_registered", "log_usage", raises=PluginError)
@caught_by("test_noise_tunnel_takes_it", "__wrapped__", raises=AttributeError)
class NotLogged(Dividends):
    """An ``attribute`` without Captum's decorator, which its NoiseTunnel unwraps."""

    def attribute(
        self, inputs: Any, target: Any = None, additional_forward_args: Any = None, **more: Any
    ) -> Any:
        return super().attribute(
            inputs, target=target, additional_forward_args=additional_forward_args, **more
        )


@caught_by("test_arguments_are_captums", "attribute: .*'target', 'baselines'")
class TargetFirst(Dividends):
    """Baselines behind the target."""

    @log_usage()
    def attribute(
        self, inputs: Any, target: Any = None, baselines: Any = None, additional_forward_args: Any = None
    ) -> Any:
        return super().attribute(inputs, baselines, target, additional_forward_args)


@caught_by("test_arguments_are_captums", "interact: .*'x'")
class InputsRenamed(Dividends):
    """Inputs under another name."""

    def interact(self, x: Any, target: Any = None, additional_forward_args: Any = None) -> Any:
        return super().interact(x, None, target, additional_forward_args)


@caught_by("test_it_is_documented", "no docstring")
class NoDocstring(Dividends):
    pass


@caught_by("test_it_is_documented", "interact has no Returns")
class NothingSaidOfTheTables(Dividends):
    """An ``interact`` that does not say what it gives."""

    def interact(self, inputs: Any, **call: Any) -> Any:
        """The dividends.

        Args:
            inputs: a batch.
        """
        return super().interact(inputs, **call)


@caught_by("test_what_cannot_be_called_is_refused", "DID NOT RAISE")
class AnythingIsAModel(Dividends):
    """A constructor that does not look at the forward function."""

    def __init__(self, forward_func: Any) -> None:
        Attribution.__init__(self, forward_func)


# ---------------------------------------------------------------- shapes
@caught_by("test_attributions_have_their_shape", "expected a Tensor for a Tensor")
class AlwaysATuple(Dividends):
    """Attributions of a Tensor in a tuple."""

    @staticmethod
    def _on_cells(call: Call, answers: Any, inputs: Any) -> Any:
        return Dividends._on_cells(call, answers, (inputs,))


@caught_by("test_attributions_have_their_shape", r"\(3, 4, 1\)")
class OneColumnTooMany(Dividends):
    """Attributions with one more dimension."""

    @staticmethod
    def _on_cells(call: Call, answers: Any, inputs: Any) -> Any:
        return Dividends._on_cells(call, answers, inputs).unsqueeze(-1)


@caught_by("test_a_tuple_gives_a_tuple", "expected a tuple for a tuple")
class FirstTensorOnly(Dividends):
    """Attributions of the first tensor only."""

    @staticmethod
    def _on_cells(call: Call, answers: Any, inputs: Any) -> Any:
        found = Dividends._on_cells(call, answers, inputs)
        return found[0] if isinstance(found, tuple) else found


@caught_by("test_each_row_has_its_table", "assert 1 == 3")
class OneTable(Dividends):
    """A table for the first row only."""

    def _explain_all(self, *given: Any) -> Any:
        call, answers, tables = super()._explain_all(*given)
        return call, answers, tables[:1]


@caught_by("test_images_are_explained", r"\(3, 4\)")
class PlayersForCells(Dividends):
    """Shares of the players, not on their cells; which is the same where each cell is a player."""

    @staticmethod
    def _on_cells(call: Call, answers: Any, inputs: Any) -> Any:
        return torch.stack([a.shares for a in answers]).to(call.arguments.inputs[0])


@caught_by("test_bert_is_explained", r"\(3, 5\)")
@caught_by("test_llama_is_explained", r"\(3, 5\)")
class TokensForCells(Dividends):
    """A number for each token where the inputs are embeddings."""

    @staticmethod
    def _on_cells(call: Call, answers: Any, inputs: Any) -> Any:
        found = Dividends._on_cells(call, answers, inputs)
        return found[..., 0] if found.dim() == 3 else found


# ---------------------------------------------------------------- targets and arguments
class Given(Dividends):
    """Changes the arguments of a call; the base of some that follow."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        return inputs, baselines, target, additional, mask

    def _explain_all(self, given: tuple[Any, ...], *more: Any) -> Any:
        return super()._explain_all(self.change(*given), *more)


@caught_by("test_targets_have_all_of_captums_forms", "targets 1 and 2 have the same answer")
class TargetIgnored(Given):
    """Always the first output."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        return inputs, baselines, 0, additional, mask


@caught_by("test_targets_have_all_of_captums_forms", "targets of their own")
class TargetOfTheFirstRow(Given):
    """One target for all rows."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        return inputs, baselines, target[0] if isinstance(target, list) else target, additional, mask


@caught_by("test_targets_have_all_of_captums_forms", "0-d tensor", raises=TypeError)
class TargetsAreIterated(Given):
    """A Tensor as target is taken for one that has a number for each row."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        target = [int(t) for t in target] if isinstance(target, Tensor) else target
        return inputs, baselines, target, additional, mask


@caught_by("test_a_target_that_does_not_exist_is_refused", "DID NOT RAISE")
class TargetClamped(Given):
    """A target that does not exist is the last one."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        return inputs, baselines, min(target, 2), additional, mask


@caught_by("test_a_target_that_does_not_exist_is_refused", "out of bounds", raises=IndexError)
@caught_by("test_bad_masks_are_refused", "of torch", raises=IndexError)
@caught_by("test_an_empty_batch_is_refused", "of torch", raises=IndexError)
@caught_by("test_an_output_that_is_not_finite_is_refused", "of torch", raises=IndexError)
class RawErrors(Dividends):
    """Errors of torch, not of the library."""

    def _explain_all(self, *given: Any) -> Any:
        try:
            return super()._explain_all(*given)
        except HoiError as error:
            raise IndexError(f"of torch: {error}") from error


@caught_by("test_additional_arguments_reach_the_model", "never given the additional argument")
class AdditionalIgnored(Given):
    """Additional arguments that nobody gets."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        return inputs, baselines, target, None, mask


@caught_by("test_additional_arguments_reach_the_model", "additional_forward_args: expected")
class AdditionalOfTheFirstRow(Given):
    """Additional arguments of the first row for all of them."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        given = additional if isinstance(additional, tuple) else (additional,)
        return inputs, baselines, target, tuple(a[:1] if isinstance(a, Tensor) else a for a in given), mask


@caught_by("test_additional_arguments_reach_the_model", "must match the size", raises=RuntimeError)
class AdditionalNotRepeated(Dividends):
    """Additional arguments as they came, whatever the rows of a pass are."""

    def _explain_all(self, given: tuple[Any, ...], *more: Any) -> Any:
        additional = given[3] if isinstance(given[3], tuple) else (given[3],) * (given[3] is not None)
        with asking(self, lambda model: lambda *x: model(*x, *additional)):
            return super()._explain_all((*given[:3], None, given[4]), *more)


@caught_by("test_additional_arguments_reach_the_model", "must be tuple", raises=TypeError)
class AdditionalInATupleOnly(Given):
    """An additional argument that is no tuple is not understood."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        if not isinstance(additional, tuple | None):
            raise TypeError("additional_forward_args must be tuple")
        return inputs, baselines, target, additional, mask


@caught_by("test_other_baselines_have_other_answers", "the same answer")
class BaselinesIgnored(Given):
    """Baselines are always 0."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        return inputs, None, target, additional, mask


@caught_by("test_baselines_have_all_of_captums_forms", "baselines of their own")
class BaselineOfTheFirstRow(Given):
    """The first row's baseline for all."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        return inputs, baselines[:1] if isinstance(baselines, Tensor) else baselines, target, additional, mask


@caught_by("test_cells_of_a_player_share_its_value", "")
class MaskIgnored(Given):
    """Each cell is a player."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        return inputs, baselines, target, additional, None


@caught_by("test_cells_of_a_player_share_its_value", "== 0")
class NobodyIsAPlayer(Given):
    """Cells that belong to no player are one."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        return inputs, baselines, target, additional, None if mask is None else mask - mask.min()


@caught_by("test_bad_masks_are_refused", "DID NOT RAISE")
class MaskRenumbered(Given):
    """Any ids will do."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        mask = None if mask is None else mask.unique(return_inverse=True)[1]
        return inputs, baselines, target, additional, mask


@caught_by("test_an_empty_batch_is_refused", "DID NOT RAISE")
class EmptyAnswers(Dividends):
    """An empty batch has an empty answer."""

    @log_usage()
    def attribute(self, inputs: Any, *more: Any, **call: Any) -> Any:
        return super().attribute(inputs, *more, **call) if len(inputs) else inputs.clone()

    def interact(self, inputs: Any, *more: Any, **call: Any) -> Any:
        return super().interact(inputs, *more, **call) if len(inputs) else []


@caught_by("test_an_output_that_is_not_finite_is_refused", "DID NOT RAISE")
class NaNIsZero(Dividends):
    """Outputs that are no numbers are taken for zeros."""

    def _explain_all(self, *given: Any) -> Any:
        with asking(self, lambda model: lambda *x: model(*x).nan_to_num()):
            return super()._explain_all(*given)


# ---------------------------------------------------------------- batches, dtypes
@caught_by("test_rows_do_not_see_each_other", "a row alone")
class BatchMeanSubtracted(Dividends):
    """Shares against the batch's mean."""

    @staticmethod
    def _on_cells(call: Call, answers: Any, inputs: Any) -> Any:
        found = Dividends._on_cells(call, answers, inputs)
        if isinstance(found, tuple):
            return tuple(x - x.mean(0) for x in found)
        return found - found.mean(0)


@caught_by("test_chunks_do_not_matter", "internal_batch_size=1")
class MeanOfThePass(Dividends):
    """Outputs against the mean of their pass, whose rows depend on ``internal_batch_size``."""

    def _explain_all(self, *given: Any) -> Any:
        with asking(self, lambda model: lambda *x: model(*x) - model(*x).mean(0)):
            return super()._explain_all(*given)


@caught_by("test_chunks_do_not_matter", "DID NOT RAISE")
class NoRowsAtOnce(Dividends):
    """Passes of no rows are accepted."""

    def _explain_all(self, given: Any, internal_batch_size: int | None, *more: Any) -> Any:
        return super()._explain_all(given, internal_batch_size or None, *more)


@caught_by("test_double_precision_stays", "float32")
class SinglePrecision(Dividends):
    """Attributions are float32, whatever the inputs are."""

    @staticmethod
    def _on_cells(call: Call, answers: Any, inputs: Any) -> Any:
        found = Dividends._on_cells(call, answers, inputs)
        return found if isinstance(found, tuple) else found.float()


@caught_by("test_half_precision_runs", "Low precision dtypes not supported", raises=RuntimeError)
class SolvesInTheInputsDtype(Dividends):
    """Linear algebra in the dtype of the inputs, which torch does not have for bfloat16."""

    @staticmethod
    def _on_cells(call: Call, answers: Any, inputs: Any) -> Any:
        n = call.players.count
        torch.linalg.inv(torch.eye(n, dtype=call.arguments.inputs[0].dtype))
        return Dividends._on_cells(call, answers, inputs)


@caught_by("test_half_precision_runs", "they differ")
class DigitsLost(Dividends):
    """Small differences of bfloat16 numbers are rounded away."""

    @staticmethod
    def _on_cells(call: Call, answers: Any, inputs: Any) -> Any:
        found = Dividends._on_cells(call, answers, inputs)
        return found.round() if call.arguments.inputs[0].dtype == torch.bfloat16 else found


@caught_by("test_strides_do_not_matter", "strides: they differ")
class ReadsMemoryInOrder(Given):
    """Cells in the order of the memory, which is that of the columns here."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        width = inputs.shape[1]
        return inputs.as_strided(inputs.shape, (width, 1)), baselines, target, additional, mask


@caught_by("test_strides_do_not_matter", "view size is not compatible", raises=RuntimeError)
class ViewsOnly(Given):
    """``view`` where ``reshape`` is meant."""

    def change(self, inputs: Any, baselines: Any, target: Any, additional: Any, mask: Any) -> tuple[Any, ...]:
        return inputs.view(-1).view(inputs.shape), baselines, target, additional, mask


# ---------------------------------------------------------------- Captum's wrappers
@caught_by("test_a_function_does_as_well_as_a_module", "parameters", raises=AttributeError)
class NeedsParameters(Dividends):
    """The dtype is that of the model's parameters."""

    def _explain_all(self, given: tuple[Any, ...], *more: Any) -> Any:
        dtype = next(self.forward_func.parameters()).dtype
        return super()._explain_all((given[0].to(dtype), *given[1:]), *more)


@caught_by("test_a_function_does_as_well_as_a_module", "a plain function")
class AddsAParameter(Dividends):
    """A module's answers are others than a function's."""

    def _explain(self, game: Any) -> Any:
        answer = super()._explain(game)
        if isinstance(self.forward_func, torch.nn.Module):
            answer.shares.mul_(2)
        return answer


@caught_by("test_noise_tunnel_takes_it", "no noise")
class RememberedCalls(Dividends):
    """The attributions of a batch are divided by its length."""

    @staticmethod
    def _on_cells(call: Call, answers: Any, inputs: Any) -> Any:
        return Dividends._on_cells(call, answers, inputs) / len(answers)


@caught_by("test_a_copy_explains_another_function", "of a copy")
class ReadEarly(Dividends):
    """The forward function is kept by the constructor, and a copy goes on with it."""

    def __init__(self, forward_func: Any) -> None:
        super().__init__(forward_func)
        self._model = forward_func

    def _explain_all(self, *given: Any) -> Any:
        with asking(self, lambda _: self._model):
            return super()._explain_all(*given)


@caught_by("test_progress_goes_to_stderr", "told nothing")
class NothingTold(Dividends):
    """``show_progress`` is accepted and forgotten."""

    def _explain_all(self, given: Any, internal_batch_size: Any, show_progress: bool) -> Any:
        return super()._explain_all(given, internal_batch_size, False)


@caught_by("test_progress_goes_to_stderr", "written to stdout")
class ProgressOnStdout(Dividends):
    """Progress among the results."""

    def _explain_all(self, given: Any, internal_batch_size: Any, show_progress: bool) -> Any:
        if show_progress:
            print("half of it is done")
        return super()._explain_all(given, internal_batch_size, show_progress)


@caught_by("test_progress_goes_to_stderr", "nobody asked for it")
class AlwaysTelling(Dividends):
    """Progress whether it is wanted or not."""

    def _explain_all(self, *given: Any) -> Any:
        print("half of it is done", file=sys.stderr)
        return super()._explain_all(*given)


@caught_by("test_the_delta_is_what_is_missing", r"\(3,\)")
class OneDelta(Dividends):
    """One delta for the whole batch."""

    @log_usage()
    def attribute(self, inputs: Any, *more: Any, return_convergence_delta: bool = False, **call: Any) -> Any:
        found, delta = super().attribute(inputs, *more, return_convergence_delta=True, **call)
        return (found, delta.sum()) if return_convergence_delta else found


@caught_by("test_the_delta_is_what_is_missing", "the deltas are .* off by")
class NoDelta(Dividends):
    """Half of the shares, and a delta that says that nothing is missing."""

    def _explain(self, game: Any) -> Any:
        answer = super()._explain(game)
        answer.shares.mul_(0.5)
        object.__setattr__(answer, "effect", float(answer.shares.sum()))
        return answer


@caught_by("test_the_delta_is_what_is_missing", "nan")
class DeltaUnknown(CrossDerivatives):
    """A delta that is no number."""

    def _effects(self, call: Any) -> list[float]:
        return [float("nan")] * call.arguments.n_examples
