"""RA-DIT's page says what is there, its examples run, and what the notebook draws comes from what was computed."""

import json
import re

import numpy as np
import pytest
from pages import dead_links, filled_without_records, names_after_blocks

from october import catalogue
from october.experiments.ra_dit._notebook import mixing, newest, passages_html, weighed, weights_of
from october.experiments.ra_dit._retriever_tuning import RETRIEVER
from october.reporting.published import published_of
from october.retrieval import Passage, Retrieved
from october.retrieval.ra_dit import Mixed

PASSAGES = [Passage(f"{name}#0", f"{name} <b>", f"{name} is old & far.", "test") for name in ("Rome", "Oslo", "Lima")]


@pytest.fixture(scope="module")
def page(root):
    return (root / "experiments/ra_dit/README.md").read_text()


def test_every_table_that_runs_here_has_its_place_on_the_page(page):
    published = published_of("ra_dit")
    claimed = {f"ra_dit/{claim.table}" for claim in published.claims}
    run = {table.experiment for table in published.tables if table.status == "run"}
    assert set(re.findall(r"<!-- table:(\S+):start -->", page)) == run | claimed
    assert "<!-- claims:ra_dit:start -->" in page
    assert "<!-- published:ra_dit:start -->" in page


def test_every_experiment_that_is_named_exists(page):
    named = set(re.findall(r"experiment=(ra_dit/\w+)", page))
    named |= {table.experiment for table in published_of("ra_dit").tables if table.experiment}
    assert named
    assert named <= set(catalogue.choices("experiment"))


def test_every_task_that_is_named_has_its_data(page):
    (tasks,) = re.findall(r"Ten tasks go by `data`: (.*?), each", page)
    names = re.findall(r"`(\w+)`", tasks)
    assert len(names) == 10
    assert set(names) <= set(catalogue.choices("data"))


def test_the_generated_parts_can_be_filled(page, tmp_path):
    filled = filled_without_records("ra_dit", page, tmp_path)
    assert filled.count("Not recorded yet: `october experiment=ra_dit/") == 7
    assert filled.count("Not measured yet: `make benchmarks NAME=ra_dit` does it.") == 1


def test_links_lead_somewhere(root, page):
    assert dead_links(page, root / "experiments/ra_dit") == []


@pytest.mark.gemma
def test_the_examples_run_one_after_the_other(page):
    names = names_after_blocks(page, 3)
    mixed = names["mixed"]
    by_hand = np.log(np.exp(np.array(mixed.by_prompt)).T @ np.exp(np.array(mixed.log_weights)))
    np.testing.assert_allclose(mixed.log_probabilities, by_hand, rtol=1e-9)
    assert mixed.text == mixed.candidates[int(by_hand.argmax())]
    assert len(names["tuned"].losses) == 2
    assert np.isfinite(names["tuned"].losses).all()
    assert len(names["result"].losses) == 1
    assert len(names["again"]) == 2


def hits(scores, *order):
    return [Retrieved(PASSAGES[place], score) for place, score in zip(order, scores, strict=True)]


def test_weights_are_a_softmax_and_a_passage_that_was_not_found_has_none():
    assert weights_of([], 1.0) == {}
    before, after = hits([0.5, 0.3], 0, 1), hits([0.6, 0.1], 2, 0)
    rows = weighed(before, after, 0.1)
    expected = np.exp([5, 3]) / np.exp([5, 3]).sum()
    assert [row.passage.id for row in rows] == ["Lima#0", "Rome#0", "Oslo#0"]
    assert [row.before for row in rows] == pytest.approx([0, *expected])
    assert [row.after for row in rows] == pytest.approx([*np.exp([6, 1]) / np.exp([6, 1]).sum(), 0])
    shown = passages_html(rows)
    assert "<b>Rome &lt;b&gt;</b>" in shown
    assert "Oslo is old &amp; far." in shown
    assert f"width:{120 * expected[0]:.0f}px" in shown


def test_bars_are_weighed_probabilities_and_add_up_to_the_mixture():
    own, weights = np.array([[0.5, 0.25], [0.125, 0.75]]), np.array([0.75, 0.25])
    mixture = weights @ own
    mixed = Mixed(
        text="Rome",
        log_probability=float(np.log(mixture[0])),
        candidates=("Rome", "Oslo"),
        log_probabilities=tuple(np.log(mixture)),
        log_weights=tuple(np.log(weights)),
        by_prompt=tuple(map(tuple, np.log(own))),
        written=("Rome", "Oslo"),
    )
    (axes,) = mixing(mixed, ["a", "b"]).axes
    lengths = np.array([[bar.get_width() for bar in bars] for bars in axes.containers]).T
    np.testing.assert_allclose(lengths[:2], own * weights[:, None])
    np.testing.assert_allclose(lengths[2], lengths[:2].sum(axis=0))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a (0.75)", "b (0.25)", "mixture"]


def test_the_newest_tuned_model_is_found(own_home):
    assert newest(RETRIEVER, encoder="minilm") is None
    path = own_home / "trained/1/about.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"what": RETRIEVER, "encoder": "minilm", "losses": [0.5]}))
    assert newest(RETRIEVER, encoder="another") is None
    kept = newest(RETRIEVER, encoder="minilm")
    assert kept is not None
    assert kept.folder == own_home / "trained/1/model"
