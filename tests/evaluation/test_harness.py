"""The engine measures our models as it measures its own."""

import json
import os
import subprocess
import sys

import pytest
import torch
from code_eval import CodeEval
from lm_eval.api.group import Group
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from oracle_model import OracleModel
from tiny_mistral import mistral
from tiny_tokenizers import byte_level, sentencepiece_like
from transformers import LlamaConfig, LlamaForCausalLM

from october.attention import DecoderLM, decoder_from
from october.attention.mistral import MistralModel
from october.errors import OctoberError
from october.evaluation import Benchmark, benchmark_values, check_importable, harness, harness_model
from october.language_models import LanguageModel, TransformersLM
from october.language_models.base import Completion, Score

QUESTIONS = [
    {"question": "What is the capital of France?", "choices": ["Paris", "Tokyo", "the river"], "gold": 0},
    {"question": "What is the capital of Japan?", "choices": ["Paris", "Tokyo", "naïve"], "gold": 1},
    {"question": "where is the tower?", "choices": ["in the old town", "Japan", "12345"], "gold": 0},
    {"question": "Action", "choices": ["search", "nothing found", "日本"], "gold": 2},
]


@pytest.fixture(scope="module", params=[sentencepiece_like, byte_level])
def model(request):
    tokenizer = request.param()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.4,
    )
    torch.manual_seed(0)
    return TransformersLM(LlamaForCausalLM(config).eval(), tokenizer)


@pytest.fixture
def folder(tmp_path):
    """A data set as the hub holds it."""
    lines = [json.dumps(question) for question in QUESTIONS]
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def task(kind, **changes):
    """A task's configuration in the engine's own terms."""
    common = {
        "task": f"tiny_{kind}",
        "dataset_path": "nobody/has-this",
        "output_type": kind,
        "training_split": "train",
        "test_split": "test",
        "doc_to_text": "Question: {{question}}\nAnswer:",
    }
    if kind == "multiple_choice":
        common |= {"doc_to_choice": "choices", "doc_to_target": "gold", "metric_list": [{"metric": "acc"}]}
    else:
        exact = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
        common |= {"doc_to_target": "{{choices[gold]}}", "metric_list": [exact]}
        common |= {"generation_kwargs": {"until": ["\n"], "max_gen_toks": 6, "do_sample": False}}
    return {**common, **changes}


def own(model, **settings):
    """The engine's own adapter over the same model."""
    return HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=2, **settings)


@pytest.mark.parametrize("num_fewshot", [0, 2])
def test_choices_are_scored_as_by_the_engine(model, folder, num_fewshot):
    benchmark = Benchmark(task("multiple_choice"), "acc", num_fewshot)
    ours = benchmark_values(model, benchmark, data_folder=folder)
    assert ours == benchmark_values(own(model), benchmark, data_folder=folder)
    assert len(ours) == len(QUESTIONS)
    assert set(ours) <= {0.0, 1.0}
    assert benchmark_values(model, benchmark, data_folder=folder, num_questions=3) == ours[:3]


@pytest.fixture(scope="module", params=[MistralModel, DecoderLM])
def house(request):
    """The house decoder, which reads in chunks what is longer than its windows, and transformers on its weights."""
    tokenizer = sentencepiece_like()
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    model = mistral(6, vocab_size=len(tokenizer), **special)
    return request.param(decoder_from(model), tokenizer, prefill_chunk=4), TransformersLM(model, tokenizer)


def test_the_house_decoder_answers_as_the_engine_s_own_adapter(house, folder):
    decoder, model = house
    same_likelihoods(decoder, model)
    same_texts(decoder, model)
    for kind, metric in (("multiple_choice", "acc"), ("generate_until", "exact_match")):
        benchmark = Benchmark(task(kind), metric, 1)
        ours = benchmark_values(decoder, benchmark, data_folder=folder)
        assert ours == benchmark_values(own(model), benchmark, data_folder=folder)


def test_likelihoods_and_greediness_equal_the_engine_s(model):
    same_likelihoods(model, model)


