import pytest
import torch
from oracle_model import OracleModel
from recomp_run import seq2seq_student

from october.errors import OctoberError
from october.retrieval.recomp import AbstractiveCompressor, CausalWriter, Seq2SeqWriter, summary_input, summary_inputs

QUERIES = ["Where is Rome?", "How long is the Tiber?", "What?"]


def test_the_input_is_that_of_the_released_checkpoints(passages, llama):
    asked = []

    def answer(prompt):
        asked.append(prompt)
        return " A summary.\nQuestion: more"

    model = OracleModel(lambda prompt: answer(prompt).partition("\n")[0])
    compressor = AbstractiveCompressor(CausalWriter(model, llama.tokenizer))
    assert compressor.compress(QUERIES[0], passages[:2]) == "A summary."
    assert asked == [f"Question: Where is Rome?\n Document: {passages[0].text}\n{passages[1].text}\n Summary:"]
    titled = AbstractiveCompressor(CausalWriter(model, llama.tokenizer), with_titles=True)
    titled.compress(QUERIES[0], passages[:1])
    assert asked[-1] == summary_input(QUERIES[0], f"Rome: {passages[0].text}")


def test_a_writer_that_ends_at_once_gives_an_empty_summary(passages, llama):
    compressor = AbstractiveCompressor(CausalWriter(OracleModel(lambda prompt: ""), llama.tokenizer))
    assert compressor.compress_many(QUERIES, [passages] * 3) == ["", "", ""]


def test_documents_lose_their_last_words_and_never_the_question(llama):
    tokenizer = llama.tokenizer
    text = "The tower is in the old town, near the river. " * 30

    def length(text):
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    for limit in (40, 41, 55, 80, 200):
        (found,) = summary_inputs(tokenizer, ["Where is Rome?"], [text], limit)
        assert length(found) <= limit
        assert length(found) >= limit - 4
        kept = found.removeprefix("Question: Where is Rome?\n Document: ").removesuffix("\n Summary:")
        assert text.startswith(kept)
    (whole,) = summary_inputs(tokenizer, ["Where is Rome?"], [text], 10_000)
    assert whole == summary_input("Where is Rome?", text)
    with pytest.raises(OctoberError, match=r"'Where is Rome\?' has \d+ tokens with its frame: max_input_tokens=9"):
        summary_inputs(tokenizer, ["Where is Rome?"], [text], 9)


@pytest.mark.parametrize("max_batch_tokens", [1, 150, 100_000])
def test_an_encoder_decoder_writes_as_one_input_at_a_time(passages, max_batch_tokens):
    model, tokenizer = seq2seq_student(3.0)  # writes something else after each input
    writer = Seq2SeqWriter(model, tokenizer, max_batch_tokens=max_batch_tokens)
    compressor = AbstractiveCompressor(writer, max_new_tokens=9)
    documents = [passages[:1], passages[:2], passages[1:2]]
    found = compressor.compress_many(QUERIES, documents)
    assert len(set(found)) > 1
    for query, retrieved, summary in zip(QUERIES, documents, found, strict=True):
        text = f"Question: {query}\n Document: " + "\n".join(one.text for one in retrieved) + "\n Summary: "
        assert summary == greedy_token_by_token(model, tokenizer, text, 9).strip()


@torch.inference_mode()
def greedy_token_by_token(model, tokenizer, text, count):
    input_ids, written = torch.tensor([tokenizer(text)["input_ids"]]), [0]
    for _ in range(count):
        logits = model(input_ids=input_ids, decoder_input_ids=torch.tensor([written])).logits[0, -1]
        written.append(int(logits.argmax()))
        if written[-1] == tokenizer.eos_token_id:
            break
    return tokenizer.decode(written, skip_special_tokens=True)


def test_an_encoder_decoder_is_loaded_from_a_folder(passages, tmp_path):
    model, tokenizer = seq2seq_student(3.0)
    model.save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    found = Seq2SeqWriter.load(str(tmp_path / "t5"), device="cpu")
    assert found.write(["What?"], 6) == Seq2SeqWriter(model, tokenizer).write(["What?"], 6)
    assert found.write([], 6) == []
    (tmp_path / "t5/model.safetensors").write_bytes(b"broken")
    with pytest.raises(OctoberError, match="cannot be loaded"):
        Seq2SeqWriter.load(str(tmp_path / "t5"))
    with pytest.raises(OctoberError, match="no such folder"):
        Seq2SeqWriter.load("/nowhere/at/all")


RELEASED = {
    "natural_questions": "fangyuan/nq_abstractive_compressor",
    "triviaqa": "fangyuan/tqa_abstractive_compressor",
    "hotpotqa": "fangyuan/hotpotqa_abstractive",  # without the ending of the other two
}


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_checkpoint_is_read_from_its_repository(passages, add_to_hub_cache, tmp_path, name):
    model, tokenizer = seq2seq_student(3.0)
    for part in (model.config, tokenizer):
        part.save_pretrained(tmp_path / "t5")
    torch.save(model.state_dict(), tmp_path / "t5/pytorch_model.bin")  # as the authors uploaded theirs
    add_to_hub_cache(RELEASED[name], tmp_path / "t5")
    compressor = AbstractiveCompressor(Seq2SeqWriter.load(name, device="cpu"), max_new_tokens=9)
    ours = AbstractiveCompressor(Seq2SeqWriter(model, tokenizer), max_new_tokens=9)
    found = compressor.compress_many(QUERIES, [passages[:1], passages[:2], passages[1:2]])
    assert found == ours.compress_many(QUERIES, [passages[:1], passages[:2], passages[1:2]])
    assert len(set(found)) > 1
    for other in set(RELEASED) - {name}:
        with pytest.raises(OctoberError, match=f"model {RELEASED[other]} is not in the hub's cache"):
            Seq2SeqWriter.load(other)


def test_bad_arguments_are_named(llama):
    writer = CausalWriter(OracleModel(), llama.tokenizer)
    for name in ("max_new_tokens", "max_input_tokens"):
        with pytest.raises(OctoberError, match=f"{name}=0: must be at least 1"):
            AbstractiveCompressor(writer, **{name: 0})
    with pytest.raises(OctoberError, match="max_batch_tokens=0: must be at least 1"):
        Seq2SeqWriter(*seq2seq_student(), max_batch_tokens=0)
