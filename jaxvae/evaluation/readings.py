"""What a classifier trained on a dataset's own images reads in them, and in what a run makes of them.

In: images with their classes, a loaded run. Out: the classifier's parameters, and classes.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxvae.data import Dataset, Examples, at_hand, blocks
from jaxvae.evaluation import classifier, codes
from jaxvae.jax_settings import own_settings
from jaxvae.models import Conv, automatic_precision
from jaxvae.runs import Run, blocks_given
from jaxvae.training import to_stored


@own_settings()
def reader(dataset: Dataset) -> Any:
    """Parameters of a classifier trained on the training split, or on the first 256 MiB of one that stays in its file;
    it must have labels, and the examples that lack one are left out."""
    images = at_hand(dataset.train_images)
    labels = np.asarray(dataset.train_labels)[: len(images)]
    if dataset.unlabelled:
        images, labels = images[labels >= 0], labels[labels >= 0]
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    return classifier.train(images, labels, dataset.classes, precision=automatic_precision(Conv()))


@own_settings()
def read_classes(reader: Any, images: Examples) -> np.ndarray:
    """The class that the classifier reads in each image."""
    return np.concatenate([np.asarray(classifier.read(reader, jnp.asarray(block))) for block in blocks(images)])


@own_settings()
def by_class(
    run: Run, reader: Any, images: Examples, labels: Any, classes: int, conditions: Any = None
) -> dict[str, Any]:
    """How the codes of each class lie apart, and what a classifier reads in their reconstructions.

    Args:
        run: with its products in float32.
        reader: the classifier's parameters.
        conditions: of the images, if the run's model has one.

    Returns:
        `classes`, and for each `purity`, `silhouette`, `radius` (empty lists where images are too few or codes not
        finite);
        `confusion`, how often a reconstruction of class i was read as j.
    """
    mean = np.asarray(run.codes(images, conditions).mean)
    given = blocks_given(images, conditions)
    drawn = (to_stored(run.reconstruct(*block_and_condition), images.dtype) for block_and_condition in given)
    seen = np.concatenate([np.asarray(classifier.read(reader, pictures)) for pictures in drawn])
    confusion = codes.confusion(labels, seen, classes)
    enough = 1 < len(np.unique(labels)) < len(labels) and np.isfinite(mean).all()  # a diverged run has none
    apart = codes.separation(mean, labels) if enough else codes.Separation(*[np.array([])] * 4)
    return {name: value.tolist() for name, value in apart._asdict().items()} | {"confusion": confusion.tolist()}
