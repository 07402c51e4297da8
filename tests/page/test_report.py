"""The page as text: what stands in it, what is left out, and that nothing in it is taken for markup."""

import base64
import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from experiments.report import main
from jaxvae.config import RunConfig
from jaxvae.errors import CheckpointError
from jaxvae.evaluation import METRICS, Column, metric
from jaxvae.page import report, run_table
from jaxvae.results import read_results
from tests.classic import classic
from tests.command_line import ROOT
from tests.reported import CONV, LINEAR, evaluation, large
from tests.results.test_settings import grid, random_outcomes

SECTIONS = ("trained", "claims", "runs", "losses", "reconstructions", "rate-distortion", "explorer", "load")


def page_of(folder, runs=(), dataset=None):
    return report.page(read_results(folder), folder, runs, dataset)


def sections(page):
    return re.findall(r'<section id="([a-z-]+)"', page)


def data_in(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found
    return json.loads(found[1])


def test_the_sections_come_in_order_and_those_without_material_are_absent(reported, small):
    folder, runs = reported
    assert tuple(sections(page_of(folder, runs, small))) == SECTIONS
    assert sections(page_of(folder)) == ["trained", "claims", "runs", "losses", "rate-distortion"]


def test_the_same_folder_gives_the_same_page(reported, small):
    folder, runs = reported
    assert page_of(folder, runs, small) == page_of(folder, runs, small)


def test_without_an_evaluation_its_columns_are_absent(reported, small, tmp_path):
    folder = shutil.copytree(reported[0], tmp_path / "sweep")
    assert "−log p(x)" in page_of(folder)
    for name in ("evaluation.json", "claims.json", "digits.json"):
        (folder / name).unlink()
    page = page_of(folder)
    assert sections(page) == ["trained", "runs", "losses", "rate-distortion"]
    assert not re.search("log p|active units|classifier accuracy", page.split('id="runs"')[1].split("</table>")[0])


def test_curves_and_points_are_the_metrics(reported, small):
    folder, runs = reported
    data = data_in(page_of(folder, runs, small))
    for curve, run in zip(data["curves"], runs, strict=True):
        for split in ("train", "test"):
            for part in ("loss", "reconstruction", "kl"):
                expected = [entry[split][part] for entry in run.metrics[1:]]
                np.testing.assert_allclose(curve[split][part], expected, atol=1e-6)
    for point, run in zip(data["points"], runs, strict=True):
        assert point["rate"] == run.metrics[-1]["test"]["kl"]
        assert point["distortion"] == run.metrics[-1]["test"]["reconstruction"]


def test_pictures_are_the_reconstructions_of_each_epoch(reported, small):
    import io

    from PIL import Image

    folder, runs = reported
    data = data_in(page_of(folder, runs, small))["reconstructions"]
    for entry, run in zip(data["runs"], runs, strict=True):
        for split in range(2):
            picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["pictures"][split]))))
            assert picture.shape == (5 * 28, 10 * 28)
            np.testing.assert_array_equal(picture[3 * 28 : 4 * 28, 56:84], run.reconstructions[3, split, 2])


def test_numbers_of_different_kinds_are_not_put_into_one_column(small, tmp_path):
    configs = [classic("linear", d, epochs=3) for d in (2, 3, 5)]
    contents = [evaluation(config, small, k, -100.0 - k) for config, k in zip(configs, (500, 500, 5000), strict=True)]
    (tmp_path / "evaluation.json").write_text(json.dumps({"evaluations": contents}))
    found = run_table.read_evaluations(tmp_path, configs, small.fingerprint)
    bound, active = run_table.evaluation_columns(found)
    assert bound.unit == "K = 500, nats"
    assert bound.cells == {"linear-2": (600.0, "600.00 ± 0.50"), "linear-3": (600.0, "600.00 ± 0.50")}
    assert active.cells.keys() == {"linear-2", "linear-3", "linear-5"}


