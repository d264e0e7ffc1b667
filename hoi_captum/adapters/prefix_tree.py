"""Coalitions through a causal language model, their common beginnings run once.

A causal model's state after some tokens does not depend on the tokens that follow. Coalitions that agree
on the players met so far share it: they are walked from left to right as a tree, which forks at the first
token of each player, and each branch is run once on from its parent's cached keys and values. With players
that first stand at :math:`p_1 < \\dots < p_n` in L tokens all :math:`2^n` coalitions take
:math:`p_1 + \\sum_j 2^j (p_{j+1} - p_j)` token steps, :math:`p_{n+1} = L`, instead of :math:`2^n L`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from inspect import signature
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from hoi_captum.adapters.branching_cache import Rooms, bytes_of, copied, fork
from hoi_captum.core.coalitions import Players

_CACHE_BYTES = 1 << 28  # of all branches; they are held twice, what is copied and the copy
_MOST_ROWS = 256  # branches run at once: more are hardly faster
_EPSILON_POWER = 2 / 3  # of the type's precision, how close the tree has to come to the plain pass
_OLD_CACHE_NAME = "past_key_values"
# what this release of transformers calls it, in arguments and in outputs
_CACHE_NAME = "cache" if "cache" in {f.name for f in fields(BaseModelOutputWithPast)} else _OLD_CACHE_NAME


@dataclass(frozen=True)
class _Segment:
    """Tokens that are run together: from one fork of the tree to the next.

    Attributes:
        forks: the players whose first token stands at its beginning.
        embeddings, baseline: (1, tokens, H).
        players: who owns its tokens.
    """

    forks: tuple[int, ...]
    embeddings: Tensor
    baseline: Tensor
    players: Players

    def masked(self, coalitions: Tensor) -> Tensor:
        """The embeddings of these tokens, (k, tokens, H)."""
        return torch.where(self.players.presence(coalitions, 0), self.embeddings, self.baseline)


@dataclass(frozen=True)
class _Trunk:
    """The state of a beginning that a whole chunk of coalitions has in common: one row."""

    flags: tuple[bool, ...]
    cache: Any


class PrefixTree:
    """Scores of one example's last position for coalitions.

    Args:
        model: a transformers causal language model.
        embeddings, baseline: (1, L, H) or, the baseline, without dimensions.
        players: their mask over the embeddings, (1, 1 or L, 1 or H).
        options: keyword arguments of the model for a pass whose last position alone is needed.

    Attributes:
        token_steps: rows times new tokens run so far.
        plain_token_steps: what the same coalitions take as rows of their own.
    """

    def __init__(
        self,
        model: nn.Module,
        embeddings: Tensor,
        baseline: Tensor,
        players: Players,
        options: Mapping[str, Any],
    ) -> None:
        self._model, self._options = model, options
        # what runs under the head: the scores of a segment in the middle are not needed
        self._body: Any = getattr(model, "base_model", model)
        self._segments = _segments(embeddings, baseline.expand_as(embeddings), players)
        self._length = embeddings.shape[1]
        self._trunk: list[_Trunk] = []
        self._rooms = Rooms()
        self._row_bytes = 0
        self.token_steps = self.plain_token_steps = 0

    @property
    def most_rows(self) -> int:
        """Coalitions at once: a power of two, so that chunks of a table are whole subtrees."""
        # a trunk keeps up to one row for each segment
        fitting = _CACHE_BYTES // max(self._row_bytes, 1) - len(self._segments)
        return min(_MOST_ROWS, 1 << max(fitting, 1).bit_length() - 1)

    @property
    def work(self) -> Mapping[str, int]:
        """Token steps taken, and what they would have been without the tree."""
        return {"token steps": self.token_steps, "token steps row by row": self.plain_token_steps}

    def agrees_with(self, scores: Callable[[Tensor], Tensor]) -> bool:
        """Whether the model can be run from its cache at all, and a few coalitions give the same so.

        Args:
            scores: the plain pass, (k, L, H) -> (k, columns).
        """
        n = self._segments[0].players.count
        player = torch.arange(n, device=self._segments[0].embeddings.device)
        few = torch.stack((player % 2 == 0, player % 2 == 1, player < n // 2, player >= n // 2))
        try:
            plain = scores(torch.cat([s.masked(few) for s in self._segments], 1))
            tree = self(few)
        except Exception:  # whatever a model says that cannot; the plain passes tell what else is wrong
            return False
        finally:  # the trial is not part of the work
            self.release()
            self.token_steps = self.plain_token_steps = 0
        tolerance = torch.finfo(plain.dtype).eps ** _EPSILON_POWER * float(
            plain.abs().nan_to_num(0, 0, 0).max()
        )
        return plain.shape == tree.shape and bool(torch.isclose(tree, plain, rtol=0, atol=tolerance).all())

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Scores (m, columns) of coalitions (m, n) bool, on the device of the embeddings.

        Raises:
            ModelOutputError: the model keeps something else than plain keys and values.
        """
        cache = self._along_trunk(coalitions)
        if cache is not None:
            cache = self._rooms.branching(cache, len(coalitions) * self._length)
        rows = torch.arange(len(coalitions), device=coalitions.device)
        branch = torch.zeros_like(rows)
        count = 1  # rows of the cache
        for segment in self._segments[len(self._trunk) :]:
            parents = rows[:count]
            for player in segment.forks:
                codes, branch = torch.unique(2 * branch + coalitions[:, player], return_inverse=True)
                parents = parents[codes >> 1]
            if cache is not None and len(parents) > count:
                fork(cache, parents)
            count = len(parents)
            # any coalition stands for its branch: they agree on all players of these tokens
            of_branch = rows.new_empty(count).scatter_(0, branch, rows)
            output = self._run(
                segment.masked(coalitions[of_branch]), cache, last=segment is self._segments[-1]
            )
            if cache is None:
                cache = self._rooms.branching(getattr(output, _CACHE_NAME), len(coalitions) * self._length)
        self.plain_token_steps += len(coalitions) * self._length
        scores: Tensor = output.logits[:, -1]
        return scores[branch]

    def release(self) -> None:
        """Give back the memory that is kept for the next coalitions."""
        self._trunk.clear()
        self._rooms = Rooms()

    def _along_trunk(self, coalitions: Tensor) -> Any:
        """The cache of the beginning that all the coalitions share; None where it has no tokens.

        As much of it as the chunk before had in common too is still there.
        """
        for depth, segment in enumerate(self._segments[:-1]):
            flags = coalitions[:, list(segment.forks)]
            if not bool((flags == flags[:1]).all()):
                del self._trunk[depth:]
                break
            own = tuple(flags[0].tolist())
            if depth < len(self._trunk) and self._trunk[depth].flags == own:
                continue
            del self._trunk[depth:]
            cache = copied(self._trunk[-1].cache) if self._trunk else None
            output = self._run(segment.masked(coalitions[:1]), cache, last=False)
            self._trunk.append(_Trunk(own, getattr(output, _CACHE_NAME)))
        return self._trunk[-1].cache if self._trunk else None

    def _run(self, embeddings: Tensor, cache: Any, *, last: bool) -> Any:
        model, options = (self._model, self._options) if last else (self._body, {})
        output = model(inputs_embeds=embeddings, use_cache=True, **{_cache_argument(model): cache}, **options)
        self.token_steps += embeddings.shape[0] * embeddings.shape[1]
        if cache is None:
            self._row_bytes = (
                bytes_of(getattr(output, _CACHE_NAME)) // embeddings[..., 0].numel() * self._length
            )
        return output


