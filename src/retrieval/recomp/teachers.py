"""Teachers of the abstractive compressor (section 3.2): they write summaries from which a critic chooses.

In the paper GPT-3.5 writes, once for a question and four times, by four prompts, for a text to be continued.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import yaml

from ...errors import OctoberError
from ...language_models import LanguageModel
from .compressor import joined_documents

if TYPE_CHECKING:
    from ..passages import Passage

QUESTION_PROMPTS = (
    "Documents:\n{documents}\n\nQuestion: {query}\nWrite at most two sentences that hold what these documents say "
    "towards an answer, and nothing else.\nSummary:",
)
MULTI_HOP_PROMPTS = (
    "Documents:\n{documents}\n\nQuestion: {query}\nName, one after the other, the facts from these documents that lead "
    "to an answer.\nFacts:",
)
TEXT_PROMPTS = (
    "Documents:\n{documents}\n\nText: {query}\nContinue the text by two sentences, with what the documents say.\n",
    "Documents:\n{documents}\n\nText: {query}\nRepeat the sentences of the documents that could come next.\n",
    "Documents:\n{documents}\n\nText: {query}\nContinue the text by one sentence, with what the documents say.\n",
    "Documents:\n{documents}\n\nText: {query}\nSum up what the documents say about the subject of the text.\n",
)
_PLACES = ("{documents}", "{query}")
_BRACKETS = re.compile(r"\s*[(\[][^()\[\]]*[)\]]")


@dataclass(frozen=True)
class TeacherRequest:
    """What a teacher is given.

    Attributes:
        query: A question, or the text before the target.
        targets: Right answers, the canonical one first, or the text that follows; only the critic may see them, and a
            teacher that shortens gold sentences.
        documents: What was retrieved, best first.
        gold_sentences: Sentences that hold the answer, where the data know them.
    """

    query: str
    targets: tuple[str, ...]
    documents: tuple["Passage", ...]
    gold_sentences: tuple[str, ...] = ()


class Teacher(Protocol):
    """Writes one or several summaries for each request."""

    def summaries(self, requests: Sequence[TeacherRequest]) -> list[list[str]]:
        """Return each request's summaries."""
        ...


