import pytest

from captionseg.marking.lists import read_file, read_packaged, split_lines
from captionseg.records import UserError


def test_lines_without_comments_in_lower_case():
    assert split_lines("# a\n\n  Click  HERE \r\nx # y\n") == ["click here", "x # y"]


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^a.b: .*none.txt cannot be read: .*No such file"):
        read_file(str(tmp_path / "none.txt"), "a.b")
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match=r"^a.b: .*latin cannot be read"):
        read_file(str(tmp_path / "latin"), "a.b")


def test_packaged_lists_have_no_line_twice():
    for name in ("boilerplate.txt", "function_words.txt"):
        lines = read_packaged(name)
        assert len(set(lines)) == len(lines) > 50
