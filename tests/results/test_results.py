"""Tables and figures from histories with known numbers."""

import csv
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest

from jaxvae.data import Dataset
from jaxvae.figures import pictures, plotting
from jaxvae.figures.write import GRID_TICKS, epochs_to_draw
from jaxvae.results import Results, Words, about, caption, losses, probes, write_sweep
from jaxvae.results.claims import check
from jaxvae.results.tables import SWEEP, claims_json
from jaxvae.runs.history import Divergence
from jaxvae.runs.run import Run
from tests.classic import classic
from tests.results.test_claims import finals
from tests.results.test_settings import results_of


def history(epochs, level):
    losses = [
        {"reconstruction": level / (e + 1), "kl": 1.0 * e, "loss": level / (e + 1) + e} for e in range(epochs + 1)
    ]
    return [{"epoch": e, "train": x if e else None, "test": x, "seconds": 1.0} for e, x in enumerate(losses)]


def trained(seed, diverged=None):
    config = classic("conv", 2, seed=seed)
    return Run(Path(config.name), config, {}, {}, history(3, 100.0), np.zeros(0), diverged)


def test_metrics_csv_has_a_row_for_every_run_epoch_and_split():
    runs = [trained(seed) for seed in (0, 4)]
    rows = list(csv.DictReader(io.StringIO(losses.metrics_csv(results_of([run.outcome for run in runs])))))
    assert len(rows) == 2 * (4 + 3)  # test from epoch 0, train from epoch 1
    assert {row["run"] for row in rows} == {"conv-2", "conv-2-seed4"}
    row = next(r for r in rows if (r["seed"], r["epoch"], r["split"]) == ("4", "3", "test"))
    assert (row["architecture"], row["latent_dim"]) == ("conv", "2")
    assert [float(row[part]) for part in ("reconstruction", "kl", "loss")] == [25.0, 3.0, 28.0]
    assert not [r for r in rows if (r["epoch"], r["split"]) == ("0", "train")]


def test_claims_json_keeps_statement_numbers_and_verdict(small):
    results = Results((), about(small)["dataset"])
    results.__dict__["claims"] = check(finals())  # where it is cached
    content = json.loads(claims_json(results))
    assert content["fingerprint"] == small.fingerprint
    assert [claim["number"] for claim in content["claims"]] == [1, 2, 3, 4, 5, 6, 7]
    assert content["claims"][3]["measured"] == {"linear": 404_244, "conv": 228_677}


def test_sweep_json_follows_its_runs_and_keeps_when_they_were_trained(tmp_path):
    """Also after a kill between training on and writing it."""

    def written(runs, seconds):
        write_sweep(tmp_path, results_of([run.outcome for run in runs]), {}, {"wall_seconds": seconds})
        return json.loads((tmp_path / SWEEP).read_text())

    run = trained(0)
    run = dataclasses.replace(run, metrics=run.metrics[:3])
    assert written([run], 5.0)["results"][0]["epochs"] == 2
    assert written([run], 9.0)["wall_seconds"] == 5.0
    assert written([trained(0)], 9.0)["results"][0]["epochs"] == 3
    assert written([trained(0, Divergence(4, 9))], 11.0)["results"][0]["diverged"] == {"epoch": 4, "step": 9}
    longer = dataclasses.replace(trained(0), config=dataclasses.replace(run.config, epochs=99))
    assert written([longer], 13.0)["wall_seconds"] == 13.0


def test_captions_name_the_data_beta_and_the_seeds_behind_a_mean(small):
    runs = [classic("conv", 2, beta=beta, seed=seed) for beta, seed in ((1.0, 0), (4.0, 1))]
    whole = small._replace(name="fashion_mnist", train_images=np.zeros((60_000, 1, 1), np.uint8))
    whole, part = about(whole)["dataset"], about(small)["dataset"]
    assert caption(whole) == caption(whole, runs[:1], averaged=True) == "FASHION-MNIST"
    assert caption(whole, runs[1:]) == "FASHION-MNIST, β = 4"
    assert caption(whole, runs, averaged=True) == "FASHION-MNIST, β = 1, 4, mean of 2 seeds"
    assert (
        caption({**whole, "train_images": 600}, [classic(hidden=(8,))])
        == "FASHION-MNIST, first 600 images, hidden layers 8"
    )
    shorter, longer = (dataclasses.replace(runs[0], epochs=epochs) for epochs in (1, 30))
    assert caption({**whole, "train_images": 600}, [shorter]) == "FASHION-MNIST, first 600 images, 1 epoch"
    assert caption(whole, [longer, runs[1], shorter], shared=True) == "FASHION-MNIST, 1, 15, 30 epochs"
    assert caption(part) == f"blobs, {len(small.train_images):,} images"


def test_probes_are_the_first_image_of_each_class(small):
    firsts = probes(small)
    assert firsts.shape == (2, 10, 28, 28)
    for k in range(10):
        np.testing.assert_array_equal(firsts[0, k], small.train_images[np.flatnonzero(small.train_labels == k)[0]])
        np.testing.assert_array_equal(firsts[1, k], small.test_images[np.flatnonzero(small.test_labels == k)[0]])


