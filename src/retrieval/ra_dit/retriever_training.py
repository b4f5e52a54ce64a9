"""Fine-tuning of the retriever by the language model's liking (section 2.3), by sentence-transformers' trainer.

    folder/run.json               whose folder it is
    folder/chunks-00000000.npz    the training examples' chunks and their labels, from that step on
    folder/chunks-validation.npz  those of validation, which stay
    folder/checkpoint-*           from which a killed run goes on
    folder/model                  the encoder of queries that was best on validation (folder/passages: of passages)

The chunks of a step are written before the first step that uses them and read ever after, so that a run that was killed
goes on with the chunks that it had.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.sentence_transformer.modules import Router
from transformers import TrainerCallback

from ...errors import OctoberError
from ...files import atomic_path
from ...language_models import EncoderHandle
from ...language_models.training_runs import LOGGED_AND_KEPT, PLAIN_ADAM, claim_folder, save_model, train_or_go_on
from ..embeddings import EmbeddingCache, LoadedEncoder, encode
from ..index import DenseIndex
from ..retriever import Retriever
from .chunk_scores import ChunkScorer
from .retriever_examples import RetrieverExample
from .retriever_labels import ChunkLabels, labelled_chunks, read_labels, write_labels
from .retriever_loss import FixedPassages, Liking, LsrLoss, TunedPassages, liking
from .retriever_settings import RetrieverSettings

PAPER_SETTINGS = RetrieverSettings()


class TrainedRetriever(NamedTuple):
    """What training leaves.

    Attributes:
        encoder: The handle of the tuned encoder: with the passage encoder of before, whose index stays valid, unless
            both were tuned.
        losses: Of each step (nats), those before an interruption included.
        entropies: Of p_LSR (nats), mean over each step's examples.
        validation: (step, how near to the language model's liking) of each measurement; step 0 is before training.
        num_skipped: Examples, those of validation included, that the language model's context held behind no chunk.
    """

    encoder: EncoderHandle
    losses: list[float]
    entropies: list[float]
    validation: list[tuple[int, Liking]]
    num_skipped: int


def train_retriever(
    encoder: EncoderHandle,
    retriever: Retriever,
    examples: Sequence[RetrieverExample],
    validation: Sequence[RetrieverExample],
    scorer: ChunkScorer,
    folder: str | Path,
    settings: RetrieverSettings = PAPER_SETTINGS,
    *,
    cache: EmbeddingCache | None = None,
) -> TrainedRetriever:
    """Tune an encoder so that it retrieves what the language model likes.

    Where the folder holds checkpoints of the same run, training goes on from the newest whole one to the same losses.

    Args:
        encoder: Of queries and passages; its weights in memory are left as they are.
        retriever: Over an index that this encoder of passages built.
        examples: What it learns from.
        validation: Choose the checkpoint that is kept; may be none.
        scorer: Of the frozen language model.
        folder: Of checkpoints and of the result.
        settings: How.
        cache: Of the passages' embeddings; without it those of each step are computed again.

    Raises:
        OctoberError: No examples, a sparse index or one of another passage encoder, an index that does not rank by
            inner product, an example for which there is no chunk, one that is too long where that is refused, or all
            of them, or a folder that holds another run.
    """
    if not examples:
        raise OctoberError("examples are empty: there is nothing to learn from")
    index = _checked_index(retriever, encoder)
    folder = Path(folder)
    claim_folder(folder, settings.identity(), _identity(encoder, index, scorer, examples, validation))
    model = _model(encoder, settings)
    work = _Work(retriever, index, scorer, folder, settings)
    passages = (
        TunedPassages(retriever.store) if settings.tuned == "both" else FixedPassages(retriever.store, encoder, cache)
    )
    arguments = _arguments(model, folder, settings, evaluated=bool(validation))
    with arguments.main_process_first(local=False):
        labels = work.labels(model, examples, "00000000")
        checked = work.labels(model, validation, "validation") if validation else None
    learned, seen = labels.usable, [] if checked is None else checked.usable
    for rows, some in ((learned, examples), (seen, validation)):
        if some and not rows:
            raise OctoberError(f"all {len(some)} examples are longer than the language model's context behind passages")
    loss = LsrLoss(model, passages, labels, settings)
    evaluator = None
    measured: list[tuple[int, Liking]] = []
    if checked is not None:
        evaluator = _Evaluator([validation[row].example.query for row in seen], passages, checked.of(seen), settings)
        measured = [(0, evaluator.measure(model))]
    trainer = _trainer(model, loss, evaluator, {row: examples[row].example.query for row in learned}, arguments)
    trainer.add_callback(_Refresh(loss, work, examples, settings.refresh_every))
    losses = train_or_go_on(trainer, folder)
    history = trainer.state.log_history
    measured += [
        (entry["step"], Liking(*(entry[f"eval_{name}"] for name in Liking._fields)))
        for entry in history
        if "eval_mrr" in entry
    ]
    entropies = [entry[_ENTROPY] for entry in history if _ENTROPY in entry]
    num_skipped = len(examples) + len(validation) - len(learned) - len(seen)
    return TrainedRetriever(_saved(trainer, encoder, folder, settings), losses, entropies, measured, num_skipped)


_ENTROPY = "p_lsr_entropy"


@dataclass(frozen=True)
class _Work:
    """Finds and judges chunks with the encoder as it is, once for each name."""

    retriever: Retriever
    index: DenseIndex
    scorer: ChunkScorer
    folder: Path
    settings: RetrieverSettings

    def labels(self, model: Any, examples: Sequence[RetrieverExample], name: str) -> ChunkLabels:
        """Return the labels of this name, made if there are none."""
        path = self.folder / f"chunks-{name}.npz"
        if not path.exists():
            queries = [one.example.query for one in examples]
            vectors = encode(LoadedEncoder(model, query=True), queries, query=True)
            k, too_long = self.settings.k, self.settings.too_long
            store = self.retriever.store
            write_labels(labelled_chunks(examples, vectors, store, self.index, self.scorer, k, too_long), path)
        return read_labels(path)


class _Refresh(TrainerCallback):
    """Searches again every so many steps."""

    def __init__(self, loss: LsrLoss, work: _Work, examples: Sequence[RetrieverExample], every: int | None) -> None:
        self.loss, self.work, self.examples, self.every = loss, work, examples, every

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Take the chunks of the checkpoint from which a run goes on."""
        self._take(args, state.global_step - state.global_step % self.every if self.every else 0)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Search again where it is time."""
        if self.every and state.global_step % self.every == 0 and state.global_step < state.max_steps:
            self._take(args, state.global_step)

    def _take(self, args: Any, step: int) -> None:
        with args.main_process_first(local=False):
            self.loss.labels = self.work.labels(self.loss.bare_model, self.examples, f"{step:08d}")


class _Evaluator(BaseEvaluator):
    """Measures the liking during training."""

    def __init__(
        self, queries: list[str], passages: FixedPassages, labels: ChunkLabels, settings: RetrieverSettings
    ) -> None:
        super().__init__()
        self.queries, self.passages, self.labels, self.settings = queries, passages, labels, settings
        self.primary_metric = f"eval_{settings.best_by}"

    def measure(self, model: Any) -> Liking:
        """Return how near a model is."""
        return liking(model, self.queries, self.passages, self.labels, self.settings)

    def __call__(self, model: Any, *arguments: Any, **more: Any) -> dict[str, float]:
        return {f"eval_{name}": value for name, value in self.measure(model)._asdict().items()}


class _Trainer(SentenceTransformerTrainer):
    """Logs the entropy of p_LSR beside the loss."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        entropies = self.loss.entropies
        if "loss" in logs and entropies:
            logs = {**logs, _ENTROPY: sum(entropies) / len(entropies)}
            entropies.clear()
        super().log(logs, start_time)


def _checked_index(retriever: Retriever, encoder: EncoderHandle) -> DenseIndex:
    index = retriever.index
    if not isinstance(index, DenseIndex):
        raise OctoberError(f"{index.folder} is a sparse index: there is no encoder of queries to tune")
    index.check_encoder(encoder)
    if index.about["metric"] != "inner_product":
        raise OctoberError(f"{index.folder} ranks by {index.about['metric']}: p_R is made of inner products")
    return index


def _identity(
    encoder: EncoderHandle,
    index: DenseIndex,
    scorer: ChunkScorer,
    examples: Sequence[RetrieverExample],
    validation: Sequence[RetrieverExample],
) -> dict[str, Any]:
    return {
        "encoder": [encoder.fingerprint(), encoder.query_path],
        "passages": index.passages,
        "model": [scorer.fingerprint, scorer.head],
        "examples": [[asdict(one.example), one.hidden] for one in examples],
        "validation": [[asdict(one.example), one.hidden] for one in validation],
    }


def _model(encoder: EncoderHandle, settings: RetrieverSettings) -> SentenceTransformer:
    """Return what is trained: a copy, since loaded encoders are shared by the whole process."""
    queries = copy.deepcopy(encoder.load_query())
    if settings.tuned == "query":
        return queries
    passages = copy.deepcopy(encoder.load())
    router = Router.for_query_document(query_modules=list(queries), document_modules=list(passages))
    return SentenceTransformer(modules=[router], device=str(queries.device))


def _trainer(
    model: SentenceTransformer,
    loss: LsrLoss,
    evaluator: _Evaluator | None,
    queries: Mapping[int, str],
    arguments: Any,
) -> Any:
    """Return the trainer on queries, by their examples' place among the labels."""
    rows = {"query": list(queries.values()), "label": list(queries)}
    return _Trainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(rows),
        loss=loss,
        evaluator=evaluator,
    )


