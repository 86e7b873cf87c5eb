import re
from dataclasses import replace

import pytest

from captionseg.records import UserError
from captionseg.text.corpus_vocabulary import build
from captionseg.text.vocabulary import Vocabulary, VocabularyParams

CAPTIONS = [
    "a dog on the grass",
    "two dogs and a cat",
    "the dog runs",
    "a cat on a carpet",
    "a picture of a bench",
]


def named(vocabulary: Vocabulary, *captions: str) -> list[set[str]]:
    matrix = vocabulary.match_captions(captions)
    assert matrix.shape == (len(captions), len(vocabulary.concepts))
    assert matrix.dtype == bool
    return [
        {c for c, here in zip(vocabulary.concepts, row, strict=True) if here}
        for row in matrix.toarray()
    ]


def test_frequent_nouns_by_lemma_most_frequent_first():
    vocabulary = build(CAPTIONS, VocabularyParams(minimum=2, keep_rows=False))
    assert vocabulary.concepts == ("dog", "cat")
    assert vocabulary.lemma["dogs"] == "dog"


def test_equally_frequent_nouns_are_in_alphabetical_order():
    concepts = build(CAPTIONS, VocabularyParams(minimum=1)).concepts
    assert concepts == ("dog", "cat", "bench", "carpet", "grass")  # "picture" is a stop word
    assert build(CAPTIONS, VocabularyParams(minimum=1, size=3)).concepts == ("dog", "cat", "bench")


def test_a_stop_list_of_ones_own(tmp_path):
    (tmp_path / "stop.txt").write_text("# not these\ndog\n\n  CAT \n")
    params = VocabularyParams(minimum=1, stop=str(tmp_path / "stop.txt"))
    assert build(CAPTIONS, params).concepts == ("bench", "carpet", "grass", "picture")


def test_a_concept_is_whole_words_never_part_of_one():
    vocabulary = Vocabulary(("car", "cat"), {"cars": "car"})
    found = named(vocabulary, "a carpet", "cattle on a scarf", "Cars!", "a cat-like car")
    assert found == [set(), set(), {"car"}, {"car", "cat"}]


def test_a_concept_of_several_words_stands_in_a_row():
    vocabulary = Vocabulary(("polar bear", "bear", "stop sign post"), {"bears": "bear"})
    assert named(
        vocabulary, "two polar bears", "a bear in polar ice", "polar, bear", "a bear, a polar bear"
    ) == [{"polar bear"}, {"bear"}, {"bear"}, {"polar bear", "bear"}]
    assert named(vocabulary, "a stop sign post", "stop sign") == [{"stop sign post"}, set()]


def test_a_caption_names_a_concept_once_however_often_it_says_it():
    assert Vocabulary(("dog",), {}).match_captions(["dog dog dog"]).nnz == 1


def test_no_caption_no_name():
    assert named(Vocabulary(("dog",), {}), "") == [set()]


def test_a_file_of_concepts_replaces_the_nouns(tmp_path):
    file = tmp_path / "concepts.txt"
    file.write_text("# classes\nPolar bear\nbus\ngrass\nbus\ncherry\nT-shirt\nskis\n")
    vocabulary = build(
        ["polar bears, buses, cherries", "a t-shirt on skis", "grass"],
        VocabularyParams(file=str(file)),
    )
    assert vocabulary.concepts == ("polar bear", "bus", "grass", "cherry", "t-shirt", "skis")
    found = named(
        vocabulary, "polar bears, buses, cherries", "a T-shirt on skis", "a ski", "glass grass"
    )
    assert found == [{"polar bear", "bus", "cherry"}, {"t-shirt", "skis"}, set(), {"grass"}]