def same_likelihoods(ours, model):
    """Of ours, and through the engine's adapter of a model of transformers; what this writes is greedy in both."""
    pairs = [(question["question"], f" {choice}") for question in QUESTIONS for choice in question["choices"]]
    prompts = ["The capital of", *(question["question"] for question in QUESTIONS)]
    written = [completion.text for completion in model.generate(prompts, max_new_tokens=1)]
    pairs += [*zip(prompts, written, strict=True), ("", "The capital")]
    requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
    found, theirs = harness_model(ours).loglikelihood(requests), own(model).loglikelihood(requests)
    assert any(greedy for _, greedy in theirs)
    for (value, greedy), (their_value, their_greedy) in zip(found, theirs, strict=True):
        assert value == pytest.approx(their_value, abs=1e-4)
        assert greedy == their_greedy


def test_whole_texts_equal_the_engine_s(model):
    texts = ["The capital of France is Paris.", "x"]
    requests = [Instance("loglikelihood_rolling", {}, (text,), index) for index, text in enumerate(texts)]
    ours = harness_model(model).loglikelihood_rolling(requests)
    theirs = own(model, add_bos_token=False)  # or it would count the start token's own probability
    assert ours == pytest.approx(theirs.loglikelihood_rolling(requests), abs=1e-4)


def test_texts_are_generated_as_by_the_engine(model, folder):
    benchmark = Benchmark(task("generate_until"), "exact_match", 1)
    ours = benchmark_values(model, benchmark, data_folder=folder)
    assert ours == benchmark_values(own(model), benchmark, data_folder=folder)
    same_texts(model, model)


def same_texts(ours, model):
    """Of ours, and through the engine's adapter of a model of transformers."""
    requests = [
        Instance("generate_until", {}, (question["question"], {"until": until, "max_gen_toks": length}), index)
        for index, question in enumerate(QUESTIONS)
        for until, length in (([" "], 5), (["\n", "."], 9))
    ]
    found = harness_model(ours).generate_until(requests)
    assert any(found)
    assert found == own(model).generate_until(requests)


class Perfect(LanguageModel):
    """Finds every gold answer the likeliest, and writes it."""

    def __init__(self):
        self.gold = {question["question"]: question["choices"][question["gold"]] for question in QUESTIONS}

    def _answer(self, prompt):
        last = prompt.rpartition("Question: ")[2].removesuffix("\nAnswer:")
        return f" {self.gold[last]}"

    def generate(self, prompts, *, max_new_tokens, stop=(), temperature=0.0, top_p=1.0, seed=0):
        return [Completion(self._answer(prompt).strip(), (), None, "stop", 1) for prompt in prompts]

    def score(self, prompts, continuations):
        pairs = zip(prompts, continuations, strict=True)
        return [Score(("x",), (1,), (0.0 if self._answer(p) == c else -5.0,)) for p, c in pairs]


@pytest.mark.parametrize(("kind", "metric"), [("multiple_choice", "acc"), ("generate_until", "exact_match")])
def test_right_answers_count(folder, kind, metric):
    benchmark = Benchmark(task(kind), metric, 2)
    assert benchmark_values(Perfect(), benchmark, data_folder=folder) == [1.0] * len(QUESTIONS)


@pytest.mark.parametrize(
    ("benchmark", "message"),
    [
        (Benchmark("no_such_task", "acc"), "benchmark no_such_task: the engine cannot run it"),
        (Benchmark(task("multiple_choice"), "speed"), "metric=speed: must be one of acc"),
        (Benchmark(task("multiple_choice"), "acc", filter="first"), "filter=first: must be one of none"),
        (Benchmark("humaneval", "pass@1", runs_code=True), "runs programs that the model writes: give allow_code"),
    ],
)
def test_what_cannot_be_measured_is_one_line(folder, benchmark, message):
    data = folder if isinstance(benchmark.task, dict) else None
    with pytest.raises(OctoberError, match=message):
        benchmark_values(Perfect(), benchmark, data_folder=data)


