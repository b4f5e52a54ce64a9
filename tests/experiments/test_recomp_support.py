"""Whether sentences are held by documents: the judge's rules, and the table that they make."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle_model import OracleModel

from october import configuration
from october.data import Question
from october.experiments.recomp import _support, faithfulness
from october.experiments.recomp._questions import Asked
from october.reporting.claims import decide
from october.reporting.published import published_of
from october.retrieval import Passage

ROME = Passage("a#0", "Rome", "Rome is the capital of Italy. It lies on the Tiber, near the sea.", "test")
TIBER = Passage("b#0", "Tiber", "The Tiber is 405 km long, and flows through Rome.", "test")


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("It lies on the Tiber, near the sea.", True),
        ("it  lies on the\nTiber", True),
        ("Rome: It lies on the Tiber, near the sea!", True),
        ("Tiber: It lies on the Tiber, near the sea.", False),
        ("It lies on the Tibe", False),
        ("t lies on the Tiber", False),
        ("Rome lies on the Tiber.", False),
    ],
)
def test_what_stands_in_a_document_is_copied(sentence, expected):
    assert _support.is_copied(sentence, [TIBER, ROME]) is expected


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Rome lies on the Tiber.", 1.0),  # rome, lies, tiber
        ("The Tiber flows through Italy, 405 km long.", 5 / 6),
        ("Berlin has museums.", 0.0),
        ("It is.", 0.0),
    ],
)
def test_overlap_is_the_share_of_content_words_in_one_document(sentence, expected):
    assert _support.overlap(sentence, [ROME, TIBER]) == pytest.approx(expected)


def test_gains_are_differences_of_mean_log_probabilities():
    class Halves(OracleModel):
        """Two tokens for each sentence."""

        def score(self, prompts, continuations):
            self.asked += prompts
            return [
                type(one)(("", ""), (0, 0), (one.log_probabilities[0], 1.0))
                for one in super().score(prompts, continuations)
            ]

    model = Halves(likes=lambda prompt, continuation: -1.0 if continuation[:4] in prompt else -5.0)
    known = _support.Statement("Rome is old.", "Where?", (ROME,))
    unknown = _support.Statement("Oslo is old.", "Where?", (ROME, TIBER))
    assert _support.gains(model, [known, unknown]) == pytest.approx([(1.0 - 1.0) / 2 - (1.0 - 5.0) / 2, 0.0])
    assert _support.gains(model, []) == []
    assert model.asked[0] == f"Rome\n{ROME.text}\n\nWhere?\n"
    assert model.asked[2:] == ["Where?\n", "Where?\n"]


def test_verdicts_by_rule():
    found = _support.Measured([True, False, False, False], [0.0, 0.8, 0.8, 0.79], [-1.0, 0.51, 0.5, 9.0])
    assert _support.verdicts(found, 0.5, 0.8) == ["copied", "supported", "unsupported", "unsupported"]
    assert _support.verdicts(found, 0.5, 0.8, count_copies=False)[0] == "unsupported"
    assert _support.bound_of(list(range(101)), 0.95) == pytest.approx(95.0)


def test_statements_are_the_sentences_that_hold_a_word():
    found = _support.statements_of(["Rome is old. It is big.", "", "..."], ["q", "r", "s"], [[ROME], [TIBER], [ROME]])
    assert [(one.sentence, one.query, one.documents) for one in found] == [
        ("Rome is old.", "q", (ROME,)),
        ("It is big.", "q", (ROME,)),
    ]


@given(st.lists(st.sets(st.integers(0, 5), min_size=1, max_size=3), max_size=8), st.integers(0, 9))
def test_other_documents_share_none_with_ones_own(sets, step):
    passages = [Passage(f"{number}#0", "", "x", "test") for number in range(6)]
    statements = [
        _support.Statement(f"s{place}", "q", tuple(passages[number] for number in sorted(numbers)))
        for place, numbers in enumerate(sets)
    ]
    found = _support.with_documents_of_others(statements, step)
    expected = [place for place, numbers in enumerate(sets) if any(not numbers & other for other in sets)]
    assert [one.sentence for one in found] == [f"s{place}" for place in expected]
    for one in found:
        own = statements[int(one.sentence[1:])].documents
        assert not set(own) & set(one.documents)
        assert one.documents in [each.documents for each in statements]


def steps(copied, overlap, gain, empty=None):
    found = {"copied": copied, "overlap": overlap, "gain": gain}
    return found if empty is None else {**found, "empty": empty}


def test_rows_of_faithfulness_are_shares_of_sentences():
    student = steps([True, False, False, False], [1.0, 1.0, 0.9, 0.1], [0.0, 2.0, 0.1, 2.0], [False, True, False])
    silent = steps([], [], [], [True, True])
    checks = {
        faithfulness.GOLD: steps([True, True], [1.0, 1.0], [2.0, 0.1]),
        faithfulness.STRANGE: steps([False, False], [0.1, 1.0], [0.0, 0.2]),
    }
    found = {faithfulness.STUDENT: student, faithfulness.TEACHER: silent}
    rows = {row.name: row for row in faithfulness.rows_of(found, checks, (0.5, 0.8), faithfulness.PUBLISHED)}
    shares = {name: [row.cells[verdict].value for verdict in _support.VERDICTS] for name, row in rows.items()}
    assert shares == {
        faithfulness.STUDENT: [25, 25, 50],
        faithfulness.TEACHER: [None, None, None],
        faithfulness.GOLD: [100, 0, 0],
        faithfulness.REWORDED: [0, 50, 50],
        faithfulness.STRANGE: [0, 0, 100],
    }
    assert rows[faithfulness.STUDENT].cells["empty summaries"].value == pytest.approx(100 / 3)
    assert rows[faithfulness.STUDENT].cells["gain"].value == pytest.approx(4.1 / 4)
    for row in rows.values():
        if row.published:
            published_of("recomp").row("faithfulness", row.published)


@pytest.mark.parametrize(("others", "expected"), [(7, 4 / 12), (5, 4 / 10), (4, None), (0, None)])
def test_a_few_sentences_do_not_decide_whether_summaries_are_supported(others, expected):
    of_questions = steps([True] * 3 + [False] * 2, [1.0, 1.0, 1.0, 0.9, 0.1], [0.0, 0.0, 0.0, 2.0, 2.0])
    of_text = steps([False] * others, [0.1] * others, [2.0] * others)
    (claim,) = published_of("recomp").claims_of("faithfulness")
    evidence = faithfulness.evidence_of([of_questions, of_text], (0.5, 0.8))
    assert set(evidence) == {claim.metric}
    cell = evidence[claim.metric]
    assert (cell.value, cell.n) == (expected if expected is None else pytest.approx(expected), 5 + others)
    assert (decide(claim, evidence, "small").verdict == "not tested at this scale") == (expected is None)


def test_gold_sentences_count_where_they_were_retrieved():
    questions = [
        Question("1", "Where is Rome?", ("Tiber",), "x", "test", (), ("It lies on the Tiber, near the sea.", "No.")),
        Question(
            "2", "How long?", ("405 km",), "x", "test", (), ("The Tiber is 405 km long, and flows through Rome.",)
        ),
    ]
    found = faithfulness.gold_statements(Asked(questions, [(ROME,), (ROME,)]))
    assert [(one.sentence, one.query) for one in found] == [("It lies on the Tiber, near the sea.", "Where is Rome?")]


def config_of(name, *overrides):
    return configuration.resolved(configuration.composed([f"experiment=recomp/{name}", *overrides]))


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_faithfulness_reads_the_compressors_of_the_other_tables(size):
    ours = config_of("faithfulness", f"size={size}")
    questions, texts = (config_of(name, f"size={size}") for name in ("open_qa", "language_modeling"))
    for key in ("training", "retrieval", "num_train", "num_demonstrations", "max_answer_tokens", "teacher"):
        assert ours[key] == questions[key], key
    assert ours["text"]["training"] == texts["training"]
    reading = ours["text"]["reading"]
    for key in ("window", "stride", "query_tokens", "document_tokens", "num_documents", "passage_words"):
        assert reading[key] == texts[key], key
    for key in ("corpus", "training_corpus", "data", "teacher", "num_corpus_documents"):
        assert ours["text"][key] == texts[key], key


HOTPOTQA = (
    "data=hotpotqa",
    "training.num_sentences=2",
    "training.prompts=multi_hop",
    "training.answer_in_documents=true",
    "num_test=500",
)


def test_at_the_papers_scale_too_the_questions_compressor_is_that_of_open_qa():
    ours, questions = config_of("faithfulness_paper"), config_of("open_qa_paper", *HOTPOTQA)
    for key in ("training", "retrieval", "num_train", "num_demonstrations", "max_answer_tokens", "teacher", "student"):
        assert ours[key] == questions[key], key
    for key in ("encoder", "data", "corpus", "num_test"):
        assert ours[key] == questions[key], key
    assert ours["labeller"] == questions["model"]  # what its answers choose is what both learn from


def test_at_the_papers_scale_transfer_reads_the_compressors_of_open_qa():
    ours, questions = (config_of(name, *HOTPOTQA) for name in ("transfer_paper", "open_qa_paper"))
    for key in ("training", "retrieval", "num_train", "num_validation", "num_demonstrations", "max_answer_tokens"):
        assert ours[key] == questions[key], key
    for key in ("teacher", "student", "encoder", "data", "corpus"):
        assert ours[key] == questions[key], key
    assert ours["labeller"] == questions["model"]


def test_at_the_papers_scale_analysis_reads_the_compressors_of_open_qa():
    ours, questions = config_of("analysis_paper"), config_of("open_qa_paper", *HOTPOTQA)
    for key in ("training", "retrieval", "num_train", "num_validation", "num_test", "num_demonstrations"):
        assert ours[key] == questions[key], key
    for key in ("model", "teacher", "student", "encoder", "data", "corpus", "max_answer_tokens"):
        assert ours[key] == questions[key], key


def test_at_the_papers_scale_texts_are_read_and_taught_as_for_perplexity():
    """By another judge, though: perplexity is GPT-2 XL's, and likelihoods of sentences are Llama's."""
    ours, texts = config_of("faithfulness_paper")["text"], config_of("language_modeling_paper")
    for key in ("num_summaries", "num_prompts", "max_summary_tokens", "num_summarised", "temperature", "abstractive"):
        assert ours["training"][key] == texts["training"][key], key
    for key in ("window", "stride", "passage_words"):
        assert ours["reading"][key] == texts[key], key
    for key in ("corpus", "training_corpus", "data", "teacher", "num_corpus_documents"):
        assert ours[key] == texts[key], key
