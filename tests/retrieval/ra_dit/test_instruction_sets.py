"""The paper's sets from folders that have exactly the hub's columns."""

import json
from collections import Counter

import pytest
from datasets import Dataset

from october.errors import OctoberError
from october.retrieval.ra_dit import (
    INSTRUCTION_SETS,
    HubMixture,
    Instance,
)
from october.retrieval.ra_dit.instruction_sets import boxed

OPTIONS = {"label": ["A", "B", "C"], "text": ["bank", "river", "shop"]}
DROP_SPANS = {"spans": ["Bree", "Cork", "Bree"], "types": ["span", "span", "span"]}
COQA = {"input_text": ["A cat", "On the mat"], "answer_start": [0, 4], "answer_end": [3, 9]}
NARRATIVE = {"id": "x", "summary": {"text": "A tale.", "title": "T"}, "text": "long"}
PARSES = [{"Parse-Id": "p0", "Answers": [{"AnswersMid": "m.1", "AnswersName": ["paris", "city of paris"]}]}]
RATIONALE = "Twice three is six."
ROWS = {  # of each set one row of the hub, what is read and what is to be written, with the markers 'Q: ' and 'A:'
    "commonsense_qa": (
        {"id": "1", "question": "Where is money?", "question_concept": "x", "choices": OPTIONS, "answerKey": "A"},
        "Q: Where is money?\nA. bank\nB. river\nC. shop\nA:",
        " A",
    ),
    "math_qa": (
        {
            "Problem": "2 x 3 = ?",
            "Rationale": "x",
            "options": "a ) 5 , b ) 6 , c ) 1,000 , d ) none of these",
            "correct": "b",
            "annotated_formula": "x",
        },
        "Q: 2 x 3 = ?\nA. 5\nB. 6\nC. 1,000\nD. none of these\nA:",
        " B",
    ),
    "web_questions": ({"url": "x", "question": "who?", "answers": ["Bo", "Bob"]}, "Q: who?\nA:", " Bo"),
    "wiki_qa": (
        {"question_id": "1", "question": "who?", "document_title": "x", "answer": "Bo did it.", "label": 1},
        "Q: who?\nA:",
        " Bo did it.",
    ),
    "yahoo_answers_qa": (
        {"id": "1", "question": "why?", "answer": "So.", "nbestanswers": ["So."], "main_category": "x"},
        "Q: why?\nA:",
        " So.",
    ),
    "freebase_qa": (
        {"Question-ID": "1", "RawQuestion": "where?", "ProcessedQuestion": "where", "Parses": PARSES},
        "Q: where?\nA:",
        " paris",
    ),
    "ms_marco": ({"query": "what?", "answers": ["A thing."], "query_id": 1}, "Q: what?\nA:", " A thing."),
    "coqa": (
        {"source": "x", "story": "The cat sat on the mat.", "questions": ["Who sat?", "Where?"], "answers": COQA},
        "Background: The cat sat on the mat.\n\nQ: Who sat?\nA: A cat\nQ: Where?\nA:",
        " On the mat",
    ),
    "drop": (
        {"section_id": "1", "query_id": "1", "passage": "P.", "question": "Which?", "answers_spans": DROP_SPANS},
        "Background: P.\n\nQ: Which?\nA:",
        " Bree, Cork",
    ),
    "narrativeqa": (
        {"document": NARRATIVE, "question": {"text": "Who?", "tokens": []}, "answers": [{"text": "Bo", "tokens": []}]},
        "Background: A tale.\n\nQ: Who?\nA:",
        " Bo",
    ),
    "newsqa": (
        {"context": "News.", "question": "Who?", "answers": ["Bo"], "key": "x", "labels": []},
        "Background: News.\n\nQ: Who?\nA:",
        " Bo",
    ),
    "pubmed_qa": (
        {"pubid": 1, "question": "Does it?", "context": {"contexts": ["One.", "Two."]}, "final_decision": "maybe"},
        "Background: One.\nTwo.\n\nQ: Does it?\nA:",
        " maybe",
    ),
    "quail": (
        {"context": "C.", "question": "Who?", "answers": ["Al", "Bo", "Cy"], "correct_answer_id": 1},
        "Background: C.\n\nQ: Who?\nA:",
        " Bo",
    ),
    "quarel": (
        {"id": "1", "answer_index": 1, "question": "Bo ran on ice. Where was he slower? (A) ice (B) gravel"},
        "Background: Bo ran on ice.\n\nQ: Where was he slower? (A) ice (B) gravel\nA:",
        " gravel",
    ),
    "squad_v2": (
        {"id": "1", "title": "x", "context": "C.", "question": "Who?", "answers": {"text": [], "answer_start": []}},
        "Background: C.\n\nQ: Who?\nA:",
        " I don't know",
    ),
    "cnn_dailymail": (
        {"article": "Long.", "highlights": "Short.", "id": "1"},
        "Background: Long.\n\nSummarize this article:\nA:",
        " Short.",
    ),
    "aqua_rat": (
        {"question": "2 x 3?", "options": ["A)5", "B)6"], "rationale": RATIONALE, "correct": "B"},
        "Q: 2 x 3?\nA. 5\nB. 6\nA:",
        " Twice three is six. The answer is B.",
    ),
    "ecqa": (
        {"q_no": "1", "q_text": "Where?", **{f"q_op{n}": f"o{n}" for n in range(1, 6)}, "q_ans": "o2", "taskB": "As."},
        "Q: Where?\nA. o1\nB. o2\nC. o3\nD. o4\nE. o5\nA:",
        " As. The answer is o2.",
    ),
    "gsm8k": (
        {"question": "2 x 3?", "answer": "2 x 3 = <<2*3=6>>6\n#### 6"},
        "Q: 2 x 3?\nA:",
        " 2 x 3 = 6 The answer is 6.",
    ),
    "math": (
        {"problem": "x?", "level": "1", "type": "A", "solution": "So $\\boxed{\\frac{1}{2}}$."},
        "Q: x?\nA:",
        " So $\\boxed{\\frac{1}{2}}$. The answer is \\frac{1}{2}.",
    ),
    "strategyqa": (
        {"qid": "1", "term": "x", "question": "Is it?", "answer": False, "facts": ["One.", "Two."]},
        "Q: Is it?\nA:",
        " One. Two. The answer is no.",
    ),
    "text": ({"id": "1", "url": "x", "title": "T", "text": "one two\n" * 400}, "", "one two\n" * 150),
}