@pytest.mark.parametrize("field", ["file", "stop"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, field):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path, reason in (
        (tmp_path / "nowhere", "No such file"),
        (tmp_path / "binary", "utf-8"),
        (tmp_path, "directory"),
    ):
        with pytest.raises(
            UserError, match=re.escape(f"curate.vocabulary.{field}: {path} cannot be read")
        ) as caught:
            build(CAPTIONS, replace(VocabularyParams(), **{field: str(path)}))
        assert reason in str(caught.value)


WRONG = {
    "playing cards": "car",
    "carts": "car",
    "beards": "bear",
    "busts": "bus",
    "pants": "pan",
    "boats": "boa",
    "cloudy skies": "ski",
}
RIGHT = {
    "cars": "car",
    "two bears": "bear",
    "buses": "bus",
    "pans": "pan",
    "boas": "boa",
    "skis": "ski",
    "the dog's bowl": "dog",
    "the dog\u2019s bowl": "dog",
    "the dogs' bowl": "dog",
    "three mice": "mouse",
    "wine glasses": "wine glass",
    "fire hydrants": "fire hydrant",
    "a fire-hydrant": "fire hydrant",
    "Traffic Lights": "traffic light",
    "dog-friendly": "dog",
    "people": "person",
    "a cafe\u0301": "caf\u00e9",
}
LIST = tuple(dict.fromkeys([*WRONG.values(), *RIGHT.values(), "light", "lights", "glass"]))


def of_a_file(tmp_path, lines, captions) -> Vocabulary:
    (tmp_path / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    return build(captions, VocabularyParams(file=str(tmp_path / "list.txt")))


def test_a_list_is_named_by_its_plurals_and_by_no_other_word(tmp_path):
    captions = [*WRONG, *RIGHT]
    vocabulary = of_a_file(tmp_path, LIST, captions)
    assert named(vocabulary, *captions) == [set() for _ in WRONG] + [
        {name} for name in RIGHT.values()
    ]
    assert named(Vocabulary(LIST, None), *captions) == named(vocabulary, *captions)


def test_nouns_of_captions_have_the_same_singulars_as_lists():
    captions = [
        "A man wears pants and sunglasses.",
        "The dog's bowl is full.",
        "Two cookies lie on the cloudy shelves.",
        "A dog\u2019s toy and jeans and scissors.",
    ]
    vocabulary = build(captions, VocabularyParams(minimum=1))
    assert {"pants", "sunglasses", "cookie", "shelf", "jeans", "scissors", "dog"} <= set(
        vocabulary.concepts
    )
    found = named(vocabulary, *captions)
    assert all("dog" in row for row in (found[1], found[3]))
    assert set().union(*found) == set(vocabulary.concepts)  # no concept that no caption names
    assert named(Vocabulary(vocabulary.concepts, None), *captions) == found


def test_of_a_list_what_can_name_nothing_is_said(tmp_path, caplog):
    lines = [
        "\ufeffDog",
        "# note",
        "  # note",
        "dog",
        "T-shirt",
        "t shirt",
        "!!!",
        "unicorn",
        "cafe\u0301",
        "caf\u00e9",
    ]
    vocabulary = of_a_file(tmp_path, lines, ["a dog in a t-shirt by a caf\u00e9"])
    assert vocabulary.concepts == ("dog", "t-shirt", "unicorn", "caf\u00e9")
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "of 6 concepts 1 have no letter and are ignored: '!!!'",
        "of 6 concepts 1 have the same words as another one and are ignored: 't shirt'",
        "of 6 concepts 1 occur in no caption: 'unicorn'",
    ]


def test_words_as_written_with_the_concept_that_each_belongs_to():
    vocabulary = Vocabulary(("dog", "cat"), {"dogs": "dog"})
    assert vocabulary.words("Two DOGS, a cat-like dog's toy!") == [
        ("Two", -1),
        ("DOGS", 0),
        ("a", -1),
        ("cat", 1),
        ("like", -1),
        ("dog", 0),
        ("toy", -1),
    ]


def test_words_of_a_concept_of_several():
    vocabulary = Vocabulary(("polar bear", "bear"), {"bears": "bear"})
    assert vocabulary.words("two Polar Bears, a bear") == [
        ("two", -1),
        ("Polar", 0),
        ("Bears", 0),
        ("a", -1),
        ("bear", 1),
    ]


def concepts_of(vocabulary: Vocabulary, caption: str) -> list[int]:
    return [number for _, number in vocabulary.words(caption)]


def test_of_concepts_that_overlap_the_longest_has_the_words_then_the_first():
    vocabulary = Vocabulary(("stop", "stop sign", "sign post", "sign post box"), {})
    assert concepts_of(vocabulary, "stop sign") == [1, 1]
    assert concepts_of(vocabulary, "stop sign post") == [1, 1, -1]
    assert concepts_of(vocabulary, "stop sign post box") == [0, 3, 3, 3]


def test_a_caption_without_words_has_none():
    assert Vocabulary(("dog",), {}).words("") == Vocabulary(("dog",), {}).words(" ... _ !") == []
    assert Vocabulary((), {}).words("a dog") == [("a", -1), ("dog", -1)]


def test_words_belong_to_no_concept_that_the_caption_does_not_name():
    vocabulary = build(CAPTIONS, VocabularyParams(minimum=1))
    for row, caption in enumerate(CAPTIONS):
        found = set(concepts_of(vocabulary, caption)) - {-1}
        assert found == set(
            vocabulary.match_captions(CAPTIONS).toarray()[row].nonzero()[0].tolist()
        )
