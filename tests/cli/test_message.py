"""What a command says on stderr: foreign text may not steer the terminal, ordinary text stays as it is."""

from __future__ import annotations

import io
import os
import sys
import unicodedata
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ssm_ssh.cli.message import printable, report, say
from ssm_ssh.errors import InvalidTarget, SessionFailed, SsmSshError

BIDIRECTIONAL: Final = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
STEERING: Final = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def test_no_character_of_unicode_steers_a_terminal() -> None:
    """Each code point by itself: no control, format, surrogate, private or separating character comes out."""
    leaks = [
        code
        for code in range(sys.maxunicode + 1)
        if any(unicodedata.category(character) in STEERING for character in printable(chr(code)))
    ]
    assert leaks == []


@given(text=st.text(st.characters()))
@example(text=BIDIRECTIONAL)
def test_nothing_printed_steers_a_terminal(text: str) -> None:
    """Whatever the text: nothing of the kind comes out, in one line that every terminal can be sent."""
    shown = printable(text)
    assert STEERING.isdisjoint(map(unicodedata.category, shown))
    assert shown.splitlines() in ([shown], [])
    shown.encode("utf-8")


@given(text=st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"])))
@example(text="Zürich, São Paulo, Đà Nẵng, Łódź")
@example(text="東京のサーバー 서울 北京")
@example(text="مرحبا שלום नमस्ते")
@example(text="🚀 👍🏽 ❤️ 🇨🇭")
@example(text=r"C:\Users\new \x1b")
@example(text="a\u00a0b\u3000c")
@example(text="")
def test_ordinary_text_is_unchanged(text: str) -> None:
    """Letters, marks, numbers, punctuation, symbols and spaces of every script stay as they are."""
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\ntwo\r\nthree\tfour", r"one\ntwo\r\nthree\tfour"),
        ("\x1b[2J\x07\x00\x7f", r"\x1b[2J\x07\x00\x7f"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("gpj.\u202efdp", r"gpj.\u202efdp"),
        ("tag \U000e0041", r"tag \U000e0041"),
        ("half \ud800 pair", r"half \ud800 pair"),
        ("👩\u200d💻", "👩\\u200d💻"),
    ],
)
def test_what_steers_is_written_as_an_escape(text: str, shown: str) -> None:
    """Each such character is still to be seen, as Python writes it."""
    assert printable(text) == shown


def test_a_message_is_one_line_with_the_programs_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the text has several, so that no node can forge a line of ours."""
    say("the agent says: gone\nssm-ssh: error: forged")
    assert capsys.readouterr() == ("", "ssm-ssh: the agent says: gone\\nssm-ssh: error: forged\n")


def test_an_error_is_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """The error line, then the hint line, both on stderr."""
    report(InvalidTarget("web\x1b", "no node has that name"))
    assert capsys.readouterr() == (
        "",
        (
            "ssm-ssh: error: 'web\\x1b' is not a target: no node has that name\n"
            f"ssm-ssh: hint: {InvalidTarget.hint}\n"
        ),
    )


def test_an_agents_words_cannot_add_lines_or_colours(capsys: pytest.CaptureFixture[str]) -> None:
    """A failed session's output is the node's: it stays inside its one line."""
    report(SessionFailed("a-1", "\n----------ERROR-------\n\x1b[31mno such host\n"))
    first, second = capsys.readouterr().err.splitlines()
    assert first == (r"ssm-ssh: error: session a-1 was ended: ----------ERROR------- \x1b[31mno such host")
    assert second.startswith("ssm-ssh: hint: ")


def test_an_error_without_a_hint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is said where nothing useful can be."""
    report(SsmSshError("it broke"))
    assert capsys.readouterr() == ("", "ssm-ssh: error: it broke\n")


def test_a_stderr_that_never_was_is_nobodys_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has no sys.stderr when the program was started with it closed."""
    monkeypatch.setattr(sys, "stderr", None)
    say("unheard")


def test_a_closed_stderr_is_nobodys_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream object that somebody closed raises ValueError."""
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    say("unheard")


def test_a_stderr_whose_reader_left_is_nobodys_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe without a reader raises BrokenPipeError."""
    reader, writer = os.pipe()
    os.close(reader)
    # Unbuffered below, so that nothing is left to be written when the stream is closed.
    with io.TextIOWrapper(os.fdopen(writer, "wb", buffering=0), write_through=True) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        say("unheard")
        monkeypatch.undo()
