"""How answers are scored: exact match, F1, ROUGE-L, answers found in passages, perplexity by word, tokens in context.

Normalisation and F1 follow SQuAD (Rajpurkar et al. 2016), the rule for yes and no HotpotQA (Yang et al. 2018), ROUGE-L
Lin (2004), answers in passages dense passage retrieval (Karpukhin et al. 2020).
"""

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import OctoberError, check_text
from .intervals import Scores

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_TOKEN = re.compile(r"[^\W_]+|[^\w\s]|_")  # a run of letters and digits, or one other character
_ROUGE_WORD = re.compile(r"[a-z0-9]+")
_DECIDED = frozenset({"yes", "no", "noanswer"})
_EXACT_PAIRS = 16  # up to so many differing pairs every sign pattern is counted


def normalize_answer(text: str) -> str:
    """Return the text in lower case without punctuation, articles and extra white space, composed as Unicode NFC.

    SQuAD's own leaves Unicode as it is; composing makes two spellings of one 'é' equal and changes nothing else.
    """
    plain = unicodedata.normalize("NFC", text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1 if the normalised prediction equals one of the normalised answers, else 0.

    Raises:
        OctoberError: No answers.
    """
    _check_answers(answers)
    return float(normalize_answer(prediction) in {normalize_answer(answer) for answer in answers})


def token_f1(prediction: str, answers: Sequence[str], *, decided: bool = False) -> float:
    """Return the best F1 of the prediction's normalised tokens over the answers.

    Args:
        prediction: What the model answered.
        answers: Ways to write the right answer.
        decided: HotpotQA's rule: a prediction or answer of 'yes', 'no' or 'noanswer' scores only if both are the same.

    Raises:
        OctoberError: No answers.
    """
    _check_answers(answers)
    return max(_f1(normalize_answer(prediction), normalize_answer(answer), decided) for answer in answers)


def rouge_l(prediction: str, answers: Sequence[str]) -> float:
    """Return the best ROUGE-L of the prediction over the answers: F1 of the longest common subsequence of words.

    Words are runs of letters a to z and digits in lower case, not stemmed.

    Raises:
        OctoberError: No answers.
    """
    _check_answers(answers)
    predicted = _ROUGE_WORD.findall(prediction.lower())
    return max(_rouge_l(predicted, _ROUGE_WORD.findall(answer.lower())) for answer in answers)


def answer_from(text: str, marker: str = "answer is ") -> str:
    """Return the answer in what a model wrote: what follows the first marker, else all; of that the first line."""
    _, found, after = text.partition(marker)
    lines = (after if found else text).strip().splitlines()
    return lines[0].strip() if lines else ""


def contains_answer(text: str, answers: Sequence[str]) -> bool:
    """Return whether the tokens of an answer stand in a row in the text, in lower case; punctuation counts as tokens.

    Raises:
        OctoberError: No answers.
    """
    _check_answers(answers)
    tokens = _tokens(text)
    return any(_stands_in(_tokens(answer), tokens) for answer in answers)


def count_words(text: str) -> int:
    """Return the number of spaces in a raw text: what perplexity by word divides by (Ram et al. 2023)."""
    return text.count(" ")


def word_perplexity(negative_log_likelihoods: Scores, text: str) -> float:
    """Return exp(sum of the tokens' negative log-likelihoods, in nats, over the number of words of the raw text).

    Raises:
        OctoberError: A text without a space.
    """
    words = count_words(text)
    if words == 0:
        raise OctoberError(f"text {text[:40]!r} has no space: its perplexity by word is not defined")
    return math.exp(float(np.sum(np.asarray(negative_log_likelihoods, dtype=np.float64))) / words)


def num_tokens(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Return how many tokens of a model's context each text takes, special ones left out.

    Raises:
        OctoberError: One is not UTF-8 text.
    """
    for number, text in enumerate(texts):
        check_text(text, f"text {number}")
    return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]] if texts else []


def paired_test(ours: Scores, theirs: Scores, *, resamples: int = 10_000, seed: int = 0) -> float:
    """Return the two-sided p-value of a paired permutation test for a difference of means.

    If it does not matter which system gave which score of a pair, every difference may as well have the other sign.
    With at most 16 pairs that differ all sign patterns are counted, which for scores of 0 and 1 is McNemar's exact
    test; with more, random ones.

    Args:
        ours: One score a question.
        theirs: Of the same questions.
        resamples: Random sign patterns.
        seed: Of the patterns.

    Raises:
        OctoberError: Different numbers of scores, none, or one that is not finite.
    """
    if len(ours) != len(theirs):
        raise OctoberError(f"a paired test needs pairs, not {len(ours)} scores against {len(theirs)}")
    values = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise OctoberError("a paired test needs at least one pair of scores, and all of them finite")
    values = values[values != 0]
    observed = abs(values.sum()) * (1 - 1e-12)  # sums in another order round differently
    if len(values) <= _EXACT_PAIRS:
        patterns = (np.arange(1 << len(values))[:, None] >> np.arange(len(values))) & 1
        return float(np.mean(abs((1 - 2 * patterns) @ values) >= observed))
    generator = np.random.default_rng(seed)
    hits = sum(abs(generator.choice((-1.0, 1.0), len(values)) @ values) >= observed for _ in range(resamples))
    return float((hits + 1) / (resamples + 1))


def _check_answers(answers: Sequence[str]) -> None:
    if isinstance(answers, str):
        raise OctoberError(f"answers={answers[:40]!r}: a list of answers is needed, this is one")
    if not answers:
        raise OctoberError("answers=[]: at least one answer is needed to score a prediction")


def _f1(prediction: str, answer: str, decided: bool) -> float:
    if decided and prediction != answer and {prediction, answer} & _DECIDED:
        return 0.0
    predicted, right = prediction.split(), answer.split()
    if not predicted or not right:
        return float(predicted == right)
    common = sum((Counter(predicted) & Counter(right)).values())
    return 2 * common / (len(predicted) + len(right))


def _rouge_l(predicted: list[str], right: list[str]) -> float:
    """Return 2 LCS / (m + n): the harmonic mean of LCS / m and LCS / n."""
    lengths = [0] * (len(right) + 1)  # of the longest common subsequence of what was read and each beginning of `right`
    for word in predicted:
        before = 0
        for place, other in enumerate(right, start=1):
            above = lengths[place]
            lengths[place] = before + 1 if word == other else max(above, lengths[place - 1])
            before = above
    return 2 * lengths[-1] / max(1, len(predicted) + len(right))


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(unicodedata.normalize("NFC", text).lower())


def _stands_in(part: list[str], whole: list[str]) -> bool:
    if not part:
        return False
    return any(whole[place : place + len(part)] == part for place in range(len(whole) - len(part) + 1))
