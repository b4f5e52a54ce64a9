import pytest

from october.agents import Action, PassageSearch, SearchTool, ToolBox, parse_trajectory, render_trajectory
from october.agents.fireact import ScriptedTeacher, method_of, select_for_training
from october.data import Document, Question
from october.errors import OctoberError
from october.retrieval import open_sparse_retriever

pytestmark = pytest.mark.usefixtures("own_home")

TEXTS = {
    "city:1": ("Lowtown", "Lowtown lies in Fenland. It has 41,000 inhabitants."),
    "city:2": ("Hightown", "There live 52,000 people. Hightown lies in Hillland."),
    "country:F": ("Fenland", "The currency, or money, is the Reed (REE). Fenland lies in Europe."),
    "lead:w": ("The Ferry (novel)", "The Ferry is a novel by Ada Marsh. It was much read."),
    "lead:a": ("Ada Marsh", "Ada Marsh (1815–1852). She wrote novels about rivers."),
    "lead:x": ("Country", "The term country names a land. The year of birth is a date."),
}
DOCUMENTS = [Document(name, title, text, "made up") for name, (title, text) in TEXTS.items()]


def question(name, text, answers, kind, *sentences):
    return Question(name, text, answers, kind, "train", tuple(name.split(":", 1)[1].split("+")), sentences)


CURRENCY = question(
    "bridge_currency:city:1+country:F",
    "What money has the country of Lowtown?",
    ("Reed", "REE"),
    "bridge",
    "Lowtown lies in Fenland.",
    "The currency, or money, is the Reed (REE).",
)
BORN = question(
    "bridge_birth_year:lead:w+lead:a",
    "When was the creator of The Ferry born?",
    ("1815",),
    "bridge",
    "The Ferry is a novel by Ada Marsh.",
    "Ada Marsh (1815–1852).",
)
LARGER = question(
    "comparison_population:city:1+city:2",
    "Which has more inhabitants, Lowtown or Hightown?",
    ("Hightown",),
    "comparison",
    "It has 41,000 inhabitants.",
    "There live 52,000 people.",
)
THERE = question("yes_no_country:city:1", "Is Lowtown in Fenland?", ("yes",), "yes_no", "Lowtown lies in Fenland.")
QUESTIONS = [CURRENCY, BORN, LARGER, THERE]


class Corpus:
    name = "towns"

    def fingerprint(self):
        return "towns"

    def documents(self):
        return iter(DOCUMENTS)


@pytest.fixture
def search(tmp_path):
    return SearchTool(PassageSearch(open_sparse_retriever(Corpus(), cache_root=tmp_path, progress=False)))


@pytest.fixture
def teacher(search):
    return ScriptedTeacher(ToolBox([search]), DOCUMENTS)


def test_a_trajectory_of_two_real_searches(teacher):
    (made,) = teacher.teach([CURRENCY]).trajectories
    assert render_trajectory(made.question, made.steps) == (
        "Question: What money has the country of Lowtown?\n"
        "Thought: First I need the country of Lowtown.\n"
        "Action: search[the country of Lowtown]\n"
        "Observation: Lowtown lies in Fenland. It has 41,000 inhabitants.\n"
        "Thought: The country of Lowtown is Fenland. So I look up Fenland.\n"
        "Action: search[What is known of Fenland?]\n"
        "Observation: Fenland: The currency, or money, is the Reed (REE). Fenland lies in Europe.\n"
        "Thought: What money has the country of Lowtown? It is Reed. So I have the answer.\n"
        "Action: finish[Reed]"
    )
    assert (made.id, made.reward, made.method) == (CURRENCY.id, 1.0, "react")


@pytest.mark.parametrize("method", ["react", "reflexion", "cot"])
def test_all_kinds_are_answered_and_show_their_method(teacher, search, method):
    taught = teacher.teach(QUESTIONS, method)
    assert [made.reward for made in taught.trajectories] == [1.0] * 4
    assert taught.given_up == []
    for made in taught.trajectories:
        assert made.method == method == method_of(made.steps)
        assert parse_trajectory(render_trajectory(made.question, made.steps)) == (made.question, made.steps)
        for step in made.steps[:-1]:  # observations are what the search says, no more and no less
            assert step.action.name == "search"
            assert step.observation == (search.engine.snippets(step.action.argument, 1) or ["None"])[0]
        assert (made.num_searches == 0) == (method == "cot")


