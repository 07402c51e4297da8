"""The page and the curves of a sweep that goes on."""

import io
import json
import re
import time

import pytest
from rich.console import Console

from jaxvae.data import Dataset
from jaxvae.study import Study, outputs
from tests.classic import classic

RUNS = [classic("linear", d, hidden=(8,), batch_size=20, epochs=2) for d in (2, 3)]


@pytest.fixture
def study(tmp_path, small):
    few = Dataset(
        "small", small.train_images[:40], small.train_labels[:40], small.test_images[:20], small.test_labels[:20]
    )
    study = Study(tmp_path / "sweep", RUNS, few)
    study.console = Console(file=io.StringIO(), width=200)
    study.outputs.console = study.console
    return study


def material(study) -> dict:
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.mark.slow
def test_runs_that_have_ended_are_shown_while_others_are_trained(study, monkeypatch):
    monkeypatch.setattr(outputs, "INTERVAL", 0.0)
    monkeypatch.setattr(outputs, "SHARE", 1e9)
    study.train("loop")
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    assert re.search(r"At \d\d:\d\d, 1 of 2 runs had ended, after 3 of 4 epochs", page)
    assert material(study)["underWay"] is True
    assert [model["name"] for model in material(study)["explorer"]["runs"]] == [RUNS[0].name]
    assert [path.name for path in (study.folder / "figures").iterdir()] == ["curves.png"]
    assert not (study.folder / "sweep.json").exists()  # which says that a sweep has ended
    said = study.console.file.getvalue()
    assert said.count(f"to look at: {study.folder / 'report.html'}") == 1
    study.write(1.0)
    assert "This sweep goes on" not in (study.folder / "report.html").read_text(encoding="utf-8")
    assert material(study)["underWay"] is False
    assert len(material(study)["explorer"]["runs"]) == 2


@pytest.mark.slow
def test_a_sweep_that_is_continued_shows_what_had_ended_before(study, monkeypatch):
    monkeypatch.setattr(outputs, "INTERVAL", 0.0)
    Study(study.folder, RUNS[:1], study.dataset).train("loop", quiet=True)
    (study.folder / "claims.json").write_text("of the runs before, and not read", encoding="utf-8")
    study.train("loop", quiet=True)
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    assert "1 of 2 runs had ended" in page
    assert "after 2 of 4 epochs" in page  # before the second run's first one: later pages would cost too much time


@pytest.mark.slow
def test_pages_on_the_way_are_rare(study, monkeypatch):
    """Half a minute apart, and fifty times what one takes."""
    began = time.perf_counter()
    study.train("loop", quiet=True)
    assert not (study.folder / "report.html").exists()
    assert study.outputs.due >= began + 30
    monkeypatch.setattr(outputs, "INTERVAL", 0.0)
    took = []
    write = outputs.report.write
    monkeypatch.setattr(outputs.report, "write", lambda *args: took.append(time.sleep(0.2)) or write(*args))
    longer = [classic("linear", d, hidden=(8,), batch_size=20, epochs=3) for d in (2, 3)]
    again = Study(study.folder, longer, study.dataset)
    again.train("loop", quiet=True)
    assert len(took) == 1
    assert again.outputs.due >= time.perf_counter() + 0.2 / 0.02 - 5
