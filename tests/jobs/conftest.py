"""The model that commands are tested on does for jobs."""

from tests.cli.conftest import small_model as small_model