def test_a_runs_own_evaluation_comes_before_the_sweeps(small, tmp_path):
    config = classic("linear", 2, epochs=3)
    (tmp_path / "evaluation.json").write_text(json.dumps({"evaluations": [evaluation(config, small, 500, -100.0)]}))
    (tmp_path / config.name).mkdir()
    own = evaluation(config, small, 500, -90.0)
    (tmp_path / config.name / "evaluation.json").write_text(json.dumps(own))
    bound, _ = run_table.evaluation_columns(run_table.read_evaluations(tmp_path, [config], small.fingerprint))
    assert bound.cells["linear-2"][0] == 90.0
    del own["config"]  # as an earlier version wrote it: what it is of cannot be known
    (tmp_path / config.name / "evaluation.json").write_text(json.dumps(own))
    bound, _ = run_table.evaluation_columns(run_table.read_evaluations(tmp_path, [config], small.fingerprint))
    assert bound.cells["linear-2"][0] == 100.0


def test_a_metric_that_asks_for_a_column_has_one(reported, tmp_path):
    folder = shutil.copytree(reported[0], tmp_path / "sweep")
    content = json.loads((folder / "evaluation.json").read_text())
    records = content["evaluations"][0]["records"]
    for name, column in (("code length", Column("length of codes", "norm", places=3)), ("width of codes", None)):
        metric(name, "", f"the {name}", column=column)(lambda subject: ())
        records.append(records[1] | {"metric": name, "unit": "", "value": 12.3456})
    try:
        (folder / "evaluation.json").write_text(json.dumps(content))
        table = page_of(folder).split('id="runs"')[1].split("</table>")[0]
    finally:
        del METRICS["code length"], METRICS["width of codes"]
    assert "length of codes" in table
    assert "12.346" in table
    assert "width of codes" not in table


def test_runs_that_went_on_after_the_tables_are_refused(reported, small, tmp_path):
    folder = shutil.copytree(reported[0], tmp_path / "sweep")
    content = json.loads((folder / "sweep.json").read_text())
    content["results"][1]["epochs"] -= 1
    (folder / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=f"differ in the epochs of {CONV}"):
        page_of(folder)
    with pytest.raises(CheckpointError, match=f"{LINEAR} is not as"):
        page_of(reported[0], [dataclasses.replace(run, metrics=run.metrics[:-1]) for run in reported[1]], small)


def test_of_several_seeds_the_first_that_has_models_is_shown(reported, small, tmp_path):
    from dataclasses import replace

    folder = shutil.copytree(reported[0], tmp_path / "sweep")
    runs = [replace(run, config=replace(run.config, seed=seed)) for seed in (1, 2) for run in reported[1]]
    content = json.loads((folder / "sweep.json").read_text())
    configs, finals = content["runs"], content["results"]
    for seed in (1, 2):
        content["runs"] += [config | {"seed": seed} for config in configs[:2]]
        content["results"] += [final | {"name": f"{final['name']}-seed{seed}", "seed": seed} for final in finals[:2]]
    (folder / "sweep.json").write_text(json.dumps(content))
    rows = (folder / "metrics.csv").read_text().splitlines()
    for seed in (1, 2):
        changed = [re.sub(r"^([\w.-]+),(\w+),(\d+),0,", rf"\1-seed{seed},\2,\3,{seed},", row) for row in rows[1:]]
        with (folder / "metrics.csv").open("a") as file:
            file.write("\n".join(changed) + "\n")
    page = page_of(folder, runs, small)
    assert [run["name"] for run in data_in(page)["explorer"]["runs"]] == [f"{LINEAR}-seed1", f"{CONV}-seed1"]
    assert "runs of seed 1" in page
    assert len(data_in(page)["curves"]) == 2  # means over three seeds
    assert len(re.findall(r'<tr><th scope="row" data-order', page)) == 6


