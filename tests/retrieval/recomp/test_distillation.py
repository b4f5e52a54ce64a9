import pytest
from oracle_model import OracleModel

from october.errors import OctoberError
from october.retrieval import Passage
from october.retrieval.recomp import (
    QUESTION_PROMPTS,
    TEXT_PROMPTS,
    GoldSentenceTeacher,
    JudgedSummaries,
    LanguageModelTeacher,
    TeacherRequest,
    critic,
    distilled,
    judged_summaries,
    read_prompts,
    shortened,
)

REQUEST = TeacherRequest("Where is {documents}?", ("Rome",), (Passage("a#0", "{query}", "In Rome.", "test"),))


@pytest.mark.parametrize(
    ("policy", "scores", "expected"),
    [
        ("improve_only", (0.0, 2.0), "b"),
        ("improve_only", (1.0, 0.5), None),
        ("improve_only", (0.0, 0.5), None),
        ("not_worse", (0.0, 2.0), "b"),
        ("not_worse", (1.0, 0.5), "a"),
        ("not_worse", (0.0, 0.5), None),
        ("empty_if_not_better", (0.0, 2.0), "b"),
        ("empty_if_not_better", (1.0, 0.5), ""),
        ("empty_if_not_better", (0.0, 0.5), ""),
    ],
)
def test_the_critic_follows_its_table(policy, scores, expected):
    assert critic(JudgedSummaries(REQUEST, ("a", "b"), scores, 1.0), policy) == expected


def test_without_summaries_there_is_nothing_better():
    judged = JudgedSummaries(REQUEST, (), (), -3.0)
    assert [critic(judged, policy) for policy in ("improve_only", "not_worse")] == [None, None]
    assert critic(judged, "empty_if_not_better") == ""
    with pytest.raises(OctoberError, match="policy='best': must be one of improve_only, not_worse, empty_if"):
        critic(judged, "best")


def test_shares_are_counted():
    judged = [JudgedSummaries(REQUEST, ("a",), (score,), 1.0) for score in (0.0, 1.0, 2.0, 3.0)]
    assert distilled(judged, "improve_only")[1:] == (["a", "a"], 0.5, 0.0)
    assert distilled(judged, "not_worse")[1:] == (["a", "a", "a"], 0.25, 0.0)
    assert distilled(judged, "empty_if_not_better")[1:] == (["", "", "a", "a"], 0.0, 0.5)
    with pytest.raises(OctoberError, match="the critic kept none of 1 examples"):
        distilled(judged[:1], "improve_only")


class LengthScorer:
    calls = 0

    def scores(self, requests):
        self.calls += 1
        return [[float(len(text)) for text in request.candidates] for request in requests]

    def fingerprint(self):
        return "length"


def test_a_teacher_writes_by_every_prompt_and_the_critic_keeps_the_best(tmp_path):
    model = OracleModel(lambda prompt: f"  {len(prompt)} \n words ")
    teacher = LanguageModelTeacher(model, TEXT_PROMPTS, temperature=0.0)
    requests = [REQUEST, TeacherRequest("Who?", ("x",), REQUEST.documents)]
    scorer = LengthScorer()
    found = judged_summaries(requests, teacher, scorer, tmp_path, teacher_fingerprint="t", chunk_size=1)
    lengths = [len(prompt.replace("{documents}", "D").replace("{query}", "Q")) for prompt in TEXT_PROMPTS]
    for request, judged in zip(requests, found, strict=True):
        added = len("{query}\nIn Rome.") + len(request.query) - 2
        assert judged.summaries == tuple(f"{length + added} words" for length in lengths)
        assert judged.scores == tuple(map(float, map(len, judged.summaries)))
        assert judged.score_without == 0.0
    assert judged_summaries(requests, None, scorer, tmp_path, teacher_fingerprint="t", chunk_size=1) == found
    assert scorer.calls == 2
    assert len(model.asked) == 8


def test_braces_in_documents_are_left_as_they_are():
    model = OracleModel(lambda prompt: "x")
    LanguageModelTeacher(model).summaries([REQUEST])
    assert model.asked[0].startswith("Documents:\n{query}\nIn Rome.\n\nQuestion: Where is {documents}?\n")


