"""Section `index` of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from captionseg.arrays import Rows
from captionseg.constraints import Member
from captionseg.encoders.alignment import AlignmentParams
from captionseg.encoders.encoder import ReducibleEncoder
from captionseg.encoders.encoders import ENCODERS
from captionseg.encoders.lite0_minilm import Lite0MiniLMParams
from captionseg.encoders.open_clip import OpenClipParams
from captionseg.encoders.siglip import SiglipParams
from captionseg.encoders.tips import TipsParams
from captionseg.retrieval.index import AUTO, MEMORY, Effort, StoredIndex
from captionseg.retrieval.indexes import INDEXES
from captionseg.runtime.device import detect
from captionseg.runtime.params import Precision
from captionseg.typed import AboveZero, Count, Device, Natural, Share


@dataclass(frozen=True)
class IndexParams:
    """Section `index` of params.yaml.

    Attributes:
        encoder: member of ENCODERS.
        device: auto, cpu, cuda or cuda:N.
        precision: fp32, bf16 or fp16 of the image tower.
        embeddings: folder that clip-retrieval's `inference` wrote with the model of an encoder that
            is aligned with text by itself: its image embeddings are taken where it has them. DVC
            does not watch it. null: none.
        backend: how neighbours are searched: exact (one matrix product) or faiss.
        faiss_key: faiss factory string; auto chooses by size, see captionseg.retrieval.faiss.
        memory: GiB that the vectors of one index may take; with auto, larger ones are compressed.
        ef_search: candidates that a graph (HNSW) keeps during a search; 0 means twice the number
            of neighbours.
        nprobe: lists to search (IVF); 0 means a quarter of them, at most 64, or more for many
            neighbours.
        minimum_recall: share of nearest rows that an approximate index must find on a sample;
            otherwise the stage fails.
        neighbours: number of similar images in a row of neighbours.npy.
        caption_neighbours: number of best matching captions in a row of caption_neighbours.npy.
        dense_width: principal components to which dense features are reduced; 0 keeps all
            channels, as does any encoder that is already aligned with text.
        dense_sample: number of images for computing the components.
        keep_dense: whether dense features are stored, for recipes that read them in every step;
            otherwise they are pooled over regions while they exist.
        lend_dense: of at most so many pictures they stay until segment_text has read them, which
            otherwise embeds pictures again.
    """

    encoder: Annotated[str, Member(ENCODERS)] = "lite0_minilm"
    device: Device = "auto"
    precision: Precision = "fp32"
    embeddings: str | None = None
    backend: Annotated[str, Member(INDEXES)] = "faiss"
    faiss_key: str = AUTO
    memory: AboveZero = MEMORY
    ef_search: Natural = 0
    nprobe: Natural = 0
    minimum_recall: Share = 0.95
    neighbours: Count = 256
    caption_neighbours: Count = 16
    dense_width: Natural = 256
    dense_sample: Count = 200
    keep_dense: bool = False
    lend_dense: Natural = 10_000
    alignment: AlignmentParams = field(default_factory=AlignmentParams)
    lite0_minilm: Lite0MiniLMParams = field(default_factory=Lite0MiniLMParams)
    open_clip: OpenClipParams = field(default_factory=OpenClipParams)
    siglip: SiglipParams = field(default_factory=SiglipParams)
    tips: TipsParams = field(default_factory=TipsParams)

    def build(self) -> ReducibleEncoder:
        """Build the chosen encoder on the chosen device."""
        return getattr(self, self.encoder).build(detect(self.device, self.precision))

    def build_search(self, vectors: Rows) -> StoredIndex:
        """Build an index of vectors, by the chosen backend."""
        kind = INDEXES[self.backend]
        return kind(vectors, self.faiss_key, self.effort, memory=self.memory)

    def load_search(self, path: Path, *, shared: bool) -> StoredIndex:
        """Load an index that `build_search` built and `save` wrote; see `FaissIndex.load`."""
        return INDEXES[self.backend].load(path, self.effort, shared=shared)

    @property
    def effort(self) -> Effort:
        """The effort of searches that are not exact."""
        return Effort(self.ef_search, self.nprobe)
