from tests.slowest import table


def test_the_slowest_of_all_files_come_first_with_what_all_take(tmp_path):
    case = '<testcase classname="{}" name="{}" time="{}" />'
    first = case.format("tests.data.test_cases", "test_a[one | two]", 1.25) + case.format("tests.test_x", "test_b", 3)
    for name, cases in (("first", first), ("second", case.format("tests.test_y", "test_c", 0.5))):
        (tmp_path / name).write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    lines = table([tmp_path / "first", tmp_path / "second"]).splitlines()
    assert lines[2:5] == [
        "| 3.0 | `tests/test_x.py` | `test_b` |",
        "| 1.2 | `tests/data/test_cases.py` | `test_a`[…] |",
        "| 0.5 | `tests/test_y.py` | `test_c` |",
    ]
    assert lines[-1] == "All 3 tests together: 5 s."