def _cache_argument(model: nn.Module) -> str:
    """A model of the user's own may have kept the old name."""
    return _OLD_CACHE_NAME if _OLD_CACHE_NAME in signature(model.forward).parameters else _CACHE_NAME


def _segments(embeddings: Tensor, baseline: Tensor, players: Players) -> list[_Segment]:
    """The tokens, cut before the first token of each player that has one in this example."""
    mask = players.masks[0]
    length = embeddings.shape[1]
    mask = mask.expand(1, length, mask.shape[2])
    first = torch.full((players.count + 1,), length, device=mask.device)
    positions = torch.arange(length, device=mask.device).view(1, -1, 1).expand_as(mask)
    # the background's id -1 addresses the extra place at the end
    owners = mask.reshape(-1) % (players.count + 1)
    first = first.scatter_reduce_(0, owners, positions.reshape(-1), "amin")[:-1]
    standing = [(player, start) for player, start in enumerate(first.tolist()) if start < length]
    order = sorted(standing, key=lambda pair: pair[1])
    forks = {start: tuple(i for i, _ in group) for start, group in groupby(order, key=lambda pair: pair[1])}
    starts = sorted({0, *forks})
    return [
        _Segment(
            forks.get(start, ()),
            embeddings[:, start:stop],
            baseline[:, start:stop],
            Players((mask[:, start:stop],), players.count),
        )
        for start, stop in zip(starts, [*starts[1:], length], strict=True)
    ]
