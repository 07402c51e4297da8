"""Tables of losses: the same rows for people and for programs, and their means."""

import csv
import io

import numpy as np
import pyarrow.parquet
import pytest
from scipy import stats

from jaxvae import results
from jaxvae.results import metrics
from tests.results.test_grids import AXES, grid, random_outcomes

OUTCOMES = random_outcomes(grid(**AXES | {"seeds": range(5)}), lost=0.3)


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_parquet_has_the_rows_of_csv_with_types(monkeypatch):
    monkeypatch.setattr(metrics, "CHUNK", 7)  # several row groups, the last one shorter
    table = pyarrow.parquet.read_table(io.BytesIO(metrics.metrics_parquet(OUTCOMES)))
    told, written = table.to_pylist(), rows(metrics.metrics_csv(OUTCOMES))
    assert len(told) == len(written)
    configs = {one.config.name: one.config for one in OUTCOMES}
    for ours, theirs in zip(told, written, strict=True):
        for name in ("run", "architecture", "latent_dim", "seed", "epoch"):
            assert str(ours[name]) == theirs[name]
        config = configs[ours["run"]]
        assert (ours["beta"], ours["learning_rate"]) == (config.beta, config.learning_rate)
        assert (ours["objective"], ours["importance_samples"]) == ("elbo", 1)
        if ours["split"] == "diverged":
            assert theirs["split"] == f"diverged at step {ours['diverged_step']}"
            assert [ours[part] for part in metrics.PARTS] == [None] * 3
        else:
            assert (ours["split"], ours["diverged_step"]) == (theirs["split"], None)
            assert [f"{ours[part]:.6f}" for part in metrics.PARTS] == [theirs[part] for part in metrics.PARTS]
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds["run"].startswith("dictionary<values=string")
    assert (kinds["epoch"], kinds["beta"], kinds["seed"]) == ("int32", "double", "uint32")


def test_parquet_is_the_same_bytes_each_time():
    assert metrics.metrics_parquet(OUTCOMES) == metrics.metrics_parquet(OUTCOMES)


def test_losses_that_were_written_are_read(tmp_path):
    (tmp_path / "metrics.csv").write_text(metrics.metrics_csv(OUTCOMES))
    read = metrics.read_metrics(tmp_path)
    assert [*read] == [one.config.name for one in OUTCOMES]
    for one in OUTCOMES:
        np.testing.assert_allclose(read[one.config.name], one.losses, atol=1e-6)


def test_means_are_numpys_over_the_seeds_that_came_to_their_end():
    found = results.grouped(OUTCOMES)
    for row, setting in zip(rows(metrics.means_csv(found)), found, strict=True):
        own = [one for one in OUTCOMES if one.config.setting == setting.config]
        kept = np.array([one.losses[-1, 1] for one in own if not one.diverged])
        assert (row["setting"], row["seeds"], row["diverged"]) == (setting.config.name, "5", str(5 - len(kept)))
        assert (float(row["beta"]), float(row["learning_rate"])) == (setting.config.beta, setting.config.learning_rate)
        for i, part in enumerate(metrics.PARTS):
            values = kept[:, i]
            assert float(row[f"{part}_mean"]) == pytest.approx(values.mean(), abs=1e-5)
            assert float(row[f"{part}_sd"]) == pytest.approx(values.std(ddof=1), abs=1e-5)
            ends = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
            assert [float(row[f"{part}_{end}"]) for end in ("low", "high")] == pytest.approx(ends, abs=1e-5)


def test_a_single_seed_has_no_spread_and_none_no_mean():
    alone = random_outcomes(grid((2,), (1.0,), (1e-3,), (3,)))
    (row,) = rows(metrics.means_csv(results.grouped(alone)))
    assert float(row["kl_mean"]) > 0
    assert (row["kl_sd"], row["kl_low"], row["kl_high"]) == ("", "", "")
    (row,) = rows(metrics.means_csv(results.grouped(random_outcomes([alone[0].config], lost=1.0))))
    assert (row["seeds"], row["diverged"], row["kl_mean"]) == ("1", "1", "")
