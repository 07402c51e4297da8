"""Tables of losses: the same rows for people and for programs, and their means."""

import csv
import io

import numpy as np
import pyarrow.parquet
import pytest
from scipy import stats

from jaxvae.results import PARTS, losses
from tests.results.test_settings import AXES, beta_of, grid, random_outcomes, rate_of, results_of, run

OUTCOMES = random_outcomes(grid(**AXES | {"seeds": range(5)}), lost=0.3)
RESULTS = results_of(OUTCOMES)


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_parquet_has_the_rows_of_csv_with_types(monkeypatch):
    monkeypatch.setattr(losses, "CHUNK", 7)  # several row groups, the last one shorter
    table = pyarrow.parquet.read_table(io.BytesIO(losses.metrics_parquet(RESULTS)))
    typed, written = table.to_pylist(), rows(losses.metrics_csv(RESULTS))
    assert len(typed) == len(written)
    configs = {one.config.name: one.config for one in OUTCOMES}
    for ours, theirs in zip(typed, written, strict=True):
        for name in ("run", "architecture", "latent_dim", "seed", "epoch"):
            assert str(ours[name]) == theirs[name]
        config = configs[ours["run"]]
        assert (ours["beta"], ours["learning_rate"]) == (beta_of(config), rate_of(config))
        assert ours["objective"] == "elbo"
        if ours["split"] == "diverged":
            assert theirs["split"] == f"diverged at step {ours['diverged_step']}"
            assert [ours[part] for part in PARTS] == [None] * 3
        else:
            assert (ours["split"], ours["diverged_step"]) == (theirs["split"], None)
            assert [f"{ours[part]:.6f}" for part in PARTS] == [theirs[part] for part in PARTS]
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds["run"].startswith("dictionary<values=string")
    assert (kinds["epoch"], kinds["beta"], kinds["seed"]) == ("int32", "double", "uint32")


def test_parquet_is_the_same_bytes_each_time():
    assert losses.metrics_parquet(RESULTS) == losses.metrics_parquet(RESULTS)


def test_an_axis_that_some_runs_lack_is_empty_for_them():
    """β is the ELBO's, K the importance-weighted bound's."""
    weighted = random_outcomes([run(objective="iwae", importance_samples=5)])
    results = results_of([*random_outcomes([run(beta=4.0)]), *weighted])
    table = pyarrow.parquet.read_table(io.BytesIO(losses.metrics_parquet(results))).to_pylist()
    assert {(row["objective"], row["beta"], row["importance_samples"]) for row in table} == {
        ("elbo", 4.0, None), ("iwae", None, 5),
    }  # fmt: skip
    means = rows(losses.means_csv(results))
    assert [(row["beta"], row["importance_samples"]) for row in means] == [("4", ""), ("", "5")]


def test_a_text_that_some_runs_lack_is_empty_for_them():
    """A precision is an axis where it is not the default."""
    configs = [run(), run(3, precision="bfloat16")]
    table = pyarrow.parquet.read_table(io.BytesIO(losses.metrics_parquet(results_of(random_outcomes(configs)))))
    assert {(row["latent_dim"], row["precision"]) for row in table.to_pylist()} == {(2, None), (3, "bfloat16")}


def test_losses_that_were_written_are_read(tmp_path):
    (tmp_path / "metrics.csv").write_text(losses.metrics_csv(RESULTS))
    histories = losses.read_metrics(tmp_path)
    assert [*histories] == [one.config.name for one in OUTCOMES]
    for one in OUTCOMES:
        np.testing.assert_allclose(histories[one.config.name].losses, one.losses, atol=1e-6)


def test_means_are_numpys_over_the_seeds_that_came_to_their_end():
    settings = RESULTS.settings
    for row, setting in zip(rows(losses.means_csv(RESULTS)), settings, strict=True):
        own = [one for one in OUTCOMES if one.config.setting == setting.config]
        kept = np.array([one.losses[-1, 1] for one in own if not one.diverged])
        assert (row["setting"], row["seeds"], row["diverged"]) == (setting.config.name, "5", str(5 - len(kept)))
        assert (float(row["beta"]), float(row["learning_rate"])) == (beta_of(setting.config), rate_of(setting.config))
        for i, part in enumerate(PARTS):
            values = kept[:, i]
            assert float(row[f"{part}_mean"]) == pytest.approx(values.mean(), abs=1e-5)
            assert float(row[f"{part}_sd"]) == pytest.approx(values.std(ddof=1), abs=1e-5)
            ends = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
            assert [float(row[f"{part}_{end}"]) for end in ("low", "high")] == pytest.approx(ends, abs=1e-5)


def test_a_single_seed_has_no_spread_and_none_no_mean():
    alone = random_outcomes(grid((2,), (1.0,), (1e-3,), (3,)))
    (row,) = rows(losses.means_csv(results_of(alone)))
    assert float(row["kl_mean"]) > 0
    assert (row["kl_sd"], row["kl_low"], row["kl_high"]) == ("", "", "")
    (row,) = rows(losses.means_csv(results_of(random_outcomes([alone[0].config], lost=1.0))))
    assert (row["seeds"], row["diverged"], row["kl_mean"]) == ("1", "1", "")


def test_further_parts_of_a_loss_have_columns_that_are_empty_where_a_run_lacks_them(tmp_path):
    plain, other = OUTCOMES[:2]
    total = np.arange(other.losses[..., :1].size, dtype=float).reshape(other.losses[..., :1].shape)
    other = other._replace(losses=np.concatenate([other.losses, total], -1), parts=(*other.parts, "total correlation"))
    results = results_of([plain, other])
    written = rows(losses.metrics_csv(results))
    assert [*written[0]][-2:] == ["loss", "total correlation"]
    assert {row["total correlation"] for row in written if row["run"] == plain.config.name} == {""}
    (tmp_path / "metrics.csv").write_text(losses.metrics_csv(results))
    histories = losses.read_metrics(tmp_path)
    assert histories[plain.config.name].parts == PARTS
    np.testing.assert_allclose(histories[other.config.name].losses[1:, :, 3], total[1:, :, 0])
    table = pyarrow.parquet.read_table(io.BytesIO(losses.metrics_parquet(results)))
    assert table.column_names[-3:] == ["loss", "total correlation", "diverged_step"]
    own = [row["total correlation"] for row in table.to_pylist() if row["run"] == plain.config.name]
    assert set(own) == {None}
