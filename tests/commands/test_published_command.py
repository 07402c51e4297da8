"""Protocols of published numbers, written out, and the table that sets measured ones beside them."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from experiments import published
from experiments.protocols import PROTOCOLS
from jaxvae.errors import InputError
from jaxvae.evaluation.records import Record
from jaxvae.models import MLP
from jaxvae.objectives import IWAE
from tests.command_line import run

RECORD = Record("L_K", -87.654, 0.123, None, "nats", "weighting", 5000, "test", 10_000, "dynamic", "mnist", "25c9", "a")


@pytest.mark.slow
def test_stages_have_the_papers_lengths_and_rates():
    config = PROTOCOLS["iwae-5"].run
    rates = [config.program((28, 28), epoch).optimiser.learning_rate for epoch in range(1, 3281)]
    assert config.epochs == len(rates) == sum(3**i for i in range(8))
    levels, counts = np.unique(rates, return_counts=True)
    np.testing.assert_allclose(levels[::-1], [1e-3 * 10 ** (-i / 7) for i in range(8)])
    assert counts[::-1].tolist() == [3**i for i in range(8)]
    assert rates == sorted(rates, reverse=True)


def test_rows_follow_their_protocols():
    assert tuple(PROTOCOLS) == published.ROWS
    for row, k in (("vae", 1), ("iwae-5", 5), ("iwae-50", 50)):
        config = PROTOCOLS[row].run
        assert config.objective == IWAE(k)
        assert (config.vae.encoder, config.latent_dim) == (MLP((200, 200), "tanh"), 50)
        assert config.batch_size == 20
        assert PROTOCOLS[row].train_images == 59_600
    assert len({row.run.name for row in PROTOCOLS.values()}) == 4  # a folder each


def test_a_budget_is_a_share_of_the_epochs():
    assert published.epochs("vae", None) == 364 == 1 + 3 + 9 + 27 + 81 + 243
    assert published.epochs("small", None) == 10
    assert published.epochs("vae", "1") == 3280
    assert published.epochs("vae", "0.1") == 328
    assert published.epochs("small", "1/100") == 1
    for wrong in ("0", "1.5", "-1", "half", "1/0"):
        with pytest.raises(InputError, match="budget must be a share"):
            published.epochs("vae", wrong)


def test_the_table_says_how_far_each_row_got():
    units = RECORD._replace(metric="active units", value=20.0, samples=None, unit="dimensions")
    looser = RECORD._replace(samples=1, value=-99.0)
    entry = {"epochs": 364, "of_epochs": 3280, "records": [r._asdict() for r in (looser, RECORD, units)]}
    out = io.StringIO()
    Console(file=out, width=200).print(published._table({"vae": json.loads(json.dumps(entry))}))
    row = next(line for line in out.getvalue().splitlines() if "Burda" in line)
    for shown in ("86.76 ± ?", "87.78", "87.65 ± 0.12", "19", "20", "364 of 3,280 epochs (11 %)"):
        assert shown in row


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rows", "gan"], "unknown row 'gan': choose of vae, iwae-5, iwae-50, small"),
        (["--budget", "two"], "budget must be a share of the epochs above 0 and at most 1, not 'two'"),
        (["--data-dir", "/nowhere"], "/nowhere does not exist"),
    ],
)
def test_bad_input_is_one_clear_line_and_nothing_written(arguments, says, give, tmp_path):
    code, _, err = give(published.main, [*arguments, "--out", tmp_path / "out"])
    assert code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_in_a_process_of_its_own_too(cache, tmp_path):
    code, printed, err = run(["--rows", "gan", "--out", tmp_path / "out"], cache, "experiments.published")
    assert (code, printed) == (2, "")
    assert err == "error: unknown row 'gan': choose of vae, iwae-5, iwae-50, small\n"
