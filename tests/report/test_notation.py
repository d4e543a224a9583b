import pytest

from tunediff.report import notation
from tunediff.runtime import files


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (notation.percent(0.41), "41.0 %"),
        (notation.percent(0.0074880758, 3), "0.749 %"),
        (notation.level(0.95), "95 %"),
        (notation.level(0.999), "99.9 %"),
        (notation.level(1 - 0.95), "5 %"),
        (notation.points(0.47), "+47.0 points"),
        (notation.points(-0.032), "−3.2 points"),
        (notation.points(-0.0004), "0.0 points"),
        (notation.interval(0.383, 0.438), "38.3 to 43.8 %"),
        (notation.points_interval(-0.01, 0.02), "−1.0 to +2.0 points"),
        (notation.signed(0.0, 3), "0.000"),
        (notation.signed(-210, 0), "−210"),
        (notation.whole(2800655360), "2,800,655,360"),
        (notation.counted(1, "case"), "1 case"),
        (notation.counted(1200, "case"), "1,200 cases"),
        (notation.counted(2, "body"), "2 bodies"),
        (notation.counted(2, "reply key"), "2 reply keys"),
        (notation.decimal(-0.0001, 3), "0.000"),
        (notation.gib(3.34 * 2**30), "3.34 GiB"),
        (notation.gib(5 * 2**20), "5.0 MiB"),
    ],
)
def test_figures_are_written_as_the_report_shows_them(written, expected):
    assert plain(written) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "00:00:00"), (59.6, "00:01:00"), (2297.4, "00:38:17"), (3360.78, "00:56:01"), (100 * 3600, "100:00:00")],
)
def test_a_time_is_hours_minutes_seconds(seconds, expected):
    assert notation.duration(seconds) == expected


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (1.0, "p = 1.00"),
        (0.0625, "p = 0.0625"),
        (0.0001, "p = 0.0001"),
        (1.1786127629e-12, "p = 1.2 × 10⁻¹²"),
        (9.99e-6, "p = 1.0 × 10⁻⁵"),
        (0.0, "p < 10⁻³⁰⁰"),
    ],
)
def test_a_p_value_is_never_written_as_zero(p, expected):
    assert plain(notation.p_value(p)) == expected


def test_characters_that_hide_or_reorder_text_are_written_out():
    assert files.visible("a\u202eb\x00c\x9bd") == "a⟨U+202E⟩b␀c⟨U+009B⟩d"


def test_text_of_any_script_stays_as_it_is():
    for text in ("שלום עולם", "مرحبا", "नमस्ते", "日本語", "tab\tand\nline", "👩‍👧"):
        assert files.visible(text) == text


def test_half_a_surrogate_pair_can_be_stored():
    assert files.visible("\ud83d").encode() == "\N{REPLACEMENT CHARACTER}".encode()