def test_what_is_concluded_was_read(teacher):
    born, larger = teacher.teach([BORN, LARGER]).trajectories
    assert "1815" in born.steps[-2].observation
    assert any("Ada Marsh" in step.observation for step in born.steps[:-2])
    assert "41,000" in larger.steps[0].observation
    assert "52,000" in larger.steps[1].observation
    assert larger.steps[-1].thought.startswith("The population of Hightown is 52,000")


def test_reflexion_begins_with_a_query_that_fails(teacher):
    (made,) = teacher.teach([CURRENCY], "reflexion").trajectories
    (plain,) = teacher.teach([CURRENCY]).trajectories
    assert made.steps[0].action == Action("search", "country")
    assert "Fenland" not in made.steps[0].observation
    assert made.steps[1].thought.endswith("I search for Lowtown by name.")
    assert [step.action for step in made.steps[1:]] == [step.action for step in plain.steps]


class Mute:
    name, usage = "search", "search[query]"

    def __init__(self):
        self.asked = []

    def run(self, call):
        self.asked.append(call.argument)


def test_what_searches_do_not_find_is_given_up_and_told():
    mute = Mute()
    taught = ScriptedTeacher(ToolBox([mute]), DOCUMENTS).teach([CURRENCY, THERE])
    assert taught.trajectories == []
    assert [given.reason for given in taught.given_up] == ["no search finds the country of Lowtown"] * 2
    assert mute.asked == ["the country of Lowtown", "Lowtown", "Lowtown country", "Lowtown"]


def test_questions_that_it_cannot_teach_are_told(teacher):
    single = Question("capital:x", "What is it?", ("a",), "capital", "train", ("x",), ("a",))
    lost = question("bridge_capital:city:9+country:F", "What?", ("a",), "bridge", "a", "b")
    unnamed = Question(**{**vars(CURRENCY), "text": "What money do they have there?"})
    uneven = Question(**{**vars(CURRENCY), "gold_sentences": ("a",)})
    scattered = Question(**{**vars(CURRENCY), "text": "Lowtown lies in a country with which money?"})
    reasons = [given.reason for given in teacher.teach([single, lost, unnamed, uneven, scattered]).given_up]
    assert reasons == [
        "questions of the kind capital are not taught",
        "the corpus has no document city:9",
        "the question does not name what it is about",
        "its sentences are not one for each document",
        "no phrase of the question stands for what is to be found first",
    ]
    with pytest.raises(OctoberError, match="tools=: the teacher needs one named search"):
        ScriptedTeacher(ToolBox([]), DOCUMENTS)


def test_only_what_is_correct_new_and_no_leak_is_kept(teacher):
    made = teacher.teach(QUESTIONS).trajectories
    wrong = [type(made[0])(**{**vars(made[0]), "id": "wrong", "reward": 0.0})]
    unjudged = [type(made[0])(**{**vars(made[0]), "id": "unjudged", "reward": None})]
    unfinished = [type(made[0])(**{**vars(made[0]), "id": "unfinished", "answer": None})]
    again = [type(made[0])(**{**vars(made[0]), "id": "again", "question": made[0].question.upper() + " "})]
    cot = teacher.teach([CURRENCY], "cot").trajectories
    evaluated = [
        Question("other", "WHICH has more inhabitants: Lowtown or Hightown", ("x",), "comparison", "test"),
        Question("another", "Who?", ("x",), "bridge", "test", gold_documents=("lead:a",)),
    ]
    selection = select_for_training([*wrong, *unjudged, *unfinished, *made, *again, *cot], evaluated, QUESTIONS)
    assert selection.kept == [made[0], made[3], *cot]
    assert selection.dropped == {
        "wrong": ["wrong", "unjudged"],
        "unfinished": ["unfinished"],
        "duplicate": ["again"],
        "leak": [BORN.id, LARGER.id],
    }
    assert selection.counts == {"wrong": 2, "unfinished": 1, "duplicate": 1, "leak": 2}
    assert select_for_training(made).kept == made
