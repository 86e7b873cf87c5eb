from captionseg.reporting.markdown import escaped, table


def test_a_name_stays_a_name_on_one_line():
    assert escaped("a|b\n*c* <d> e_f") == r"a\|b \*c\* \<d\> e\_f"


def test_words_start_at_the_left_and_no_cell_is_empty():
    assert table(["name", "n"], [["a", "1"], ["b", ""]]) == [
        "| name | n |",
        "| --- | ---: |",
        "| a | 1 |",
        "| b |   |",
    ]
