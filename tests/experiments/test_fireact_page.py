"""FireAct's page says what is there, its examples run, and the notebook colours what is learned."""

import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
import tiny_tokenizers
from fireact_run import trajectory
from pages import dead_links, filled_without_records, names_after_blocks

from october import catalogue, configuration
from october.agents import Action, Step, finished
from october.agents.fireact import supervised_examples
from october.errors import OctoberError
from october.experiments.fireact._agents import AGENT, Agent
from october.experiments.fireact._notebook import fullest_student, labels_html, search_of, trajectory_html
from october.language_models import ModelHandle
from october.reporting.published import published_of


@pytest.fixture(scope="module")
def page(root):
    return (root / "experiments/fireact/README.md").read_text()


def test_every_table_that_runs_here_has_its_place_on_the_page(page):
    published = published_of("fireact")
    claimed = {f"fireact/{claim.table}" for claim in published.claims}
    run = {table.experiment for table in published.tables if table.status == "run"}
    assert run == claimed
    assert set(re.findall(r"<!-- table:(\S+):start -->", page)) == run | {"fireact/attempts"}  # not the paper's
    assert "<!-- claims:fireact:start -->" in page
    assert "<!-- published:fireact:start -->" in page


def test_everything_that_is_named_exists(page):
    named = set(re.findall(r"experiment=(fireact/\w+)", page))
    named |= {table.experiment for table in published_of("fireact").tables if table.experiment}
    assert named <= set(catalogue.choices("experiment"))
    for group in ("data", "teaching", "model"):
        names = set(re.findall(rf"\b{group}=(\w+)", page)) - {"NAME"}
        assert names
        assert names <= set(catalogue.choices(group))


@pytest.mark.usefixtures("what_a_reader_has")
@pytest.mark.parametrize("teaching", ["released", "prompted"])
@pytest.mark.parametrize("table", ["finetuning", "multi_method", "scaling"])
def test_who_teaches_can_be_chosen(table, teaching):
    chosen = [f"experiment=fireact/{table}", f"teaching={teaching}"]
    configuration.check_command_line(chosen, multirun=False)
    with pytest.raises(OctoberError, match=r"^teaching\.depth: \w+Teaching takes no such argument"):
        configuration.check_command_line([*chosen, "+teaching.depth=1"], multirun=False)


@pytest.mark.usefixtures("what_a_reader_has")
def test_a_key_that_a_task_does_not_take_is_named():
    chosen = ["experiment=fireact/multi_task", "teaching@tasks.bridge.teaching=released"]
    with pytest.raises(
        OctoberError, match=r"^tasks\.bridge\.teaching\.num_trajectories: ReleasedTeaching takes no such"
    ):
        configuration.check_command_line(chosen, multirun=False)


def test_the_generated_parts_can_be_filled(page, tmp_path):
    filled = filled_without_records("fireact", page, tmp_path)
    assert filled.count("Not recorded yet: `october experiment=fireact/") == page.count("<!-- table:") / 2


def test_links_lead_somewhere(root, page):
    assert dead_links(page, root / "experiments/fireact") == []


@pytest.mark.gemma
def test_the_examples_run_one_after_the_other(page):
    names = names_after_blocks(page, 3)
    assert [each.reward for each in names["kept"]] == [1.0] * len(names["kept"])
    assert 1 <= len(names["made"].steps) <= 2
    assert names["made"].cost.model_calls >= len(names["made"].steps)
    assert len(names["trained"].losses) == 2
    assert np.isfinite(names["trained"].losses).all()
    assert names["after"].question == names["made"].question
    assert names["after"].cost.prompt_tokens < names["made"].cost.prompt_tokens


def test_what_is_learned_is_coloured_and_nothing_else():
    tokenizer = tiny_tokenizers.byte_level()
    (example,) = supervised_examples(tokenizer, [trajectory("Rome & <b>", "Italy")]).examples
    shown = labels_html(tokenizer, example)
    assert re.findall(r'<span style="color:#0072B2;font-weight:bold">(.*?)</span>', shown, re.DOTALL) == [
        " I need the country of Rome &amp; &lt;b&gt;.\nAction: search[Rome &amp; &lt;b&gt; 0]\nObservation:",
        " It is Italy.\nAction: finish[Italy]&lt;|endoftext|&gt;",
    ]
    plain = re.sub(r"</?(?:span|pre)[^>]*>", "", shown)
    assert plain.startswith("### Instruction:\nWhere is Rome &amp; &lt;b&gt;?\n\n### Response:\nThought: I need")


def test_a_trajectory_is_shown_step_by_step():
    steps = [Step("hm <", Action("search", "a & b"), "<script>"), Step("so", Action("finish", "x"))]
    shown = trajectory_html(finished("1", "Who?", "react", steps))
    assert "<p><b>Who?</b></p>" in shown
    assert "1. hm &lt;<br>" in shown
    assert "search[a &amp; b]</b><br>" in shown
    assert "&lt;script&gt;" in shown
    assert shown.endswith("<p>answer: <b>x</b> (1 search)</p>")
    assert "no answer (0 searches)" in trajectory_html(finished("1", "Who?", "react", [Step("hm")]))


def test_the_student_of_the_most_trajectories_is_found(own_home):
    model = ModelHandle(name="one", path="anywhere")
    assert fullest_student(model) is None
    for number, (name, count) in enumerate((("one", 80), ("one", 300), ("one", 300), ("one", 40), ("other", 900))):
        path = own_home / f"trained/{number}/about.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"what": AGENT, "model": name, "trajectories": count}))
        os.utime(path, (number, number))
    assert fullest_student(model).folder == own_home / "trained/2/model"


def test_the_notebook_searches_as_students_learned_to():
    model = ModelHandle(name="one", path="anywhere")
    search = search_of(Agent(model))
    assert (search.encoder.name, search.snippets, search.characters) == ("minilm", 2, 1200)
    assert search_of(None) == replace(search, encoder=None)
