"""Search for the likeliest strings of a network that says one symbol after another."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.types import PAD

Next = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # last symbols and states -> logits and states


def beam_search(
    step: Next, state: Float[Tensor, "n d"], *, beam: int, longest: int, end: int
) -> Int[Tensor, "n beam l"]:
    """The `beam` strings of up to `longest` symbols that a search of that width finds, likeliest first.

    `step` is asked of n x beam rows, those of an image next to each other. `end` stands before the first symbol, and
    behind the last at the latest. Probabilities are not divided by length. Where there are fewer strings than `beam`,
    the best stands in their place. A beam of 1 is the greedy answer.
    """
    n, device = len(state), state.device
    state = state.repeat_interleave(beam, dim=0)
    scores = torch.full((n, beam), -torch.inf, device=device)
    scores[:, 0] = 0.0
    words, last = torch.empty((n, beam, 0), dtype=torch.long, device=device), torch.full((n * beam,), end).to(device)
    for place in range(longest + 1):
        logits, state = step(last, state)
        said = logits.float().log_softmax(-1).unflatten(0, (n, beam))
        ended = (words == end).any(-1)
        if place == longest:
            said = only(said, end)
        said = torch.where(ended[..., None], only(torch.zeros_like(said), end), said)
        scores, best = (scores[..., None] + said).flatten(1).topk(beam)
        parents, symbols = best // said.shape[-1], best % said.shape[-1]
        words = torch.cat([words.gather(1, parents[..., None].expand_as(words)), symbols[..., None]], dim=-1)
        rows = (torch.arange(n, device=device)[:, None] * beam + parents).flatten()
        state, last = state[rows], symbols.flatten()
    return closed(torch.where(scores.isfinite()[..., None], words, words[:, :1]), end=end)


def only(said: Float[Tensor, "*n v"], symbol: int) -> Float[Tensor, "*n v"]:
    """All other symbols impossible."""
    kept = torch.full_like(said, -torch.inf)
    kept[..., symbol] = said[..., symbol]
    return kept


def closed(words: Int[Tensor, "*n l"], *, end: int) -> Int[Tensor, "*n l"]:
    """PAD behind the first END of each string; a string that never ends gives up its last symbol."""
    words = words.clone()
    words[..., -1] = end
    ends = (words == end).long()
    return words.masked_fill(ends.cumsum(-1) - ends > 0, PAD)