class LanguageModelTeacher:
    """A language model, local or served, that is asked once by each prompt.

    Args:
        model: The model.
        prompts: Texts with `{documents}` and `{query}`.
        max_new_tokens: Of a summary.
        temperature: 0.7 in the paper; 0 takes the likeliest token.
        top_p: As in `LanguageModel.generate`.
        seed: As in `LanguageModel.generate`.
        stop: Strings that end a summary.

    Raises:
        OctoberError: There are no prompts, or one lacks a place.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[str] = QUESTION_PROMPTS,
        *,
        max_new_tokens: int = 128,
        temperature: float = 0.7,
        top_p: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = ("\n\n",),
    ) -> None:
        self.model = model
        self.prompts = check_prompts(prompts, "prompts")
        self._options = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
        self._stop = tuple(stop)

    def summaries(self, requests: Sequence[TeacherRequest]) -> list[list[str]]:
        """Return a summary by each prompt."""
        texts = [_filled(prompt, request) for request in requests for prompt in self.prompts]
        written = self.model.generate(texts, stop=self._stop, **self._options) if texts else []  # type: ignore[arg-type]
        rest = (" ".join(completion.text.split()) for completion in written)
        return [[next(rest) for _ in self.prompts] for _ in requests]


class GoldSentenceTeacher:
    """Writes the gold sentences that stand in the documents, shortened; nothing where none of them was retrieved.

    An answer that the question names (one of two that are compared) is not what sentences are to tell: they keep their
    clauses.
    """

    def summaries(self, requests: Sequence[TeacherRequest]) -> list[list[str]]:
        """Return one summary for each request."""
        return [[self._summary(request)] for request in requests]

    @staticmethod
    def _summary(request: TeacherRequest) -> str:
        retrieved = [" ".join(document.text.split()) for document in request.documents]
        sentences = [" ".join(sentence.split()) for sentence in request.gold_sentences]
        present = [sentence for sentence in sentences if any(sentence in text for text in retrieved)]
        told = [target for target in request.targets if not _stands_in(target, request.query)]
        return " ".join(shortened(sentence, told) for sentence in dict.fromkeys(present))


SHORTENING_VERSION = 2  # of `shortened`, for the names of caches: to be raised with any change of what it returns


def shortened(sentence: str, answers: Sequence[str]) -> str:
    """Return a sentence without idle brackets, and without what follows the clause that completes the answers.

    Brackets stay where they hold a number (the years of a life, which a comparison needs) or an answer. The end is cut
    off behind the first clause before whose end all answers stand that the sentence holds; nothing is cut where only
    answers (and brackets) would be left. A sentence without any answer keeps its clauses.
    """
    held = [answer for answer in answers if _stands_in(answer, sentence)]
    plain = _BRACKETS.sub(lambda match: match[0] if _tells(match[0].strip(), answers) else "", sentence)
    ends = [match.start() for match in re.finditer(r"[,;:–—](?=\s)", plain)]
    first = next((plain[:end] for end in ends if _is_cut_there(plain[:end], held)), None)
    return plain if first is None or not held or _is_bare(first, held) else first + "."


def read_prompts(path: str | Path) -> tuple[str, ...]:
    """Return the prompts of a YAML file: a list of texts with `{documents}` and `{query}`.

    Raises:
        OctoberError: The file cannot be read, or holds something else.
    """
    try:
        prompts = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OctoberError(f"{path}: cannot be read as YAML") from error
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise OctoberError(f"{path}: must be a list of texts, one for each prompt")
    return check_prompts(prompts, str(path))


def check_prompts(prompts: Sequence[str], where: str) -> tuple[str, ...]:
    """Return prompts that have places for documents and query.

    Raises:
        OctoberError: There are none, or one lacks a place.
    """
    if isinstance(prompts, str) or not prompts:
        raise OctoberError(f"{where}: at least one prompt is needed, in a list")
    for number, prompt in enumerate(prompts, start=1):
        missing = [place for place in _PLACES if place not in prompt]
        if missing:
            raise OctoberError(f"{where}: prompt {number} lacks {missing[0]}")
    return tuple(prompts)


def _filled(prompt: str, request: TeacherRequest) -> str:
    """Put documents and query into a prompt; braces in them are left as they are."""
    parts = {"{documents}": joined_documents(request.documents, ascending=False), "{query}": request.query}
    return re.sub("|".join(map(re.escape, _PLACES)), lambda match: parts[match[0]], prompt)


def _tells(bracket: str, answers: Sequence[str]) -> bool:
    """Return whether a bracket holds a number or an answer, or is part of one."""
    return any(map(str.isdigit, bracket)) or any(answer in bracket or bracket in answer for answer in answers)


def _is_cut_there(beginning: str, answers: Sequence[str]) -> bool:
    """Return whether a sentence's beginning holds all answers and no open bracket."""
    closed = all(beginning.count(left) == beginning.count(right) for left, right in ("()", "[]"))
    return closed and all(_stands_in(answer, beginning) for answer in answers)


def _is_bare(text: str, answers: Sequence[str]) -> bool:
    """Return whether a text holds no word beside answers and brackets; articles and "or" are none."""
    rest = _BRACKETS.sub("", text)
    for answer in sorted(answers, key=len, reverse=True):
        rest = rest.replace(answer, "")
    return not re.search(r"\w", re.sub(r"\b(?:the|an?|or)\b", "", rest, flags=re.IGNORECASE))


def _stands_in(answer: str, text: str) -> bool:
    """Return whether an answer stands in a text as whole words: "no" does not stand in "known"."""
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None
