"""What RECOMP's table on texts computes, against slow references on tiny models."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_sentence_encoder
import tiny_tokenizers
import torch
from tiny_hugging_face import tiny_model
from tiny_texts import Cities, HeldOutCities

from october import configuration
from october.data import Shakespeare, ShakespearePlays
from october.errors import OctoberError
from october.evaluation import count_words, word_perplexity
from october.experiments.recomp import (
    _compressors,
    _text_compressors,
    _texts,
    language_modeling,
)
from october.language_models import EncoderHandle, ModelHandle
from october.reporting.published import published_of
from october.retrieval import retriever
from october.retrieval.recomp import (
    AbstractiveSettings,
    ExtractiveSettings,
    ScoredExample,
    TopDocuments,
)
from october.run import Run
from october.tracking import LocalTracker

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizers.sentencepiece_like()


@pytest.fixture(scope="module")
def model(tmp_path_factory, tokenizer):
    """A handle on a tiny Gemma in a folder."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    network = tiny_model(
        "gemma3", "sdpa", vocab_size=len(tokenizer), bos_token_id=2, eos_token_id=1, max_position_embeddings=2048
    )
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ModelHandle(name="tiny", path=str(folder), dtype="float32", device="cpu", max_batch_tokens=600)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A handle on a tiny BERT in a folder."""
    folder = tiny_sentence_encoder.save_backbone(tmp_path_factory.mktemp("encoder") / "bert")
    return EncoderHandle(name="tiny bert", path=str(folder), pooling="mean", device="cpu")


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory, monkeypatch):
    """No test reads or fills the user's data folder."""
    home = tmp_path_factory.getbasetemp() / "recomp texts"
    for module in (_compressors, retriever):
        monkeypatch.setattr(module, "data_home", lambda: home)


# Windows, what is retrieved for them, and their losses


def task_of(model, **changes):
    reading = {"num_tokens": 160, "document_tokens": 60, "window": 48, "stride": 16, "query_tokens": 12, **changes}
    return _texts.TextTask(model, HeldOutCities(), Cities(), _texts.Reading(num_documents=3, **reading))


def test_nothing_of_the_windows_own_documents_is_retrieved(model):
    task = task_of(model)
    retrieved = 0
    for window, documents in zip(task.windows, task.documents, strict=True):
        own = task.stream.forbidden_titles(task.data, window, 12)
        assert not own & {passage.title for passage in documents}
        retrieved += len(documents)
    assert task.documents[0] == []
    assert retrieved
    assert [source.documents for source in task.sources] == [tuple(d) for d in task.documents if d]
    assert "".join(task.target(number) for number in range(len(task.windows))) == task.stream.text
    assert sum(task.words()) == count_words(task.stream.text)


def test_documents_of_others_are_retrieved_though_they_are_held_out(model):
    titles = {passage.title for documents in task_of(model).documents for passage in documents}
    assert titles & {each.title for each in HeldOutCities().load()}


@torch.inference_mode()
def test_losses_are_those_of_each_window_by_itself(model):
    task = task_of(model)
    evidence = task.evidence(TopDocuments(1))
    found = task.losses(evidence, 14)
    network, tokenizer = model.load()
    for number, window in enumerate(task.windows):
        ids = task.stream.token_ids[window.begin : window.end]
        written = tokenizer(evidence[number], add_special_tokens=False)["input_ids"][:14] if number else []
        ids = [2, *written, *ids[len(written) :]]
        logits = network(torch.tensor([ids])).logits[0].double().log_softmax(dim=-1)
        places = range(len(ids) - (window.end - window.predicted), len(ids))
        loss = -sum(float(logits[place - 1, ids[place]]) for place in places)
        assert found["losses"][number] == pytest.approx(loss, rel=1e-5)
        assert found["tokens"][number] == len(written)


