from captionseg.grounding.grounder import Query


def test_phrases_as_sentences_with_their_places_and_empty_ones_nowhere():
    query = Query.of(["a dog", "", "St. John's", "sky"])
    assert query.text == "a dog. St. John's. sky."
    assert query.spans == (((0, 5),), (), ((7, 17),), ((19, 22),))
    assert [query.text[slice(*spans[0])] for spans in query.spans if spans] == [
        "a dog",
        "St. John's",
        "sky",
    ]


def test_nothing_to_ask_for_is_an_empty_text():
    assert Query.of(["", ""]) == Query("", ((), ()))
    assert Query.of(["", "sky"]) == Query("sky.", ((), ((0, 3),)))
