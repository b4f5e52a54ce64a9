"""How the retriever is trained; defaults are the paper's (section 3.1 and appendix)."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ...errors import OctoberError
from ...language_models.training_runs import check_positive
from .lsr import ChunkScoreKind, Direction

Tuned = Literal["query", "both"]
BestBy = Literal["mrr", "kl"]
TooLong = Literal["refuse", "skip"]


@dataclass(frozen=True)
class RetrieverSettings:
    """How the retriever is trained.

    Attributes:
        k: Chunks of each example.
        score: s_c of Eq. 4, see `lsr`.
        lsr_temperature: tau of Eq. 4.
        retriever_temperature: What inner products are divided by in p_R; embeddings of length 1 want about 0.05.
        direction: Of the divergence, see `lsr_loss`.
        tuned: `query`, the encoder of queries, so that the index stays valid; or `both`, an ablation.
        learning_rate: Of Adam at its highest, after the warm-up; falls to 0 along a line.
        num_epochs: Passes over the examples.
        batch_size: Examples of a step, on each device.
        warmup_steps: Steps in which the learning rate rises.
        refresh_every: Steps after which all examples are searched for again, and new chunks judged; unset, as in the
            paper, for never.
        evaluate_every: Steps between two measurements on validation, and two checkpoints.
        best_by: Chooses the checkpoint that is kept: the highest `mrr` or the lowest `kl` on validation.
        mixed_precision: Multiply in bfloat16 where there is a GPU.
        too_long: What becomes of an example that the language model's context does not hold behind a chunk: the run is
            refused before anything is scored, or the chunk does not count, and an example without any is left out
            and counted. None is ever cut.
        seed: Of batches and dropout.

    Raises:
        OctoberError: A number that must be positive is not, or an unknown choice.
    """

    k: int = 10
    score: ChunkScoreKind = "probability"
    lsr_temperature: float = 0.01
    retriever_temperature: float = 1.0
    direction: Direction = "retriever_to_lm"
    tuned: Tuned = "query"
    learning_rate: float = 1e-5
    num_epochs: int = 1
    batch_size: int = 32
    warmup_steps: int = 1237
    refresh_every: int | None = None
    evaluate_every: int = 500
    best_by: BestBy = "mrr"
    mixed_precision: bool = True
    seed: int = 0
    too_long: TooLong = "refuse"

    def __post_init__(self) -> None:
        choices: dict[str, Any] = {
            "score": ChunkScoreKind,
            "direction": Direction,
            "tuned": Tuned,
            "best_by": BestBy,
            "too_long": TooLong,
        }
        for name, choice in choices.items():
            if getattr(self, name) not in get_args(choice):
                raise OctoberError(f"{name}={getattr(self, name)!r}: must be one of {', '.join(get_args(choice))}")
        free = ("warmup_steps", "seed", "mixed_precision")
        check_positive({name: value for name, value in asdict(self).items() if name not in free})

    def identity(self) -> dict[str, Any]:
        """Return all that decides a result: not `too_long`, as what fits is learned alike."""
        return {name: value for name, value in asdict(self).items() if name != "too_long"}
