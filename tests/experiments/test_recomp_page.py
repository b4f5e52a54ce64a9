"""RECOMP's page says what is there, its examples run, and what the notebook draws comes from the texts and records."""

import json
import os
import re

import numpy as np
import pytest
from pages import dead_links, filled_without_records, names_after_blocks

from october.experiments.recomp._compressors import ABSTRACTIVE, EXTRACTIVE
from october.experiments.recomp._notebook import accuracy_by_compression, documents_html, trained_here
from october.reporting import Cell, Record, Row
from october.reporting.published import published_of
from october.reporting.records import Hardware
from october.retrieval import Passage
from october.retrieval.recomp import Candidate, compression_rate, sentence_candidates

PASSAGES = [
    Passage("a#0", "Rome <b>", "Rome is old. It lies on the Tiber & has 3 < 4 hills.  It grew.", "test"),
    Passage("b#0", "Oslo", "Oslo is in Norway.", "test"),
]


@pytest.fixture(scope="module")
def page(root):
    return (root / "experiments/recomp/README.md").read_text()


def test_every_table_that_runs_has_its_place_on_the_page(page):
    published = published_of("recomp")
    named = set(re.findall(r"<!-- table:(\S+):start -->", page))
    assert named == {table.experiment for table in published.tables if table.experiment}
    assert "<!-- claims:recomp:start -->" in page
    assert "<!-- published:recomp:start -->" in page


def test_the_generated_parts_can_be_filled(page, tmp_path):
    filled = filled_without_records("recomp", page, tmp_path)
    assert filled.count("Not recorded yet: `october experiment=recomp/") == 5


def test_links_lead_somewhere(root, page):
    assert dead_links(page, root / "experiments/recomp") == []


@pytest.mark.gemma
def test_the_examples_run_one_after_the_other(page):
    names = names_after_blocks(page, 3)
    sentences = [candidate.text for candidate in sentence_candidates(names["documents"])]
    assert names["summary"] in sentences
    assert "1867" in names["answers"][1].text
    assert names["rate"] == compression_rate(names["model"].load()[1], [names["summary"]], [names["documents"]]) < 0.5
    (judged,) = names["judged"]
    assert judged.candidates[0] == names["summary"]  # the one that the encoder likes best
    assert names["trained"].validation[0] == (0, judged.scores[0])
    assert np.isfinite(names["trained"].losses).all()
    assert names["compressor"].compress(names["question"], names["documents"]) in sentences


def test_chosen_sentences_are_marked_and_everything_is_escaped():
    chosen = [Candidate("It lies on ...", document=0, place=1), Candidate("Oslo is in Norway.", document=1, place=0)]
    shown = documents_html(PASSAGES, chosen)
    assert re.findall(r"<mark>(.*?)</mark>", shown) == [
        "It lies on the Tiber &amp; has 3 &lt; 4 hills.",
        "Oslo is in Norway.",
    ]
    assert "<b>1. Rome &lt;b&gt;</b><br>Rome is old. <mark>" in shown
    assert "</mark>  It grew.</p>" in shown
    assert "<mark>" not in documents_html(PASSAGES, [])


def test_a_trained_compressor_is_found_by_what_is_known_of_it_and_its_examples(own_home):
    selector = {"task": "questions", "encoder": "minilm", "with_empty": False, "loss": "listwise"}
    writer = {"task": "questions", "student": "gemma"}
    assert trained_here(EXTRACTIVE, **selector) is None
    abouts = [
        (EXTRACTIVE, 3, selector),
        (EXTRACTIVE, 30, selector),
        (ABSTRACTIVE, 99, writer),
        (EXTRACTIVE, 30, selector),
        (EXTRACTIVE, 40, selector | {"encoder": "another"}),
        (EXTRACTIVE, 40, selector | {"with_empty": True}),
        (EXTRACTIVE, 40, selector | {"loss": "in_batch"}),
        (EXTRACTIVE, 40, selector | {"task": "texts"}),
        (EXTRACTIVE, 40, {"encoder": "minilm"}),
        (ABSTRACTIVE, 200, writer | {"student": "another"}),
        (ABSTRACTIVE, 200, writer | {"task": "texts"}),
    ]
    for age, (what, training, known) in enumerate(abouts):
        path = own_home / "trained" / str(age) / "about.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"what": what, "training": training, **known}))
        os.utime(path, (1000 + age, 1000 + age))
    assert trained_here(EXTRACTIVE, **selector).folder == own_home / "trained/3/model"
    assert trained_here(ABSTRACTIVE, **writer).folder == own_home / "trained/2/model"


def test_a_dot_for_each_row_that_has_both_numbers():
    percent = {"unit": "%", "n": 9}
    rows = [
        Row(name="no retrieval", cells={"EM": Cell(value=5.0, interval=(2.0, 8.0)), "compression": Cell(value=0.0)}),
        Row(name="extractive RECOMP", cells={"EM": Cell(value=40.0, **percent), "compression": Cell(value=6.5)}),
        Row(name="patterns", cells={"EM": Cell(value=70.0)}),
        Row(name="nothing to divide by", cells={"EM": Cell(value=70.0), "compression": Cell()}),
    ]
    (axes,) = accuracy_by_compression(record(rows)).axes
    dots = [tuple(map(float, line.get_xydata()[0])) for line in axes.lines if line.get_marker() == "o"]
    assert dots == [(0.0, 5.0), (6.5, 40.0)]
    assert [text.get_text() for text in axes.texts] == ["no retrieval", "extractive RECOMP"]
    assert next(tuple(line.get_ydata()) for line in axes.lines if line.get_marker() != "o") == (2.0, 8.0)


def record(rows):
    return Record(
        paper="recomp",
        table="open_qa",
        size="tiny",
        seeds=[0],
        columns=["EM", "compression"],
        rows=rows,
        claims=[],
        config={},
        commit=None,
        clean=False,
        hardware=Hardware(cpu="a CPU", cores=2, threads=2, memory_bytes=1),
        versions={},
        started="2026-01-01T00:00:00Z",
        wall_seconds=1,
        peak_memory_bytes=1,
    )
