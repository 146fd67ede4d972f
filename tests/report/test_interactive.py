"""The interactive planner's page: one file, sound, readable, refused where it cannot be true."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from laws_grid import FORGETTING_PARAMS, TARGET_PARAMS
from pages import REQUEST, every_law, fit_by, forgetting, make_page

from ptpp.errors import InputError
from ptpp.laws import LAWS, Law, Parameter
from ptpp.planning.forecast import pair_rows
from ptpp.report.planner import REPORT_LIMIT, javascript
from ptpp.report.planner.page import PARTS


class Elements(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture(scope="module")
def elements():
    return Elements(make_page(REQUEST, every_law())).found


def test_the_page_asks_nothing_of_a_server(elements):
    assert not [a for _, a in elements if {"src", "href", "srcset", "action"} & set(a)]
    policy = next(a["content"] for tag, a in elements if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'") and "http" not in policy
    assert not re.search(r"url\(|@import", (PARTS / "page.css").read_text())


def test_the_page_of_a_usual_run_is_small_enough_for_the_report():
    protocols = ("early_to_late", "with_anchors")
    laws = ("dcpt", "floor", "gated", "gated_floor", "forgetting")
    params = {**TARGET_PARAMS, **FORGETTING_PARAMS}
    fits = [
        fit_by(LAWS[law], params, domain, protocol, draws=200)
        for protocol in protocols
        for law in laws
        for domain in (("en", "ar") if LAWS[law].offset else ("fr",))
    ]
    assert len(make_page(REQUEST, fits).encode()) < 0.6 * REPORT_LIMIT


def test_texts_of_a_declared_law_stay_texts(elements):
    assert [tag for tag, _ in elements].count("script") == 3


def test_every_law_of_the_zoo_has_a_javascript_that_reads_all_its_parameters():
    for law in LAWS.values():
        written = javascript(law)
        for j in range(len(law.parameters)):
            assert f"p[{j}]" in written, (law.name, j)


def test_what_depends_on_the_model_alone_is_computed_once_per_model():
    of_model, of_point = javascript(LAWS["gated_floor"]).split("return (replay, atpp) =>")
    assert "model.ptpp" in of_model and "model.ptpp" not in of_point


def test_a_formula_that_javascript_does_not_have_is_refused_in_one_line():
    law = Law(
        name="wave",
        title="",
        equation="",
        source="",
        inputs=("n_params",),
        centred=("n_params",),
        parameters=(Parameter("a", 0, 1, "linear", "", ""),),
        formula=lambda p, x: p.a * np.sin(x.log("n_params")),
    )
    with pytest.raises(InputError, match=r"^law wave: .*sin"):
        javascript(law)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda fits: fits[1:], "no fit of the law 'gated_floor'"),
        (lambda fits: [replace(fits[0], draws=None)], "no bootstrap draws"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_one_line(change, said):
    fits = [fit_by(LAWS["gated_floor"], TARGET_PARAMS, "fr"), forgetting("en", 1)]
    with pytest.raises(InputError, match=said) as caught:
        make_page(REQUEST, change(fits))
    assert "\n" not in str(caught.value)


def test_draws_of_the_same_runs_stay_side_by_side_and_others_are_taken_as_independent():
    target = fit_by(LAWS["gated_floor"], TARGET_PARAMS, "fr").draws
    en, ar = forgetting("en", 1).draws, forgetting("ar", 2, draws=12).draws
    rows = pair_rows([target, en, ar])
    assert rows[0] == list(range(12))
    assert rows[1] == rows[2] != rows[0] and sorted(rows[1]) == rows[0]
    assert pair_rows([en, ar])[1] == rows[0]


def colours(scheme):
    """The custom properties of the style sheet, in the light or the dark scheme."""
    blocks = re.findall(r":root \{(.*?)\}", (PARTS / "page.css").read_text(), re.DOTALL)
    return dict(re.findall(r"--([\w-]+): (#\w{6});", blocks[("light", "dark").index(scheme)]))


def contrast(first, second):
    """Contrast ratio by the definition of the Web Content Accessibility Guidelines 2."""

    def luminance(colour):
        shares = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_stand_out_from_what_is_behind_them(scheme):
    c = colours(scheme)
    texts = [("ink", "paper"), ("ink", "panel"), ("muted", "paper"), ("warn-ink", "warn-paper")]
    for ink, paper in [*texts, ("ink", "fill-high"), ("ink", "fill-low")]:
        assert contrast(c[ink], c[paper]) >= 4.5, (ink, paper)
    # The veil over what breaks a limit lies between the paper and these.
    fills = [c[name] for name in ("paper", "fill-low", "fill-high")]
    for line in ("target", "domain-1", "domain-2", "domain-3", "mark"):
        assert min(contrast(c[line], fill) for fill in fills) >= 3, line
    for edge in ("line", "accent"):
        assert contrast(c[edge], c["paper"]) >= 3, edge
