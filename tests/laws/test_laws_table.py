"""The measured table of docs/laws.md is what the shipped table gives."""

import subprocess
import sys


def run(root, *laws):
    command = [sys.executable, root / "benchmarks" / "laws_table.py", "--check", *laws]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_page_shows_what_the_shipped_table_gives(root):
    result = run(root, "checkpoint_informed")
    assert result.returncode == 0, result.stderr


def test_another_number_on_the_page_is_noticed(root):
    sys.path.insert(0, str(root / "benchmarks"))
    try:
        import laws_table
    finally:
        sys.path.pop(0)
    values = [0.7, 2.2, 1.9, 38.0, 59.0]
    table = laws_table.pd.DataFrame([values], ["checkpoint_informed"], laws_table.COLUMNS)
    page = "| `checkpoint_informed` | **0.7** | **{}** | 1.9 | 38 | 59 |"
    assert laws_table.find_differences(page.format(2.2), table) == []
    assert laws_table.find_differences(page.format(3.2), table) == ["checkpoint_informed"]
    assert laws_table.find_differences("", table) == ["checkpoint_informed"]
