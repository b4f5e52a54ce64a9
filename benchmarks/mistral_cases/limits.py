"""A decode step against its limit: what must be computed and read, with nothing between.

    limit = every linear map of the very decoder, once, on an input that lies ready
          + for each layer one read of its buffer: the heads of a group as the queries of one head, and no mask

A step is from the last tokens to the next: embedding, all layers, norm, head, the likeliest token. Both run in this
process on the same threads, in turn, on a cache whose window is full, so that the buffer rolls.
"""

from collections.abc import Callable

import torch
from shared_cases.dtypes import dtypes
from shared_cases.threads import threads
from torch import Tensor, nn

from mistral_cases.models import our_full_cache, our_model
from october.attention import Transformer
from october.attention.mistral import RollingBufferCache, compile_steps_
from october.attention.mistral.rolling_pass import grouped_read
from october.language_models.sampling import next_tokens
from october.reporting.benchmarks import Case

BARS = {"float32": "<=1.15", "bfloat16": "<=1.3"}
BATCHES = (1, 8)
WINDOWS = (256, 4096)
STEPS = 16  # of a timed call


def limit_cases(divisor: int) -> list[Case]:
    """Return the cases of all dtypes, batches and windows."""
    shapes = [(dtype, window // divisor, batch) for dtype in dtypes() for window in WINDOWS for batch in BATCHES]
    decoders = {shape[:2]: our_model(shape[1], shape[0]) for shape in shapes}
    layer_by_layer = [limit_case(*shape, decoders[shape[:2]], "layer by layer", None) for shape in shapes]
    compiled = {shape: compile_steps_(our_model(shape[1], shape[0])) for shape in decoders}
    return [limit_case(*shape, compiled[shape[:2]], "compiled", BARS[shape[0]]) for shape in shapes] + layer_by_layer


def limit_case(dtype: str, window: int, batch: int, decoder: Transformer, way: str, bar: str | None) -> Case:
    """Return the case of one shape, its steps run one way."""
    cache = our_full_cache(decoder, batch)
    steps, limit = greedy_steps(decoder, cache), limit_of(decoder, cache)

    def run_limit() -> None:
        for _ in range(STEPS):
            limit()

    return Case(
        name=f"{STEPS} decode steps, {way}, {dtype}, batch {batch}, W = {window:,} full: against their limit",
        ours=lambda: steps(STEPS),
        peer=run_limit,
        bar=bar,
        unit="ms",
        repeats=9,
        peer_settings=f"its own packed linear maps, and one grouped read a layer; {threads()}",
    )


def greedy_steps(decoder: Transformer, cache: RollingBufferCache) -> Callable[[int], Tensor]:
    """Return a function that goes on by so many tokens, each the likeliest, and returns them, [rows, steps]."""
    last = [torch.ones(len(cache.lengths), dtype=torch.long)]

    @torch.inference_mode()
    def run(steps: int) -> Tensor:
        written = []
        for _ in range(steps):
            logits = decoder.logits(decoder(last[0][:, None], cache=cache)[:, -1])
            last[0] = next_tokens(logits, 0.0, 1.0, ())
            written.append(last[0])
        return torch.stack(written, dim=1)

    return run


def limit_of(decoder: Transformer, cache: RollingBufferCache) -> Callable[[], None]:
    """Return a function that runs a step's linear maps and reads of the buffers, and nothing else."""
    weight, config, rows = decoder.embedding.weight, decoder.config, len(cache.lengths)
    linears = [module for module in decoder.modules() if isinstance(module, nn.Linear)]
    inputs = [torch.randn(rows, 1, linear.in_features).to(weight.dtype) for linear in linears]
    group = config.num_heads // config.num_kv_heads
    query = torch.randn(rows, config.num_kv_heads, group, config.head_dim).to(weight.dtype)

    @torch.inference_mode()
    def run() -> None:
        for linear, states in zip(linears, inputs, strict=True):
            linear(states)
        for key, value in zip(cache.keys, cache.values, strict=True):
            grouped_read(query, key, value, None, config.scale)

    return run