def write(folder, rows):
    folder.mkdir()
    Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    return str(folder)


def test_every_set_has_a_row_here():
    assert set(ROWS) == set(INSTRUCTION_SETS) - {"oasst1"}


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_hub_becomes_an_example(name, tmp_path):
    row, read, written = ROWS[name]
    mixture = HubMixture([name], {name: write(tmp_path / "set", [row] * 40)}, shares={})
    mixture.check()
    found = mixture.sets()[name]
    assert len(found) == 40
    assert {(example.task, example.family) for example in found} == {(name, INSTRUCTION_SETS[name].family)}
    instances = {(Instance(example).prompt, Instance(example).learned) for example in found}
    if name == "text":
        assert instances == {(read, written.rstrip())}
    else:  # with each of the markers: 'Q: ', 'Question: ' or none, and 'A:' or 'Answer:'
        assert (read, written) in instances
        assert len(instances) == (2 if name == "cnn_dailymail" else 6)


def test_a_dialogue_is_a_path_of_first_ranked_english_replies(tmp_path):
    def message(identity, parent, role, text, rank=None, lang="en"):
        return {"message_id": identity, "parent_id": parent, "role": role, "text": text, "rank": rank, "lang": lang}

    rows = [
        message("a", None, "prompter", "Hi"),
        message("b", "a", "assistant", "Hello", 0),
        message("c", "a", "assistant", "Go away", 1),
        message("d", "b", "prompter", "Who are you?"),
        message("e", "d", "assistant", "A model", None),
        message("f", None, "prompter", "Hola", lang="es"),
        message("g", "f", "assistant", "Buenos", 0, "es"),
        message("h", "lost", "assistant", "What?", 0),
    ]
    mixture = HubMixture(["oasst1"], {"oasst1": write(tmp_path / "oasst1", rows)}, shares={})
    found = {example.answer: example for example in mixture.sets()["oasst1"]}
    assert set(found) == {"Hello", "A model"}
    assert found["A model"].query == "Hi Hello Who are you?"
    words = [word for word in ("Hi", "Hello", "Who are you?") if word in found["A model"].instruction]
    assert words == ["Hi", "Hello", "Who are you?"]