def test_texts_are_spread_over_the_windows_that_have_documents(model):
    task = task_of(model)
    texts = [str(number) for number in task.asked]
    spread = task.spread(texts)
    assert spread == [str(number) if task.documents[number] else "" for number in range(len(task.windows))]


def test_plays_are_read_by_name_and_trained_on_poems(model):
    task = _texts.TextTask(model, ShakespearePlays(), Shakespeare(), _texts.Reading(200, 100, 60, 20, num_documents=2))
    plays = {play.title for play in ShakespearePlays().load()}
    assert len(task.stream.documents) == 2
    assert any(task.documents)
    for window, documents in zip(task.windows, task.documents, strict=True):
        assert not task.stream.forbidden_titles(task.data, window, 32) & {passage.title for passage in documents}
    poems = {work.title: work.text for work in Shakespeare().documents() if work.title not in plays}
    sources = task.training_sources(Shakespeare(), 7)
    assert sources
    for source in sources:
        assert any(source.query + source.targets[0] in text for text in poems.values())


# The table


def test_the_best_sentence_is_never_none():
    scored = ScoredExample("q", ("a", "b", "c", ""), (1.0, 3.0, 3.0, 9.0), (0.0, 0.0, 0.0, 0.0))
    assert _text_compressors.best_sentence(scored) == "b"


def training_of():
    return _text_compressors.TextTraining(
        num_examples=5,
        num_validation=2,
        num_summaries=3,
        num_prompts=2,
        max_summary_tokens=5,
        num_summarised=1,
        temperature=0.7,
        labels=_compressors.LabelSettings(max_candidates=4),
        extractive=ExtractiveSettings(batch_size=4, num_epochs=1, warmup_steps=0, learning_rate=1e-3),
        abstractive=AbstractiveSettings(
            batch_size=2, num_epochs=1, warmup_steps=0, max_input_tokens=300, max_target_tokens=64, lora_rank=2
        ),
    )


def table_of(model, encoder, folder, run=None, **changes):
    arguments = {
        "model": model,
        "teacher": model,
        "student": model,
        "encoder": encoder,
        "data": HeldOutCities(),
        "corpus": Cities(),
        "training_corpus": Cities(),
        "num_corpus_documents": None,
        "passage_words": 100,
        "num_tokens": 160,
        "document_tokens": 60,
        "window": 48,
        "stride": 16,
        "query_tokens": 12,
        "num_documents": 3,
        "max_evidence_tokens": 14,
        "max_documents_tokens": 30,
        "training": training_of(),
        **changes,
    }
    with Run(folder, "recomp/language_modeling", {}, LocalTracker()) as made:
        return language_modeling.language_modeling(**arguments, run=made), made


@pytest.mark.usefixtures("own_home")
def test_the_table_has_the_papers_rows_and_decides_its_claims(model, encoder, tmp_path):
    result, run = table_of(model, encoder, tmp_path)
    published = published_of("recomp")
    rows = [row.name for row in published.table("language_modeling").rows if "by GPT-2" not in row.name]
    assert [row.name for row in result.rows] == rows
    assert {claim.metric for claim in published.claims_of("language_modeling")} <= set(result.evidence)
    rows = {row.name: row.cells for row in result.rows}
    task = task_of(model)
    plain = task.losses([""] * len(task.windows), 1)["losses"]
    assert rows["no retrieval"]["perplexity"].value == pytest.approx(word_perplexity(plain, task.stream.text))
    assert rows["no retrieval"]["tokens"].value == 0
    assert rows["top-1 document"]["tokens"].value < rows["top-5 documents"]["tokens"].value <= 30
    assert rows["top-1 document"]["tokens"].value <= 14
    share = 100 * len(task.asked) / (len(task.windows) - 1)
    assert rows["top-1 document"]["windows with evidence"].value == pytest.approx(share)
    gain = result.evidence["log-perplexity, extractive RECOMP over no retrieval"].value
    ratio = rows["extractive RECOMP"]["perplexity"].value / rows["no retrieval"]["perplexity"].value
    assert gain == pytest.approx(math.log(ratio), abs=1e-9)
    again, _ = table_of(model, encoder, tmp_path)  # every step is there
    assert again.rows == result.rows
    best = run.finished["evidence, oracle sentence"]
    for number, sentence in enumerate(best):  # the oracle is at least as good as any candidate it was given
        if task.documents[number]:
            texts = [f"{text}\n{task.queries[number]}" for text in candidates(task, encoder, number)]
            scores = [one.total for one in task.lm.score(texts, [task.target(number)] * len(texts))]
            chosen = task.lm.score([f"{sentence}\n{task.queries[number]}"], [task.target(number)])[0].total
            assert chosen == pytest.approx(max(scores), abs=1e-4)