def test_above_sixty_runs_the_table_has_a_row_a_setting_and_curves_have_bands(small, tmp_path):
    outcomes = random_outcomes(grid((2, 5), (1.0, 4.0), (1e-3,), range(16)), lost=0.1)
    results = large(tmp_path, small, outcomes)
    page = page_of(tmp_path)
    rows = re.findall(r'<tr><th scope="row" data-order="\d+">(.*?)</th>(.*?)</tr>', page, re.DOTALL)
    assert [row.split("<")[0] for row, _ in rows] == [
        "linear, d = 2, β = 1", "linear, d = 2, β = 4", "linear, d = 5, β = 1", "linear, d = 5, β = 4",
    ]  # fmt: skip
    for (row, cells), setting in zip(rows, results.settings, strict=True):
        assert (f"{len(setting.diverged)} of 16 diverged" in row) == bool(setting.diverged)
        mean = setting.mean("reconstruction", 9)
        assert f"{mean.mean:.2f} ± {mean.interval[1] - mean.mean:.2f}" in cells
    data = data_in(page)
    assert [(curve["latentDim"], [*curve["test"]]) for curve in data["curves"]] == [
        (d, ["negative_elbo", "reconstruction", "kl"]) for d in (2, 5)
    ]
    for curve in data["curves"]:
        for low_high, value in zip(curve["band"]["test"]["kl"], curve["test"]["kl"], strict=True):
            assert low_high[0] <= value <= low_high[1]
    assert len(data["points"]) == 2
    assert "64: 4 settings, 1 architecture, 2 latent sizes, 2 values of β, 16 seeds" in page


@pytest.mark.parametrize("change", [{"epochs": 4}, {"seed": 1}, {"objective": {"part": "objective/elbo", "beta": 2.0}}])
def test_an_evaluation_of_another_run_is_not_shown(change, small, tmp_path):
    config = classic("linear", 2, epochs=3)
    (tmp_path / "evaluation.json").write_text(json.dumps({"evaluations": [evaluation(config, small)]}))
    other = RunConfig.from_json(config.to_json() | change)
    assert run_table.read_evaluations(tmp_path, [config], small.fingerprint)["linear-2"]
    assert not any(run_table.read_evaluations(tmp_path, [other], small.fingerprint).values())
    assert not any(run_table.read_evaluations(tmp_path, [config], "another").values())


def test_strings_from_files_and_paths_are_text(reported, small, tmp_path):
    import jaxvae

    evil = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
    folder = shutil.copytree(reported[0], tmp_path / evil.replace("/", "∕") / "<b>")
    content = json.loads((folder / "sweep.json").read_text())
    content["dataset"] |= {"name": evil, "note": evil}
    content["versions"][evil] = evil
    content["device"]["kind"] = evil
    (folder / "sweep.json").write_text(json.dumps(content))
    (folder / "claims.json").write_text(
        (folder / "claims.json").read_text().replace("Test reconstruction", json.dumps(evil)[1:-1])
    )
    runs = [jaxvae.load(folder / run.config.name) for run in reported[1]]
    page = page_of(folder, runs, small)
    assert page.count("<script") == 2  # the data and the code
    assert "<img" not in page
    assert "<b>" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;") >= 6
    data_in(page)


def test_json_in_a_script_cannot_end_it_and_holds_no_words_that_json_lacks():
    written = report.script_json({"a": "</script><!--\u2028", "b": [float("nan"), 1.5, float("inf")]})
    assert not set("<>&\u2028") & set(written)
    assert json.loads(written) == {"a": "</script><!--\u2028", "b": [None, 1.5, None]}


def test_the_policy_lets_only_the_pages_own_script_and_style_run(reported, small):
    page = page_of(*reported, small)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    policy = policy.replace("&#39;", "'")
    for tag, directive in (("style", "style-src"), ('script type="module"', "script-src")):
        source = page.split(f"<{tag}>")[1].split(f"</{tag.split()[0]}>")[0]
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"unsafe|\*|https?:", policy)
    assert not re.search(r'\s(style|on[a-z]+)="', page.split("<script")[0])
    assert "innerHTML" not in page


