"""Residual-stream activations of an entity's last token at every layer, streamed to disk in one pass.

    folder/activations.npy   [layers + 1, n, width], rows from the longest prompt to the shortest
    folder/order.npy         [n]: the text that each row belongs to
    folder/about.json        shape, storage type and a fingerprint of model and texts
    folder/progress.json     rows that are surely on disk

Rows are stored in the order in which they are computed, so a batch is one contiguous write per layer, what a killed
run has finished is a prefix, and reading a layer is one sequential read. Writes go through `pwrite` and not through
the map: mapped dirty pages would count as this process's memory, and a full disk would kill it by a signal.
"""

import hashlib
import inspect
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from tqdm.auto import tqdm

from ..errors import OctoberError
from ..files import content_hash, only_writer, write_whole
from .prompt_tokens import Batch, PromptTokens, Span, tokenize_prompts
from .residual_stream import gathered_layers, mean_pool, num_states, text_config, token_pool

Position = Literal["last_entity_token", "mean"]
Storage = Literal["float32", "bfloat16", "float16"]

DEFAULT_BATCH_TOKENS = 4096
_SECONDS_BETWEEN_MARKS = 10.0
_STORAGE: dict[str, tuple[torch.dtype, Any]] = {  # numpy has no bfloat16: its bits are kept as unsigned integers
    "float32": (torch.float32, np.float32),
    "bfloat16": (torch.bfloat16, np.uint16),
    "float16": (torch.float16, np.float16),
}


@dataclass(frozen=True)
class Activations:
    """Stored activations of n texts: a memory-mapped array [num_layers, n, width] on disk.

    `num_layers` counts the readable layers: 0 is the embedding, the last one is after the final norm.
    """

    folder: Path
    num_layers: int
    num_texts: int
    width: int
    storage: Storage
    fingerprint: str

    @classmethod
    def open(cls, folder: str | Path) -> "Activations":
        """Open what `extract` wrote, finished or not.

        Raises:
            OctoberError: the folder holds no activations, or a damaged description of them.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / "about.json").read_text())
            return cls(folder=folder, **about)
        except FileNotFoundError:
            raise OctoberError(f"{folder} holds no activations; extract them first") from None
        except (ValueError, TypeError):
            raise OctoberError(f"{folder}/about.json is damaged; delete the folder and extract again") from None

    @property
    def rows_done(self) -> int:
        """Rows that are surely on disk."""
        marker = self.folder / "progress.json"
        return int(json.loads(marker.read_text())["rows"]) if marker.exists() else 0

    @property
    def complete(self) -> bool:
        """Whether every text's activations are on disk."""
        return self.rows_done == self.num_texts

    @property
    def path(self) -> Path:
        """The array's file."""
        return self.folder / "activations.npy"

    def layer(self, index: int) -> Float[np.ndarray, "n width"]:
        """Read one layer in the order of the texts, as float32; a negative index counts from the last.

        Raises:
            OctoberError: no such layer, an unfinished extraction, or a damaged file.
        """
        if not -self.num_layers <= index < self.num_layers:
            raise OctoberError(f"layer {index} does not exist: layers go from 0 to {self.num_layers - 1}")
        if not self.complete:
            raise OctoberError(f"{self.folder} is unfinished ({self.rows_done} of {self.num_texts}); run it again")
        stored = self._mapped()[index]
        result = np.empty(stored.shape, dtype=np.float32)
        result[np.load(self.folder / "order.npy")] = _as_float32(stored)
        return result

    def _mapped(self) -> np.ndarray:
        try:
            array: np.ndarray = np.load(self.path, mmap_mode="r")
        except (ValueError, OSError) as error:
            raise OctoberError(f"{self.path} is damaged; delete {self.folder} and extract again") from error
        if array.shape != (self.num_layers, self.num_texts, self.width):
            raise OctoberError(f"{self.path} has shape {array.shape}; delete {self.folder} and extract again")
        return array


def _as_float32(stored: np.ndarray) -> Float[np.ndarray, "n width"]:
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32, copy=False)


