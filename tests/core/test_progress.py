"""The bar on stderr."""

from __future__ import annotations

from hoi_captum.core.progress import progress_bar


def test_a_shown_bar_writes_to_the_present_stderr_and_wipes_itself(capsys):
    with progress_bar("counting", 10, "row", show=True) as bar:
        bar.update(10)
        bar.refresh()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "counting" in shown.err
    assert "10/10" in shown.err
    assert shown.err.split("\r")[-1].strip() == ""


def test_a_hidden_bar_writes_nothing(capsys):
    with progress_bar("counting", 10, "row", show=False) as bar:
        bar.update(10)
    assert capsys.readouterr() == ("", "")
