"""Keeps the embeddings of texts: they take longer than the picture that is labelled by them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

MOST = 20_000
"""Texts that are kept for one model, 30 MB at 384 numbers each."""

Encode = Callable[[Sequence[str]], np.ndarray]


class TextCache:
    """Embeddings of texts, prompts included, by one text encoder in one state.

    Those that were not asked for the longest make room for new ones.

    Args:
        most: number of texts that are kept.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._state: Hashable = None
        self._vectors: dict[str, np.ndarray] = {}  # the last used ones at the end
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str], encode: Encode, state: Hashable) -> np.ndarray:
        """Embed T texts, [T, D]; each is encoded once.

        Args:
            texts: the texts.
            encode: the text encoder.
            state: of the encoder; another one than at the last call empties the cache.
        """
        with self._lock:
            if state != self._state:
                self._vectors.clear()
                self._state = state
            found = {t: self._vectors.pop(t) for t in dict.fromkeys(texts) if t in self._vectors}
            self._vectors.update(found)
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        if not found and len(missing) == len(texts):
            vectors = encode(texts)
            self._keep(dict(zip(texts, vectors, strict=True)), state)
            return vectors
        if missing:
            found |= (fresh := dict(zip(missing, encode(missing), strict=True)))
            self._keep(fresh, state)
        return np.stack([found[text] for text in texts])

    def _keep(self, fresh: dict[str, np.ndarray], state: Hashable) -> None:
        with self._lock:
            if state != self._state:  # another thread has seen another state
                return
            # copies, because a row would keep the whole array of its call
            self._vectors.update({text: vector.copy() for text, vector in fresh.items()})
            for text in list(itertools.islice(self._vectors, max(0, len(self) - self.most))):
                del self._vectors[text]

    def __len__(self) -> int:
        return len(self._vectors)


def identify_state(model: Any) -> Hashable:
    """Identify the weights of a module: a value that differs after each change.

    Optimisers, `load_state_dict` and moves to another device are noticed; writes through
    `Tensor.data` are not, which torch does not count either. None if torch counts no changes of
    these tensors at all (they were made in inference mode), or in training mode, where dropout
    makes two calls differ.
    """
    tensors = list(itertools.chain(model.parameters(), model.buffers()))
    if model.training or any(tensor.is_inference() for tensor in tensors):
        return None
    return tuple(
        (tensor.data_ptr() if tensor.device.type != "meta" else 0, tensor._version)
        for tensor in tensors
    )
