"""Figures and page of examples of any shape, with and without labels."""

import base64
import importlib
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxvae.data.dataset import Dataset
from jaxvae.figures import pictures, plotting, write_figures
from jaxvae.models import Normal
from jaxvae.page import report
from jaxvae.page.explorer import MAP_SIDE
from jaxvae.results import probes
from jaxvae.runs import Run
from tests.results.test_settings import outcome, results_of, run

write_module = importlib.import_module("jaxvae.figures.write")
OF_ALL = {"by-dimension.png", "curves.png", "rate-distortion.png"}


class AnyRun(Run):
    """A run of examples of any shape, with random codes and images."""

    def encode(self, images, condition=None):
        mean = np.random.default_rng(0).normal(size=(len(images), self.config.latent_dim))
        return Normal(mean, -np.ones_like(mean))  # type: ignore[arg-type]

    def decode(self, z, condition=None):
        shape = self.reconstructions.shape[3:]
        return np.random.default_rng(0).normal(size=(len(z), *shape)).astype(np.float32)  # type: ignore[return-value]

    def sample(self, key, n, **_):
        return self.decode(np.zeros((n, self.config.latent_dim)))


def any_run(config, data):
    losses = {"loss": 1.0}
    metrics = [{"epoch": e, "train": losses if e else None, "test": losses, "seconds": 1.0} for e in range(4)]
    return AnyRun(Path(config.name), config, {}, {}, metrics, np.zeros((4, *probes(data).shape), np.uint8))


def dataset(shape, labelled):
    rng, labels = np.random.default_rng(0), (3 * np.arange(24) % 7).astype(np.uint8) if labelled else None
    return Dataset("mine", *[rng.integers(0, 256, (24, *shape), dtype=np.uint8), labels] * 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "labelled", "names"),
    [
        ((8, 6, 3), False, {"comparison.png", "evolution.webp", "samples-linear-2.png"}),
        ((6, 8, 2), True, {"comparison.png", "evolution.webp", "samples-linear-2.png", "walk.webp"}),
        ((7,), True, {"comparison.png", "evolution.webp", "samples-linear-2.png", "walk.webp"}),
        ((2, 2, 2, 2), True, set()),
    ],
)
def test_what_cannot_be_drawn_is_left_out(shape, labelled, names, tmp_path, monkeypatch):
    data = dataset(shape, labelled)
    results = results_of([outcome(run(2), 100)])
    one = any_run(results.runs[0], data)
    figures = {path.name for path in write_figures(tmp_path, results, [one], data)}
    strips = {f"evolution-linear-2-{split}.png" for split in ("train", "test")} if names else set()
    assert figures == OF_ALL | {"latent-linear-2.png"} | names | strips
    monkeypatch.setattr("jaxvae.page.explorer.packed_decoder", lambda run: None)
    models = report._models(results, [one], data)
    assert (models["reconstructions"] is None, models["explorer"] is None) == (not names, not names)
    assert models["left_out"] == ([] if names else [models["left_out"][0]])
    if names:
        shown = models["explorer"]
        tiles = base64.b64decode(shown["runs"][0]["decoder"]["tiles"])
        channels = 3 if shape[2:] == (3,) else 1
        assert len(tiles) == MAP_SIDE**2 * shown["height"] * shown["width"] * channels
    else:
        assert models["left_out"][0].startswith("Examples have 4 axes and cannot be drawn")
    assert (data.labels is not None) == labelled


def test_channels_are_colours_if_there_are_three_and_else_the_first_is_drawn():
    images = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    assert pictures.as_pictures(images, pictures.Look((4, 5, 3))).shape == (2, 4, 5, 3)
    np.testing.assert_array_equal(pictures.as_pictures(images[..., :2], pictures.Look((4, 5, 2))), images[..., 0])
    tile = pictures.tiled(images.reshape(1, 2, 4, 5, 3))
    np.testing.assert_array_equal(tile[:, 5:], images[1])


def test_a_vector_is_drawn_as_a_bar_for_each_number_from_zero_up_or_down():
    vectors = np.array([[2.0, 0.0, -1.0], [50.0, -50.0, 1.0]], np.float32)
    look = pictures.Look((3,), -1.0, 2.0)
    drawn = pictures.as_pictures(vectors, look)
    assert drawn.shape == (2, 48, 48 + 2 * 3)
    bars = drawn[:, :, [3 + 8, 3 + 24, 3 + 40]].transpose(0, 2, 1)  # the middle of each
    heights = (bars == pictures.BAR).sum(2)
    third = 47 / 3  # of the rows, from −1 to 0
    np.testing.assert_allclose(heights, [[2 * third + 1, 0, third + 1], [2 * third + 1, third + 1, third + 1]], atol=1)
    assert (bars[0, 1] == pictures.BASELINE).sum() == 1
    np.testing.assert_array_equal(bars[0, 0][:31], pictures.BAR)  # up to the top
    long = np.arange(640, dtype=np.float32)
    assert pictures.as_pictures(long, pictures.look(long[None])).shape == (48, 64 + 2 * 3)
    outliers = np.concatenate([np.random.default_rng(0).normal(size=(999, 1)), [[1e6]]]).astype(np.float32)
    assert pictures.look(outliers).white < 4


def test_numbers_beyond_zero_and_one_are_drawn_from_black_to_white():
    images = np.linspace(-3, 5, 24, dtype=np.float32).reshape(2, 4, 3)
    drawn = pictures.as_bytes(pictures.as_pictures(images, pictures.look(images)))
    assert (drawn.ravel()[0], drawn.ravel()[-1]) == (0, 255)
    assert (np.diff(drawn.ravel().astype(int)) > 0).all()
    grey = (images + 3) / 10  # within [0, 1]: as it is, so that figures of several datasets compare
    for inside in (grey, (100 * grey).astype(np.uint8), np.full((2, 4, 3), 7, np.float32)):
        assert pictures.look(inside) == pictures.Look((4, 3))


def test_architectures_beyond_the_built_in_ones_have_styles_of_their_own():
    styles = plotting.styles(["mine", "conv", "yours", "linear"])
    assert (styles["linear"], styles["conv"]) == (plotting.STYLES["linear"], plotting.STYLES["conv"])
    assert len({style.marker for style in styles.values()}) == len({style.tint for style in styles.values()}) == 4


def _drawn(folder, small, monkeypatch, title):
    def figures_of(*_):
        figure = Figure()
        figure.subplots().plot([0, 1], [1, 10])
        figure.suptitle(title, wrap=True)
        yield "one", figure

    monkeypatch.setattr(write_module, "_figures", figures_of)
    (path,) = write_figures(folder, results_of([outcome(run(), 100.0)]), [], small)
    return path.read_bytes()


def test_figures_do_not_depend_on_what_a_user_has_set_for_matplotlib(tmp_path, small, monkeypatch):
    expected = _drawn(tmp_path, small, monkeypatch, "losses")
    theirs = {"font.size": 30, "savefig.bbox": "tight", "image.cmap": "jet", "text.usetex": True}
    with matplotlib.rc_context(theirs):
        assert _drawn(tmp_path, small, monkeypatch, "losses") == expected
        assert matplotlib.rcParams["font.size"] == 30


def test_a_name_is_drawn_as_it_is_and_read_as_no_formula(tmp_path, small, monkeypatch):
    dollars = _drawn(tmp_path, small, monkeypatch, r"$\frac$ 数")
    assert dollars != _drawn(tmp_path, small, monkeypatch, r"\frac 数")
