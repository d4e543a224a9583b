import json

from tests.board_answers import answers, right
from tunediff.compare.board import Answered
from tunediff.compare.chain import make_chain
from tunediff.report.chain_page import chain_json, chain_lines, chain_pages, chain_tables


def made(**counts):
    return make_chain([Answered(name, answers(right(*count))) for name, count in counts.items()], 0.95)


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_the_lines_say_which_steps_can_be_told_from_none():
    said = plain("\n".join(chain_lines(made(base=(0, 0), nf4=(3, 2), tuned=(40, 2)))))
    assert "3 variants on the same 100 cases." in said
    assert "adjusted over 3 steps by Holm" in said
    assert (
        "base -> nf4: of 100 cases 5 flip (3 repaired, 2 broken); neither is significantly better (adjusted p = "
        "1.00)." in said
    )
    assert "nf4 -> tuned: of 100 cases 37 flip (37 repaired, 0 broken): the two differ by +37.0 points" in said
    assert "Of the cases that flip along the way, 0 end as they began." in said


def test_variants_between_which_nothing_differs_are_said_to():
    said = plain("\n".join(chain_lines(made(base=(0, 0), again=(0, 0)))))
    assert "Nothing differs: all variants answer all 100 cases identically." in said
    assert "base -> again" not in said
    said = plain("\n".join(chain_lines(made(base=(0, 0), again=(0, 0), tuned=(9, 0)))))
    assert "base -> again: nothing differs, all 100 cases are answered identically." in said


def test_tables_pages_and_the_object_have_the_same_figures():
    chain = made(base=(0, 0), nf4=(3, 2), tuned=(40, 2))
    found = json.loads(json.dumps(chain_json(chain), allow_nan=False))
    variants, steps = ({column[0]: column[1:] for column in table} for table in chain_tables(chain))
    assert [one["name"] for one in found["variants"]] == variants["variant"]
    assert plain(variants["accuracy"][2]) == "88.0 %"
    assert [str(step["changed"]) for step in found["steps"]] == steps["changed"]
    assert plain(steps["flips"][0]) == "5 (1.6 to 11.3 %)"  # R: binom.test(5, 100)
    pages = chain_pages(chain)
    assert "| base → nf4 | 5 | 5 (1.6 to 11.3 %) |" in plain(pages.markdown)
    assert "base → nf4" in pages.html
    for forbidden in ("<script", "://"):
        assert forbidden not in pages.html


def test_a_name_is_never_markup_and_never_moves_a_cursor():
    names = ["<img src=x onerror=y>", "\x1b[2Jb|c"]
    chain = make_chain([Answered(name, answers(right(at, 0))) for at, name in enumerate(names)], 0.95)
    pages = chain_pages(chain)
    assert "<img" not in pages.html
    assert "<img" not in pages.markdown
    assert "\x1b" not in "".join(
        [*chain_lines(chain), *(cell for table in chain_tables(chain) for one in table for cell in one)]
    )
