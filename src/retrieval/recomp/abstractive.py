"""The abstractive compressor (section 3.2): a model writes the summary, or nothing where nothing helps.

    Question: {query}
     Document: {documents, a line each}
     Summary:

An encoder-decoder (T5-large in the paper) reads the input with one more space at its end, as the released checkpoints
do; a causal model continues it. Both end their text with their end token, which may come first.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import OctoberError
from ...evaluation import num_tokens
from ...language_models import LanguageModel, ModelHandle
from .compressor import Compressor

if TYPE_CHECKING:
    from ..passages import Passage

RELEASED_ABSTRACTIVE = {
    "natural_questions": "fangyuan/nq_abstractive_compressor",
    "triviaqa": "fangyuan/tqa_abstractive_compressor",
    "hotpotqa": "fangyuan/hotpotqa_abstractive",
}


class SummaryWriter(Protocol):
    """A model that writes summaries."""

    tokenizer: Any

    def write(self, inputs: Sequence[str], max_new_tokens: int) -> list[str]:
        """Return what the model writes after each input."""
        ...


class CausalWriter:
    """A causal language model that continues the input, up to its end token or a new line.

    Args:
        model: The model.
        tokenizer: Counts tokens where inputs are made to fit; the model's own.
    """

    def __init__(self, model: LanguageModel, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer

    @classmethod
    def from_handle(cls, handle: ModelHandle) -> "CausalWriter":
        """Return the writer of a local model, such as a trained student's folder.

        Raises:
            OctoberError: As `ModelHandle.load`.
        """
        model = handle.language_model()
        return cls(model, model.tokenizer)

    def write(self, inputs: Sequence[str], max_new_tokens: int) -> list[str]:
        """Return the continuations, white space around them removed."""
        written = self.model.generate(inputs, max_new_tokens=max_new_tokens, stop=("\n",))
        return [completion.text.strip() for completion in written]


class AbstractiveCompressor(Compressor):
    """Lets a model write summaries, many at a time.

    Args:
        writer: A causal model or an encoder-decoder.
        max_new_tokens: Of a summary (512 in the paper).
        max_input_tokens: Of an input; where it would be longer, the documents' last words are left out.
        with_titles: Titles stand in front of the documents' texts; the released checkpoints read texts alone.

    Raises:
        OctoberError: A number of tokens is below 1.
    """

    def __init__(
        self,
        writer: SummaryWriter,
        *,
        max_new_tokens: int = 512,
        max_input_tokens: int = 1024,
        with_titles: bool = False,
    ) -> None:
        for name, value in (("max_new_tokens", max_new_tokens), ("max_input_tokens", max_input_tokens)):
            if value < 1:
                raise OctoberError(f"{name}={value}: must be at least 1")
        self.writer = writer
        self.max_new_tokens = max_new_tokens
        self.max_input_tokens = max_input_tokens
        self.with_titles = with_titles

    def _summaries(self, queries: Sequence[str], documents: Sequence[Sequence["Passage"]]) -> list[str]:
        texts = [documents_text(retrieved, with_titles=self.with_titles) for retrieved in documents]
        inputs = summary_inputs(self.writer.tokenizer, queries, texts, self.max_input_tokens)
        return [text.strip() for text in self.writer.write(inputs, self.max_new_tokens)]


def documents_text(documents: Sequence["Passage"], *, with_titles: bool = False) -> str:
    """Return documents as the model reads them: a line each, best first."""
    if not with_titles:
        return "\n".join(document.text for document in documents)
    return "\n".join(f"{document.title}: {document.text}" for document in documents)


def summary_input(query: str, documents: str) -> str:
    """Return the text after which the summary follows."""
    return f"Question: {query}\n Document: {documents}\n Summary:"


def summary_inputs(tokenizer: Any, queries: Sequence[str], documents: Sequence[str], max_tokens: int) -> list[str]:
    """Return one input for each query of at most `max_tokens` tokens, special ones left out.

    Documents lose their last words, never the query or the word that asks for the summary.

    Raises:
        OctoberError: A query alone is too long.
    """
    frames = num_tokens(tokenizer, [summary_input(query, "") for query in queries])
    inputs = []
    for query, text, frame in zip(queries, documents, frames, strict=True):
        if frame >= max_tokens:
            raise OctoberError(f"query {query[:40]!r} has {frame} tokens with its frame: max_input_tokens={max_tokens}")
        inputs.append(summary_input(query, _first_tokens(tokenizer, text, max_tokens - frame - 1)))
    return inputs


def _first_tokens(tokenizer: Any, text: str, count: int) -> str:
    """Return the text up to its token number `count`; one token may grow to two where text is cut and joined."""
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoding["offset_mapping"]
    return text if len(offsets) <= count else text[: offsets[count - 1][1] if count else 0]
