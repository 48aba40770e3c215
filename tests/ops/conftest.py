"""Other libraries to compare with; importing them changes global state, so that is done once."""

import pytest


@pytest.fixture(scope="session")
def jax():
    module = pytest.importorskip("jax")
    module.config.update("jax_enable_x64", True)
    return module
