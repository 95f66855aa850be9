from __future__ import annotations

import io
from contextlib import redirect_stderr

import pytest

from inputlayer import progress as module
from inputlayer.progress import progress, quiet


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(module, "_DELAY", 0.0)


def work(title: str, total: int | None) -> None:
    with progress(title, total) as advance:
        for _ in range(3):
            advance(1)


@pytest.mark.parametrize(("total", "count"), [(3, "3/3"), (None, "3/?")])
def test_bar_on_a_terminal(total: int | None, count: str) -> None:
    with redirect_stderr(Terminal()) as screen:
        work("Learning statistics", total)
    assert "Learning statistics" in screen.getvalue()
    assert count in screen.getvalue()


def test_nothing_before_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DELAY", 60.0)
    with redirect_stderr(Terminal()) as screen:
        work("Learning statistics", 3)
    assert screen.getvalue() == ""


def test_quiet_ends_with_its_block() -> None:
    with redirect_stderr(Terminal()) as screen:
        with quiet():
            work("Reading", 3)
        assert screen.getvalue() == ""
        work("Learning statistics", 3)
    assert "Learning statistics" in screen.getvalue()


def test_only_the_outer_bar_is_drawn() -> None:
    with redirect_stderr(Terminal()) as screen, progress("Training", 1) as advance:
        advance(0)
        work("Reading", 3)
    assert "Training" in screen.getvalue()
    assert "Reading" not in screen.getvalue()


@pytest.mark.parametrize("drawn", [False, True])
def test_an_inner_bar_waits_for_no_outer_one_that_is_not_drawn(drawn: bool) -> None:
    with redirect_stderr(Terminal()) as screen, progress("Training", 1) as advance:
        if drawn:
            advance(0)
        with progress("Reading", 1, inner=True) as step:
            step(1)
    assert ("Reading" in screen.getvalue()) is not drawn


def test_standard_output_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with redirect_stderr(Terminal()) as screen, progress("Training", 1) as advance:
        advance(1)
        print("result")
    assert capsys.readouterr().out == "result\n"
    assert "result" not in screen.getvalue()


def test_nothing_where_standard_error_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    work("Learning statistics", 3)
    assert capsys.readouterr() == ("", "")


def test_an_error_passes_and_takes_the_bar_away() -> None:
    def fails() -> None:
        with progress("Training", 2) as advance:
            advance(1)
            raise KeyError("boom")

    with redirect_stderr(Terminal()) as screen:
        with pytest.raises(KeyError, match="boom"):
            fails()
        end = len(screen.getvalue())
        work("Reading", 3)
    assert "Reading" in screen.getvalue()[end:]
