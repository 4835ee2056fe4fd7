import pytest

from fertool.console import show
from fertool.errors import UserError
from fertool.summary import Summary, Table


def test_names_cannot_move_a_terminals_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b[2Jcnn\u202e"
    show(Summary({}, [Table(name, ["a\nb", name], [[name, "1"]], [name])], [name]), as_json=False)
    printed = capsys.readouterr().out
    assert printed.count("\\x1b[2Jcnn\\u202e") == 5 and "\x1b" not in printed and "\u202e" not in printed


def test_a_failure_is_raised_behind_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="two damaged files"):
        show(Summary({"damaged": 2}, failure="two damaged files"), as_json=True)
    assert capsys.readouterr().out == '{"damaged": 2}\n'