def candidates(task, encoder, number):
    """The four sentences that the encoder likes best."""
    from october.retrieval.recomp import DualEncoder, sentence_candidates

    texts = [candidate.text for candidate in sentence_candidates(task.documents[number])]
    (similarities,) = DualEncoder(encoder).similarities([task.queries[number]], [texts])
    return [texts[place] for place in np.argsort(-similarities, kind="stable")[:4]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_evidence_tokens": 33}, "max_evidence_tokens=33: at most window - stride = 32"),
        ({"max_documents_tokens": 40}, "max_documents_tokens=40: at most"),
        ({"num_tokens": 48}, "num_tokens=48: must be above window=48"),
        ({"num_tokens": 99999}, "num_tokens=99999: the text has only"),
        ({"student": "no/such/folder"}, "no/such/folder"),
    ],
)
def test_what_does_not_fit_gets_one_line(model, encoder, tmp_path, changes, message):
    with pytest.raises(OctoberError, match=message):
        table_of(model, encoder, tmp_path, **changes)


def test_training_that_asks_for_too_much_gets_one_line(tmp_path):
    fields = vars(training_of())
    with pytest.raises(OctoberError, match="num_summaries=6: at most num_examples=5"):
        _text_compressors.TextTraining(**{**fields, "num_summaries": 6})
    with pytest.raises(OctoberError, match="num_prompts=5: there are 4"):
        _text_compressors.TextTraining(**{**fields, "num_prompts": 5})
    own = tmp_path / "prompts.yaml"
    own.write_text("- 'Read {documents}, continue {query}'\n")
    with pytest.raises(OctoberError, match="num_prompts=2: there are 1"):
        _text_compressors.TextTraining(**{**fields, "prompts": str(own)})


@pytest.mark.parametrize("policy", ["improve_only", "empty_if_not_better"])
def test_the_critics_policy_is_a_setting(monkeypatch, policy):
    asked = {}
    task, settings = SimpleNamespace(scorer=None), replace(training_of(), policy=policy)
    compressors = _text_compressors.TextCompressors(task, None, None, None, None, settings)
    monkeypatch.setattr(_text_compressors.TextCompressors, "sources", [])
    monkeypatch.setattr(_text_compressors.TextCompressors, "judged", lambda self, sources: [])
    monkeypatch.setattr(_text_compressors, "known_of", lambda task, scorer: {})
    monkeypatch.setattr(
        _text_compressors,
        "trained_abstractive",
        lambda *_, **options: asked.update(options) or SimpleNamespace(compressor=None),
    )
    assert compressors.abstractive is None
    assert asked["policy"] == policy


def test_another_text_is_an_override():
    overrides = ["data=shakespeare", "corpus=shakespeare", "corpus@training_corpus=leads"]
    config = configuration.resolved(configuration.composed(["experiment=recomp/language_modeling", *overrides]))
    function, arguments = configuration.bind(config)
    assert function is language_modeling.language_modeling
    assert isinstance(arguments["data"], ShakespearePlays)
    assert arguments["training_corpus"].name == "leads"
