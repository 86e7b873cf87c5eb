"""What the page works with, shared by all who have it open: models, pairs, segments, threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from captionseg.demo.model_shelf import ModelShelf, list_models
from captionseg.demo.pair_browser import PairBrowser
from captionseg.demo.segment_search import SegmentSearch
from captionseg.lineage.history import Places

P = ParamSpec("P")
T = TypeVar("T")


class Workshop:
    """What the page works with. Models compute one after the other, in a thread of their own; files
    are read in another, so that a list appears while a model is loading.

    Args:
        sources: models that were asked for, see `list_models`.
        places: files of a run.
        device: that models compute on.

    Raises:
        UserError: if there is no model.
    """

    def __init__(self, sources: Sequence[str], places: Places, device: str = "auto") -> None:
        self.shelf = ModelShelf(list_models(sources, places.models), device)
        self.pairs = PairBrowser(places)
        self.search = SegmentSearch(places, self.shelf.find_searcher(), device)
        self._models = ThreadPoolExecutor(1, "models")
        self._files = ThreadPoolExecutor(1, "files")

    def warm_up(self) -> None:
        """Load the first model, meanwhile; what is wrong with it is said to who uses it."""
        self._models.submit(self.shelf.take, self.shelf.names[0])

    async def compute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function returns that uses a model."""
        return await run_in(self._models, function, *args, **kwargs)

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function returns that reads files or draws."""
        return await run_in(self._files, function, *args, **kwargs)

    def close(self) -> None:
        """End the threads; what has not begun is dropped."""
        for pool in (self._models, self._files):
            pool.shutdown(wait=False, cancel_futures=True)


async def run_in(
    pool: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run a function in a thread of a pool, while the page goes on."""
    return await asyncio.wrap_future(pool.submit(function, *args, **kwargs))
