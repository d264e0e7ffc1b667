from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from hoi_captum import views
from hoi_captum.core.interactions import Interactions, Term
from hoi_captum.core.provenance import Provenance
from hoi_captum.errors import FileError, InputError
from hoi_captum.views.facts import duration, facts_of, say

VOID = {"meta", "link", "input", "br", "img"}
# attributes by which a page can make a browser load something
LOADING = {"src", "href", "srcset", "data", "action", "formaction", "poster", "background", "xlink:href"}


class Page(HTMLParser):
    """What a test asks about: elements, texts, scripts; fails on markup that does not nest."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            kind, before = self.scripts[-1]
            self.scripts[-1] = (kind, before + data)
        elif self.open and self.open[-1] != "style":
            self.text.append(data)

    def having(self, attribute: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.elements if attribute in attributes]

    @property
    def data(self) -> dict:
        return json.loads(next(text for kind, text in self.scripts if kind == "application/json"))

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(params=["review", "digit", "row", "hostile", "nothing"])
def html(request) -> str:
    found = request.getfixturevalue(request.param)
    return views.render_page(*found) if isinstance(found, tuple) else views.render_page(found)


def test_the_page_parses_and_every_reference_exists(html):
    page = Page(html)
    ids = [a["id"] for a in page.having("id")]
    assert len(ids) == len(set(ids))
    wanted = [
        i
        for name in ("for", "aria-labelledby", "aria-describedby")
        for a in page.having(name)
        for i in a[name].split()
    ]
    wanted += [a["href"][1:] for a in page.having("href") if a["href"].startswith("#")]
    style = next(iter(re.findall(r"<style>(.*?)</style>", html, re.S)))
    used = set(re.findall(r"url\(#([\w-]+)\)", style))
    assert wanted
    assert set(wanted) <= set(ids)
    if "striped" in html.split("</style>")[1]:
        assert used <= set(ids)


def test_every_id_that_the_script_needs_exists(review):
    page = Page(views.render_page(*review))
    script = next(text for kind, text in page.scripts if kind is None)
    named = set(re.findall(r'(?:byId|getElementById)\("([\w-]+)"\)', script))
    assert named
    assert named <= {a["id"] for a in page.having("id")}


def test_the_page_loads_nothing(html):
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag not in {"iframe", "object", "embed", "base"}
        assert not [name for name in attributes if name.startswith("on")]
        for name in LOADING & attributes.keys():
            assert attributes[name].startswith(("data:", "#")), (tag, name)
    style = "".join(re.findall(r"<style>(.*?)</style>", html, re.S))
    assert "@import" not in style
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", style))
    script = next(text for kind, text in page.scripts if kind is None)
    assert not re.search(r"\bfetch\b|XMLHttpRequest|import\s*\(|WebSocket|EventSource|https?:|eval\(", script)


def test_the_policy_lets_only_our_script_run(html):
    page = Page(html)
    policy = next(a["content"] for a in page.having("http-equiv"))
    script = next(text for kind, text in page.scripts if kind is None)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}';" in policy
    assert "img-src data:;" in policy


def test_hostile_names_stay_text(hostile):
    table, layout = hostile
    html = views.render_page(table, layout, title="</title><script>", heading="<b>", subtitle='"><img>')
    page = Page(html)
    assert [kind for kind, _ in page.scripts] == ["application/json", None]
    assert "img" not in {tag for tag, _ in page.elements}
    assert '<b> "><img>' in page.said
    assert "alert(1)" not in next(text for kind, text in page.scripts if kind is None)
    block = html.split('id="data">')[1].split("</script>")[0]
    assert not set("<>&\u2028\u2029") & set(block)
    assert page.data["players"] == list(table.players)
    assert "<script>alert(1)</script>" in page.said
    assert "[red]x" in page.said


def test_it_holds_exactly_the_strongest_sets(row):
    table, layout = row
    page = Page(views.render_page(table, layout, max_terms=30))
    rows = page.data["rows"]
    expected = table.top(30)
    assert [(tuple(r["members"]), r["scores"][0]) for r in rows] == [(t.members, t.score) for t in expected]
    assert [int(a["data-i"]) for a in page.having("data-i")] == list(range(30))
    assert f"The 30 strongest of {len(table)} sets of players" in page.said


def test_models_stand_side_by_side_with_signs(review):
    page = Page(views.render_page(*review))
    assert page.data["rows"][0] == {
        "members": [0, 2],
        "kind": "and",
        "scores": [2.0, 1.5],
        "present": [True, True],
    }
    assert page.data["rows"][2]["scores"] == [None, 0.75]
    assert "not · bad and 2 +2.000 +1.500" in page.said
    assert "bad · film or 2 – none +0.750" in page.said
    assert page.said.count("Teacher") >= 3


def test_what_the_models_share_is_listed(review):
    page = Page(views.render_page(*review))
    sets = [(a["data-members"], a["data-kind"]) for a in page.having("data-members")]
    assert sets == [
        ("0 2", "and"), ("0 2 4", "and"), ("2", "and"), ("0", "and"), ("0 2", "or"), ("2 3", "or")
    ]  # fmt: skip
    assert "In both models (2) not · bad and Teacher +2.000 Pupil +1.500" in page.said
    assert "Only Teacher (3) bad and Teacher −1.000" in page.said
    assert "Only Pupil (1) bad · film or Pupil +0.750" in page.said
    assert "those above 5 % of their model’s largest effect" in page.said


@pytest.mark.parametrize("fixture", ["digit", "row", "hostile", "nothing"])
def test_one_model_shares_nothing(request, fixture):
    found = request.getfixturevalue(fixture)
    page = Page(views.render_page(*found) if isinstance(found, tuple) else views.render_page(found))
    assert "What the models share" not in page.said
    assert not page.having("data-members")


def test_an_empty_list_of_a_model_says_so(review):
    table = review[0]
    page = Page(views.render_page(table.take(np.nonzero(table.scopes == "model:0")[0])))
    assert "In both models (0) None." in page.said
    assert "Only Pupil (0) None." in page.said
    assert "Only Teacher (5) not · bad and Teacher +2.000" in page.said


def test_parts_that_are_no_models_share_nothing():
    terms = [Term((0, 1), "k", f"cluster:{i}", 1.0) for i in range(2)]
    table = Interactions.from_terms("ab", terms, provenance=Provenance("m"))
    assert "What the models share" not in Page(views.render_page(table)).said


def test_long_lists_of_shared_sets_are_cut_and_hostile_names_stay_text(hostile):
    names = tuple(f"{hostile[0].players[0]}{i}" for i in range(20))
    terms = [Term((i,), "and", f"model:{m}", 1.0 + i) for i in range(20) for m in range(2)]
    terms += [Term(tuple(range(20)), "<b>", "model:0", 40.0)]
    source = Provenance("m", model=("<i>one", "<i>two"))
    table = Interactions.from_terms(names, terms, base={"model:0": 0.0, "model:1": 0.0}, provenance=source)
    page = Page(views.render_page(table))
    assert "In both models (18)" in page.said  # 1 and 2 are not above 5 % of 40
    assert "and 10 more" in page.said
    assert "Only <i>one (1)" in page.said
    assert "Only <i>two (1)" in page.said  # of 1 and 2, the 2 is above 5 % of 20
    assert "+ 8 more" in page.said
    assert {a.get("class") for tag, a in page.elements if tag == "i"} == {"bar"}
    assert page.said.count("alert(1)") > 20


def test_each_player_is_shaded_by_its_share(review):
    table, layout = review
    page = Page(views.render_page(table, layout))
    words = [a for a in page.having("data-p") if "title" in a]
    assert len(words) == 2 * 5
    shares = [table.where(scope=s).per_player() for s in ("model:0", "model:1")]
    scale = max(np.abs(s).max() for s in shares)
    for word, share in zip(words, np.concatenate(shares), strict=True):
        sign = "zero" if share == 0 else "pos" if share > 0 else "neg"
        assert word["class"] == f"player {sign}"
        assert word["style"] == f"--v:{round(abs(share) / scale, 3)}"


def test_the_image_is_inside_with_one_outline_for_each_region(digit):
    page = Page(views.render_page(*digit))
    image = next(a["href"] for tag, a in page.elements if tag == "image")
    png = base64.b64decode(image.removeprefix("data:image/png;base64,"))
    assert png.startswith(b"\x89PNG")
    paths = [a for tag, a in page.elements if tag == "path"]
    assert [int(a["data-p"]) for a in paths] == list(range(9))
    assert paths[4]["d"] == "M8 8L16 8L16 16L8 16Z"


def test_large_images_are_made_small():
    from hoi_captum.core.example import ImageLayout
    from hoi_captum.views.inputs import image_uri

    uri = image_uri(ImageLayout(torch.zeros(2000, 1000, 3), torch.zeros(2000, 1000, dtype=torch.long)))
    head = base64.b64decode(uri.split(",")[1])
    assert (int.from_bytes(head[16:20]), int.from_bytes(head[20:24])) == (512, 1024)


def test_the_columns_and_values_of_a_row(row):
    page = Page(views.render_page(*row))
    assert "a rather long column name number 3 3 " in page.said


def test_charts_say_the_sums(review):
    page = Page(views.render_page(*review))
    labels = [a["aria-label"] for tag, a in page.elements if tag == "svg" and "aria-label" in a]
    assert labels[0] == (
        "Sums by order, Teacher: order 1, and: −1.50; order 2, and: +2.00; "
        "order 3, and: −0.60; order 2, or: −0.25"
    )


def kind_page(kind: str, scores, cls=Interactions, triple: float | None = None, **more) -> Page:
    """The page of pairs (0, 1), (0, 2), ... of one kind, in logits."""
    terms = [Term((0, i), kind, None, score) for i, score in enumerate(scores, start=1)]
    terms += [] if triple is None else [Term((0, 1, 2), kind, None, triple)]
    source = Provenance("m", details={"unit": "logit"})
    table = cls.from_terms("abcd"[: len(scores) + 1], terms, provenance=source, **more)
    return Page(views.render_page(table))


def test_cross_derivatives_are_no_shares_of_the_value():
    page = kind_page("taylor", (2.0, -0.5))
    for said in (
        "How much each player interacts",
        "The sum of the absolute cross derivatives of all pairs with the player. Numbers in logit.",
        "Scores are cross derivatives, in logit; signs are those of derivatives, not of synergy",
        "Pairs; the diagonal is empty.",
    ):
        assert said in page.said
    shown = [a["title"] for a in page.having("data-p") if "title" in a]
    assert shown == ["a: 2.50", "b: 2.00", "c: 0.50"]
    assert "Value with nobody present" not in page.said
    assert "Each player’s share" not in page.said


@pytest.mark.parametrize(
    ("kind", "what"), [("cam", "squared interaction strengths"), ("corex", "total correlations")]
)
def test_scores_without_a_sign_have_no_plus_and_no_minus(kind, what):
    page = kind_page(kind, (2.0, 0.5))
    swatches = [a["class"] for _, a in page.elements if "swatch" in (a.get("class") or "")]
    assert swatches == ["swatch pos"]
    assert f"The sum of the {what} of all pairs" in page.said
    assert not re.search(r"[+−]\d", page.said)
    assert f"Sums of the {what}, by number of players" in kind_page(kind, (2.0, 0.5), triple=1.0).said
    assert ("logit" in page.said) == (kind == "corex")  # squares are not in the unit of the output


def test_orders_are_compared_where_there_are_several():
    one, two = kind_page("taylor", (2.0, -0.5)), kind_page("taylor", (2.0, -0.5), triple=1.0)
    sums = "Sums of the positive cross derivatives (up) and of the negative cross derivatives (down)"
    assert "How much each order weighs" not in one.said
    assert f"How much each order weighs {sums}" in two.said
    for page in (one, two):
        assert "Pairs; the diagonal is empty." in page.said
    labels = [a["aria-label"] for tag, a in one.elements if tag == "svg" and "aria-label" in a]
    assert [label.split(";")[0] for label in labels] == ["Matrix of pairs"]


def cells_of_the_matrix(page: Page) -> set[str]:
    return {t for t in page.text if t in {"+", "−"}}


def test_positive_derivatives_have_no_plus_where_there_is_no_minus():
    page = kind_page("taylor", (2.0, 0.5))
    assert not re.search(r"[+−]\d", page.said)
    assert cells_of_the_matrix(page) == set()
    assert cells_of_the_matrix(kind_page("taylor", (2.0, -0.5))) == {"+", "−"}
    assert cells_of_the_matrix(kind_page("and", (2.0, 0.5))) == {"+"}  # raises the value


def test_scores_of_all_data_say_so():
    terms = [Term((0, 1), "taylor", None, 2.0)]
    pages = []
    for details in ({"data_rows": 100}, {}):
        source = Provenance("m", target="1", details=details)
        table = Interactions.from_terms("ab", terms, provenance=source)
        pages.append(Page(views.render_page(table)).said)
    for said in (
        "Scores cross derivatives over the data",
        "Scores are of all of the data, not of this input.",
    ):
        assert said in pages[0]
        assert said not in pages[1]
    assert "Scores cross derivatives" in pages[1]


def test_memberships_keep_their_shares():
    terms = [Term((0, 1), "corex", None, 3.0, weights=(1.0, 2.0))]
    page = Page(views.render_page(Interactions.from_terms("ab", terms, provenance=Provenance("m"))))
    assert "Every interaction is split among its players by their memberships." in page.said
    assert [a["title"] for a in page.having("data-p") if "title" in a] == ["a: 1.00", "b: 2.00"]


def test_kinds_of_plugins_are_told_neutrally():
    page = kind_page("of-a-plugin", (2.0, -0.5))
    assert "Every interaction is split evenly among its players. Numbers in logit." in page.said
    assert "positive score negative score" in page.said
    assert "Value with nobody present" in page.said


def test_the_page_tells_who_acts_in_synergy():
    class Knowing(Interactions):
        def synergy(self, term: Term) -> float:
            return 0.75 if term.members == (0, 1) else np.nan

    page = kind_page("taylor", (-2.0, -0.5), Knowing)
    assert "a · b taylor synergy (+0.75) 2 −2.000" in page.said
    assert "a · c taylor 2 −0.500" in page.said
    assert "Synergy: each does more with the other than without it (by occlusion)." in page.said
    assert "Synergy" not in kind_page("taylor", (-2.0, -0.5)).said


def test_the_page_does_not_call_a_difference_of_three_synergy():
    class Knowing(Interactions):
        def synergy(self, term: Term) -> float:
            return 1.0

    terms = [Term((0, 1, 2), "taylor", None, -2.0)]
    page = Page(views.render_page(Knowing.from_terms("abc", terms, provenance=Provenance("m"))))
    assert "a · b · c taylor occlusion difference +1 3 −2.000" in page.said
    assert "Occlusion difference: what a set does beyond its parts when they are switched off." in page.said
    assert "Synergy" not in page.said


def test_how_it_was_computed(review):
    page = Page(views.render_page(*review))
    for said in (
        "some-method",
        "4,096 forward",
        "75.2 s",
        "Random seed 7",
        "batch size 64",
        "masking disturbs Pupil",
    ):
        assert said in page.said
    facts = {f.name: f.values for f in facts_of(review[0])}
    assert facts["Value with nobody present"] == (("Teacher", "0.1"), ("Pupil", "−0.2"))
    assert facts["Measured"] == (("gap", "Teacher: 0.5; Pupil: 0.25"),)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "none"), (True, "yes"), (12345, "12,345"), (-0.25, "−0.25"), ([], "none"), ([1, 2], "1, 2"),
        (list(range(20)), "20 numbers, from 0 to 19"), ({"a_b": [1]}, "a b: 1"), ("x", "x"),
    ],
)  # fmt: skip
def test_values_in_words(value, words):
    assert say(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.05, "50 ms"), (3.21, "3.2 s"), (125, "2 min 5 s"), (10800, "3.0 h")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_memberships_are_told_where_a_method_has_them():
    terms = [Term((0, 1), "corex", "cluster:2", 0.7, weights=(0.2, 0.9))]
    table = Interactions.from_terms(("n3", "n8"), terms, provenance=Provenance("m"))
    page = Page(views.render_page(table))
    assert "membership: n8 0.9, n3 0.2" in [a["title"] for a in page.having("data-i")]


def test_many_players_without_a_layout_are_cut_and_the_page_says_so():
    terms = [Term((i, i + 1), "k", None, 1.0 + i) for i in range(299)]
    table = Interactions.from_terms([f"n{i}" for i in range(300)], terms, provenance=Provenance("m"))
    page = Page(views.render_page(table))
    assert "and 240 players with smaller shares" in page.said
    assert "The 24 most involved of 300 players" in page.said


def test_scores_that_are_not_finite(digit):
    terms = [Term((0, 1), "k", None, np.nan), Term((1, 2), "k", None, np.inf), Term((2,), "k", None, 1.0)]
    table = Interactions.from_terms(digit[0].players, terms, provenance=Provenance("m"))
    page = Page(views.render_page(table, digit[1]))
    assert [r["scores"] for r in page.data["rows"]] == [[1.0], [None], [None]]
    assert "not finite" in page.said


def test_no_interactions(nothing):
    assert "No interactions." in Page(views.render_page(nothing)).said


def test_save_page(tmp_path, review):
    path = views.save_page(*review, path=tmp_path / "page.html", title="A title")
    assert path.read_text(encoding="utf-8") == views.render_page(*review, title="A title")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileError):
        views.save_page(*review, path=tmp_path / "no" / "page.html")
    with pytest.raises(InputError, match="max_terms"):
        views.render_page(review[0], max_terms=-1)


def test_a_broken_name_can_be_written(tmp_path):
    table = Interactions.from_terms(("\ud800",), [Term((0,), "k", None, 1.0)], provenance=Provenance("m"))
    assert views.save_page(table, path=tmp_path / "x.html").exists()


# ---------------------------------------------------------------- contrast
def _luminance(colour: tuple[float, float, float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a, b) -> float:
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _hex(text: str) -> tuple[int, int, int]:
    text = text.lstrip("#")
    text = "".join(c * 2 for c in text) if len(text) == 3 else text
    return tuple(int(text[i : i + 2], 16) for i in (0, 2, 4))


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(mode, review):
    html = views.render_page(*review)
    block = re.findall(r":root \{(.*?)\}", html, re.S)[mode]
    colours = dict(re.findall(r"--([\w-]+): ([^;]+);", block))
    surface, ink = _hex(colours["surface"]), _hex(colours["ink"])
    for text in ("ink", "muted", "pos", "neg"):
        for ground in ("surface", "bg", "hover"):
            assert _contrast(_hex(colours[text]), _hex(colours[ground])) >= 4.5, (text, ground)
    assert _contrast(ink, _hex(colours["note"])) >= 4.5
    for sign in ("pos-rgb", "neg-rgb"):
        shade = tuple(map(int, colours[sign].split()))
        for mix in (float(colours["mix"]), 0.65):  # the darkest word, the darkest cell of the matrix
            mixed = tuple(mix * s + (1 - mix) * g for s, g in zip(shade, surface, strict=True))
            assert _contrast(ink, mixed) >= 4.5, (sign, mix)
