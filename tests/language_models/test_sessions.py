import pytest

from october.errors import OctoberError


def test_a_session_continues_its_own_text(llama) -> None:
    sessions = [llama.start("The capital"), llama.start("x")]
    first = llama.step(sessions, [" of", " river"], max_new_tokens=4)
    assert [s.text for s in sessions] == [f"The capital of{first[0].text}", f"x river{first[1].text}"]
    second = llama.step(sessions[::-1], [" is", " France"], max_new_tokens=4)
    expected = llama.generate([f"x river{first[1].text} is", f"The capital of{first[0].text} France"], max_new_tokens=4)
    assert [c.text for c in second] == [c.text for c in expected]


def test_a_stop_string_stays_out_of_the_session(llama) -> None:
    (free,) = llama.generate(["The capital"], max_new_tokens=10)
    stop = free.text[4:6]
    session = llama.start("The")
    llama.step([session], [" capital"], max_new_tokens=10, stop=[stop])
    assert session.text == "The capital" + free.text[: free.text.find(stop)]


def test_each_session_needs_its_text(llama) -> None:
    with pytest.raises(OctoberError, match="1 sessions and 2 appended_texts"):
        llama.step([llama.start("x")], ["a", "b"], max_new_tokens=1)