def extract(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    folder: str | Path,
    max_batch_tokens: int = DEFAULT_BATCH_TOKENS,
    position: Position = "last_entity_token",
    entity_spans: Sequence[Span] | None = None,
    random_tokens: int = 0,
    seed: int = 0,
    storage: Storage | None = None,
    progress: bool = True,
) -> Activations:
    """Write every layer's activation of each text's entity into `folder`, one forward pass per batch.

    A run that was killed goes on where its last mark stands and ends with the same bits as one that was not;
    a finished folder is returned at once. Peak memory depends on `max_batch_tokens`, not on the number of texts.

    Args:
        model: a Hugging Face transformer without head (decoder or encoder), on any device.
        tokenizer: its fast tokenizer; padding on either side.
        texts: prompts, each with its entity.
        folder: where the array goes.
        max_batch_tokens: tokens in a forward pass, padding included.
        position: the entity's last token (the paper's choice for decoders), or the mean over the prompt's tokens
            (what sentence encoders use).
        entity_spans: characters of the entity in each text; without it the whole text.
        random_tokens: random token ids between BOS and each text, drawn anew for each.
        seed: of the random ids.
        storage: number type on disk; by default the model's own, so nothing is lost.
        progress: show a bar.

    Raises:
        OctoberError: bad prompts, a folder of another model or other texts, a full disk, or activations that are
            not finite.
    """
    folder = Path(folder)
    storage = storage or _own_storage(model)
    if storage not in _STORAGE:
        raise OctoberError(f"storage={storage!r} is not one of {', '.join(_STORAGE)}")
    if position not in ("last_entity_token", "mean"):
        raise OctoberError(f"position={position!r} is not one of last_entity_token, mean")
    tokens = tokenize_prompts(tokenizer, texts, entity_spans, random_tokens, seed)
    _check_lengths(model, tokens, texts)
    about = Activations(
        folder,
        num_states(model),
        len(texts),
        text_config(model).hidden_size,
        storage,
        _fingerprint(model, tokens, position),
    )
    with only_writer(folder):
        _prepare(about, tokens.sorted_rows())
        if not about.complete:
            _run(model, tokens, about, texts, position, max_batch_tokens, progress)
    return about


def cached_activations(
    cache_root: str | Path,
    key: dict[str, Any],
    load_backbone: Callable[[], tuple[Any, Any]],
    texts: Sequence[str],
    *,
    position: Position = "last_entity_token",
    entity_spans: Sequence[Span] | None = None,
    random_tokens: int = 0,
    seed: int = 0,
    storage: Storage | None = None,
    max_batch_tokens: int = DEFAULT_BATCH_TOKENS,
    progress: bool = True,
) -> Activations:
    """Return the activations of these texts, extracting them only when `cache_root` has none.

    The folder's name is a hash of `key` and of everything that changes the numbers; the model is not even loaded
    when the folder is complete.

    Args:
        cache_root: folder of all cached activations.
        key: what identifies the model: name, revision or file hash, dtype, seed of random weights …
        load_backbone: gives `(model, tokenizer)` when needed.
        texts: see `extract`, like the remaining arguments.
        position: see `extract`.
        entity_spans: see `extract`.
        random_tokens: see `extract`.
        seed: see `extract`.
        storage: see `extract`.
        max_batch_tokens: see `extract`; not part of the hash.
        progress: see `extract`.
    """
    spans = None if entity_spans is None else [list(span) for span in entity_spans]
    name = content_hash([key, list(texts), spans, random_tokens, seed, position, storage])
    folder = Path(cache_root) / name
    if (folder / "about.json").exists() and (found := Activations.open(folder)).complete:
        return found
    model, tokenizer = load_backbone()
    return extract(
        model,
        tokenizer,
        texts,
        folder=folder,
        max_batch_tokens=max_batch_tokens,
        position=position,
        entity_spans=entity_spans,
        random_tokens=random_tokens,
        seed=seed,
        storage=storage,
        progress=progress,
    )


def _own_storage(model: Any) -> Storage:
    own: dict[torch.dtype, Storage] = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
    return own.get(model.dtype, "float32")


def _check_lengths(model: Any, tokens: PromptTokens, texts: Sequence[str]) -> None:
    limit = getattr(text_config(model), "max_position_embeddings", None)
    longest = int(tokens.lengths.argmax())
    if limit is not None and tokens.lengths[longest] > limit:
        raise OctoberError(
            f"prompt {longest} ({texts[longest][:60]!r}…) has {tokens.lengths[longest]} tokens; "
            f"{type(model).__name__} takes {limit}"
        )


