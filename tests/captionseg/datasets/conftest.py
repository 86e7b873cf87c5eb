"""Sources that shards are made of."""

from tests.captionseg.sources.conftest import given, picture, toy_assets, toy_scenes  # noqa: F401 - fixtures
