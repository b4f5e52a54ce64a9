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
    from .templates import PLAIN, UNANSWERABLE, Markers, families, random_markers, rendered

__all__ = [
    "FEW_SHOT_SETTINGS",
    "INSTRUCTION_SETS",
    "LANGUAGE_MODEL_SETS",
    "PLAIN",
    "RETRIEVER_SETS",
    "UNANSWERABLE",
    "Augmented",
    "ChunkScore",
    "ChunkScorer",
    "Demonstration",
    "Ensemble",
    "Example",
    "HubMixture",
    "Instance",
    "InstructionSet",
    "LanguageModelSettings",
    "Markers",
    "Mixed",
    "MixtureHandle",
    "QuestionMixture",
    "Reading",
    "TrainedLanguageModel",
    "Validated",
    "answer_text",
    "divergence",
    "entropy",
    "families",
    "few_shot_head",
    "few_shot_prompt",
    "log_distribution",
    "lsr_loss",
    "lsr_scores",
    "mixed_instructions",
    "mixed_log_probabilities",
    "quotas",
    "random_markers",
    "rendered",
    "retrieved_examples",
    "train_language_model",
    "training_example",
    "training_rows",
    "with_background",
]

_HOMES = {
    "Augmented": "augmentation",
    "ChunkScore": "chunk_scores",
    "ChunkScorer": "chunk_scores",
    "Demonstration": "prompts",
    "Ensemble": "mixture",
    "Example": "prompts",
    "FEW_SHOT_SETTINGS": "lm_training",
    "HubMixture": "hub_mixture",
    "INSTRUCTION_SETS": "instruction_sets",
    "Instance": "augmentation",
    "InstructionSet": "instruction_sets",
    "LANGUAGE_MODEL_SETS": "instruction_sets",
    "LanguageModelSettings": "lm_training",
    "Markers": "templates",
    "Mixed": "mixture",
    "MixtureHandle": "instructions",
    "PLAIN": "templates",
    "QuestionMixture": "question_instructions",
    "RETRIEVER_SETS": "instruction_sets",
    "Reading": "mixture",
    "TrainedLanguageModel": "lm_training",
    "UNANSWERABLE": "templates",
    "Validated": "lm_training",
    "answer_text": "prompts",
    "divergence": "lsr",
    "entropy": "lsr",
    "families": "templates",
    "few_shot_head": "prompts",
    "few_shot_prompt": "prompts",
    "log_distribution": "lsr",
    "lsr_loss": "lsr",
    "lsr_scores": "lsr",
    "mixed_instructions": "instructions",
    "mixed_log_probabilities": "mixture",
    "quotas": "instructions",
    "random_markers": "templates",
    "rendered": "templates",
    "retrieved_examples": "augmentation",
    "train_language_model": "lm_training",
    "training_example": "lm_training",
    "training_rows": "lm_training",
    "with_background": "prompts",
}

__getattr__ = lazy_exports(__name__, _HOMES)
