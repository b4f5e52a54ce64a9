import pytest
from oracle_model import OracleModel
from references import greedy_one_at_a_time, score_token_by_token

from october.data.documents import Question
from october.errors import OctoberError
from october.retrieval.recomp import (
    AnswerLikelihood,
    AnswerMatch,
    ContinuationLikelihood,
    Demonstration,
    QuestionPrompt,
    ScoringRequest,
    sampled_demonstrations,
)

SHOWN = tuple(Demonstration(f"Where is number {n}?", f"the old town {n}") for n in range(5))
PROMPT = QuestionPrompt(SHOWN)
REQUESTS = [
    ScoringRequest("Where is the tower?", ("in the old town", "old town"), ("", "The tower is old.", "It is near.")),
    ScoringRequest("What is it?", ("river",), ("The river is the border of the town, and it is long.", "")),
    ScoringRequest("Who?", ("Paris",), ()),
]


def test_a_prompt_is_examples_then_evidence_then_question():
    text = PROMPT.prompt("Where is the tower?", "The tower is in Paris.")
    assert text.startswith("Question: Where is number 0?\nAnswer: the old town 0\n\nQuestion: Where is number 1?")
    assert text.endswith("\n\nBackground: The tower is in Paris.\nQuestion: Where is the tower?\nAnswer:")
    assert PROMPT.prompt("Where?") == PROMPT.prefix + "Question: Where?\nAnswer:"
    assert QuestionPrompt((), "instruct").prompt("Where?").endswith("\n\nQuestion: Where?\nAnswer:")
    with pytest.raises(OctoberError, match="question is empty"):
        PROMPT.prompt(" ")


def test_demonstrations_are_drawn_by_seed():
    questions = [Question(str(n), f"question {n}", (f"answer {n}", "alias"), "x", "train") for n in range(50)]
    first = sampled_demonstrations(questions, 5, seed=1)
    assert first == sampled_demonstrations(questions, 5, seed=1)
    assert first != sampled_demonstrations(questions, 5, seed=2)
    assert all(one.answer == one.question.replace("question", "answer") for one in first)
    with pytest.raises(OctoberError, match="count=51: must be from 0 to the 50 questions"):
        sampled_demonstrations(questions, 51)


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_likelihoods_equal_one_forward_pass_for_each_token(family, request):
    lm = request.getfixturevalue(family)
    found = AnswerLikelihood(lm, PROMPT).scores(REQUESTS)
    for one, scores in zip(REQUESTS, found, strict=True):
        expected = [
            sum(score_token_by_token(lm, PROMPT.prompt(one.query, text), f" {one.targets[0]}"))
            for text in one.candidates
        ]
        assert scores == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_continuations_equal_one_forward_pass_for_each_token(family, request):
    lm = request.getfixturevalue(family)
    found = ContinuationLikelihood(lm).scores(REQUESTS)
    for one, scores in zip(REQUESTS, found, strict=True):
        prompts = [f"{text}\n{one.query}" if text else one.query for text in one.candidates]
        expected = [sum(score_token_by_token(lm, prompt, one.targets[0])) for prompt in prompts]
        assert scores == pytest.approx(expected, abs=1e-4)


def test_answers_equal_those_of_single_prompts(llama):
    scorer = AnswerMatch(llama, PROMPT, max_new_tokens=6)
    found = scorer.answers(REQUESTS)
    for one, answers in zip(REQUESTS, found, strict=True):
        for text, answer in zip(one.candidates, answers, strict=True):
            ids = greedy_one_at_a_time(llama, PROMPT.prompt(one.query, text), 6)
            alone = llama.tokenizer.decode(ids, skip_special_tokens=True)
            lines = alone.partition("\n")[0].strip().splitlines()
            assert answer == (lines[0].strip() if lines else "")


def test_exact_match_takes_any_alias_and_the_part_after_the_marker():
    written = {"": " The answer is Old Town. ", "The tower is old.": " Paris", "It is near.": " in THE old town"}
    model = OracleModel(lambda prompt: next(written[s] for s in sorted(written, key=len)[::-1] if s in prompt))
    assert AnswerMatch(model, QuestionPrompt(())).scores(REQUESTS[:1]) == [[1.0, 0.0, 1.0]]


def test_the_prefix_is_encoded_once_for_all_candidates(llama):
    shapes = []

    def note(module, args, output):
        shapes.append(tuple(args[0].shape))

    handle = llama.model.get_input_embeddings().register_forward_hook(note)
    candidates = tuple(f"Sentence {n}." for n in range(20))
    AnswerLikelihood(llama, PROMPT).scores([ScoringRequest("Where?", ("town",), candidates)])
    handle.remove()
    length = len(llama.tokenizer(PROMPT.prefix)["input_ids"])
    whole = 20 * len(llama.tokenizer(PROMPT.prompt("Where?", candidates[-1]) + " town")["input_ids"])
    assert shapes[0][0] == 1
    assert shapes[0][1] >= length - 1
    assert sum(rows * tokens for rows, tokens in shapes) < whole - 18 * (length - 1)


def test_equal_prompts_are_asked_once():
    model = OracleModel(lambda prompt: "x")
    request = ScoringRequest("Where?", ("x",), ("a", "b", "a", ""))
    assert AnswerMatch(model, PROMPT).scores([request, request]) == [[1.0] * 4] * 2
    assert len(model.asked) == 3


def test_fingerprints_tell_settings_apart(llama):
    prompts = [PROMPT, QuestionPrompt(SHOWN[:2]), QuestionPrompt(SHOWN, "instruct")]
    named = {"model_fingerprint": "a"}
    scorers = [kind(llama, prompt, **named) for kind in (AnswerMatch, AnswerLikelihood) for prompt in prompts]
    scorers += [
        AnswerMatch(llama, PROMPT, max_new_tokens=3, **named),
        AnswerMatch(llama, PROMPT, model_fingerprint="b"),
    ]
    scorers += [ContinuationLikelihood(llama, **named), ContinuationLikelihood(llama, separator=" ", **named)]
    assert len({scorer.fingerprint() for scorer in scorers}) == len(scorers)
    assert AnswerMatch(llama, PROMPT, **named).fingerprint() == scorers[0].fingerprint()


def test_without_the_models_fingerprint_there_is_none_of_its_scores(llama):
    for scorer in (AnswerMatch(llama, PROMPT), AnswerLikelihood(llama, PROMPT), ContinuationLikelihood(llama)):
        with pytest.raises(OctoberError, match="model_fingerprint is empty: labels of one model"):
            scorer.fingerprint()


def test_targets_are_needed():
    with pytest.raises(OctoberError, match="targets of 'Where' are empty"):
        ScoringRequest("Where", (), ("a",))
    for bad, what in ((None, "is NoneType, not text"), ("half \ud800", "is not UTF-8")):
        with pytest.raises(OctoberError, match=f"^query {what}"):
            ScoringRequest(bad, ("a",), ("b",))
        with pytest.raises(OctoberError, match=f"^query 'Where': target 1 {what}"):
            ScoringRequest("Where", ("a", bad), ("b",))
        with pytest.raises(OctoberError, match=f"^query 'Where': candidate 0 {what}"):
            AnswerLikelihood(OracleModel(), PROMPT).scores([ScoringRequest("Where", ("a",), (bad,))])
        with pytest.raises(OctoberError, match=f"^evidence {what}"):
            PROMPT.prompt("Where?", bad)
