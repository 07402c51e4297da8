import io

import pytest
from rich.console import Console

from jaxvae.errors import InputError
from jaxvae.evaluation import METRICS, records
from jaxvae.evaluation.records import Record

ONE = Record(
    "L_K", -98.765, 0.321, None, "nats", "importance weighting", 50, "test", 10_000, "none", "mnist", "25c9", "conv-2",
    "cross-entropy",
)  # fmt: skip


def printed(rows):
    out = io.StringIO()
    Console(file=out, width=160).print(records.table(rows))
    return out.getvalue()


def test_json_round_trip_is_the_identity():
    assert records.from_json(ONE._asdict()) == ONE
    with pytest.raises(InputError, match="evaluate the run again"):
        records.from_json({"metric": "L_K"})
    with pytest.raises(InputError, match="evaluate the run again"):
        records.from_json(ONE._replace(metric="FID")._asdict())


def test_records_from_before_there_were_measures_are_of_the_bernoulli_likelihood():
    data = {name: value for name, value in ONE._asdict().items() if name != "measure"}
    assert records.from_json(data) == ONE
    assert records.from_json(data | {"metric": "rate"}).measure == ""
    with pytest.raises(InputError, match="evaluate the run again"):
        records.from_json(data | {"measure": None})


def test_a_table_has_a_row_a_metric_and_a_column_a_run_with_errors():
    rows = [ONE, ONE._replace(run="conv-50", value=-77.1), ONE._replace(metric="rate", value=6.5, samples=None)]
    text = printed(rows)
    assert "10,000 test images of mnist, grey pixels" in text
    assert "-98.77 (0.32)" in text
    assert text.index("rate") < text.index("L_K, K = 50")  # in the order of METRICS
    assert next(line for line in text.splitlines() if "rate" in line).count("–") == 1  # conv-50 has none
    assert "nats" in text


def test_runs_of_one_name_are_told_apart_by_their_folders():
    header = printed([ONE._replace(run="a/conv-2"), ONE._replace(run="b/conv-2"), ONE._replace(run="b/conv-3")])
    assert "a/conv-2" in header
    assert "b/conv-2" in header
    assert "b/conv-3" not in header


def test_different_k_are_different_rows_and_compare():
    assert "K = 500" in printed([ONE, ONE._replace(samples=500)])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("binarization", "dynamic"), ("split", "train"), ("estimator", "annealing"), ("images", 500),
        ("fingerprint", "ffff"), ("dataset", "kmnist"), ("measure", "density"),
    ],
)  # fmt: skip
def test_numbers_of_different_kinds_are_not_put_side_by_side(field, value):
    other = ONE._replace(run="conv-50", **{field: value})
    with pytest.raises(InputError) as caught:
        records.table([ONE, other])
    message = str(caught.value)
    assert "\n" not in message
    assert "cannot be compared" in message
    assert f"{field} {getattr(ONE, field)} against {value}" in message
    assert "conv-2" in message
    assert "conv-50" in message


def test_every_metric_is_explained_in_a_line():
    assert all(0 < len(metric.meaning) < 100 and "\n" not in metric.meaning for metric in METRICS.values())
