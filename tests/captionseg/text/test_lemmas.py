"""Singulars by hand: what English spelling allows, and no word that happens to begin the same."""

import pytest

from captionseg.text.lemmas import find_plurals, find_singulars, lemmatize

RIGHT = """
cards:card carts:cart beards:beard busts:bust boats:boat skies:sky skis:ski buses:bus dishes:dish
knives:knife wolves:wolf children:child men:man women:woman firemen:fireman
grandchildren:grandchild mice:mouse geese:goose feet:foot teeth:tooth oxen:ox leaves:leaf
potatoes:potato photos:photo pianos:piano quizzes:quiz axes:axe ties:tie pies:pie shoes:shoe
horseshoes:horseshoe cookies:cookie movies:movie ponies:pony flies:fly boxes:box benches:bench
brushes:brush gases:gas lenses:lens dresses:dress houses:house horses:horse vases:vase noses:nose
purses:purse blouses:blouse walruses:walrus gloves:glove caves:cave waves:wave olives:olive
bookshelves:bookshelf scarves:scarf prizes:prize waltzes:waltz headaches:headache churches:church
cacti:cactus menus:menu taxis:taxi tvs:tv mangoes:mango toes:toe canoes:canoe monkeys:monkey
dice:die cafés:café
"""
ALONE = """
people pants shorts jeans sunglasses scissors glasses binoculars sheep fish deer series species
lens bus gas  grass dress tennis swiss paris james car card sky specimen pumice this is as us news
狗 ski
"""


@pytest.mark.parametrize(("word", "expected"), [pair.split(":") for pair in RIGHT.split()])
def test_the_singular_of_a_plural(word, expected):
    assert lemmatize(word) == expected
    assert word in find_plurals(expected)


@pytest.mark.parametrize("word", ALONE.split())
def test_what_is_no_plural_or_is_only_said_so_stays(word):
    assert lemmatize(word) == word
    assert lemmatize(word, word[:-1]) == word  # a dictionary that has `pant` does not matter


@pytest.mark.parametrize(
    ("word", "never"),
    [
        ("cards", "car"),
        ("carts", "car"),
        ("beards", "bear"),
        ("busts", "bus"),
        ("pants", "pan"),
        ("boats", "boa"),
        ("skies", "ski"),
        ("lens", "len"),
        ("gas", "ga"),
        ("dress", "dres"),
        ("caves", "cafe"),
        ("caves", "caf"),
        ("news", "new"),
        ("women", "womman"),
        ("pumice", "pumouse"),
        ("ties", "ty"),
        ("species", "specie"),
    ],
)
def test_no_ending_is_cut_that_is_none(word, never):
    assert never not in find_singulars(word)


def test_where_the_spelling_leaves_it_open_a_list_or_a_dictionary_decides():
    assert find_singulars("leaves") == ("leaf", "leave")
    assert set(find_singulars("axes")) == {"axe", "axis", "ax"}
    assert find_singulars("people") == ("people", "person")
    assert find_singulars("glasses") == ("glasses", "glass")
    assert lemmatize("galoshes") == "galosh"
    assert lemmatize("galoshes", "galoshe") == "galoshe"
    assert lemmatize("galoshes", "gal") == "galosh"
