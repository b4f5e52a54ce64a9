"""What tuning does to the retriever (section 2.4): what it finds, and how near it is to what the model prefers.

    KL( p_R || p_LSR )                        over the passages that the untuned retriever finds, both ways round
    log sum_c p_R(c | x) p_LM(y | c o x)      over the passages that each retriever finds for itself

On test questions, by the likelihoods of the untuned language model, which is the one that has judged in training.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import PositiveInt

from october.data.documents import CorpusHandle, QuestionHandle
from october.errors import OctoberError
from october.evaluation import bootstrap_cell, interval_cell, paired_bootstrap_interval, percent_cell
from october.experiments.ra_dit._bench import Asked, Bench, Retrieval
from october.experiments.ra_dit._reading import Reader
from october.experiments.ra_dit._retriever_tuning import RetrieverTuning, check_retriever, recalled, tuned_retriever
from october.language_models import EncoderHandle, ModelHandle
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.retrieval.embeddings import encode
from october.retrieval.ra_dit import ChunkScorer, MixtureHandle, divergence, log_distribution, lsr_scores
from october.run import Run

UNTUNED, TUNED = "untuned retriever", "tuned retriever"
DEPTHS = (1, 3, 5, 10)
TO_PREFERENCE, FROM_PREFERENCE = "KL to the preference", "KL from the preference"
LIKELIHOOD, PREFERRED = "log-likelihood of the answer", "preferred passage first"
Measured = dict[str, list[float]]  # by what is measured, a number for each question


def retriever(
    model: ModelHandle,
    encoder: EncoderHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    mixture: MixtureHandle,
    retrieval: Retrieval,
    retriever_tuning: RetrieverTuning,
    num_test: PositiveInt | None,
    run: Run,
) -> Result:
    """Measure a retriever before and after it was tuned by a language model's preferences.

    Args:
        model: The language model that prefers.
        encoder: As in `main`, like all that follows.
        data: As in `main`.
        corpus: As in `main`.
        mixture: As in `main`.
        retrieval: As in `main`.
        retriever_tuning: As in `main`.
        num_test: As in `main`.
        run: The run.
    """
    bench = Bench(data, corpus, encoder, num_test, retrieval)
    reader = Reader(model, 1)
    check_retriever(reader, mixture, bench, retriever_tuning)

    def about() -> dict[str, list[float]]:
        found = tuned_retriever(reader, mixture, bench, retriever_tuning).about
        return {name: found[name] for name in ("losses", "entropies")}

    def measure(name: str) -> Measured:
        tuned = tuned_retriever(reader, mixture, bench, retriever_tuning).encoder if name == TUNED else encoder
        return measured(reader, bench, tuned, retriever_tuning)

    curves = run.once("training", about)
    found = {name: run.once(name, measure, name) for name in run.progress((UNTUNED, TUNED), "measuring")}
    rows = [Row(name=name, cells=cells_of(each)) for name, each in found.items()]
    return Result(
        rows=rows,
        evidence=evidence(found),
        figures={"Loss, and entropy of the language model's preference, by step": draw(run.figures, curves)},
        fingerprints={
            **bench.fingerprints(),
            model.name: model.fingerprint(),
            **retriever_tuning.fingerprints(mixture),
        },
    )


def measured(reader: Reader, bench: Bench, encoder: EncoderHandle, tuning: RetrieverTuning) -> Measured:
    """Return what is known of a retriever on each test question."""
    temperature = bench.retrieval.temperature
    own, fixed = whole(bench, bench.asked(encoder)), whole(bench, bench.asked())
    preference = log_distribution(
        lsr_scores(*likelihoods(reader, fixed), tuning.settings.score), tuning.settings.lsr_temperature
    )
    weights = log_distribution(scores_by(encoder, fixed, bench) / temperature)
    mixed = log_distribution(torch.tensor(own.scores, dtype=torch.float64) / temperature) + likelihoods(reader, own)[0]
    found = {
        LIKELIHOOD: mixed.logsumexp(dim=1),
        TO_PREFERENCE: divergence(weights, preference),
        FROM_PREFERENCE: divergence(preference, weights),
        PREFERRED: (weights.argmax(dim=1) == preference.argmax(dim=1)).double(),
    }
    depths = [depth for depth in DEPTHS if depth <= bench.retrieval.num_passages]
    return {name: values.tolist() for name, values in found.items()} | {
        f"recall@{depth}": [float(there) for there in recalled(bench, own, depth)] for depth in depths
    }


def whole(bench: Bench, asked: Asked) -> Asked:
    """Return what was asked.

    Raises:
        OctoberError: An approximate index has found fewer passages than there are.
    """
    chosen = bench.retrieval
    wanted = min(chosen.num_passages, len(bench.retriever().store))
    for example, row in zip(asked.examples, asked.passages, strict=True):
        if len(row) < wanted:
            found = f"{chosen.index} finds {len(row)} of {wanted} passages for {example.query[:60]!r}"
            settings = f"retrieval.search_settings={chosen.search_settings!r}"
            raise OctoberError(f"{settings}: {found}; look into more lists, say nprobe=256")
    return asked


def likelihoods(reader: Reader, asked: Asked) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log p_LM of each answer behind each passage, and its number of tokens."""
    scorer = ChunkScorer(reader.model, reader.fingerprint())
    readings = asked.readings()
    pairs = [(example, text) for example, one in zip(asked.examples, readings, strict=True) for text in one.passages]
    found = torch.tensor(scorer.scores(pairs), dtype=torch.float64).reshape(len(readings), -1, 2)
    return found[..., 0], found[..., 1].long()


def scores_by(encoder: EncoderHandle, asked: Asked, bench: Bench) -> torch.Tensor:
    """Return an encoder's scores of passages that another may have found."""
    queries = encode(encoder, [example.query for example in asked.examples], query=True)
    texts = [text for reading in asked.readings() for text in reading.passages]
    passages = encode(encoder, texts, cache=bench.embeddings(encoder)).reshape(len(queries), -1, queries.shape[1])
    return torch.from_numpy(np.einsum("qd,qkd->qk", queries, passages)).double()


def cells_of(found: Mapping[str, Sequence[float]]) -> dict[str, Cell]:
    """Return the means over questions, shares in percent."""
    shares = {name: percent_cell(values) for name, values in found.items() if _is_share(name)}
    nats = {name: bootstrap_cell(values, "nats") for name, values in found.items() if not _is_share(name)}
    return shares | nats


def _is_share(name: str) -> bool:
    return name == PREFERRED or name.startswith("recall")


def evidence(found: Mapping[str, Measured]) -> dict[str, Cell]:
    """Return what decides the claims, question by question."""
    return {
        f"{name}, tuned over untuned retriever": interval_cell(
            paired_bootstrap_interval(found[TUNED][name], found[UNTUNED][name]), "nats"
        )
        for name in (LIKELIHOOD, TO_PREFERENCE)
    }


def draw(folder: Path, curves: Mapping[str, Sequence[float]]) -> Path:
    """Draw the loss of each step, and the entropy of what it learned from: flat preferences teach nothing."""
    figure, (left, right) = new_figure(1, 2, width=9.6, height=3.6)
    for axes, name, label in ((left, "losses", "loss (nats)"), (right, "entropies", "entropy of p_LSR (nats)")):
        axes.plot(range(1, len(curves[name]) + 1), curves[name], linewidth=1.2)
        axes.set(xlabel="step", ylabel=label)
    return save_figure(figure, folder, "retriever")