def _arguments(model: SentenceTransformer, folder: Path, settings: RetrieverSettings, *, evaluated: bool) -> Any:
    on_gpu = model.device.type == "cuda"
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        num_train_epochs=settings.num_epochs,
        per_device_train_batch_size=settings.batch_size,
        prompts={"query": model.prompts["query"]} if model.prompts.get("query") else None,
        router_mapping={"query": "query"},
        bf16=settings.mixed_precision and on_gpu and torch.cuda.is_bf16_supported(),
        use_cpu=model.device.type == "cpu",
        eval_strategy="steps" if evaluated else "no",
        eval_steps=settings.evaluate_every,
        save_strategy="steps",
        save_steps=settings.evaluate_every,
        load_best_model_at_end=evaluated,
        metric_for_best_model=f"eval_{settings.best_by}" if evaluated else None,
        greater_is_better=settings.best_by == "mrr" if evaluated else None,
        seed=settings.seed,
        **PLAIN_ADAM,
        **LOGGED_AND_KEPT,
    )


def _saved(trainer: Any, encoder: EncoderHandle, folder: Path, settings: RetrieverSettings) -> EncoderHandle:
    if settings.tuned == "query":
        return replace(encoder, query_path=str(save_model(trainer, folder)))
    paths = {"query": folder / "model", "document": folder / "passages"}
    if trainer.is_world_process_zero():
        for side, path in paths.items():
            with atomic_path(path) as temporary:
                SentenceTransformer(modules=list(trainer.model[0].sub_modules[side])).save(str(temporary))
    return replace(encoder, path=str(paths["document"]), query_path=str(paths["query"]), revision=None, embedded=None)
