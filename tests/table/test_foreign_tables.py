"""Tables of other people: their names and units, and what is refused for having the wrong one."""

import pandas as pd
import pytest

from ptpp.errors import InputError
from ptpp.table.kinds import target_rows
from ptpp.table.observations import read_observations
from ptpp.table.units import parse_number

OURS = "n_params,ptpp,replay,adapt_tokens,domain,loss\n"
ROWS = "110000000,15,0,220000000,fr,3\n110000000,279,0.05,220000000,fr,2.9\n"


def read(folder, text, **arguments):
    path = folder / "losses.csv"
    path.write_text(text, encoding="utf-8")
    return read_observations(path, **arguments)


def refusal(folder, text, **arguments):
    with pytest.raises(InputError) as raised:
        read(folder, text, **arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value).removeprefix(f"{folder / 'losses.csv'}: ")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("7B", 7e9), ("40b", 40e9), ("1.5T", 1.5e12), ("350M", 350e6), ("10k", 1e4),
        ("8.1B", 8.1e9),
        ("2 G", 2e9), ("1e9", 1e9), (" 12 ", 12), ("-3", -3), (0.5, 0.5), ("1_000", 1000),
    ],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(text, number):
    assert parse_number(text) == number


@pytest.mark.parametrize("text", ["", "B", "7BB", "1e3B", "inf", "nan", "7 billion", "x", True])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(InputError, match="accepted is a finite number, such as 7000000000, 7e9"):
        parse_number(text)


def test_counts_in_a_table_may_have_a_suffix(tmp_path):
    table = read(tmp_path, OURS + "0.11B,15,0,220M,fr,3\n")
    assert table[["n_params", "adapt_tokens", "atpp"]].iloc[0].tolist() == [110e6, 220e6, 2]
    assert refusal(tmp_path, OURS + "0.11B,15,0,220M,fr,3k\n").endswith("'3k' is not a number")


def test_spaces_after_commas_change_nothing(tmp_path):
    plain = read(tmp_path, OURS + ROWS)
    spaced = (OURS + ROWS).replace(",", ", ").replace("fr", '"fr"')
    pd.testing.assert_frame_equal(read(tmp_path, spaced), plain)
    assert set(read(tmp_path, spaced)["domain"]) == {"fr"}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # Both in billions: their ratio is right, and nothing else would show it.
        ("0.11,15,0,0.22,fr,3\n", "row 2, column n_params: 0.11 looks like billions of parameters"),
        ("0.017,15,0,2e6,fr,3\n", "row 2, column n_params: 0.017 looks like millions or billion"),
        ("350,15,0,700,fr,3\n", "row 2, column n_params: 350 looks like millions of parameters"),
        ("110000000,15,0,0.22,fr,3\n", "row 2, column adapt_tokens: 0.22 looks like billions of"),
        ("7000000000,15,0,40,fr,3\n", "row 2, column adapt_tokens: 40 looks like billions of tok"),
        ("7000000000,15,0,40000,fr,3\n", "row 2, column adapt_tokens: 40000 looks like millions"),
        ("110000000,1e9,0,2e8,fr,3\n", "row 2, column ptpp: 1000000000 looks like tokens"),
    ],
)  # fmt: skip
def test_a_unit_that_cannot_be_is_refused_with_the_likely_one(tmp_path, rows, expected):
    message = refusal(tmp_path, OURS + rows)
    assert message.startswith(expected)
    assert "accepted" in message


def test_the_refusal_names_the_rename_that_reads_it(tmp_path):
    text = OURS + "0.11,15,0,0.22,fr,3\n"
    assert refusal(tmp_path, text).endswith('--rename "n_params=n_params*1e9" reads it so')
    rename = {"n_params": "n_params*1e9", "adapt_tokens": "adapt_tokens * 1B"}
    table = read(tmp_path, text, rename=rename)
    assert table[["n_params", "adapt_tokens", "atpp"]].iloc[0].tolist() == [110e6, 220e6, 2]


def test_tokens_that_contradict_by_a_unit_say_so(tmp_path):
    text = "n_params,ptpp,replay,atpp,adapt_tokens,loss\n7000000000,15,0,5,35,3\n"
    message = refusal(tmp_path, text)
    assert "35 contradicts atpp * n_params" in message and "looks like billions" in message
    assert "looks like" not in refusal(tmp_path, text.replace(",35,", ",70,"))


