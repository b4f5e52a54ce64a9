"""The paper's instruction sets (appendix, table of data sets) in the hub's columns, and how a row becomes an example.

| family | sets |
|---|---|
| dialogue | oasst1 (English; the reply that people ranked first) |
| open_qa | web_questions, wiki_qa (right answers), yahoo_answers_qa; of the retriever's mixture freebase_qa, ms_marco |
| multiple_choice | commonsense_qa, math_qa |
| reading_comprehension | coqa (last turn), drop, narrativeqa (summaries), newsqa, pubmed_qa, quail, quarel, squad_v2 |
| summarisation | cnn_dailymail |
| chain_of_thought | aqua_rat, ecqa, gsm8k, math, strategyqa |
| text | wikipedia: the first 300 words of an article, as unsupervised text |

The paper does not say which unsupervised text it takes, nor how options are written; both are our reading.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..sentences import split_sentences
from .templates import LETTERS, UNANSWERABLE

Row = Mapping[str, Any]
Fields = dict[str, Any]  # what `rendered` takes

_CONVERTED = "refs/convert/parquet"  # of sets that the hub keeps as a script otherwise
_TEXT_WORDS = 300
_MATH_OPTION = re.compile(r"([a-e]) \) (.*?)(?=\s*, [a-e] \) |\s*$)")
_CALCULATION = re.compile(r"<<[^>]*>>")


@dataclass(frozen=True)
class InstructionSet:
    """One set.

    Attributes:
        family: Of its template.
        path: On the hub.
        columns: That are read.
        fields: Makes of a row the fields of its template; None where the row has no example.
        config: On the hub.
        revision: On the hub.
        prepared: Makes rows of rows, where an example is spread over several.
        streamed: Read as a stream, because only a small part is wanted.
    """

    family: str
    path: str
    columns: tuple[str, ...]
    fields: Callable[[Row], Fields | None]
    config: str | None = None
    revision: str | None = None
    prepared: Callable[[Iterable[Row]], Iterator[Row]] | None = None
    streamed: bool = False


def conversations(rows: Iterable[Row]) -> Iterator[Row]:
    """Return for each first-ranked English reply the turns before it, what was said last, and the reply."""
    messages = {row["message_id"]: row for row in rows}
    for message in messages.values():
        if message["role"] == "assistant" and message["lang"] == "en" and message["rank"] in (0, None):
            said = _said_before(message, messages)
            if said is not None and len(said) % 2:
                pairs = zip(said[:-1:2], said[1::2], strict=True)
                yield {"turns": list(pairs), "question": said[-1], "answer": message["text"]}


def _said_before(message: Row, messages: Mapping[str, Row]) -> list[str] | None:
    """Return the texts from the root to what a message replies to; None where one of them is missing."""
    said: list[str] = []
    while (parent := message["parent_id"]) is not None:
        if parent not in messages:
            return None
        message = messages[parent]
        said.insert(0, message["text"])
    return said


def _conversation(row: Row) -> Fields:
    return {"question": row["question"], "answer": row["answer"], "turns": row["turns"]}


def _question_and_answers(question: str, answers: Any) -> Fields | None:
    known = [answer.strip() for answer in _strings(answers) if answer.strip()]
    return {"question": question, "answer": known[0], "aliases": tuple(known[1:])} if known else None


def _wiki_qa(row: Row) -> Fields | None:
    return {"question": row["question"], "answer": row["answer"]} if row["label"] == 1 else None


def _freebase_qa(row: Row) -> Fields | None:
    return _question_and_answers(row["RawQuestion"], _named("AnswersName", row["Parses"]))


def _ms_marco(row: Row) -> Fields | None:
    answers = [answer for answer in row["answers"] if answer != "No Answer Present."]
    return _question_and_answers(row["query"], answers)


def _commonsense_qa(row: Row) -> Fields | None:
    choices = dict(zip(row["choices"]["label"], row["choices"]["text"], strict=True))
    if row["answerKey"] not in choices:
        return None
    return {"question": row["question"], "answer": choices[row["answerKey"]], "options": list(choices.values())}


def _math_qa(row: Row) -> Fields | None:
    options = dict(_MATH_OPTION.findall(row["options"]))
    if row["correct"] not in options or len(set(options.values())) < len(options):
        return None
    return {"question": row["Problem"], "answer": options[row["correct"]], "options": list(options.values())}


def _coqa(row: Row) -> Fields | None:
    answers = row["answers"]["input_text"]
    turns = list(zip(row["questions"], answers, strict=True))
    if not turns:
        return None
    return {"question": turns[-1][0], "answer": turns[-1][1], "turns": turns[:-1], "background": row["story"]}


def _drop(row: Row) -> Fields:
    spans = dict.fromkeys(row["answers_spans"]["spans"])
    return {"question": row["question"], "answer": ", ".join(spans), "background": row["passage"]}


def _narrativeqa(row: Row) -> Fields | None:
    fields = _question_and_answers(row["question"]["text"], [answer["text"] for answer in row["answers"]])
    return fields and {**fields, "background": row["document"]["summary"]["text"]}


def _newsqa(row: Row) -> Fields | None:
    fields = _question_and_answers(row["question"], row["answers"])
    return fields and {**fields, "background": row["context"]}


def _pubmed_qa(row: Row) -> Fields:
    background = "\n".join(row["context"]["contexts"])
    return {"question": row["question"], "answer": row["final_decision"], "background": background}


def _quail(row: Row) -> Fields:
    answer = row["answers"][row["correct_answer_id"]]
    return {"question": row["question"], "answer": answer, "background": row["context"]}


def _quarel(row: Row) -> Fields | None:
    """Split 'A story. A question? (A) one (B) other': the story is what is read."""
    stem, *options = re.split(r"\s*\([AB]\)\s*", row["question"])
    sentences = split_sentences(stem)
    if len(options) != 2 or len(sentences) < 2:
        return None
    question = f"{sentences[-1]} (A) {options[0]} (B) {options[1]}"
    return {"question": question, "answer": options[row["answer_index"]], "background": " ".join(sentences[:-1])}


def _squad_v2(row: Row) -> Fields:
    answers = list(dict.fromkeys(row["answers"]["text"])) or [UNANSWERABLE]
    fields = {"question": row["question"], "answer": answers[0], "aliases": tuple(answers[1:])}
    return {**fields, "background": row["context"]}


def _cnn_dailymail(row: Row) -> Fields:
    return {"answer": row["highlights"], "background": row["article"]}


def _aqua_rat(row: Row) -> Fields:
    options = [option.partition(")")[2].strip() for option in row["options"]]
    question = f"{row['question']}\n{_listed(options)}"
    return {"question": question, "reasoning": row["rationale"], "answer": row["correct"]}


def _ecqa(row: Row) -> Fields:
    options = [row[f"q_op{number}"] for number in range(1, 6)]
    return {"question": f"{row['q_text']}\n{_listed(options)}", "reasoning": row["taskB"], "answer": row["q_ans"]}


def _gsm8k(row: Row) -> Fields:
    reasoning, _, answer = row["answer"].partition("####")
    return {"question": row["question"], "reasoning": _CALCULATION.sub("", reasoning), "answer": answer}


def _math(row: Row) -> Fields | None:
    answer = boxed(row["solution"])
    return {"question": row["problem"], "reasoning": row["solution"], "answer": answer} if answer else None


def boxed(solution: str) -> str | None:
    r"""Return what stands in the last \boxed{…} of a solution, braces matched; None without one."""
    start = solution.rfind("\\boxed{")
    depth = 0
    for place, letter in enumerate(solution[start:] if start >= 0 else "", start=start):
        depth += (letter == "{") - (letter == "}")
        if letter == "}" and depth == 0:
            return solution[start + len("\\boxed{") : place].strip()
    return None


def _strategyqa(row: Row) -> Fields | None:
    reasoning = " ".join(row["facts"])
    answer = "yes" if row["answer"] else "no"
    return {"question": row["question"], "reasoning": reasoning, "answer": answer} if reasoning.strip() else None


def _text(row: Row) -> Fields | None:
    words = [match.end() for match in re.finditer(r"\S+", row["text"])]
    return {"answer": row["text"][: words[:_TEXT_WORDS][-1]]} if words else None


def _listed(options: Sequence[str]) -> str:
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))


def _strings(value: Any) -> list[str]:
    """Return all texts of nested lists, in order."""
    if isinstance(value, str):
        return [value]
    return [text for part in value or () for text in _strings(part)]


def _named(name: str, value: Any) -> list[str]:
    """Return all texts below the keys of a name, however deep: sequences of records come as lists or as columns."""
    if isinstance(value, Mapping):
        return [text for key, part in value.items() for text in (_strings(part) if key == name else _named(name, part))]
    return [text for part in value for text in _named(name, part)] if isinstance(value, list | tuple) else []


INSTRUCTION_SETS: dict[str, InstructionSet] = {
    "oasst1": InstructionSet(
        "dialogue",
        "OpenAssistant/oasst1",
        ("message_id", "parent_id", "text", "role", "lang", "rank"),
        _conversation,
        prepared=conversations,
    ),
    "commonsense_qa": InstructionSet(
        "multiple_choice", "tau/commonsense_qa", ("question", "choices", "answerKey"), _commonsense_qa
    ),
    "math_qa": InstructionSet(
        "multiple_choice", "allenai/math_qa", ("Problem", "options", "correct"), _math_qa, revision=_CONVERTED
    ),
    "web_questions": InstructionSet(
        "open_qa",
        "stanfordnlp/web_questions",
        ("question", "answers"),
        lambda row: _question_and_answers(row["question"], row["answers"]),
    ),
    "wiki_qa": InstructionSet("open_qa", "microsoft/wiki_qa", ("question", "answer", "label"), _wiki_qa),
    "yahoo_answers_qa": InstructionSet(
        "open_qa",
        "yahoo_answers_qa",
        ("question", "answer"),
        lambda row: _question_and_answers(row["question"], row["answer"]),
        revision=_CONVERTED,
    ),
    "freebase_qa": InstructionSet(
        "open_qa", "KelvinJiang/freebase_qa", ("RawQuestion", "Parses"), _freebase_qa, revision=_CONVERTED
    ),
    "ms_marco": InstructionSet("open_qa", "microsoft/ms_marco", ("query", "answers"), _ms_marco, "v1.1"),
    "coqa": InstructionSet("reading_comprehension", "stanfordnlp/coqa", ("story", "questions", "answers"), _coqa),
    "drop": InstructionSet("reading_comprehension", "ucinlp/drop", ("passage", "question", "answers_spans"), _drop),
    "narrativeqa": InstructionSet(
        "reading_comprehension", "deepmind/narrativeqa", ("document", "question", "answers"), _narrativeqa
    ),
    "newsqa": InstructionSet(
        "reading_comprehension", "lucadiliello/newsqa", ("context", "question", "answers"), _newsqa
    ),
    "pubmed_qa": InstructionSet(
        "reading_comprehension",
        "qiaojin/PubMedQA",
        ("question", "context", "final_decision"),
        _pubmed_qa,
        "pqa_labeled",
    ),
    "quail": InstructionSet(
        "reading_comprehension",
        "textmachinelab/quail",
        ("context", "question", "answers", "correct_answer_id"),
        _quail,
    ),
    "quarel": InstructionSet(
        "reading_comprehension", "community-datasets/quarel", ("question", "answer_index"), _quarel
    ),
    "squad_v2": InstructionSet(
        "reading_comprehension", "rajpurkar/squad_v2", ("context", "question", "answers"), _squad_v2
    ),
    "cnn_dailymail": InstructionSet(
        "summarisation", "abisee/cnn_dailymail", ("article", "highlights"), _cnn_dailymail, "3.0.0"
    ),
    "aqua_rat": InstructionSet(
        "chain_of_thought", "deepmind/aqua_rat", ("question", "options", "rationale", "correct"), _aqua_rat, "raw"
    ),
    "ecqa": InstructionSet(
        "chain_of_thought",
        "tasksource/ecqa",
        ("q_text", *(f"q_op{number}" for number in range(1, 6)), "q_ans", "taskB"),
        _ecqa,
    ),
    "gsm8k": InstructionSet("chain_of_thought", "openai/gsm8k", ("question", "answer"), _gsm8k, "main"),
    "math": InstructionSet("chain_of_thought", "qwedsacf/competition_math", ("problem", "solution"), _math),
    "strategyqa": InstructionSet(
        "chain_of_thought", "tasksource/strategy-qa", ("question", "facts", "answer"), _strategyqa
    ),
    "text": InstructionSet("text", "wikimedia/wikipedia", ("text",), _text, "20231101.en", streamed=True),
}

LANGUAGE_MODEL_SETS = tuple(name for name in INSTRUCTION_SETS if name not in ("freebase_qa", "ms_marco"))
RETRIEVER_SETS = (  # those of the retriever's ten that the paper's table names: questions and dialogues
    "oasst1",
    "commonsense_qa",
    "math_qa",
    "web_questions",
    "wiki_qa",
    "yahoo_answers_qa",
    "freebase_qa",
    "ms_marco",
)
