"""Indexing with an encoder that costs nothing: memory, what a kill costs, passages a second."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import faiss

from october.reporting.benchmarks import Measured
from october.retrieval.embeddings import CHUNK_TEXTS
from recomp_cases import index_run
from recomp_cases.index_run import DIMENSION, PART_PASSAGES, FakeEncoder, made_up

NUM_PASSAGES = 100_000
FLOAT = 4  # bytes


def indexing_cases(folder: Path, divisor: int) -> list[Measured]:
    """Return all cases; `folder/whole` keeps the index for others."""
    return measured(folder, NUM_PASSAGES // divisor)


def measured(folder: Path, count: int) -> list[Measured]:
    """Return the cases of so many passages: one run, one of half as many, one that is killed half-way and goes on."""
    whole, half = (indexed(folder / name, number) for name, number in (("whole", count), ("half", count // 2)))
    num_chunks = math.ceil(count / CHUNK_TEXTS)
    indexed(folder / "killed", count, kill_after=max(1, num_chunks // 2))
    indexed(folder / "killed", count)
    assert parts(folder / "killed") == parts(folder / "whole"), "a killed run makes another index"
    what = f"index {count:,} passages, {DIMENSION} numbers each, parts of {PART_PASSAGES:,}"
    return [
        Measured(
            name=f"{what}, most memory above the start: against half as many passages",
            ours=whole["own"],
            peer=half["own"],
            unit="B",
            bar="<=1.1",
            peer_settings="resident memory without pages of mapped files, which the system takes back at will",
        ),
        Measured(
            name=f"{what}, most memory above the start, pages of mapped files included: against the vectors' bytes",
            ours=whole["resident"],
            peer=FLOAT * DIMENSION * count,
            unit="B",
            peer_settings="passages and vectors are files that are mapped; parts and chunks are held",
        ),
        Measured(
            name=f"{what}, killed half-way: texts encoded in both runs, against the texts",
            ours=encoded(folder / "killed"),
            peer=count,
            unit="texts",
            bar="<=1",
            peer_settings="the same index, file by file, as without a kill",
        ),
        Measured(
            name=f"{what}: passages a second from documents to files, against vectors in memory",
            ours=count / whole["seconds"],
            peer=count / in_memory(folder, count),
            unit="passages/s",
            better="higher",
            peer_settings=f"faiss {faiss.__version__}, the same encoder, IndexFlatIP.add and write_index, nothing kept",
        ),
    ]


def indexed(folder: Path, count: int, kill_after: int = 0) -> dict[str, float]:
    """Index in a process of its own; return what it says of itself, nothing where it was to be killed.

    Raises:
        RuntimeError: It ended otherwise than it should.
    """
    folder.mkdir(exist_ok=True)
    command = [sys.executable, index_run.__file__, str(folder), str(count), str(kill_after)]
    environment = {**os.environ, "OCTOBER_HOME": str(folder / "home")}  # notes on files that are soon gone
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode != (-signal.SIGKILL if kill_after else 0):
        raise RuntimeError(f"index_run.py ended with status {done.returncode}")
    return json.loads(done.stdout) if not kill_after else {}


def encoded(folder: Path) -> int:
    """Return how many texts were encoded for a folder, over all its runs."""
    return sum(map(int, (folder / "encoded.txt").read_text().split()))


def parts(folder: Path) -> list[tuple[str, str]]:
    """Return names and hashes of an index's parts."""
    found = json.loads((folder / "index" / "parts.json").read_text())["parts"]
    return [(part["name"], part["sha256"]) for part in found]


def in_memory(folder: Path, count: int) -> float:
    """Return the seconds of the shortest way to an index in a file: everything in memory, all lost by a kill."""
    encoder = FakeEncoder(folder / "in_memory.txt")
    started = time.perf_counter()
    index = faiss.IndexFlatIP(DIMENSION)
    for texts in chunks(count):
        index.add(encoder.embed(texts))
    faiss.write_index(index, str(folder / "in_memory.faiss"))
    return time.perf_counter() - started


def chunks(count: int) -> Iterator[list[str]]:
    """Yield the passages' texts, so many at a time as the library encodes at once."""
    documents = made_up(count)
    while some := [f"{document.title} {document.text}" for document in islice(documents, CHUNK_TEXTS)]:
        yield some