@pytest.mark.parametrize(
    "row",
    [
        "1000,15,0,200,fr,3\n",  # the smallest model, a fifth of a token per parameter
        "70000000000,15,0,1000000,fr,3\n",  # a short fine-tuning of a large one
        "16832,15,0,16896,fr,3\n",
        "70e9,0.01,0,1e9,fr,3\n",  # an early checkpoint
        "1000,60000,0,1e10,fr,3\n",
    ],
)
def test_small_and_large_but_possible_numbers_pass(tmp_path, row):
    assert len(read(tmp_path, OURS + row)) == 1


def test_a_short_first_measurement_among_longer_ones_passes(tmp_path):
    text = OURS + "7e9,15,0,65536,fr,4\n7e9,15,0,7e9,fr,3\n"
    assert read(tmp_path, text)["adapt_tokens"].min() == 65536


def test_aliases_are_used_and_said(tmp_path, caplog):
    text = "params,tokens_per_param,replay_ratio,tokens,language,val_loss\n" + ROWS
    table = read(tmp_path, text)
    pd.testing.assert_frame_equal(table, read(tmp_path, OURS + ROWS))
    assert "'params' as n_params, 'tokens_per_param' as ptpp" in caplog.text
    assert "'val_loss' as loss" in caplog.text


def test_nothing_is_said_of_a_table_with_our_names(tmp_path, caplog):
    read(tmp_path, OURS + ROWS)
    assert not caplog.text


def test_ours_and_a_rename_go_before_an_alias(tmp_path):
    text = "N,n_params,ptpp,replay,atpp,tokens,loss\n5,1000,15,0,2,77,3\n"
    table = read(tmp_path, text)
    assert table[["n_params", "adapt_tokens"]].iloc[0].tolist() == [1000, 2000]
    text = "N,params,ptpp,replay,atpp,loss\n2000,1000,15,0,2,3\n"
    assert read(tmp_path, text, rename={"N": "n_params"})["n_params"].tolist() == [2000]


def test_two_aliases_for_one_column_are_not_guessed_between(tmp_path):
    text = "N,params,ptpp,replay,atpp,loss\n2000,1000,15,0,2,3\n"
    expected = "no column 'n_params'; is 'params' or 'N' meant for it? say so by --rename"
    assert refusal(tmp_path, text).startswith(expected)


def test_columns_may_follow_from_those_of_the_table(tmp_path):
    text = "N,T,share,cpt_B,loss\n110M,1.65e9,0.95,0.22,3\n110M,30.69e9,1,0.22,2.9\n"
    rename = {
        "N": "n_params", "cpt_B": "adapt_tokens*1e9", "replay": "1 - share", "ptpp": "T / n_params",
    }  # fmt: skip
    table = read(tmp_path, text, rename=rename)
    assert table["replay"].tolist() == [0.05, 0]
    assert table["ptpp"].tolist() == [15, 279]
    assert table["adapt_tokens"].tolist() == [220e6, 220e6]
    # `where` may speak of the table's own columns too.
    assert len(read(tmp_path, text, rename=rename, where="T < 2B and ptpp == 15")) == 1


def test_a_computed_stage_is_one_stage_for_all_sizes(tmp_path):
    text = "n_params,T,replay,atpp,loss\n16832,252500,0,1,3\n45952,689300,0,1,3\n"
    table = read(tmp_path, text, rename={"ptpp": "T / n_params"})
    assert table["ptpp"].tolist() == pytest.approx([252500 / 16832, 689300 / 45952], rel=1e-11)
    assert table["stage"].tolist() == [15, 15]


