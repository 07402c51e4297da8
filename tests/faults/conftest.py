"""What the tests of faults share."""

import jax
import jaxtyping
import pytest


@pytest.fixture(scope="module")
def one_device():
    """Sweeps compile for one device only, not for each of the two that tests have."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jax, "local_devices", lambda *_, **__: jax.devices()[:1])
        yield


@pytest.fixture
def as_users_have_it():
    """Without the checks of annotations that tests have, which would refuse some values first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