def curve(architecture, latent_dim, epochs=4):
    values = {part: np.linspace(100, 50 + latent_dim, epochs) for part, _ in plotting.PARTS}
    return plotting.Curve(architecture, latent_dim, np.arange(1, epochs + 1), values, values)


def test_curves_show_every_model_in_every_panel_and_name_them():
    figure = plotting.curves(
        [curve(a, d) for a in ("linear", "conv") for d in (2, 3, 5, 10, 50)], "MNIST", plotting.PARTS, Words()
    )
    assert len(figure.axes) == 6
    for ax in figure.axes:
        assert len(ax.lines) == 10
        assert len({(line.get_color(), str(line.get_linestyle())) for line in ax.lines}) == 10
        assert ax.get_ylabel() == "nats per image"
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert legend == {"d = 2", "d = 3", "d = 5", "d = 10", "d = 50", "linear", "conv"}
    assert "MNIST" in figure.get_suptitle()


def test_by_dimension_puts_final_values_over_latent_sizes():
    figure = plotting.by_dimension([curve("conv", d) for d in (10, 2)], "MNIST", plotting.PARTS, Words())
    test_line = figure.axes[0].lines[0]
    np.testing.assert_array_equal(test_line.get_xdata(), [2, 10])
    np.testing.assert_allclose(test_line.get_ydata(), [52, 60])


def test_the_latent_grid_has_z2_growing_upwards_and_z1_to_the_right():
    decoded = np.zeros((5, 5, 28, 28))
    decoded[4, 0] = 0.25  # z2 = 2, z1 = −2: top left
    decoded[0, 4] = 0.75  # z2 = −2, z1 = 2: bottom right
    codes, labels = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 10
    figure = pictures.latent_plane(decoded, GRID_TICKS, codes, labels, "title", Words())
    image = figure.axes[0].images[0].get_array()
    assert image is not None
    assert float(image[0, 0]) == 0.25
    assert float(image[-1, -1]) == 0.75
    points = np.concatenate([np.asarray(collection.get_offsets()) for collection in figure.axes[1].collections])
    np.testing.assert_allclose(np.sort(points, 0), np.sort(codes, 0))
    legend = figure.axes[1].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [str(k) for k in range(10)]


def test_codes_are_coloured_by_a_number_and_named_as_their_classes_are():
    codes = np.random.default_rng(0).normal(size=(30, 2))
    ages = np.linspace(20, 80, 30, dtype=np.float32)
    figure = pictures.latent_plane(None, GRID_TICKS, codes, ages, "title", Words("example", "class"))
    plane, scale = figure.axes
    np.testing.assert_array_equal(plane.collections[0].get_array(), ages)
    assert (scale.get_ylim(), plane.get_title()) == ((20, 80), "posterior means of 30 test examples")
    kinds = np.arange(30) % 2
    figure = pictures.latent_plane(None, GRID_TICKS, codes, kinds, "title", Words("example", "class"), ("lily", "rose"))
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["lily", "rose"]
    assert legend.get_title().get_text() == "class"


def test_data_are_spoken_of_as_what_they_are():
    assert Words.of({"name": "mnist"}) == Words("image", "digit")  # an old folder does not say its shape
    assert Words.of({"name": "photos", "shape": [32, 32, 3]}) == Words("image", "class")
    assert Words.of({"name": "cancer", "shape": [30]}) == Words("example", "class")
    assert caption({"name": "cancer", "shape": [30], "train_images": 513}) == "cancer, 513 examples"


def test_of_few_classes_several_examples_are_followed_and_of_many_the_first():
    images = np.arange(40, dtype=np.uint8)[:, None]
    for classes, followed in ((2, [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]), (3, [0, 3, 6, 1, 4, 7, 2, 5, 8]), (40, range(20))):
        labels = np.arange(40) % classes
        data = Dataset("own", images, labels, images, labels)
        np.testing.assert_array_equal(probes(data)[0].ravel(), followed)


def test_evolution_shows_originals_then_the_epochs_asked_for():
    originals = np.full((3, 28, 28), 9, np.uint8)
    reconstructions = np.arange(5, dtype=np.uint8)[:, None, None, None] + np.zeros((5, 3, 28, 28), np.uint8)
    figure = pictures.evolution(originals, reconstructions, [0, 1, 4], "title")
    (ax,) = figure.axes
    picture = np.asarray(ax.images[0].get_array())
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["original", "epoch 0", "epoch 1", "epoch 4"]
    for label_at, value in zip(ax.get_yticks(), (9, 0, 1, 4), strict=True):
        assert [picture[round(label_at), column * 30 + 15] for column in range(3)] == [value] * 3


@pytest.mark.parametrize(("last", "epochs"), [(0, [0]), (1, [0, 1]), (15, [0, 1, 2, 4, 6, 10, 15])])
def test_epochs_to_draw_start_before_training_and_end_with_the_last(last, epochs):
    assert epochs_to_draw(last) == epochs


def test_figures_are_the_same_bytes_each_time(tmp_path):
    for name in ("a.png", "b.png"):
        figure = plotting.by_dimension([curve("conv", 2)], "MNIST", plotting.PARTS, Words())
        figure.savefig(tmp_path / name, metadata={"Software": None})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
