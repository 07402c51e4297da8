"""The page's latent space of data other than MNIST, in a real browser, held against what Python decodes and draws."""

import json

import numpy as np
import pytest

from benchmarks.browser import Opened, browser, lacking
from jaxvae import data
from jaxvae.config import RunConfig
from jaxvae.figures import pictures
from jaxvae.models import MLP, VAE, ContinuousBernoulli, Conv, Gaussian, Poisson
from jaxvae.parts import part
from jaxvae.runs import load
from jaxvae.study import Study

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(lacking()), reason=lacking())]

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(60, 7)) @ RNG.normal(size=(7, 7))
COLOURS = RNG.integers(0, 256, (60, 8, 12, 3), np.uint8)


@part("likelihood/without-a-link")
class WithoutALink(Gaussian):
    """One whose mean the page does not know."""

    link = None  # type: ignore[assignment]


CASES = {
    "profiles": (data.standardized(data.from_arrays(ROWS, [*"ab"] * 30)), VAE(2, MLP((8,)), likelihood=Gaussian())),
    "counts": (data.from_arrays(RNG.poisson(3.0, (60, 70)), RNG.normal(size=60)),
               VAE(3, MLP((8,), "tanh"), likelihood=Poisson())),
    "colours": (data.from_arrays(COLOURS), VAE(2, Conv((4, 8)), likelihood=Gaussian("decoded"))),
    "levels": (data.from_arrays(COLOURS[..., 0]), VAE(2, MLP((8,)), likelihood=ContinuousBernoulli())),
    "a map": (data.standardized(data.from_arrays(ROWS)), VAE(4, MLP((8,)), likelihood=WithoutALink())),
}  # fmt: skip


@pytest.fixture(scope="module")
def chromium():
    with browser() as launched:
        yield launched


def shown(page):
    """The decoded picture on the screen, bytes [h, w, 3], and the code that it was decoded from."""
    page.wait_for_timeout(80)
    read = "c => [c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
    h, w, levels = page.eval_on_selector("#decoded", read)
    return np.reshape(levels, (h, w, 4))[..., :3], np.array(json.loads(page.get_attribute("#decoded", "data-code")))


@pytest.mark.parametrize("name", CASES)
def test_the_page_draws_what_python_decodes(name, chromium, tmp_path):
    dataset, vae = CASES[name]
    config = RunConfig(vae, batch_size=20, epochs=1)
    study = Study(tmp_path, [config], dataset)
    study.train(quiet=True)
    study.write(wall_seconds=1.0)
    run = load(tmp_path / config.name).in_trained_numbers()
    look = pictures.look(config.dataset_as_trained(dataset).train_images)

    def drawn(codes):
        expected = pictures.as_bytes(pictures.as_pictures(np.asarray(run.decode(codes)), look))
        return expected if expected.shape[3:] else np.repeat(expected[..., None], 3, -1)

    with Opened(chromium, tmp_path / "report.html", reduced_motion="reduce") as opened:
        page = opened.page
        page.locator("#map").scroll_into_view_if_needed()
        box = page.locator("#map").bounding_box()
        # of a map that was decoded beforehand, the middle one of its places, which is one of its pictures
        places = [(0.5, 0.5)] if name == "a map" else [(0.5, 0.5), (0.2, 0.7), (0.9, 0.1)]
        for x, y in places:
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            picture, code = shown(page)
            differences = np.abs(picture - drawn(code[None])[0].astype(int))
            if len(dataset.shape) == 1:  # where a bar ends, rounding may take the next row
                assert (differences > 0).mean() < 0.02
            else:
                assert differences.max() <= 1
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        assert page.locator("#dimensions").is_visible() == (vae.latent_dim > 2 and name != "a map")
        words = page.locator("main").inner_text()
        assert ("example" in words) == (len(dataset.shape) == 1)
        assert ("decoded beforehand" in words) == (name == "a map")
        assert page.locator("#classes button").count() == (4 if dataset.class_names else 0)
        assert not opened.errors


def test_reconstructions_have_the_size_in_which_they_are_drawn(chromium, tmp_path):
    """Signals of two rows are drawn taller than they are."""
    signals = RNG.integers(0, 256, (60, 2, 64), np.uint8)
    config = RunConfig(VAE(2, MLP((8,))), batch_size=20, epochs=1)
    study = Study(tmp_path, [config], data.from_arrays(signals))
    study.train(quiet=True)
    study.write(wall_seconds=1.0)
    with Opened(chromium, tmp_path / "report.html") as opened:
        strip = opened.page.locator("#strips .strip").first.bounding_box()
        assert strip["width"] / strip["height"] == pytest.approx(6 * 64 / 16, rel=0.05)
        assert not opened.errors