def test_rows_without_an_example_are_passed_over(tmp_path):
    wrong = {"question": "who?", "answer": "It rained.", "label": 0}
    right = {"question": "who?", "answer": "Bo.", "label": 1}
    paths = {"wiki_qa": write(tmp_path / "wiki_qa", [wrong, right, wrong, {**right, "answer": " "}])}
    paths["ms_marco"] = write(
        tmp_path / "ms_marco",
        [
            {"query": "q", "answers": ["No Answer Present."]},
            {"query": "q", "answers": []},
            {"query": "q", "answers": ["a"]},
        ],
    )
    sets = HubMixture(["wiki_qa", "ms_marco"], paths, shares={}).sets()
    assert [example.answer for example in sets["wiki_qa"]] == ["Bo."]
    assert [example.answer for example in sets["ms_marco"]] == ["a"]


def test_no_more_is_drawn_than_the_cap_and_the_whole_is_mixed(tmp_path):
    numbered = [{"question": f"q{n}?", "answers": [f"a{n}"]} for n in range(60)]
    texts = [{"text": f"text {n}"} for n in range(30)]
    paths = {
        "web_questions": write(tmp_path / "web", numbered),
        "gsm8k": write(tmp_path / "gsm8k", [{"question": "q?", "answer": "r #### 1"}] * 15),
        "text": write(tmp_path / "text", texts),
    }
    mixture = HubMixture(list(paths), paths, shares={"text": 0.2}, cap=25, seed=1)
    drawn = mixture.load()
    assert Counter(example.task for example in drawn) == {"web_questions": 25, "gsm8k": 15, "text": 10}
    assert drawn == mixture.load()
    other = HubMixture(list(paths), paths, shares={"text": 0.2}, cap=25, seed=2)
    assert {example.answer for example in other.load()} != {example.answer for example in drawn}
    assert mixture.fingerprint() != other.fingerprint()


def test_mistakes_are_named(tmp_path):
    with pytest.raises(OctoberError, match=r"sets: no such set squad \(there are oasst1, "):
        HubMixture(["squad"])
    with pytest.raises(OctoberError, match=r"sets=\[\]: give at least one of oasst1, "):
        HubMixture([])
    with pytest.raises(OctoberError, match="gsm8k: path=/no where: neither a folder nor a name on the hub"):
        HubMixture(["gsm8k"], {"gsm8k": "/no where"}).check()
    folder = tmp_path / "quail"
    folder.mkdir()
    row = {"context": "C.", "question": "Who?", "answers": ["Al"], "correct_answer_id": 4}
    (folder / "train.jsonl").write_text(json.dumps(row))
    with pytest.raises(OctoberError, match=r"quail: row 0 of .*quail is not as the set's rows are"):
        HubMixture(["quail"], {"quail": str(folder)}).sets()
    (folder / "train.jsonl").write_text(json.dumps({"context": "C."}))
    with pytest.raises(OctoberError, match=r"quail: .* has no column question"):
        HubMixture(["quail"], {"quail": str(folder)}).sets()


def test_the_boxed_answer_is_the_last_with_its_braces_matched():
    assert boxed(r"a \boxed{1} b \boxed{\frac{2}{3}} c") == r"\frac{2}{3}"
    assert boxed("nothing") is None
    assert boxed(r"\boxed{open") is None
