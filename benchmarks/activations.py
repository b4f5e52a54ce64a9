"""Extraction of every layer's activations against the bare forward pass, and its memory at two sizes.

The bare pass runs the same batches of the same prompts and keeps nothing: the difference is the hooks, tokenising,
checking and writing. Memory is the largest resident set of a fresh process once the model, memory-mapped until then,
has been read whole.
"""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import torch

from october.data import WorldCities
from october.language_models import ModelHandle
from october.probing import extract
from october.probing.prompt_tokens import tokenize_prompts
from october.reporting.benchmarks import Case, Measured, run_benchmark

NUM_NAMES = 2_000
MAX_BATCH_TOKENS = 4_096
SMALL_BATCH_TOKENS = 1_024  # for memory: at both sizes there are names of every length to fill batches
MODEL = ModelHandle(name="gemma3_270m", embedded="gemma3_270m")


def names(count: int) -> list[str]:
    """The largest cities' names; when there are too few, with a number behind them."""
    known = WorldCities().load().names
    return [known[i % len(known)] + (f" {i // len(known)}" if i >= len(known) else "") for i in range(count)]


def bare_forward(texts: list[str]) -> None:
    """Run the backbone over the batches that extraction makes."""
    model, tokenizer = MODEL.load_backbone()
    with torch.inference_mode():
        for batch in tokenize_prompts(tokenizer, texts).batches(MAX_BATCH_TOKENS):
            model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)


def extraction(texts: list[str], max_batch_tokens: int = MAX_BATCH_TOKENS) -> None:
    """Extract into a fresh folder."""
    model, tokenizer = MODEL.load_backbone()
    with tempfile.TemporaryDirectory() as folder:
        extract(model, tokenizer, texts, folder=folder, max_batch_tokens=max_batch_tokens, progress=False)


def peak_memory(count: int) -> float:
    """Return the largest resident set in MiB of a fresh process that extracts `count` names."""
    command = [sys.executable, str(Path(__file__).resolve()), str(count)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def print_peak_memory(count: int) -> None:
    """Extract in this process while a thread watches its resident set."""
    texts, process, stop = names(count), psutil.Process(), threading.Event()
    for weights in MODEL.load_backbone()[0].parameters():
        weights.sum()  # they are memory-mapped: rows of the vocabulary seen first would count as the extraction's
    extraction(texts[:64])
    peak = [0]

    def watch() -> None:
        while not stop.is_set():
            peak[0] = max(peak[0], process.memory_info().rss)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    extraction(texts, SMALL_BATCH_TOKENS)
    stop.set()
    watcher.join()
    print(peak[0] / 2**20)


def main() -> None:
    """Measure throughput and memory."""
    texts = names(NUM_NAMES)
    tokens = int(tokenize_prompts(MODEL.load_backbone()[1], texts).lengths.sum())
    once, fourfold = peak_memory(NUM_NAMES), peak_memory(4 * NUM_NAMES)
    run_benchmark(
        "activations",
        [
            Case(
                name=f"extraction, all layers, {NUM_NAMES:,} names, {tokens:,} tokens",
                ours=lambda: extraction(texts),
                peer=lambda: bare_forward(texts),
                bar=">=0.9",
                peer_settings="the same model, prompts and batches; no hooks, nothing kept",
            ),
            Measured(
                name=f"peak memory at {4 * NUM_NAMES:,} names against {NUM_NAMES:,}",
                ours=fourfold,
                peer=once,
                unit="MiB",
                bar="<=1.02",
                peer_settings="the same extraction with a quarter of the names",
            ),
        ],
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print_peak_memory(int(sys.argv[1]))
    else:
        main()
