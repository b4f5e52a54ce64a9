import pytest

from october.errors import OctoberError
from october.probing import extract
from october.probing.space_time import PROMPTS, prompt_named


def test_the_wordings():
    assert prompt_named("empty", "place").fill(["Rome"]) == (["Rome"], [(0, 4)])
    assert prompt_named("empty_all_caps", "place").fill(["São Paulo"])[0] == ["SÃO PAULO"]
    assert prompt_named("coords", "place").fill(["Rome"])[0] == ["The latitude and longitude of Rome"]
    assert prompt_named("when_all_caps", "time").fill(["Ada"])[0] == ["The year of the death of ADA"]
    assert prompt_named("release", "time").fill(["Help!"])[0] == ["The year that brought Help!"]
    assert prompt_named("when_wo_period", "time").fill(["Rain falls."])[0] == ["From the newspaper: Rain falls"]
    assert prompt_named("when_w_period", "time").fill(["Rain falls."])[0] == ["From the newspaper: Rain falls."]
    assert prompt_named("random", "time").num_random_tokens == 10


@pytest.mark.parametrize("kind", ["place", "time"])
def test_spans_cut_out_the_name_and_sentences_are_read_at_their_end(kind):
    for name, prompt in PROMPTS[kind].items():
        assert prompt.name == name
        texts, spans = prompt.fill(["New York", "Rome"])
        if prompt.after:
            assert spans is None
            continue
        cut = [text[start:end] for text, (start, end) in zip(texts, spans, strict=True)]
        assert [word.lower() for word in cut] == ["new york", "rome"]


def test_every_prompt_can_be_extracted(make, llama, tokenizer, tmp_path):
    for kind, prompts in PROMPTS.items():
        for name, prompt in prompts.items():
            texts, spans = prompt.fill(["Rome", "Oslo"])
            folder = tmp_path / kind / name
            random_tokens = prompt.num_random_tokens
            found = extract(
                llama, tokenizer, texts, folder=folder, entity_spans=spans, random_tokens=random_tokens, progress=False
            )
            assert found.layer(2).shape == (2, 16)


def test_unknown_names_are_told_what_is_allowed():
    with pytest.raises(OctoberError, match="prompt='release' does not exist for a place; allowed are empty, "):
        prompt_named("release", "place")
    with pytest.raises(OctoberError, match="kind='planet' has no prompts; allowed are place, time"):
        prompt_named("empty", "planet")