def test_names_with_spaces_stand_in_renames_formulas_and_conditions(tmp_path):
    text = "num params,total tokens,target share,val loss,cpt-B\n"
    text += "110M,1.65e9,0.95,3,0.22\n110M,30.69e9,1,2.9,0.22\n"
    rename = {
        "num params": "n_params",
        "val loss": "loss",
        "ptpp": "total tokens / num params",
        "replay": "1 -  target share",
        "adapt_tokens": "`cpt-B` * 1e9",
    }
    table = read(tmp_path, text, rename=rename)
    assert table["ptpp"].tolist() == [15, 279]
    assert table["replay"].tolist() == [0.05, 0]
    assert table["adapt_tokens"].tolist() == [220e6, 220e6]
    assert len(read(tmp_path, text, rename=rename, where="total tokens < 2B")) == 1
    assert len(read(tmp_path, text, rename=rename, where="`cpt-B` > 1 or target share == 1")) == 1
    message = refusal(tmp_path, text, rename={**rename, "ptpp": "total token / num params"})
    assert message.startswith("rename: ptpp = total token / num params: 'total token / num params'")
    assert "is not a valid expression" in message
    message = refusal(tmp_path, text.replace("cpt-B", "cpt (B)"), rename={"atpp": "2 cpt (B)"})
    assert message.endswith("near character 3; the column 'cpt (B)' stands between backticks")
    message = refusal(tmp_path, text, rename={**rename, "ptpp": "`total token` / num params"})
    assert "column 'total token' is not known; did you mean 'total tokens'?" in message


def test_tokens_that_give_the_ptpp_are_not_those_of_the_adaptation(tmp_path):
    text = "n_params,tokens,replay,D,loss\n110M,1.65e9,0,0.22B,3\n"
    table = read(tmp_path, text, rename={"ptpp": "tokens / n_params"})
    assert table[["ptpp", "adapt_tokens"]].iloc[0].tolist() == [15, 220e6]
    text = "n_params,tokens,replay,loss\n110M,1.65e9,0,3\n"
    message = refusal(tmp_path, text, rename={"ptpp": "tokens / n_params"})
    assert message.startswith("neither column 'atpp' nor 'adapt_tokens'")


def test_columns_of_numbers_of_the_table_s_own_stay_and_are_averaged_over_seeds(tmp_path):
    text = "n_params,ptpp,replay,atpp,loss,seed,width,note\n"
    text += "1000,15,0,1,3,0,-2,a\n1000,15,0,1,3.1,1,-4,b\n"
    table = read(tmp_path, text)
    assert table["width"].tolist() == [-2, -4] and "note" not in table
    assert target_rows(table, "target")["width"].tolist() == [-3]
    assert "width" not in read(tmp_path, text.replace(",-4,", ",,"))


def test_a_rename_may_be_written_either_way_round(tmp_path):
    text = "N,ptpp,replay,atpp,loss\n1000,15,0,1,3\n"
    assert read(tmp_path, text, rename={"n_params": "N"})["n_params"].tolist() == [1000]


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ({"replay": "1 - shar"}, "rename: replay = 1 - shar: column 'shar' is not known; did you"),
        ({"replay": "share ** 2"}, "rename: replay = share ** 2: 'share ** 2' cannot stand there"),
        ({"replay": "__import__('os')"}, "rename: replay = __import__('os'): \"__import__('os')\""),
        ({"N": "n_params + 1"}, "rename: 'n_params + 1'; accepted is one of our names, alone or"),
        ({"N": "n_params*0"}, "rename: 'n_params*0'; accepted is a factor above 0"),
        ({"cptB": "adapt_tokens*1e9"}, "rename: cptB = adapt_tokens*1e9: column 'adapt_tokens' is"),
        ({"N": "n_params", "n_params": "1 * N"}, "rename: there would be 2 columns 'n_params'"),
        ({"replay": "1 - note"}, "row 2, column note: 'a' is not a number, and rename: replay = 1"),
    ],
)  # fmt: skip
def test_a_rename_that_cannot_be_is_refused_in_one_line(tmp_path, rename, message):
    text = "N,ptpp,share,cpt_B,note,loss\n1000,15,1,1,a,3\n"
    assert refusal(tmp_path, text, rename=rename).startswith(message)


def test_a_table_in_memory_is_read_like_a_file(tmp_path):
    text = "N,T,share,tokens,loss\n1000,15000,1,2000,3\n"
    rename = {"ptpp": "T / N", "replay": "1 - share"}
    frame = pd.DataFrame({"N": [1000], "T": [15000], "share": [1], "tokens": [2000], "loss": [3.0]})
    expected = read(tmp_path, text, rename=rename)
    pd.testing.assert_frame_equal(read_observations(frame, rename=rename), expected)
    with pytest.raises(InputError, match="the table: row 1, column loss: -1; accepted"):
        read_observations(frame.assign(loss=-1), rename=rename)