def _fingerprint(model: Any, tokens: PromptTokens, position: Position) -> str:
    """Hash the token ids, and the model's configuration with 64 numbers of each of its tensors."""
    sample = [
        tensor.detach().flatten()[:: max(1, tensor.numel() // 64)][:64].float().sum().item()
        for tensor in model.parameters()
    ]
    config = text_config(model).to_dict()
    prompts = hashlib.sha256(tokens.ids.tobytes() + tokens.starts.tobytes() + tokens.positions.tobytes()).hexdigest()
    return content_hash([config, str(model.dtype), sample, prompts, position])


def _prepare(about: Activations, order: Int[np.ndarray, " n"]) -> None:
    """Lay out the folder, with the whole array's room reserved, or check that it is the one to go on with."""
    if (about.folder / "about.json").exists():
        if Activations.open(about.folder) != about:
            raise OctoberError(f"{about.folder} holds activations of another model or other texts; name another folder")
        about._mapped()
        return
    shape = (about.num_layers, about.num_texts, about.width)
    header = np.lib.format.open_memmap(about.path, mode="w+", dtype=_STORAGE[about.storage][1], shape=shape)
    del header
    try:
        _reserve(about.path)
    except OSError:
        about.path.unlink()
        raise
    np.save(about.folder / "order.npy", order)
    fields = {name: value for name, value in vars(about).items() if name != "folder"}
    write_whole(about.folder / "about.json", json.dumps(fields))


def _reserve(path: Path) -> None:
    """Claim the file's room now, so that a disk too small is known before the first forward pass."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _run(
    model: Any,
    tokens: PromptTokens,
    about: Activations,
    texts: Sequence[str],
    position: Position,
    max_batch_tokens: int,
    progress: bool,
) -> None:
    first, order = about.rows_done, tokens.sorted_rows()
    was_training = model.training
    model.eval()
    try:
        shown: dict[str, Any] = {
            "desc": f"activations of {type(model).__name__}",
            "unit": "text",
            "leave": False,
            "delay": 2,
        }
        with _Writer(about) as writer, tqdm(total=len(texts), initial=first, disable=not progress, **shown) as bar:
            for batch in tokens.batches(max_batch_tokens, first):
                states = [state.to(_STORAGE[about.storage][0]).cpu() for state in _forward(model, batch, position)]
                _check_finite(states, model, [texts[i] for i in order[batch.rows]])
                writer.write(states, batch.rows)
                bar.update(batch.rows.stop - batch.rows.start)
    finally:
        model.train(was_training)


@torch.inference_mode()
def _forward(model: Any, batch: Batch, position: Position) -> list[torch.Tensor]:
    """Return every layer's states [batch, width]; one tensor of all layers would double the peak."""
    device = model.device
    mask = batch.attention_mask.to(device)
    pool = mean_pool(mask) if position == "mean" else token_pool(batch.positions.to(device))
    options = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    with gathered_layers(model, pool) as states:
        output = model(input_ids=batch.input_ids.to(device), attention_mask=mask, **options)
        states.append(pool(output.last_hidden_state))
    return states


def _check_finite(states: list[torch.Tensor], model: Any, texts: Sequence[str]) -> None:
    for layer, state in enumerate(states):
        finite = torch.isfinite(state).all(dim=1)
        if not finite.all():
            text = texts[int((~finite).nonzero()[0])]
            raise OctoberError(
                f"layer {layer} of {type(model).__name__} ({model.name_or_path or 'no name'}) gives activations that "
                f"{state.dtype} cannot hold or that are not numbers, first for {text!r}"
            )


class _Writer:
    """Writes batches into the array's file, and moves the mark on once what lies before it is on disk."""

    def __init__(self, about: Activations) -> None:
        self.about = about
        mapped = about._mapped()
        self.row_bytes = mapped.strides[1]
        self.layer_bytes = mapped.strides[0]
        self.header = about.path.stat().st_size - mapped.nbytes
        self.done = about.rows_done
        self.marked_at = time.monotonic()

    def __enter__(self) -> "_Writer":
        self.file = os.open(self.about.path, os.O_WRONLY)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.mark()
        finally:
            os.close(self.file)

    def write(self, states: list[torch.Tensor], rows: slice) -> None:
        for layer, state in enumerate(states):
            data = state.contiguous().view(torch.uint8).numpy()
            self._write_all(data.data.cast("B"), layer * self.layer_bytes + rows.start * self.row_bytes)
        self.done = rows.stop
        if time.monotonic() - self.marked_at > _SECONDS_BETWEEN_MARKS:
            self.mark()

    def _write_all(self, data: memoryview, offset: int) -> None:
        while data:
            written = os.pwrite(self.file, data, self.header + offset)
            data, offset = data[written:], offset + written

    def mark(self) -> None:
        os.fsync(self.file)
        write_whole(self.about.folder / "progress.json", json.dumps({"rows": self.done}))
        self.marked_at = time.monotonic()
