import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.evaluation import classifier
from tests.blobs import blobs


@pytest.mark.slow
def test_it_learns_to_read_and_does_so_again(small):
    """A blob's place tells its label; the last batch of images to be read is filled up."""
    images, labels = blobs(400, 5)
    params = classifier.train(jnp.asarray(images), jnp.asarray(labels), 10, epochs=6)
    again = classifier.train(jnp.asarray(images), jnp.asarray(labels), 10, epochs=6)
    unseen, expected = blobs(507, 6)
    read = np.asarray(classifier.read(params, jnp.asarray(unseen)))
    assert (read == expected).mean() > 0.95
    np.testing.assert_array_equal(read, classifier.read(again, jnp.asarray(unseen)))
    np.testing.assert_array_equal(classifier.read(params, jnp.asarray(unseen[:3])), read[:3])
