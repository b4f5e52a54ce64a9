import json

import pytest
import tiny_tokenizers
from hypothesis import given
from hypothesis import strategies as st
from one_line import one_line

from october.attention.mistral import (
    Conversation,
    Message,
    chat_prompt,
    conversation_from,
    load_conversations,
    training_example,
)
from october.language_models.tokens import PromptTokenizer

SAYINGS = st.text("abc .?\n日é'", min_size=1, max_size=12).filter(str.strip)


def conversation(*contents, system=None):
    roles = ["user", "assistant"] * len(contents)
    messages = [Message(role, content) for role, content in zip(roles, contents, strict=False)]
    return Conversation(tuple([Message("system", system)] * (system is not None) + messages))


@pytest.fixture(scope="module", params=["sentencepiece_like", "byte_level"])
def tokenizer(request):
    return getattr(tiny_tokenizers, request.param)()


def test_the_format():
    """The format as Mistral 7B Instruct was trained with, turn by turn, written out by hand."""
    assert chat_prompt(conversation("Hi")) == "[INST] Hi [/INST]"
    assert chat_prompt(conversation("Hi", "Hello.", "Why?")) == "[INST] Hi [/INST] Hello.</s>[INST] Why? [/INST]"
    guarded = conversation("Hi", "Hello.", "Why?", system="Be kind.")
    assert chat_prompt(guarded) == "[INST] Be kind.\n\nHi [/INST] Hello.</s>[INST] Why? [/INST]"
    assert chat_prompt(conversation("Hi", "So", "x"), end="<eos>") == "[INST] Hi [/INST] So<eos>[INST] x [/INST]"


@given(turns=st.lists(st.tuples(SAYINGS, SAYINGS), min_size=1, max_size=3), system=st.none() | SAYINGS)
def test_answers_and_their_ends_are_learned_and_nothing_else(tokenizer, turns, system):
    contents = [content for turn in turns for content in turn]
    token_ids, labels = training_example(tokenizer, conversation(*contents, system=system))
    assert all(label in (-100, token) for token, label in zip(token_ids, labels, strict=True))
    if tokenizer.bos_token_id is not None:
        assert token_ids[0] == tokenizer.bos_token_id
        assert token_ids.count(tokenizer.bos_token_id) == 1
    learned, runs = [label != -100 for label in labels], []
    for place, inside in enumerate(learned):
        if inside and not learned[place - 1]:
            runs.append([])
        if inside:
            runs[-1].append(token_ids[place])
    assert [run[-1] for run in runs] == [tokenizer.eos_token_id] * len(turns)
    answers = [tokenizer.decode(run[:-1]) for run in runs]
    assert answers == [f" {content}" for content in contents[1::2]]


@given(contents=st.lists(SAYINGS, min_size=4, max_size=4), system=st.none() | SAYINGS)
def test_questions_are_read_as_they_were_learned(tokenizer, contents, system):
    """The tokens of `chat_prompt` begin those of the example, for every answer of the conversation."""
    token_ids, labels = training_example(tokenizer, conversation(*contents, system=system))
    starts = [place for place in range(1, len(labels)) if labels[place] != -100 and labels[place - 1] == -100]
    for turn, start in enumerate(starts):
        prompt = chat_prompt(conversation(*contents[: 2 * turn + 1], system=system), end=tokenizer.eos_token)
        (asked,) = PromptTokenizer(tokenizer).encode([prompt])
        assert asked == token_ids[:start]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("Hi", "messages must be a list of objects"),
        ([], "there is no message of a user"),
        ([{"role": "user"}], "message 1 must be an object with role and content, both texts"),
        ([{"role": "user", "content": 3}], "message 1 must be an object with role and content"),
        ([{"role": "tool", "content": "x"}], "message 1 has role=tool, must be one of system, user, assistant"),
        ([{"role": "assistant", "content": "x"}], "message 1 has role=assistant, must be user here"),
        ([{"role": "system", "content": "x"}], "there is no message of a user"),
        ([{"role": "user", "content": "x"}] * 2, "message 2 has role=user, must be assistant here"),
        (
            [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}],
            "message 2 has role=system, must be assistant here",
        ),
        ([{"role": "user", "content": " \n"}], "message 1 is empty"),
    ],
)
def test_what_is_no_conversation_is_named(messages, words):
    with one_line(f"^file line 4: {words}"):
        conversation_from(messages, "file line 4")


def test_only_the_template_writes_its_own_strings():
    tokenizer = tiny_tokenizers.sentencepiece_like()
    for text in ("a [/INST] b", "[INST]", "a</s>", "a<s>", "<unk>"):
        with one_line(r"conversation: message 3 holds \S+, which only the template may write"):
            chat_prompt(conversation("Hi", "Hello", text))
    with one_line("message 1 holds <bos>"):
        chat_prompt(conversation("a<bos>"), special_tokens=["<bos>"])
    with one_line("message 2 holds <pad>"):
        training_example(tokenizer, conversation("Hi", "a<pad>"))
    with one_line("the last message must be a user's"):
        chat_prompt(conversation("Hi", "Hello"))
    with one_line("the last message must be the assistant's"):
        training_example(tokenizer, conversation("Hi"))
    tokenizer.eos_token = None
    with one_line("the tokenizer has no end token"):
        training_example(tokenizer, conversation("Hi", "Hello"))


ROWS = [
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "日本"}], "id": 1},
    {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}], "id": 2},
]


def test_a_local_file_and_a_folder_hold_the_same(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    file = folder / "train.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n\n", encoding="utf-8")
    expected = [conversation("Hi", "日本").messages, conversation("Hi", system="S").messages]
    assert [found.messages for found in load_conversations(file)] == expected
    assert [found.messages for found in load_conversations(folder)] == expected
    monkeypatch.setenv("HOME", str(file.parent))
    assert [found.messages for found in load_conversations(f"~/{file.name}")] == expected
    assert load_conversations(file)[1].source == f"{file} line 2"
    assert load_conversations(folder)[1].source == f"{folder} split train row 1"
    with one_line(r"set: not a file here, and not a data set that can be loaded \("):
        load_conversations(folder, split="nowhere")


def test_a_set_of_the_hub_is_asked_for_by_name_configuration_split_and_revision(monkeypatch):
    import datasets

    asked = []

    def load_dataset(*names, **more):
        asked.append((names, more))
        return ROWS

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = load_conversations("owner/set", split="train_sft", config="en", revision="v1")
    assert asked == [(("owner/set", "en"), {"split": "train_sft", "revision": "v1"})]
    assert [each.messages for each in found] == [
        conversation("Hi", "日本").messages,
        conversation("Hi", system="S").messages,
    ]
    assert found[1].source == "owner/set split train_sft row 1"
    load_conversations("owner/set")
    assert asked[1] == (("owner/set", None), {"split": "train", "revision": None})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("\n{", r"line 2: not JSON \("),
        ('{"messages": []}\n[1]', "line 1: there is no message of a user"),
        ('["messages"]', "line 1: must be a JSON object, this is "),
        ('{"text": "x", "n": 1}', "line 1: has no messages; its fields are text, n"),
        (" \n", "there is no conversation in it"),
        (b"\xff", r"cannot be read \(it is not UTF-8\)"),
        (None, "no such file or folder"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_its_line(content, words, tmp_path):
    file = tmp_path / "conversations.jsonl"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with one_line(f"conversations.jsonl:? {words}"):
        load_conversations(file)
