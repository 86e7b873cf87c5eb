"""What the page works with, shared by all who have it open: models, pairs, segments, threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from captionseg.demo.model_pool import ModelPool, list_models
from captionseg.demo.pair_browser import PairBrowser
from captionseg.demo.segment_search import SegmentSearch
from captionseg.lineage.history import Places

P = ParamSpec("P")
T = TypeVar("T")


class Backend:
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
        self.models = ModelPool(list_models(sources, places.models), device)
        self.pairs = PairBrowser(places)
        self.search = SegmentSearch(places, self.models.find_searcher(), device)
        self._computing = ThreadPoolExecutor(1, "computing")
        self._reading = ThreadPoolExecutor(1, "reading")

    def warm_up(self) -> None:
        """Begin to load the first model; whoever uses it is told what is wrong with it."""
        self._computing.submit(self.models.get, self.models.names[0])

    async def compute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function returns that uses a model."""
        return await run_in(self._computing, function, *args, **kwargs)

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function returns that reads files or draws."""
        return await run_in(self._reading, function, *args, **kwargs)

    def close(self) -> None:
        """End the threads; what has not begun is dropped."""
        for pool in (self._computing, self._reading):
            pool.shutdown(wait=False, cancel_futures=True)


async def run_in(
    pool: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run a function in a thread of a pool, while the page goes on."""
    return await asyncio.wrap_future(pool.submit(function, *args, **kwargs))
