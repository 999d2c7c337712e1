"""What a progress tells a log file, where no bar can be drawn."""

import pytest

from recondoor.core import terminal


@pytest.mark.parametrize(
    ("total", "note", "said"),
    [
        (80, "", "work: 50%, 1.0/s, 40 s left\n"),
        (80, "loss 2", "work: 50%, loss 2, 1.0/s, 40 s left\n"),
        (2, "", "work: 50%, 0.025/s, 40 s left\n"),
    ],
)
def test_a_line_says_what_there_is(
    total: int,
    note: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(terminal.time, "monotonic", iter((0.0, 40.0)).__next__)
    monkeypatch.setattr(terminal, "can_redraw", lambda: False)
    lines = terminal._Lines("work", total, 0)
    lines.advance(total // 2, note)
    monkeypatch.undo()
    assert capsys.readouterr().err == said
