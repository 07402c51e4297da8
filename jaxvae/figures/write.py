"""A sweep's figures: what of its runs and its data goes into which picture.

In: results, the runs that have figures of their own, the dataset. Out: figures/*.png and *.webp.

Figures of examples are left out where these cannot be drawn, and those that need classes where there are none.
"""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.text import Text

from jaxvae.data import Dataset, at_hand
from jaxvae.figures import animation, conditions, curves, pictures, plotting, settings_map
from jaxvae.results import MAX_FOLLOWED_CLASSES, Results, evenly_spaced, first_seeds, probes
from jaxvae.runs import Run, manifest

POINTS = 2_000  # test images that the walk and the page show: a fifth of MNIST's
GRID_TICKS = (-2.0, -1.0, 0.0, 1.0, 2.0)
SAMPLES, SAMPLES_IN_ROW = 64, 8
WALK_STEPS = 8  # frames from a class to the next
CONFUSION_SIZES = 8  # latent sizes side by side in the figure of confusions


def write_figures(
    folder: Path,
    results: Results,
    runs: Sequence[Run],
    dataset: Dataset,
    on_figure: Callable[[Path], None] = lambda path: None,
) -> list[Path]:
    """Draws every figure of the sweep into `folder`; returns their paths.

    Args:
        runs: the loaded ones of `results.runs_to_plot`.
        dataset: the images as the runs were trained on them.
        on_figure: called after each.
    """
    return _write(folder, _figures(results, runs, dataset), on_figure)


def write_curves(folder: Path, results: Results) -> list[Path]:
    """Draws the curves of losses alone."""
    return _write(folder, itertools.islice(figures_of_all(results), 1) if results.trained else [])