@pytest.mark.parametrize(
    ("sentence", "answers", "expected"),
    [
        ("Rome (Latin: Roma) lies on the Tiber, in Italy.", ["Tiber"], "Rome lies on the Tiber."),
        ("Rome (founded in 753 BC) is old; it is large.", ["753 BC"], "Rome (founded in 753 BC) is old."),
        ("Rome is in Italy, which lies in Europe, they say.", ["Europe"], "Rome is in Italy, which lies in Europe."),
        ("Rome, they say, is old.", ["Paris"], "Rome, they say, is old."),
        ("Rome has 2,800,000 people.", ["2,800,000"], "Rome has 2,800,000 people."),
        ("Rome has 2,800,000 people, or more.", ["2,800,000"], "Rome has 2,800,000 people."),
        ("Ada (1 May 1928 – 2008), a poet (of Oslo), sang, they say.", ["poet"], "Ada (1 May 1928 – 2008), a poet."),
        ("Ada (1928) was a poet, born in Oslo (Norway).", [], "Ada (1928) was a poet, born in Oslo."),
        ("Ada is well known, to many.", ["no"], "Ada is well known, to many."),
        ("Many speak Dutch, French and German.", ["Dutch", "French", "German"], "Many speak Dutch, French and German."),
        ("Many speak Dutch, or Frisian, there.", ["Dutch", "Frisian"], "Many speak Dutch, or Frisian."),
        (
            "Patna, once Pataliputra, is the capital of Bihar.",
            ["Patna"],
            "Patna, once Pataliputra, is the capital of Bihar.",
        ),
        (
            "The Mitanni or Mittani (1600 BC), a state, fell.",
            ["Mitanni", "Mittani"],
            "The Mitanni or Mittani (1600 BC), a state, fell.",
        ),
        ("Plain HIV (virus) is meant; or (HIVs) others.", ["HIVs"], "Plain HIV is meant; or (HIVs) others."),
        ("The song No (Yes) is old, they say.", ["No (Yes)"], "The song No (Yes) is old."),
    ],
)
def test_sentences_are_shortened_around_the_answer(sentence, answers, expected):
    assert shortened(sentence, answers) == expected


def test_gold_sentences_that_were_not_retrieved_are_not_told():
    passage = Passage("a#0", "Rome", "Rome  lies on the\nTiber, in Italy. It is old.", "test")
    gold = ("Rome lies on the Tiber, in Italy.", "Rome was founded by Romulus.")
    teacher = GoldSentenceTeacher()
    assert teacher.summaries([TeacherRequest("Where?", ("Tiber",), (passage,), gold)]) == [["Rome lies on the Tiber."]]
    assert teacher.summaries([TeacherRequest("Where?", ("Tiber",), (passage,), gold[1:])]) == [[""]]


def test_a_comparison_keeps_the_years_of_both():
    texts = ("Chinghiz Aitmatov (1928 – 2008) was an author, of Kirghizia.", "Setsuko Hara was born in June, 1920.")
    passages = tuple(Passage(f"{n}#0", "", text, "test") for n, text in enumerate(texts))
    request = TeacherRequest("Who died earlier, Chinghiz Aitmatov or Setsuko Hara?", ("Setsuko Hara",), passages, texts)
    assert GoldSentenceTeacher().summaries([request]) == [[" ".join(texts)]]


def test_prompts_are_read_from_a_file(tmp_path):
    path = tmp_path / "prompts.yaml"
    path.write_text('- "{documents} then {query}"\n- "{query} {documents}"\n')
    assert read_prompts(path) == ("{documents} then {query}", "{query} {documents}")
    for text, message in (
        ("- '{query}'", "prompt 1 lacks {documents}"),
        ("[]", "at least one prompt is needed"),
        ("a: 1", "must be a list of texts"),
        ("[", "cannot be read as YAML"),
    ):
        path.write_text(text)
        with pytest.raises(OctoberError, match=message):
            read_prompts(path)
    with pytest.raises(OctoberError, match="prompts: at least one prompt is needed"):
        LanguageModelTeacher(OracleModel(), QUESTION_PROMPTS[0])