def test_lines_to_copy_load_the_models(reported, small):
    import html

    import jaxvae

    page = page_of(*reported, small)
    lines = [html.unescape(line) for line in re.findall(r"<code>(run = .*?)</code>", page)]
    assert len(lines) == 2
    for line, run in zip(lines, reported[1], strict=True):
        scope = {"jaxvae": jaxvae}
        exec(line, scope)
        assert scope["run"].config == run.config  # type: ignore[attr-defined]


def test_numbers_are_written_for_readers():
    assert [report.number(x, d) for x, d in ((1234.5, 1), (-0.5, 2), (None, 2), (float("nan"), 2), (4.0, 0))] == [
        "1,234.5", "−0.50", "–", "not finite", "4",
    ]  # fmt: skip
    assert report.measured({"mean": 147.9, "interval": [146.5, 149.3]}) == "147.90 ± 1.40"
    assert report.measured({"mean": 0.355, "interval": None}) == "0.355"
    assert report.measured(404_244) == "404,244"
    assert report.number(-0.001) == "0.00"
    assert report.number(-1.5e30) == "−1.50e+30"


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("sweep.json", None, "holds no finished sweep"),
        ("sweep.json", "{", "sweep.json is damaged"),
        ("sweep.json", '{"runs": []}', "sweep.json is damaged"),
        ("metrics.csv", None, "metrics.csv is missing"),
        ("metrics.csv", "run,epoch\nlinear-2,1\n", "metrics.csv is damaged"),
        ("claims.json", "[", "damaged table"),
        ("digits.json", '{"runs": {"linear-2": {}}}', "damaged table"),
        ("evaluation.json", '{"evaluations": [{"config": {}, "epoch": 4}]}', "evaluation.json is damaged"),
    ],
)
def test_a_damaged_folder_is_one_clear_line(file, content, says, reported, tmp_path):
    folder = shutil.copytree(reported[0], tmp_path / "sweep", ignore=shutil.ignore_patterns(report.PAGE))
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(CheckpointError, match=says) as raised:
        report.write(read_results(folder), folder)
    assert "\n" not in str(raised.value)
    assert "CheckpointError" not in str(raised.value)
    assert not (folder / report.PAGE).exists()


def test_the_command_says_in_one_line_what_is_no_sweep(tmp_path, capsys):
    (tmp_path / "sweep.json").write_text('{"runs": []}')
    for folder, says in (
        (tmp_path / "nowhere", "is no folder"),
        (tmp_path.parent, "holds no finished sweep"),
        (tmp_path, "sweep.json is damaged"),
    ):
        assert main([str(folder)]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert says in err
        assert len(err.splitlines()) == 1


def test_the_command_keeps_a_page_whose_models_it_has_not(reported, small, tmp_path, capsys):
    ignored = shutil.ignore_patterns("linear-*", "conv-*", report.PAGE)
    folder = shutil.copytree(reported[0], tmp_path / "sweep", ignore=ignored)
    page = folder / report.PAGE
    page.write_text(page_of(reported[0], reported[1], small), encoding="utf-8")
    before = page.read_bytes()
    assert main([str(folder)]) == 2
    assert "holds models whose checkpoints are not here" in capsys.readouterr().err
    assert page.read_bytes() == before
    page.unlink()
    assert main([str(folder)]) == 0
    assert "2 of 2 runs have no checkpoint here" in capsys.readouterr().out
    assert sections(page.read_text(encoding="utf-8")) == ["trained", "claims", "runs", "losses", "rate-distortion"]


def test_help_teaches_and_needs_no_jax():
    code = "import sys, jaxvae.commands.report as r; print(r.parser().format_help()); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "examples:" in done.stdout


def test_the_committed_page_is_whole_and_small():
    page = (ROOT / "results" / "mnist" / report.PAGE).read_text(encoding="utf-8")
    assert len(page.encode()) <= 12e6
    assert tuple(sections(page)) == SECTIONS
    data = data_in(page)
    assert [run["name"] for run in data["explorer"]["runs"]] == [
        f"{a}-{d}" for a in ("linear", "conv") for d in (2, 3, 5, 10, 50)
    ]
    assert len(data["explorer"]["labels"]) == 2000
