"""RA-DIT (arXiv 2310.01352): a model learns to use what it reads, a retriever to fetch what that model prefers."""

from typing import TYPE_CHECKING

from ...lazy import lazy_exports

if TYPE_CHECKING:
    from .augmentation import Augmented, Instance, retrieved_examples
    from .chunk_scores import ChunkScore, ChunkScorer
    from .hub_mixture import HubMixture
    from .instruction_sets import INSTRUCTION_SETS, LANGUAGE_MODEL_SETS, RETRIEVER_SETS, InstructionSet
    from .instructions import MixtureHandle, mixed_instructions, quotas
    from .lm_training import (
        FEW_SHOT_SETTINGS,
        LanguageModelSettings,
        TrainedLanguageModel,
        Validated,
        train_language_model,
        training_example,
        training_rows,
    )
    from .lsr import divergence, entropy, log_distribution, lsr_loss, lsr_scores
    from .mixture import Ensemble, Mixed, Reading, mixed_log_probabilities
    from .prompts import Demonstration, Example, answer_text, few_shot_head, few_shot_prompt, with_background
    from .question_instructions import QuestionMixture
    from .retriever_examples import (
        RetrieverExample,
        corpus_examples,
        mixed_examples,
        num_instructions,
        split_chunk,
    )
    from .retriever_labels import ChunkLabels, labelled_chunks
    from .retriever_loss import FixedPassages, Liking, LsrLoss, liking
    from .retriever_settings import RetrieverSettings
    from .retriever_training import TrainedRetriever, train_retriever
    from .templates import PLAIN, UNANSWERABLE, Markers, families, random_markers, rendered

__all__ = [
    "FEW_SHOT_SETTINGS",
    "INSTRUCTION_SETS",
    "LANGUAGE_MODEL_SETS",
    "PLAIN",
    "RETRIEVER_SETS",
    "UNANSWERABLE",
    "Augmented",
    "ChunkLabels",
    "ChunkScore",
    "ChunkScorer",
    "Demonstration",
    "Ensemble",
    "Example",
    "FixedPassages",
    "HubMixture",
    "Instance",
    "InstructionSet",
    "LanguageModelSettings",
    "Liking",
    "LsrLoss",
    "Markers",
    "Mixed",
    "MixtureHandle",
    "QuestionMixture",
    "Reading",
    "RetrieverExample",
    "RetrieverSettings",
    "TrainedLanguageModel",
    "TrainedRetriever",
    "Validated",
    "answer_text",
    "corpus_examples",
    "divergence",
    "entropy",
    "families",
    "few_shot_head",
    "few_shot_prompt",
    "labelled_chunks",
    "liking",
    "log_distribution",
    "lsr_loss",
    "lsr_scores",
    "mixed_examples",
    "mixed_instructions",
    "mixed_log_probabilities",
    "num_instructions",
    "quotas",
    "random_markers",
    "rendered",
    "retrieved_examples",
    "split_chunk",
    "train_language_model",
    "train_retriever",
    "training_example",
    "training_rows",
    "with_background",
]

_HOMES = {
    "FEW_SHOT_SETTINGS": "lm_training",
    "INSTRUCTION_SETS": "instruction_sets",
    "LANGUAGE_MODEL_SETS": "instruction_sets",
    "PLAIN": "templates",
    "RETRIEVER_SETS": "instruction_sets",
    "UNANSWERABLE": "templates",
    "Augmented": "augmentation",
    "ChunkLabels": "retriever_labels",
    "ChunkScore": "chunk_scores",
    "ChunkScorer": "chunk_scores",
    "Demonstration": "prompts",
    "Ensemble": "mixture",
    "Example": "prompts",
    "FixedPassages": "retriever_loss",
    "HubMixture": "hub_mixture",
    "Instance": "augmentation",
    "InstructionSet": "instruction_sets",
    "LanguageModelSettings": "lm_training",
    "Liking": "retriever_loss",
    "LsrLoss": "retriever_loss",
    "Markers": "templates",
    "Mixed": "mixture",
    "MixtureHandle": "instructions",
    "QuestionMixture": "question_instructions",
    "Reading": "mixture",
    "RetrieverExample": "retriever_examples",
    "RetrieverSettings": "retriever_settings",
    "TrainedLanguageModel": "lm_training",
    "TrainedRetriever": "retriever_training",
    "Validated": "lm_training",
    "answer_text": "prompts",
    "corpus_examples": "retriever_examples",
    "divergence": "lsr",
    "entropy": "lsr",
    "families": "templates",
    "few_shot_head": "prompts",
    "few_shot_prompt": "prompts",
    "labelled_chunks": "retriever_labels",
    "liking": "retriever_loss",
    "log_distribution": "lsr",
    "lsr_loss": "lsr",
    "lsr_scores": "lsr",
    "mixed_examples": "retriever_examples",
    "num_instructions": "retriever_examples",
    "mixed_instructions": "instructions",
    "mixed_log_probabilities": "mixture",
    "quotas": "instructions",
    "random_markers": "templates",
    "rendered": "templates",
    "retrieved_examples": "augmentation",
    "split_chunk": "retriever_examples",
    "train_language_model": "lm_training",
    "train_retriever": "retriever_training",
    "training_example": "lm_training",
    "training_rows": "lm_training",
    "with_background": "prompts",
}

__getattr__ = lazy_exports(__name__, _HOMES)
