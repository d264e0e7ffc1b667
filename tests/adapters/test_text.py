"""Players in texts."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoi_captum.adapters.text import (
    Slot,
    Span,
    assign_tokens,
    fill,
    find_players,
    lay_out,
    owners_by_name,
)
from hoi_captum.errors import InputError, PlayerError


def slot(text: str) -> Slot:
    return Slot(text, 0, len(text))


def words(text: str) -> list[str]:
    return [text[s.start : s.end] for s in find_players(slot(text), "words", [])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("not a bad film", ["not", "a", "bad", "film"]),
        ("Don't! It's the boys' o’clock.", ["Don't", "It's", "the", "boys", "o’clock"]),
        ("a well-made, rock-n-roll film - really", ["a", "well-made", "rock-n-roll", "film", "really"]),
        ("  spaces\tand\nlines ", ["spaces", "and", "lines"]),
        ("snake_case_ 3.5 100%", ["snake", "case", "3", "5", "100"]),
        ("«Ça» naïve Москва ελληνικά", ["Ça", "naïve", "Москва", "ελληνικά"]),
        (
            unicodedata.normalize("NFD", "café naïve"),
            [unicodedata.normalize("NFD", w) for w in ("café", "naïve")],
        ),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("السَّلَام عليكم", ["السَّلَام", "عليكم"]),
        ("می‌خواهم", ["می‌خواهم"]),
        ("great ❤️ film 🎬🎬", ["great", "film"]),
        ("(bad)", ["bad"]),
        ("'quoted' -dash-", ["quoted", "dash"]),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize("text", ["?!", "... — …", "❤️", "_", "\u0301"])
def test_punctuation_has_no_words(text):
    with pytest.raises(PlayerError, match="has no players"):
        words(text)


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_is_cut_into_pieces_that_join_again(text):
    try:
        spans = find_players(slot(text), "words", [])
    except PlayerError:
        assert not any(c.isalnum() for c in text)
        return
    layout = lay_out(text, spans)
    assert "".join(piece for piece, _ in layout.pieces) == text
    assert [p for p, player in layout.pieces if player >= 0] == [text[s.start : s.end] for s in spans]
    assert [player for _, player in layout.pieces if player >= 0] == list(range(len(spans)))
    covered = {i for s in spans for i in range(s.start, s.end)}
    assert all(i in covered for i, c in enumerate(text) if c.isalnum())
    assert not any(text[s.start : s.end].isspace() for s in spans)


def test_a_template_is_filled_and_not_a_player():
    filled = fill("review : {} sentiment :", "not bad")
    assert filled.text == "review : not bad sentiment :"
    assert filled.text[filled.start : filled.end] == "not bad"
    spans = find_players(filled, "words", [])
    assert [filled.text[s.start : s.end] for s in spans] == ["not", "bad"]
    given_spans = find_players(filled, [(0, 3), "bad"], [])
    assert given_spans == spans
    assert "".join(p for p, _ in lay_out(filled.text, spans).pieces) == filled.text


def test_braces_of_the_text_are_only_text():
    assert fill("say {}!", "a {} b").text == "say a {} b!"


@pytest.mark.parametrize("template", ["no slot", "{} and {}", "{0}", ""])
def test_templates_without_one_slot(template):
    with pytest.raises(InputError, match=r"template with one \{\}"):
        fill(template, "text")


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_empty_texts(text):
    with pytest.raises(InputError, match="got an empty one"):
        fill(None, text)


def test_half_characters():
    with pytest.raises(InputError, match="surrogates"):
        fill(None, "not \ud83d bad")


@pytest.mark.parametrize("text", [None, 3, ["not", "bad"], b"bytes"])
def test_what_is_no_text(text):
    with pytest.raises(InputError, match=r"expected a text \(str\)"):
        fill(None, text)


TEXT = "not a bad film, not at all"


def given_players(*players) -> list[str]:
    return [TEXT[s.start : s.end] for s in find_players(slot(TEXT), list(players), [])]


def test_given_players():
    assert given_players("not a", "film", "not") == ["not a", "film", "not"]  # each behind the one before
    assert given_players((0, 5), [6, 9], "not at") == ["not a", "bad", "not at"]
    assert find_players(slot(TEXT), ("bad",), []) == [Span(6, 9)]


@pytest.mark.parametrize(
    ("players", "says"),
    [
        (["film", "bad"], "'bad' does not stand in the text after the one before it"),
        (["good"], "'good' does not stand in the text; give words of it"),
        ([(0, 5), (4, 9)], r"characters 4\.\.9 overlaps"),
        ([(0, 99)], r"leaves the text of 26 characters"),
        ([(-1, 3)], "overlaps the one before it, or leaves"),
        ([(5, 5)], "5..5"),
        ([(5, 3)], "5..3"),
        ([""], "string or a"),
        ([3], r"string or a .*, got 3; grids are for images"),
        ((0, 3), "string or a"),  # one pair in no list
        ([(0, 1, 2)], "string or a"),
        ([None], "string or a"),
        ([], "has no players"),
        ("letters", "'words', 'tokens' or a list of spans"),
        (None, "'words', 'tokens' or a list of spans"),
        (5, "'words', 'tokens' or a list of spans"),
        ({(0, 3)}, "'words', 'tokens' or a list of spans"),
    ],
)
def test_given_players_that_do_not_exist(players, says):
    with pytest.raises(PlayerError, match=says):
        find_players(slot(TEXT), players, [])


def test_tokens_as_players_leave_special_ones_and_the_template_out():
    filled = fill("say {} .", "not bad")
    tokens = [Span(0, 0), Span(0, 3), Span(4, 7), Span(8, 11), Span(12, 13), Span(0, 0)]
    assert find_players(filled, "tokens", tokens) == [Span(4, 7), Span(8, 11)]


def test_the_bytes_of_one_letter_are_one_player():
    tokens = [Span(0, 1), Span(1, 2), Span(1, 2), Span(1, 2), Span(2, 5), Span(4, 6)]
    assert find_players(slot("a😀 bcd"), "tokens", tokens) == [Span(0, 1), Span(1, 2), Span(2, 6)]


def test_tokens_go_to_the_player_they_share_most_with():
    text = "New York is"
    players = [Span(0, 3), Span(4, 8), Span(9, 11)]
    assert assign_tokens([Span(0, 0), Span(0, 3), Span(3, 8), Span(8, 11)], players, text) == [-1, 0, 1, 2]
    assert assign_tokens([Span(0, 4), Span(4, 5), Span(5, 8), Span(9, 11), Span(11, 12)], players, text) == [
        0, 1, 1, 2, -1,
    ]  # fmt: skip


def test_a_token_of_two_words_leaves_one_without():
    with pytest.raises(PlayerError, match=r"no token of their own to \['New'\]; merge"):
        assign_tokens([Span(0, 8)], [Span(0, 3), Span(4, 8)], "New York")


def test_a_player_given_as_a_string_is_a_whole_word_if_it_can_be():
    slot = fill(None, "that is a bad habit")
    assert find_players(slot, ["a", "bit"], []) == [Span(8, 9), Span(16, 19)]


# ---------------------------------------------------------------- players of one text in another
def spans(text: str) -> list[Span]:
    """A token for each word, and a special one at either end."""
    return [Span(0, 0), *(Span(*m.span()) for m in re.finditer(r"\w+", text)), Span(0, 0)]


def owners(text: str, *names: str) -> list[int] | None:
    return owners_by_name(spans(text), slot(text), names)


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("a bad film, not good", ("not", "bad"), [-1, -1, 1, -1, 0, -1, -1]),
        ("Not BAD", ("not", "bad"), [-1, 0, 1, -1]),  # whatever their case
        ("Über ÉTÉ", ("über", "été"), [-1, 0, 1, -1]),
        ("badly bad", ("bad",), [-1, -1, 0, -1]),  # whole words
        ("New York is not new", ("New York", "new"), [-1, 0, 0, -1, -1, 1, -1]),
        ("bad, bad, bad", ("bad", "bad"), [-1, 0, 1, -1, -1]),  # one place each, in reading order
        ("bad", ("bad", "bad"), [-1, 0, -1]),
        ("the good, the bad", ("the", "bad", "the"), [-1, 0, -1, 2, 1, -1]),
        ("is 1+1 (2)?", ("(2)", "1+1"), [-1, -1, 1, 1, 0, -1]),  # no patterns
    ],
)
def test_players_are_found_by_their_names_in_another_text(text, names, expected):
    assert owners(text, *names) == expected


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("I don't don", ("don",), [-1, -1, -1, -1, 0, -1]),  # I don t don
        ("well-made, made", ("made",), [-1, -1, -1, 0, -1]),
        ("New York is new", ("new", "New York"), [-1, 1, 1, -1, 0, -1]),
    ],
)
def test_a_part_of_a_word_or_of_another_name_is_not_taken_for_it(text, names, expected):
    assert owners(text, *names) == expected


@pytest.mark.parametrize("names", [("good",), ("ba",), (), ("bad film",)])
def test_a_text_without_any_of_them(names):
    assert owners("a bad old film", *names) is None


def test_words_of_the_template_are_nobodys():
    filled = fill("is it bad ? {} bad ?", "not bad")
    found = owners_by_name(spans(filled.text), filled, ("bad", "not"))
    assert found == [-1, -1, -1, -1, 1, 0, -1, -1]
    assert owners_by_name(spans(filled.text), filled, ("it",)) is None


def test_all_pieces_of_a_word_are_its_players():
    # un|watch|able film, and a token that covers the end of one word and the next
    tokens = [Span(0, 2), Span(2, 7), Span(7, 11), Span(12, 16)]
    assert owners_by_name(tokens, slot("unwatchable film"), ("film", "unwatchable")) == [1, 1, 1, 0]
    assert owners_by_name([Span(0, 11), Span(11, 16)], slot("unwatchable film"), ("film",)) == [-1, 0]


@given(st.text(alphabet="ab -'", max_size=30))
@settings(max_examples=200, deadline=None)
def test_a_text_knows_its_own_words(text):
    try:
        players = find_players(slot(text), "words", [])
    except PlayerError:
        return
    names = [text[s.start : s.end] for s in players]
    if any(n in m and n != m for n in names for m in names):
        return  # a word inside of another may be found there
    tokens = [Span(s.start, s.end) for s in players]
    assert owners_by_name(tokens, slot(text), names) == list(range(len(names)))
