"""Questions, seeds, and answers made into running text."""

import numpy as np
import pytest

from captionseg.captioners.captioner import derive_seed, fill_prompt, hash_fields, tidy_answer


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("a dog", "a dog."),
        ("  A dog.\n", "A dog."),
        ("A dog that\nsits.", "A dog that sits."),
        ("A dog\n\nA cat", "A dog. A cat."),
        ("Parts:\n- **two** ears\n* a `tail`\n1. paws", "Parts: two ears. a tail. paws."),
        ("# Dog\n\nIt sits!", "Dog. It sits!"),
        ("an orange-red apple, 3.5 m away", "an orange-red apple, 3.5 m away."),
        ("5 * 3 - 2 dogs", "5 * 3 - 2 dogs."),
        ("", ""),
        (" \n\t\n ", ""),
        ("**", ""),
        ("a \x00dog\x07 \ud83d", "a dog."),
        ("un chien à côté de l'église 🐕", "un chien à côté de l'église 🐕."),
    ],
)
def test_an_answer_becomes_running_text(answer, text):
    assert tidy_answer(answer) == text
    assert tidy_answer(tidy_answer(answer)) == tidy_answer(answer)


def test_a_long_answer_stays_whole():
    assert len(tidy_answer("word " * 3000).split()) == 3000


def test_nothing_takes_quadratic_time():
    for hostile in (
        "\n" * 100_000,
        "\n " * 100_000,
        "- " * 100_000,
        "**" * 100_000,
        "\n- " * 100_000,
    ):
        tidy_answer(hostile)


def test_the_original_caption_stands_where_the_prompt_wants_it():
    assert fill_prompt("Describe.", "a dog") == "Describe."
    assert (
        fill_prompt("More than {caption}, {x}", "a\n{caption} dog")
        == "More than a {caption} dog, {x}"
    )


def test_seeds_differ_by_picture_question_and_seed():
    image, other = np.zeros((4, 6, 3), np.uint8), np.zeros((6, 4, 3), np.uint8)
    seeds = [
        derive_seed(0, image, "a"),
        derive_seed(0, other, "a"),
        derive_seed(0, image, "b"),
        derive_seed(1, image, "a"),
    ]
    assert len(set(seeds)) == 4
    assert derive_seed(0, image.copy(), "a") == seeds[0]
    assert 0 <= min(seeds) <= max(seeds) < 2**63
    assert derive_seed(0, image.transpose(1, 0, 2), "a") == seeds[1]  # not contiguous


def test_keys_are_of_names_and_values():
    assert hash_fields("chat", a=1, b=2) == hash_fields("chat", b=2, a=1)
    assert (
        len(
            {
                hash_fields("chat", a=1),
                hash_fields("chat", a=2),
                hash_fields("server", a=1),
                hash_fields("chat", b=1),
            }
        )
        == 4
    )
