"""A task whose answer lies far behind: which marker began the text? It is asked at every place of it.

    text        [M] t h e   r i v e r   r i s e s   i n   t h e   h i l l s
    distance     0  1 2 3 ...                                    k (W - 1)|beyond
    label        M  M M M M ...

Between lies ordinary text. Beyond W - 1 tokens no query of the first layer sees the marker: what is known of it must
be handed on, by a layer each W - 1 tokens, and beyond k (W - 1) no layer is left to do it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from october.attention import Transformer
from october.errors import OctoberError
from october.experiments.mistral._small_decoder import Batches, small_decoder, text_windows, train

MARKERS = range(0x0E, 0x1E)  # control characters, which stand in no text
BEYOND = 1.5  # the longest distance, in units of k (W - 1)
HEADS = (4, 2)


@dataclass(frozen=True)
class Span:
    """A window of W keys through k layers.

    Raises:
        OctoberError: W is below 2, so that nothing moves, or k below 1.
    """

    window: int
    num_layers: int

    def __post_init__(self) -> None:
        if self.window < 2 or self.num_layers < 1:
            raise OctoberError(f"spans=[[{self.window},{self.num_layers}]]: W must be at least 2, k at least 1")

    @property
    def reach(self) -> int:
        """Tokens that information can move forward: k (W - 1)."""
        return self.num_layers * (self.window - 1)

    @property
    def length(self) -> int:
        """Tokens of a text, so that distances go well beyond the reach."""
        return int(BEYOND * self.reach) + 2


def spans_of(pairs: Sequence[Sequence[int]]) -> list[Span]:
    """Return the spans of pairs of W and k.

    Raises:
        OctoberError: One is not a pair; or as `Span`.
    """
    wrong = [list(pair) for pair in pairs if len(pair) != 2]
    if wrong:
        raise OctoberError(f"spans={wrong}: give pairs of W and k, as in [[16,4]]")
    return [Span(*pair) for pair in pairs]


def train_and_ask(
    span: Span, hidden_size: int, num_sequences: int, num_steps: int, learning_rate: float, num_texts: int, seed: int
) -> list[list[int]]:
    """Train a decoder on the task; return for each of fresh texts, by distance, whether the likeliest answer is right.

    Args:
        span: Its window and its layers.
        hidden_size: Its width.
        num_sequences: Texts of a step.
        num_steps: Steps.
        learning_rate: The highest.
        num_texts: Texts that are asked about.
        seed: Of the weights and the texts.
    """
    decoder = small_decoder(hidden_size, span.num_layers, HEADS, span.window, span.length, seed)
    train(decoder, marked_texts(seed, num_sequences, span.length), num_steps, learning_rate)
    return right_answers(decoder, *next(marked_texts(seed + 1_000_003, num_texts, span.length)))


def marked_texts(seed: int, num_texts: int, length: int) -> Batches:
    """Yield texts [texts, length] that begin with a marker each, and the marker as the label of every place."""
    generator = torch.Generator().manual_seed(seed)
    for texts in text_windows(generator, num_texts, length):
        texts[:, 0] = torch.randint(MARKERS.start, MARKERS.stop, (num_texts,), generator=generator)
        yield texts, texts[:, :1].repeat(1, length)


@torch.inference_mode()
def right_answers(decoder: Transformer, texts: Tensor, labels: Tensor) -> list[list[int]]:
    """Return 1 for each place of each text where the likeliest token is the label, else 0."""
    answers = [decoder.logits(decoder(some)).argmax(dim=-1) for some in texts.split(64)]
    return (torch.cat(answers) == labels).int().tolist()  # type: ignore[no-any-return]


def measured_reach(right: np.ndarray) -> int:
    """Return the longest distance at which accuracy is at least halfway from a guess to 1, or -1."""
    halfway = (1 + 1 / len(MARKERS)) / 2
    return int(np.flatnonzero(right.mean(axis=0) >= halfway).max(initial=-1))
