"""Value tables that are kept in a file as they grow, so that a run that was stopped can go on."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hoi_captum.core.coalitions import coalitions_of
from hoi_captum.core.fingerprint import PARTS, Fingerprint
from hoi_captum.core.games import MaskedGame
from hoi_captum.core.options import check_count
from hoi_captum.core.progress import progress_bar
from hoi_captum.core.value_file import Section, ValueFile
from hoi_captum.errors import FileError, OptionError

_SECONDS = 1.0  # of work between two writes: what a kill costs, and writing costs little next to it
_CLOCK = 1e-6  # seconds that a clock may not tell from none
_MOST_BLOCKS = 1 << 16  # marks are few next to the numbers
_CHECKS = 6  # coalitions besides the empty and the full one whose values are compared
_GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, spread evenly
_ROUNDING = 1000  # times the machine's precision, by which values of one model may differ
_ROUNDING_BOUNDS = (1e-5, 0.02)


class Checkpoint:
    r"""The value tables of one call, in one file.

    The file says what the values belong to, and a file made for anything else is refused: digests of the
    inputs, baselines, target, players, forward function, model and weights are compared, each by
    itself. They do not see all that v may depend on (an attribute of a module, a closure, an object
    among the arguments), so v of a few coalitions (the empty, the full and six others) is always computed
    again and compared as well, also with a complete table: eight rows for each row and model. A change
    that shows at none of these coalitions is not found.

    Values are computed block by block; a block is a fixed number of whole passes, so that each pass holds
    the same rows in every run. Hence the same bits come out of a run that was stopped and went on, of
    one that was not, and of one without a file and the same ``internal_batch_size``. A kill costs the
    blocks of about the last second, or one block where that takes longer. Finished blocks are
    not computed again, unless their checksums tell that they are damaged.

    Args:
        path: a file that is made if there is none; its directory must exist.

    Attributes:
        resumed_rows: model rows that were found in the file.

    Raises:
        OptionError: no path.
        FileError: a file that is no checkpoint, that cannot be read, or that is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise OptionError(f"expected checkpoint to be a path, got {type(path).__name__}")
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise FileError(
                f"cannot write {self.path}: there is no directory {self.path.parent}; make it first"
            )
        self._file = ValueFile(self.path) if os.path.lexists(self.path) else None
        self.resumed_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def rows_per_pass(self, model: int, internal_batch_size: int | None) -> int | None:
        """How many rows a pass of a model should have: as in the file, and no more than asked for."""
        if internal_batch_size is not None:
            check_count("internal_batch_size", internal_batch_size)
        if self._file is None or model >= len(self._file.sections):
            return internal_batch_size
        # what was written after memory ran out has smaller ones
        tags = self._file.tags(model)[self._file.finished(model)]
        kept = int(min(tags, default=self._file.description["models"][model]["rows_per_pass"]))
        return kept if internal_batch_size is None else min(kept, internal_batch_size)

    def tables(
        self, games: Sequence[MaskedGame], fingerprints: Sequence[Fingerprint], *, show_progress: bool
    ) -> list[Tensor]:
        """The values of all coalitions, from the file as far as it goes; the rest is computed and kept.

        Args:
            games: one for each model, of the same players and batch; made with ``probe=False`` and
                the rows of :meth:`rows_per_pass`, with nothing evaluated yet.
            fingerprints: of these games.
            show_progress: a note of what was found, and a bar for each game, on stderr.

        Returns:
            *list* of (B, 2^n) float64, as :meth:`MaskedGame.table` gives them.

        Raises:
            FileError: the file belongs to something else (what differs is said), is in use by another
                run, or cannot be written.
        """
        distinct = [game.distinct_coalitions() for game in games]
        coalitions, indices = [d[0] for d in distinct], [d[1] for d in distinct]
        found = self._file
        if found is None:
            self._file = file = self._begin(games, fingerprints, coalitions)
        else:
            file = found
            self._compare(file, fingerprints)
        everyone = range(len(games))
        if not all(file.finished(i).all() for i in everyone):
            file.lock()
        missing = [~file.finished(i) for i in everyone]
        if found is not None:
            self._note(file, missing, show_progress)
            self._check(file, games)
        for i, game in enumerate(games):
            if missing[i].any():
                label = f"model {i + 1} of {len(games)}" if len(games) > 1 else "masked passes"
                rows = len(coalitions[i]) * game.n_examples
                with progress_bar(label, rows, "row", show_progress) as bar:
                    # what was found counts for the bar and not for its rate
                    bar.initial = bar.n = rows - int(file.sizes(i)[missing[i]].sum())
                    bar.refresh()
                    _fill(file, i, game, coalitions[i], missing[i], bar.update)
        flat = [torch.from_numpy(file.values(i)).view(-1, games[i].n_examples) for i in everyone]
        return [values[index].T.contiguous() for values, index in zip(flat, indices, strict=True)]

    def _begin(
        self, games: Sequence[MaskedGame], fingerprints: Sequence[Fingerprint], coalitions: Sequence[Tensor]
    ) -> ValueFile:
        models, sections = [], []
        for game, fingerprint, own in zip(games, fingerprints, coalitions, strict=True):
            check = _check_values(game).tolist()  # the first pass settles how many rows a pass has
            models.append(
                {
                    "parts": dict(fingerprint.parts),
                    "check": check,
                    "rows_per_pass": game.rows_per_pass,
                }
            )
            # as many coalitions as a pass has rows: whole passes for any number of examples
            block = game.rows_per_pass * -(-len(own) // (game.rows_per_pass * _MOST_BLOCKS))
            sections.append(Section(len(own) * game.n_examples, block * game.n_examples))
        ValueFile.create(self.path, {"models": models}, sections)
        return ValueFile(self.path)

    def _compare(self, file: ValueFile, fingerprints: Sequence[Fingerprint]) -> None:
        """Raise if the file belongs to another input or model."""
        kept = file.description["models"]
        if len(kept) != len(fingerprints):
            self._refuse(f"models in the file: {len(kept)}, models given: {len(fingerprints)}")
        different = []
        for i, (own, model) in enumerate(zip(fingerprints, kept, strict=True)):
            names = [text for name, text in PARTS.items() if own.parts[name] != model["parts"][name]]
            if names:
                different.append(", ".join(names) + f" of model {i}" * (len(kept) > 1))
        if different:
            self._refuse(f"what differs: {'; '.join(different)}")

    def _check(self, file: ValueFile, games: Sequence[MaskedGame]) -> None:
        """Raise if v itself, at a few coalitions, is not what it was."""
        kept = file.description["models"]
        for i, (game, model) in enumerate(zip(games, kept, strict=True)):
            before, now = torch.tensor(model["check"], dtype=torch.float64), _check_values(game)
            largest = float((now - before).abs().max())
            if largest > _rounding(game) * float(before.abs().max()):
                self._refuse(
                    f"values{f' of model {i}' * (len(kept) > 1)} at the same coalitions differ by up to "
                    f"{largest:.3g}; the forward function, or something that it uses, has changed, or it "
                    "gives another output each time"
                )

    def _refuse(self, why: str) -> NoReturn:
        raise FileError(
            f"{self.path} belongs to another call: {why}. Give another checkpoint path, or delete the file"
        )

    def _note(self, file: ValueFile, missing: Sequence[NDArray[np.bool_]], show: bool) -> None:
        self.resumed_rows = sum(int(file.sizes(i)[~gone].sum()) for i, gone in enumerate(missing))
        if show:
            total = sum(section.total for section in file.sections)
            print(f"{self.path}: {self.resumed_rows:,} of {total:,} rows found", file=sys.stderr)


def _fill(
    file: ValueFile,
    section: int,
    game: MaskedGame,
    coalitions: Tensor,
    missing: NDArray[np.bool_],
    update: Callable[[int], object],
) -> None:
    """Compute the blocks that are missing, and write them as they come."""
    block = file.sections[section].block // game.n_examples
    together = 1
    for start, end in _runs(missing):
        while start < end:
            stop = min(start + together, end)
            began = time.perf_counter()
            values = game.values(coalitions[start * block : stop * block])
            file.write(section, start, values.T.reshape(-1).numpy(), game.rows_per_pass)
            update(values.numel())
            spent = max(time.perf_counter() - began, _CLOCK)
            fitting = int(_SECONDS * (stop - start) / spent)
            # once memory has run out, passes may not fill a block: each is then begun anew with its block,
            # whatever the time it took
            together = max(1, min(fitting, 4 * together)) if block % game.rows_per_pass == 0 else 1
            start = stop


def _runs(flags: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Start and end of each run of True."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _check_values(game: MaskedGame) -> Tensor:
    """v of a few coalitions, (B, up to 8): the empty and the full one, and some spread evenly."""
    n = game.n_players
    indices = {0, 2**n - 1, *(int(2**n * (i * _GOLDEN % 1)) for i in range(1, _CHECKS + 1))}
    return game.values(coalitions_of(torch.tensor(sorted(indices)), n))


def _rounding(game: MaskedGame) -> float:
    """How far values of the same model may be apart, relative to the largest: other hardware rounds so."""
    dtypes = [x.dtype for x in game.inputs if x.is_floating_point()] or [torch.get_default_dtype()]
    low, high = _ROUNDING_BOUNDS
    return min(high, max(low, _ROUNDING * max(torch.finfo(dtype).eps for dtype in dtypes)))