def test_a_missing_folder_and_an_unknown_setting_are_named(tmp_path):
    with pytest.raises(OctoberError, match=r"data_folder=.*nowhere: no such folder"):
        benchmark_values(Perfect(), Benchmark("arc_easy", "acc"), data_folder=tmp_path / "nowhere")
    request = Instance("generate_until", {}, ("x", {"num_beams": 4}), 0)
    with pytest.raises(OctoberError, match="num_beams=4: must be one of"):
        harness_model(Perfect()).generate_until([request])


def test_without_the_engine_the_extra_is_named():
    script = "import sys; sys.modules['lm_eval'] = None; from october.evaluation import harness_model; harness_model(1)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "pip install 'october[eval]'" in result.stderr.splitlines()[-1]


@pytest.fixture
def named(tmp_path):
    """Makes a folder with questions of a data set that the engine knows by name."""

    def written(split, *rows):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path

    return written


def test_a_named_task_reads_a_local_folder(named):
    endings = ["swims.", "flies away.", "sings.", "sleeps."]
    row = {"activity_label": "Sea", "ctx_a": "A fish", "ctx_b": "it", "endings": endings, "label": "1"}
    named("train", row)
    folder = named("validation", row, {**row, "label": "3"})
    model = OracleModel(likes=lambda _, continuation: -1.0 if "flies" in continuation else -9.0)
    assert benchmark_values(model, Benchmark("hellaswag", "acc_norm", 0), data_folder=folder) == [1.0, 0.0]


def test_changes_reach_a_named_task_and_answers_are_repeated(named):
    folder = named("test", {"question": "What is 2 + 2?", "answer": "So #### 4"})
    numbers = iter([4, 5, 4, 5, 4, 5, 4, 4])
    model = OracleModel(lambda prompt: f" The answer is {next(numbers)}.")
    changes = {"repeats": 8, "dataset_name": None}
    benchmark = Benchmark("gsm8k_cot_self_consistency", "exact_match", 8, filter="maj@8", changes=changes)
    assert benchmark_values(model, benchmark, data_folder=folder) == [1.0]
    assert len(model.asked) == 8  # the engine's own number is 64
    assert len(set(model.asked)) == 1


def test_changes_reach_every_task_of_a_group_under_its_own_name(monkeypatch):
    """Without data: the engine's task is replaced by what it is made from."""
    from lm_eval.tasks import _factory

    made = []

    class Made:
        def __init__(self, config):
            self.task_name = config["task"]
            made.append(config)

    monkeypatch.setattr(_factory, "ConfigurableTask", Made)
    monkeypatch.setattr(Group, "add", lambda *_: None)
    harness._tasks(Benchmark("mmlu", "acc", 5), {"dataset_path": "here"})
    assert len({config["task"] for config in made}) == 57
    assert {config["dataset_path"] for config in made} == {"here"}


def test_programs_are_run_where_they_are_allowed(named, monkeypatch):
    monkeypatch.delenv("HF_ALLOW_CODE_EVAL", raising=False)
    monkeypatch.setattr("evaluate.load", lambda name: CodeEval())
    monkeypatch.delitem(sys.modules, "lm_eval.tasks.humaneval.utils", raising=False)
    row = {"prompt": "def f():\n", "test": "def check(f):\n    assert f() == 3", "entry_point": "f", "task_id": "0"}
    folder = named("test", row)
    benchmark = Benchmark("humaneval", "pass@1", 0, runs_code=True)
    check_importable(benchmark)
    for body, value in (("    return 3", 1.0), ("    return 4", 0.0)):
        model = OracleModel(lambda _, body=body: body)
        assert benchmark_values(model, benchmark, data_folder=folder, allow_code=True) == [value]
    assert "HF_ALLOW_CODE_EVAL" not in os.environ


def test_what_is_not_installed_is_named_before_anything_is_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    monkeypatch.delitem(sys.modules, "lm_eval.tasks.minerva_math.utils", raising=False)
    with pytest.raises(OctoberError, match=r"benchmark minerva_math: the engine cannot run it .*math_verify"):
        check_importable(Benchmark("minerva_math", "exact_match", 4))
    check_importable(Benchmark("hendrycks_math", "exact_match", 4))
    with pytest.raises(OctoberError, match="benchmark no_such_task: the engine cannot run it"):
        check_importable(Benchmark("no_such_task", "acc"))
