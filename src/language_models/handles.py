"""Light descriptions of models, made by Hydra from `conf/model` and `conf/encoder`; weights load on first use.

Importing this module, making a handle and checking it import neither torch nor transformers.
"""

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import OctoberError
from .embedded import EmbeddedName, check_embedded
from .places import check_place

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from .base import LanguageModel
    from .served_lm import ServedLM
    from .transformers_lm import TransformersLM

Kind = Literal["causal_lm", "encoder"]
DType = Literal["auto", "float32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class ModelHandle:
    """A network that runs in this process: a causal language model or an encoder.

    Attributes:
        name: The name it has in records and tables.
        path: A name on the hub (`EleutherAI/pythia-70m`) or a local folder with `config.json` and safetensors.
        revision: Branch, tag or commit on the hub.
        kind: `causal_lm` (pads on the left, has a language-model head) or `encoder` (pads on the right, has none).
        dtype: Of the weights in memory; `auto` is bfloat16 where the processor multiplies it natively, else float32.
        device: `auto` is the first of cuda, mps and cpu that is there.
        max_batch_tokens: Tokens, padding included, that one forward pass may hold.
        licence: Shown in records and reports.
        num_parameters: Of the network, in units; shown in listings.
        random_weights: Take the architecture and the tokenizer only, and initialise the weights with `seed`: the
            control of the probing paper.
        embedded: A model that installs offline, in place of `path`.
    """

    name: str
    path: str | None = None
    revision: str | None = None
    kind: Kind = "causal_lm"
    dtype: DType = "auto"
    device: Device = "auto"
    max_batch_tokens: int = 4096
    licence: str | None = None
    num_parameters: int | None = None
    random_weights: bool = False
    seed: int = 0
    embedded: EmbeddedName | None = None

    def check(self) -> None:
        """Check without loading anything that the model can be found.

        Raises:
            OctoberError: The folder does not exist or holds no model; a hub name is malformed, or not in the cache
                while offline; an embedded model's package is missing.
        """
        if self.max_batch_tokens < 1:
            raise OctoberError(f"max_batch_tokens={self.max_batch_tokens}: must be at least 1")
        if self.path is not None:
            check_place(self.path, self.revision)
        elif self.embedded is not None:
            check_embedded(self.embedded)
        else:
            raise OctoberError(f"model {self.name}: give model.path=… (a folder or a name on the hub)")

    def load(self) -> tuple[Any, Any]:
        """Return the model (in evaluation mode, head included) and its tokenizer; the last ones loaded are kept.

        Raises:
            OctoberError: The model cannot be found, reached or read.
        """
        from . import loading

        return loading.load_model(self)

    def load_own(self) -> tuple[Any, Any]:
        """Return the same as `load`, loaded anew and shared with nobody: whoever trains it needs no copy.

        Raises:
            OctoberError: As `load`.
        """
        from . import loading

        return loading.load_model.__wrapped__(self)

    def load_backbone(self) -> tuple[Any, Any]:
        """Return the model without its language-model head, and its tokenizer; shares its weights with `load`.

        Raises:
            OctoberError: As `load`.
        """
        model, tokenizer = self.load()
        return (model.base_model if self.kind == "causal_lm" else model), tokenizer

    def language_model(self) -> "TransformersLM":
        """Return the model behind the `LanguageModel` interface.

        Raises:
            OctoberError: As `load`; or the model is an encoder.
        """
        from .transformers_lm import TransformersLM

        if self.kind != "causal_lm":
            raise OctoberError(f"model {self.name}: an encoder generates no text; choose a causal_lm")
        return TransformersLM(*self.load(), max_batch_tokens=self.max_batch_tokens)

    def fingerprint(self) -> str:
        """Return 16 digits that identify what decides the outputs: weights, config, tokenizer, dtype, random seed.

        Files are hashed once as long as their size and time stamp stay the same.

        Raises:
            OctoberError: The model cannot be found or reached.
        """
        from . import loading

        return loading.fingerprint(self)

    def describe(self) -> dict[str, Any]:
        """Return the fields that are set, for records."""
        return _set_fields(self)


@dataclass(frozen=True)
class ServedHandle:
    """A model behind an OpenAI-compatible engine (vLLM, SGLang, llama.cpp ...).

    Attributes:
        name: The name it has in records and tables.
        base_url: Of the engine, up to and including `/v1`.
        model: The name under which the engine serves the model.
        api_key_variable: The environment variable that holds the key, if the engine wants one; a key itself never
            stands in a config, which is recorded.
        timeout: Seconds for one request.
        max_retries: Attempts after the first.
        max_concurrent: Requests in flight at once.
        licence: Shown in records and reports.
    """

    name: str
    base_url: str
    model: str
    api_key_variable: str = "OPENAI_API_KEY"
    timeout: float = 600.0
    max_retries: int = 5
    max_concurrent: int = 16
    licence: str | None = None

    def check(self) -> None:
        """Check that the engine answers and serves the model.

        Raises:
            OctoberError: The address is wrong, nothing answers there, or the model is not among those served.
        """
        self._served_lm(timeout=min(self.timeout, 10.0), max_retries=0).check()

    def language_model(self) -> "LanguageModel":
        """Return the engine behind the `LanguageModel` interface."""
        return self._served_lm(timeout=self.timeout, max_retries=self.max_retries)

    def fingerprint(self) -> str:
        """Return a hash of address and model name: the weights themselves cannot be seen from here."""
        from ..files import content_hash

        return content_hash({"base_url": self.base_url, "model": self.model})

    def describe(self) -> dict[str, Any]:
        """Return the fields that are set, for records."""
        return _set_fields(self)

    def _served_lm(self, timeout: float, max_retries: int) -> "ServedLM":
        from .served_lm import ServedLM

        return ServedLM(
            self.base_url,
            self.model,
            api_key=os.environ.get(self.api_key_variable),
            timeout=timeout,
            max_retries=max_retries,
            max_concurrent=self.max_concurrent,
        )


@dataclass(frozen=True)
class EncoderHandle:
    """A text encoder for retrieval; queries and passages may have encoders of their own.

    Attributes:
        name: The name it has in records and tables.
        path: A name on the hub or a local folder: the encoder of passages (and of queries, if `query_path` is unset).
        query_path: The encoder of queries, where it is another one (DRAGON+).
        revision: Branch, tag or commit on the hub, of both.
        pooling: For a plain transformer without sentence-transformers files: `mean` or `cls`, as released.
        normalize: Whether embeddings are scaled to length 1.
        device: `auto` is the first of cuda, mps and cpu that is there.
        max_sequence_length: Tokens of a text that are read; unset keeps the model's own.
        licence: Shown in records and reports.
        embedded: An encoder that installs offline, in place of `path`.
    """

    name: str
    path: str | None = None
    query_path: str | None = None
    revision: str | None = None
    pooling: Literal["mean", "cls"] | None = None
    normalize: bool = False
    device: Device = "auto"
    max_sequence_length: int | None = None
    licence: str | None = None
    embedded: Literal["minilm"] | None = None

    def check(self) -> None:
        """Check without loading anything that the encoder can be found.

        Raises:
            OctoberError: As `ModelHandle.check`.
        """
        for path in (self.path, self.query_path):
            if path is not None:
                check_place(path, self.revision)
        if self.path is None and self.embedded is not None:
            check_embedded(self.embedded)
        elif self.path is None:
            raise OctoberError(f"encoder {self.name}: give encoder.path=… (a folder or a name on the hub)")

    def load(self) -> "SentenceTransformer":
        """Return the encoder of passages; the last ones loaded are kept.

        Raises:
            OctoberError: The encoder cannot be found, reached or read.
        """
        from . import loading

        return loading.load_encoder(self, query=False)

    def load_query(self) -> "SentenceTransformer":
        """Return the encoder of queries: that of passages unless `query_path` names another.

        Raises:
            OctoberError: As `load`.
        """
        from . import loading

        return loading.load_encoder(self, query=self.query_path is not None)

    def fingerprint(self) -> str:
        """Return 16 digits that identify what decides the passages' embeddings.

        Raises:
            OctoberError: The encoder cannot be found or reached.
        """
        from . import loading

        return loading.encoder_fingerprint(self)

    def describe(self) -> dict[str, Any]:
        """Return the fields that are set, for records."""
        return _set_fields(self)


def _set_fields(handle: ModelHandle | ServedHandle | EncoderHandle) -> dict[str, Any]:
    return {name: value for name, value in asdict(handle).items() if value is not None}
