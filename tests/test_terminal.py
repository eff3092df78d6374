"""What is printed: no name can command the terminal, and tables stay tables."""

from __future__ import annotations

import pytest

from rootspace._terminal import bar, say, table, tracked, visible


def test_names_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]):
    say("a\x1b[31mb\x07c [bold]d[/bold]\u202ee\x9b1m\x7f\ud800 é 字\n\tnext")
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err == (
        "a\\x1b[31mb\\x07c [bold]d[/bold]\\u202ee\\x9b1m\\x7f\\ud800 é 字\n\tnext\n"
    )
    assert visible("x" * 500) == "x" * 500


def test_bars_are_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]):
    with bar("Short", 3) as shown:
        assert not shown.is_shown
        shown.advance()
        shown.show(2, "note")
    assert list(tracked("abc", "Letters", 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""
    with bar("Long [red]\x1b", 3, long=True) as shown:
        shown.advance(3)
        shown.show(3, "[note]")
    found = capsys.readouterr().err
    assert "Long [red]\\x1b" in found and "100%" in found and "[note]" in found


def test_tables():
    header, rows = ["name", "n"], [["a|b", "1"], ["c\nd\x1b", "1,000"]]
    assert table(header, rows) == (
        "name         n\n"
        "--------------\n"
        "a|b          1\n"
        "c d\\x1b  1,000"
    )  # fmt: skip
    assert table(header, rows, markdown=True) == (
        "| name | n |\n| --- | --- |\n| a&#124;b | 1 |\n| c d\\x1b | 1,000 |"
    )
    assert table(["a"], []) == "a\n-"
