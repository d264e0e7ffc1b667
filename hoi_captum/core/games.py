"""The masked game: a model's output as a function of which players are present."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hoi_captum.core.coalitions import Players, all_coalitions
from hoi_captum.core.example import as_tensors
from hoi_captum.core.progress import progress_bar
from hoi_captum.core.targets import Target
from hoi_captum.errors import InputError, MemoryWarning, ModelOutputError, PlayerError, TooManyPlayersError

# numbers in one masked batch when the caller names no batch size: about 4 MB of float32 inputs,
# where both small and large models are within a few percent of their best throughput
_CELLS_PER_PASS = 1 << 20
_ROWS_PER_PASS = (16, 1024)


class MaskedGame:
    r"""A cooperative game: :math:`v(T)` is the model's output with only coalition T present.

    Cells of absent players take the baseline's value: :math:`x_T = x \odot 1_T + b \odot (1 - 1_T)`.
    Each row of the batch is a game of its own. Values are computed under ``no_grad`` in chunks, the
    target is picked inside each chunk, and model rows are counted.

    Args:
        forward_func (Callable): any forward function or module; ``forward_func(*inputs, *additional)``
            gives (rows, ...).
        inputs (Tensor or tuple[Tensor, ...]): (B, ...).
        baselines (None, number, Tensor or tuple): as in Captum; Tensors are (1 or B, ...). Default: 0.
        target: as in Captum. Default: None
        additional_forward_args: as in Captum. Tensors whose first dimension is the batch (or 1) are
            repeated with the rows; everything else is passed as it is.
        feature_mask (Tensor or tuple[Tensor, ...]): player ids, -1 = never absent. Default: a player
            for each cell.
        internal_batch_size (int, optional): most model rows in one pass. Default: by input size.
        show_progress (bool): a bar on stderr, in model rows. Default: False
        label (str): what the bar calls this game.

    Attributes:
        n_players, n_examples: n and B.
        forward_passes: model rows spent so far.

    Raises:
        InputError: arguments that do not fit together (PlayerError, TargetError among them).
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Tensor | tuple[Tensor, ...] | None = None,
        *,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
        label: str = "masked passes",
    ) -> None:
        if not callable(forward_func):
            raise InputError(f"expected a callable forward_func, got {type(forward_func).__name__}")
        self._forward_func = forward_func
        self._inputs = as_tensors(inputs)
        self.n_examples = self._inputs[0].shape[0]
        if self.n_examples == 0:
            raise InputError("expected at least one row of inputs, got an empty batch")
        self._baselines = _as_baselines(baselines, self._inputs)
        if additional_forward_args is None:
            self._additional: tuple[Any, ...] = ()
        else:
            is_tuple = isinstance(additional_forward_args, tuple)
            self._additional = additional_forward_args if is_tuple else (additional_forward_args,)
        self._target = Target(target, self.n_examples)
        masks = feature_mask if feature_mask is None or isinstance(feature_mask, tuple) else (feature_mask,)
        self.players = Players.from_feature_mask(self._inputs, masks)
        self._chunk = _chunk_rows(internal_batch_size, self._inputs)
        self._show_progress = show_progress
        self._label = label
        self.forward_passes = 0

    @property
    def n_players(self) -> int:
        return self.players.count

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs as a tuple."""
        return self._inputs

    def check_table_size(self, limit: int) -> None:
        """Raise if a table of all coalitions has more players than the limit.

        Raises:
            TooManyPlayersError: with the number of passes it would take and the ways out.
        """
        n = self.n_players
        if n > limit:
            # an image has so many cells that Python refuses to write the number out
            passes = f"2^{n} = {2**n:,}" if n <= 64 else f"2^{n}"
            raise TooManyPlayersError(
                f"{n} players need {passes} model passes for each row and model, and the limit is "
                f"{limit} players ({2**limit:,} passes). Group the cells into fewer players (feature_mask; "
                "players=... for texts and images), or raise max_players if the time is yours to spend"
            )

    def table(self) -> Tensor:
        """v of all coalitions: (B, 2^n) float64 on the CPU, in table order."""
        return self.values(all_coalitions(self.n_players))

    def values(self, coalitions: Tensor) -> Tensor:
        """v of the given coalitions.

        When memory runs out the rows of a pass are halved, with a warning, and the work goes on.

        Args:
            coalitions (Tensor): (m, n) bool.

        Returns:
            *Tensor*, (B, m) float64 on the CPU.

        Raises:
            ModelOutputError: the output has a wrong shape or is not finite; the coalition is named.
            TargetError: the target does not exist in the output.
        """
        if coalitions.dim() != 2 or coalitions.shape[1] != self.n_players or coalitions.dtype != torch.bool:
            raise PlayerError(
                f"expected coalitions as a (m, {self.n_players}) bool tensor, got {coalitions.dtype} "
                f"of shape {tuple(coalitions.shape)}"
            )
        batch, total = self.n_examples, len(coalitions) * self.n_examples
        coalitions = coalitions.to(self._inputs[0].device)
        flat = torch.empty(total, dtype=torch.float64)
        done = 0
        bar = progress_bar(self._label, total, "row", self._show_progress)
        with torch.no_grad(), bar:
            while done < total:
                stop = min(done + self._chunk, total)
                try:
                    part = self._evaluate(coalitions, done, stop)
                except (RuntimeError, MemoryError) as error:
                    if stop - done == 1 or not _is_out_of_memory(error):
                        raise
                    part = None
                if part is None:  # outside the handler, so that the failed pass's tensors are gone
                    self._halve(stop - done)
                    continue
                flat[done:stop] = part
                bar.update(stop - done)
                done = stop
        # coalitions vary slowest, as Captum repeats its inputs
        return flat.view(-1, batch).T.contiguous()

    def _halve(self, failed: int) -> None:
        self._chunk = (failed + 1) // 2
        warnings.warn(
            f"memory ran out with {failed} rows in one pass; going on with {self._chunk}. "
            f"Give internal_batch_size={self._chunk} to start there",
            MemoryWarning,
            stacklevel=4,
        )
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _evaluate(self, coalitions: Tensor, start: int, stop: int) -> Tensor:
        position = torch.arange(start, stop, device=coalitions.device)
        rows = position % self.n_examples
        present = coalitions[position // self.n_examples]
        masked = tuple(
            torch.where(self.players.presence(present, k, rows), _rows_of(x, rows), _rows_of(b, rows))
            for k, (x, b) in enumerate(zip(self._inputs, self._baselines, strict=True))
        )
        additional = tuple(self._repeat(value, rows) for value in self._additional)
        output = self._forward(masked, additional)
        if output.dim() == 0 or output.shape[0] != len(rows):
            raise ModelOutputError(
                f"expected an output with {len(rows)} rows, one for each masked input, got shape "
                f"{tuple(output.shape)}; forward_func must treat the rows of a batch one by one"
            )
        values = self._target.select(output, rows).double().cpu()
        self.forward_passes += len(rows)
        bad = (~values.isfinite()).nonzero()
        if len(bad):
            first = int(bad[0])
            players = present[first].nonzero().squeeze(-1).tolist()
            raise ModelOutputError(
                f"the model gave {float(values[first])} for row {int(rows[first])} of the batch with "
                f"players {players} of 0..{self.n_players - 1} present; check that the model accepts the "
                "baseline (masked) values"
            )
        return values

    def _forward(self, inputs: tuple[Tensor, ...], additional: tuple[Any, ...]) -> Tensor:
        try:
            output = self._forward_func(*inputs, *additional)
        except RuntimeError as error:
            mismatch = _placement_mismatch(self._forward_func, inputs)
            if mismatch and _is_about_placement(error):
                raise InputError(mismatch) from error
            raise
        if not isinstance(output, Tensor):
            raise ModelOutputError(
                f"expected forward_func to return a Tensor, got {type(output).__name__}; for HuggingFace "
                "models use hoi_captum.adapt(model).forward_func or a function that returns .logits"
            )
        return output

    def _repeat(self, value: Any, rows: Tensor) -> Any:
        if not isinstance(value, Tensor) or value.dim() == 0 or value.shape[0] not in (1, self.n_examples):
            return value
        if value.shape[0] == 1:  # copied, as in Captum: a model may write into its arguments
            return value.repeat(len(rows), *[1] * (value.dim() - 1))
        return _rows_of(value, rows)


def _rows_of(tensor: Tensor, rows: Tensor) -> Tensor:
    """The examples of a chunk; a single example is left to broadcasting instead of being copied."""
    if tensor.dim() == 0 or tensor.shape[0] == 1:
        return tensor
    return tensor.index_select(0, rows.to(tensor.device))


def _as_baselines(baselines: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if baselines is None:
        baselines = (0,) * len(inputs)
    given = baselines if isinstance(baselines, tuple) else (baselines,)
    if len(given) != len(inputs):
        raise InputError(f"expected one baseline for each of {len(inputs)} input tensors, got {len(given)}")
    tensors = []
    for x, b in zip(inputs, given, strict=True):
        if b is None:
            b = 0
        if isinstance(b, Tensor):
            shapes = {tuple(x.shape), (1, *x.shape[1:]), ()}
            if tuple(b.shape) not in shapes:
                raise InputError(f"expected a baseline of shape {sorted(shapes)}, got {tuple(b.shape)}")
        elif not isinstance(b, bool | int | float):
            raise InputError(f"expected a baseline to be a number or a Tensor, got {type(b).__name__}")
        tensors.append(torch.as_tensor(b).to(device=x.device, dtype=x.dtype))
    return tuple(tensors)


def _chunk_rows(internal_batch_size: int | None, inputs: tuple[Tensor, ...]) -> int:
    if internal_batch_size is None:
        cells = sum(x[0].numel() for x in inputs)
        least, most = _ROWS_PER_PASS
        return min(most, max(least, _CELLS_PER_PASS // max(cells, 1)))
    if not isinstance(internal_batch_size, int) or internal_batch_size < 1:
        raise InputError(f"expected internal_batch_size to be an int >= 1, got {internal_batch_size!r}")
    return internal_batch_size


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # the CPU allocator raises a plain RuntimeError
    text = str(error).lower()
    return "not enough memory" in text or "can't allocate memory" in text or "out of memory" in text


def _is_about_placement(error: RuntimeError) -> bool:
    text = str(error).lower()
    return not _is_out_of_memory(error) and ("type" in text or "device" in text)


def _placement_mismatch(forward_func: Any, inputs: tuple[Tensor, ...]) -> str | None:
    """What to say where a module failed and its parameters live elsewhere than the inputs."""
    if not isinstance(forward_func, nn.Module):
        return None
    parameter = next((p for p in forward_func.parameters() if p.is_floating_point()), None)
    if parameter is None:
        return None
    for x in inputs:
        if x.device != parameter.device:
            return (
                f"the model is on {parameter.device} and an input on {x.device}; move one with "
                f".to({str(parameter.device)!r})"
            )
        if x.is_floating_point() and x.dtype != parameter.dtype:
            return (
                f"the model's parameters are {parameter.dtype} and an input is {x.dtype}; convert one with "
                f".to({parameter.dtype})"
            )
    return None