def _write(
    folder: Path, drawn: Iterable[tuple[str, Figure | bytes]], on_figure: Callable[[Path], None] = lambda path: None
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with style.context("default", after_reset=True), warnings.catch_warnings():  # whatever a matplotlibrc says
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a name's letters: a box is drawn instead
        for name, figure in drawn:
            if isinstance(figure, bytes):
                path, content = folder / f"{name}.webp", figure
            else:
                path, file = folder / f"{name}.png", io.BytesIO()
                for text in figure.findobj(Text):
                    text.set_text(text.get_text().replace("$", r"\$"))  # no formulas: a name may have such letters
                figure.savefig(file, format="png", metadata={"Software": None})
                content = file.getvalue()
            paths.append(path)
            manifest.write(path, content)
            on_figure(path)
    return paths


def _figures(results: Results, runs: Sequence[Run], dataset: Dataset) -> Iterator[tuple[str, Figure | bytes]]:
    if results.trained:
        yield from figures_of_all(results)
    for run in runs:
        if run.config.latent_dim == 2:
            yield f"latent-{run.config.name}", _latent_plane(results, run, dataset)
            if pictures.drawable(dataset.shape) and (names := conditions.classes(run, dataset)):
                yield f"planes-{run.config.name}", _planes(results, run, dataset, names)
    if not pictures.drawable(dataset.shape):
        return
    look = pictures.look(at_hand(dataset.train_images))
    originals = pictures.as_pictures(probes(dataset), look)
    best = {final.name for setting in results.best for final in setting.finals}
    if compared := [run for run in runs if run.config.name in best]:
        yield "comparison", _comparison(results, compared, originals[1], look)
    for run in runs:
        yield from _of_run(results, run, dataset, originals, look)
    if moving := first_seeds(runs):
        yield from _animations(results, moving, dataset, originals[1], look)


def figures_of_all(results: Results) -> Iterator[tuple[str, Figure]]:
    """Figures of losses and confusions, in which the best setting stands for its model."""
    words = results.words
    averaged, shared = results.caption(averaged=True), results.caption(averaged=True, shared=True)
    data = shared if results.too_many else results.caption(shared=True)
    best = "\nof each model the setting with the lowest mean −ELBO" if results.several_settings else ""
    bands = f"\n{meaning}" if (meaning := curves.meaning_of_bands(results)) else ""
    models, parts = curves.mean_curves(results), curves.parts(results)
    some, how_many = curves.readable(models, results)
    yield "curves", plotting.curves(some, f"{averaged}{how_many and f'; {how_many}'}{bands}", parts, words)
    yield "by-dimension", plotting.by_dimension(models, f"{averaged}{bands}", parts, words)
    yield "rate-distortion", plotting.rate_distortion(curves.points_by_size(results), f"{data}{best}", words)
    if results.digits and (rows := _confusions(results, results.digits["runs"])):
        accuracy = results.digits["classifier"]["accuracy"]
        yield "confusions", plotting.confusions(rows, accuracy, f"{shared}{best}", words)
    table = results.axes
    if (name := table.trade_off) and (lines := curves.trade_off_lines(results, name)):
        others = [table.axes[other] for other in table.varying_traced if other != name]
        figure = settings_map.rate_distortion(lines, table.axes[name], others, averaged, words)
        yield f"rate-distortion-{name}", figure
    if results.several_settings and (maps := curves.settings_maps(results)):
        yield "settings", settings_map.settings(maps, averaged, words)


def _confusions(results: Results, records: Mapping[str, Any]) -> list[list[tuple[str, np.ndarray]]]:
    """A row an architecture: (title, shares of the classes' images over all seeds that were classified)."""
    rows: dict[str, dict[int, tuple[str, np.ndarray]]] = {}
    for setting in results.best:
        if own := [records[final.name]["confusion"] for final in setting.finals if final.name in records]:
            (architecture, d), counts = setting.model, np.sum(np.asarray(own, float), axis=0)
            shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
            rows.setdefault(architecture, {})[d] = f"{architecture}, d = {d}", shares
    return [evenly_spaced([row[d] for d in sorted(row)], CONFUSION_SIZES) for row in rows.values()]


def _of_run(
    results: Results, run: Run, dataset: Dataset, originals: np.ndarray, look: pictures.Look
) -> Iterator[tuple[str, Figure]]:
    name, data = run.config.name, results.caption(shared=True)
    reconstructions = pictures.as_pictures(run.reconstructions, look)
    for i, split in enumerate(("train", "test")):
        title = f"{split} {results.words.example}s reconstructed during training\n{results.labels[name]} – {data}"
        epochs = epochs_to_draw(run.metrics[-1]["epoch"])
        yield f"evolution-{name}-{split}", pictures.evolution(originals[i], reconstructions[:, i], epochs, title)
    given, count, words = conditions.of_samples(run, dataset, SAMPLES // SAMPLES_IN_ROW, SAMPLES_IN_ROW)
    drawn = np.asarray(run.sample(jax.random.key(run.config.seed), count, condition=given))
    title = f"drawn from the prior{words}: {results.labels[name]}\n{data}"
    yield f"samples-{name}", pictures.mosaic(pictures.as_pictures(drawn, look), SAMPLES_IN_ROW, title)
    if classes := conditions.classes(run, dataset):
        yield f"analogies-{name}", _analogies(results, run, dataset, classes, look)


def epochs_to_draw(last: int) -> list[int]:
    """Up to eight, from before training to the last, closer together at the beginning."""
    return sorted({0, *np.geomspace(1, last, 7).round().astype(int).tolist()}) if last else [0]


def _latent_plane(results: Results, run: Run, dataset: Dataset) -> Figure:
    """The test images' codes, beside what codes on a grid decode to if that is a picture."""
    k, decoded, words = len(GRID_TICKS), None, ""
    if pictures.drawable(dataset.shape):
        z1, z2 = np.meshgrid(GRID_TICKS, GRID_TICKS)
        given, words = conditions.one_for_all(run, dataset, k * k)
        images = np.asarray(run.decode(np.stack([z1.ravel(), z2.ravel()], 1), given))
        images = pictures.as_pictures(images, pictures.look(at_hand(dataset.train_images)))
        decoded = images.reshape(k, k, *images.shape[1:])
    labels = dataset.labels or dataset.numbers
    title = f"The latent plane{words}: {results.labels[run.config.name]} – {results.caption(shared=True)}"
    codes = np.asarray(run.codes(dataset.test_images, conditions.of_test(run, dataset)).mean)
    return pictures.latent_plane(
        decoded, GRID_TICKS, codes, labels and labels[1], title, results.words, dataset.class_names
    )


def _planes(results: Results, run: Run, dataset: Dataset, names: Sequence[str]) -> Figure:
    """What the same codes decode to as each class."""
    k, z1_and_z2 = len(GRID_TICKS), np.meshgrid(GRID_TICKS, GRID_TICKS)
    codes = np.tile(np.stack([z.ravel() for z in z1_and_z2], 1), (len(names), 1))
    decoded = np.asarray(run.decode(codes, np.repeat(np.arange(len(names)), k * k)))
    images = pictures.as_pictures(decoded, pictures.look(at_hand(dataset.train_images)))
    grids = images.reshape(len(names), k, k, *images.shape[1:])
    label = results.words.label
    title = (
        f"The latent plane, decoded as each {label}: {results.labels[run.config.name]}\n{results.caption(shared=True)}"
    )
    return pictures.planes(grids, GRID_TICKS, names, title)


def _analogies(results: Results, run: Run, dataset: Dataset, names: Sequence[str], look: pictures.Look) -> Figure:
    """The codes of the first test examples of each class, decoded as every class (Kingma et al. 2014, figure 2)."""
    labels = dataset.labels[1] if dataset.labels else np.zeros(len(dataset.test_images), int)
    first = [np.flatnonzero(labels == label)[0] for label in np.unique(labels)[: len(names)]]
    given = jax.tree.map(lambda rows: rows[np.array(first)], conditions.of_test(run, dataset))
    images = dataset.test_images[np.array(first)]
    codes = np.repeat(np.asarray(run.codes(images, given).mean), len(names), 0)
    decoded = np.asarray(run.decode(codes, np.tile(np.arange(len(names)), len(first))))
    own, others = (pictures.as_pictures(each, look) for each in (images, decoded))
    label, name = results.words.label, results.labels[run.config.name]
    title = f"A test {results.words.example} of each {label}, its code decoded as every {label}\n{name} – "
    title += results.caption(shared=True)
    return pictures.analogies(own, others.reshape(len(first), len(names), *others.shape[1:]), names, title)


def _comparison(results: Results, runs: Sequence[Run], originals: np.ndarray, look: pictures.Look) -> Figure:
    """Smallest against largest latent size, a row an architecture: test images and what the models make of them."""
    by_model = {(run.config.architecture, run.config.latent_dim): run for run in reversed(runs)}
    sizes = sorted({d for _, d in by_model})
    ends = [2 if 2 in sizes else sizes[0], 50 if 50 in sizes else sizes[-1]]
    cells = []
    for architecture in dict.fromkeys(a for a, _ in sorted(by_model, reverse=True)):
        row = [by_model[architecture, d] for d in dict.fromkeys(ends) if (architecture, d) in by_model]
        last = [pictures.as_pictures(run.reconstructions[-1, 1], look) for run in row]
        cells.append([(results.labels[run.config.name], images) for run, images in zip(row, last, strict=True)])
    width = min(len(row) for row in cells)
    title = f"Test {results.words.example}s and their reconstructions – {results.caption(shared=True)}"
    return pictures.comparison(originals, [row[:width] for row in cells], title)


def _animations(
    results: Results, runs: Sequence[Run], dataset: Dataset, originals: np.ndarray, look: pictures.Look
) -> Iterator[tuple[str, bytes]]:
    """A run of each setting: test images reconstructed epoch by epoch, and a walk from class to class."""
    data, names = results.caption(shared=True), [results.labels[run.config.name] for run in runs]
    epochs = [pictures.as_bytes(pictures.as_pictures(run.reconstructions[:, 1], look)) for run in runs]
    evolutions = list(zip(names, epochs, strict=True))
    example, label = results.words
    yield "evolution", animation.evolution(pictures.as_bytes(originals), evolutions, f"Test {example}s, {data}")
    walkers = [(name, run) for name, run in zip(names, runs, strict=True) if run.config.vae.condition is None]
    if dataset.labels and walkers:  # a condition does not change on the way from code to code
        walks = [(name, _walk(run, dataset, look)) for name, run in walkers]
        yield "walk", animation.walk(walks, f"From {label} to {label} through latent space, {data}")


def _walk(run: Run, dataset: Dataset, look: pictures.Look) -> np.ndarray:
    """Decoded on the way from each class's mean code to the next one's and back to the first, uint8 [frame, h, w]; of
    many classes, the first."""
    assert dataset.labels is not None
    codes, labels = np.asarray(run.codes(dataset.test_images[:POINTS]).mean), dataset.labels[1][:POINTS]
    stations = np.stack([codes[labels == label].mean(0) for label in np.unique(labels)[:MAX_FOLLOWED_CLASSES]])
    steps = np.linspace(0, 1, WALK_STEPS, endpoint=False)[:, None]
    way = [start + steps * (end - start) for start, end in zip(stations, np.roll(stations, -1, 0), strict=True)]
    codes = np.nan_to_num(np.concatenate(way), posinf=1e6, neginf=-1e6)  # those of a run that diverges may overflow
    decoded = np.asarray(run.decode(codes))
    return pictures.as_bytes(pictures.as_pictures(decoded, look))
