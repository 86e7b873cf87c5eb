import numpy as np

from captionseg.curation.marked import Inputs, load_marked
from captionseg.curation.rules import CurateParams
from captionseg.encoders.text_space import TextSpace
from captionseg.marking.markers import MarksParams
from captionseg.text.vocabulary import VocabularyParams
from captionseg.typed import build

VOCABULARY = VocabularyParams(minimum=2)


def load(world, seed=0, **marks):
    params = CurateParams(
        ["nouns"], vocabulary=VOCABULARY, marks=build(MarksParams, marks, "curate.marks")
    )
    inputs = Inputs(world.pairs, world.index, world.features)
    return load_marked(inputs, TextSpace.load(world.encoder).encode, params, seed=seed)


def test_concepts_are_counted_before_they_are_balanced(world):
    corpus, vocabulary, rows, marks = load(world, balance={"t": 1}, length={"min_words": 4})
    assert tuple(corpus.vocabulary) == vocabulary.concepts == tuple(rows.vocabulary)
    kinds = dict.fromkeys(marks.kind.tolist())
    assert set(kinds) == {"", "caption_short", "balance"}
    train = np.flatnonzero(~rows.held_out)
    named = corpus.named.toarray().any(1)
    assert not named[marks.kind[train] == "caption_short"].any()
    assert named[marks.kind[train] == "balance"].all()
    assert not marks.kind[rows.held_out].any()


def test_the_seed_draws_others(world):
    first, again, other = (load(world, seed, balance={"t": 3})[3] for seed in (0, 0, 1))
    assert first.kind.tolist() == again.kind.tolist() != other.kind.tolist()
