"""The observation table: what is accepted, what is filled, what is refused and how."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptpp.errors import InputError
from ptpp.table.checks import check_observations
from ptpp.table.columns import COLUMNS
from ptpp.table.kinds import (
    CELL,
    cell_means,
    forgetting_rows,
    is_control,
    is_sweep,
    is_zero_shot,
    target_rows,
)
from ptpp.table.noise import seed_noise, seed_noise_by_cell
from ptpp.table.observations import read_observations, write_observations

SMALL = """\
n_params,ptpp,replay,atpp,loss
1000,15,0.0,1,5.5
1000,15,0.25,1,5.6
1000,279,0.0,1,5.0
"""


def read(tmp_path, text, **arguments):
    path = tmp_path / "losses.csv"
    path.write_text(text, encoding="utf-8")
    return read_observations(path, **arguments)


def refusal(tmp_path, text, **arguments):
    with pytest.raises(InputError) as raised:
        read(tmp_path, text, **arguments)
    message = str(raised.value)
    assert message.startswith(str(tmp_path / "losses.csv") + ": ")
    assert "\n" not in message
    return message.removeprefix(str(tmp_path / "losses.csv") + ": ")


def full(**changes):
    """A table of one checkpoint and two curves, two seeds; one keyword replaces a column."""
    rows = [
        {"n_params": 1000, "ptpp": 15, "replay": r, "atpp": a, "domain": d, "seed": s}
        for d in ("fr", "en")
        for s in (0, 1)
        for r, a in ((0, 0), (0, 1), (0, 2), (0.5, 1), (1, 1))
    ]
    frame = pd.DataFrame(rows)
    frame["loss"] = 4 + 0.1 * np.arange(len(frame))
    return frame.assign(**changes)


def test_a_minimal_table_is_completed(tmp_path):
    table = read(tmp_path, SMALL, target="fr")
    assert tuple(table.columns) == COLUMNS
    assert table["adapt_tokens"].tolist() == [1000, 1000, 1000]
    assert table["domain"].tolist() == ["fr"] * 3
    assert table["size"].tolist() == ["1000"] * 3
    assert table["seed"].tolist() == [0, 0, 0]
    assert table["run"].is_unique
    assert table[["n_params_non_embedding", "bits_per_byte", "flops"]].isna().all().all()


def test_without_a_target_the_domain_is_called_target(tmp_path):
    assert set(read(tmp_path, SMALL)["domain"]) == {"target"}


def test_atpp_and_adapt_tokens_are_filled_from_each_other(tmp_path):
    text = "n_params,ptpp,replay,atpp,adapt_tokens,loss\n1000,15,0,,4000,5\n1000,15,0,2,,5.5\n"
    table = read(tmp_path, text)
    assert table["atpp"].tolist() == [4, 2]
    assert table["adapt_tokens"].tolist() == [4000, 2000]


def test_tokens_rounded_to_whole_steps_are_no_contradiction(tmp_path):
    text = "n_params,ptpp,replay,atpp,adapt_tokens,loss\n1000,15,0,1,1024,5\n"
    assert read(tmp_path, text)["adapt_tokens"].tolist() == [1024]


def test_byte_order_mark_blank_lines_and_spaces_are_tolerated(tmp_path):
    text = "\ufeff" + SMALL.replace("\n", "\n\n").replace(",15,", ", 15 ,")
    assert read(tmp_path, text)["loss"].tolist() == [5.5, 5.6, 5.0]


def test_further_columns_are_left_alone(tmp_path):
    text = SMALL.replace("loss", "loss,remark").replace(".5\n", ".5,a\n").replace(".6\n", ".6,b\n")
    assert "remark" not in read(tmp_path, text.replace(".0\n", ".0,c\n"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty; a header line and rows are needed"),
        ("n_params,ptpp,replay,atpp,loss\n", "no rows; at least one observation is needed"),
        (
            SMALL.replace("replay", "reply"),
            "no column 'replay'; is 'reply' meant for it? say so by --rename reply=replay",
        ),
        (
            SMALL.replace("replay", "replay %"),
            "no column 'replay'; is 'replay %' meant for it? say so by --rename 'replay %=replay'",
        ),
        (SMALL.replace("loss", "x"), "no column 'loss'; one of x? say so by --rename THEIRS=loss"),
        (
            SMALL.replace("atpp", "attp"),
            "neither column 'atpp' nor 'adapt_tokens'; is 'attp' meant",
        ),
        (SMALL.replace("atpp", "atpp,atpp"), "row 1: column 'atpp' stands there more than once"),
        (SMALL.replace(",", ";"), "row 1: fields are separated by semicolons; accepted are commas"),
        (SMALL.replace(",", "\t"), "row 1: fields are separated by tabs; accepted are commas"),
        (SMALL.replace("5.6", "5,6"), "row 3: 6 fields where the header has 5 (a decimal comma?"),
        (SMALL.replace("5.6", '"5,6"'), "row 3, column loss: '5,6' has a decimal comma"),
        (SMALL.replace("5.6", "n/a"), "row 3, column loss: 'n/a' is not a number"),
        (SMALL.replace("5.6", "nan"), "row 3, column loss: 'nan'; accepted is a finite number"),
        (SMALL.replace("5.6", "inf"), "row 3, column loss: 'inf'; accepted is a finite number"),
        (
            SMALL.replace("5.6", ""),
            "row 3, column loss: an empty field; accepted is a number above",
        ),
        (SMALL.replace("5.6", "0"), "row 3, column loss: 0; accepted is a number above 0"),
        (SMALL.replace("5.6", "-1"), "row 3, column loss: -1; accepted is a number above 0"),
        (SMALL.replace("0.25", "25"), "row 3, column replay: 25 looks like a percentage; accepted"),
        (SMALL.replace("0.25", "25%"), "row 3, column replay: '25%' is a percentage; accepted is"),
        (SMALL.replace("0.25", "-0.25"), "row 3, column replay: -0.25; accepted is a share"),
        (SMALL.replace("0.25", "1000"), "row 3, column replay: 1000; accepted is a share"),
        (SMALL.replace("0.25", ""), "row 3, column replay: an empty field; accepted is a share"),
        (
            SMALL.replace("0.25", "0.0"),
            "row 3, column loss: a second measurement of the cell and seed of row 2; accepted is "
            "one row per size, ptpp, replay, atpp, domain and seed; name repeated runs in a column",
        ),
        (
            SMALL.replace("1000,279", "0,279"),
            "row 4, column n_params: 0; accepted is a number above",
        ),
        (SMALL.replace("279", "-3"), "row 4, column ptpp: -3; accepted is a number above 0"),
        (
            SMALL.replace("0.25,1", "0.25,-1"),
            "row 3, column atpp: -1; accepted is a number not bel",
        ),
        (SMALL.replace("0.25,1", "0.25,"), "row 3, column atpp: an empty field, and none in adapt"),
    ],
)
def test_a_bad_table_is_refused_in_one_line_that_names_the_place(tmp_path, text, expected):
    assert refusal(tmp_path, text).startswith(expected)


def test_a_slip_in_the_name_of_an_optional_column_is_caught(tmp_path):
    text = "n_params,ptpp,replay,atpp,loss,seeds\n1000,15,0,1,5,0\n"
    assert refusal(tmp_path, text) == "unknown column 'seeds'; did you mean 'seed'?"


def test_contradictory_token_counts_are_refused(tmp_path):
    text = "n_params,ptpp,replay,atpp,adapt_tokens,loss\n1000,15,0,1,1000,5\n1000,15,0,2,9000,5\n"
    assert refusal(tmp_path, text).startswith(
        "row 3, column adapt_tokens: 9000 contradicts atpp * n_params"
    )


def test_one_size_cannot_have_two_parameter_counts(tmp_path):
    text = "size,n_params,ptpp,replay,atpp,loss\ns,1000,15,0,1,5\ns,2000,15,0,1,5\n"
    assert refusal(tmp_path, text).startswith("row 3, column n_params: 2000, but size 's' has 1000")


def test_rows_are_counted_in_lines_of_the_file(tmp_path):
    text = 'n_params,ptpp,replay,atpp,loss\n\n1000,15,0,1,5\n1000,15,0,2,"\n5"\n9,9,9,9,9\n'
    assert refusal(tmp_path, text).startswith("row 6, column replay")


def test_a_held_out_stage_needs_sweep_rows(tmp_path):
    assert read(tmp_path, SMALL, held_out=279)["ptpp"].max() == 279
    assert refusal(tmp_path, SMALL, held_out=31) == (
        "column ptpp: the held-out stage 31 has no sweep rows (atpp > 0, replay < 1); "
        "stages found: 15, 279"
    )
    only_zero_shot = SMALL.replace("279,0.0,1", "279,0.0,0")
    assert "279 has no sweep rows" in refusal(tmp_path, only_zero_shot, held_out=279)


def test_the_target_domain_must_be_there(tmp_path):
    text = "n_params,ptpp,replay,atpp,loss,domain\n1000,15,0,1,5,french\n"
    assert "no row of the target domain 'fr'; found 'french'" in refusal(
        tmp_path, text, target="fr"
    )


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        read_observations(tmp_path / "none.csv")


def test_a_checkpoint_repeated_at_the_head_of_each_curve_is_one_measurement():
    frame = pd.DataFrame({"n_params": 1000, "ptpp": 15, "replay": [0, 0.5], "atpp": 0, "loss": 5.0})
    assert len(check_observations(frame)) == 1
    with pytest.raises(InputError, match="row 2, column loss: a second measurement"):
        check_observations(frame.assign(loss=[5.0, 5.1]))


def test_the_kinds_of_row_are_disjoint_and_complete():
    table = check_observations(full())
    kinds = pd.concat([is_zero_shot(table), is_control(table), is_sweep(table)], axis=1)
    assert (kinds.sum(axis=1) == 1).all()
    assert is_zero_shot(table).sum() == 4
    assert is_control(table).sum() == 4


@settings(max_examples=25)
@given(
    losses=st.lists(
        st.floats(min_value=1e-300, max_value=1e300, allow_subnormal=False), min_size=1, max_size=9
    )
)
def test_writing_and_reading_keeps_every_number(tmp_path_factory, losses):
    path = tmp_path_factory.mktemp("table") / "observations.csv"
    frame = pd.DataFrame({"n_params": 1000, "ptpp": 15, "replay": 0.1 + 0.2, "loss": losses})
    frame["atpp"] = np.sqrt(np.arange(1, len(losses) + 1))
    table = check_observations(frame)
    write_observations(table.sample(frac=1, random_state=1), path)
    pd.testing.assert_frame_equal(read_observations(path), table, check_exact=True)


def test_equal_tables_are_equal_files(tmp_path):
    table = check_observations(full())
    write_observations(table, tmp_path / "a.csv")
    write_observations(table.sample(frac=1, random_state=0), tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_diverged_loss_is_never_written(tmp_path):
    with pytest.raises(InputError, match="column loss"):
        write_observations(full(loss=np.nan), tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


def test_cell_means_average_over_seeds_only():
    table = check_observations(full())
    means = cell_means(table)
    assert len(means) == len(table) / 2
    assert (means["n_seeds"] == 2).all()
    cell = (table["domain"] == "fr") & (table["replay"] == 0.5)
    mean = means[(means["domain"] == "fr") & (means["replay"] == 0.5)].iloc[0]
    assert mean["loss"] == pytest.approx(table[cell]["loss"].mean())
    assert mean["loss_sd"] == pytest.approx(table[cell]["loss"].std())


def test_seed_noise_is_unbiased_for_normal_noise():
    generator = np.random.default_rng(0)
    for seeds in (2, 5):
        cells = 4000 // seeds
        frame = pd.DataFrame(
            {
                "n_params": 1000.0,
                "ptpp": np.repeat(np.arange(1.0, cells + 1), seeds),
                "replay": 0.0,
                "atpp": 1.0,
                "seed": np.tile(np.arange(seeds), cells),
                "loss": 5 + 0.05 * generator.standard_normal(cells * seeds),
            }
        )
        expected = 0.05 * np.sqrt(2 / np.pi) / 5  # the mean absolute value of normal noise
        assert seed_noise(check_observations(frame)) == pytest.approx(expected, rel=0.05)


def test_seed_noise_of_a_cell_is_the_spread_over_its_seeds():
    frame = check_observations(full())
    noise = seed_noise_by_cell(frame)
    repeated = frame.groupby(list(CELL))["loss"].count().loc[lambda n: n > 1]
    assert len(noise) == len(repeated)
    first = noise.iloc[0]
    alike = frame[(frame[list(CELL)] == first[list(CELL)]).all(axis=1)]
    assert first["seeds"] == len(alike)
    assert first["sd"] == pytest.approx(alike["loss"].std())
    assert first["relative_sd"] == pytest.approx(alike["loss"].std() / alike["loss"].mean())
    assert seed_noise_by_cell(frame.query("seed == 0")).empty


def test_seed_noise_needs_repeated_cells():
    assert np.isnan(seed_noise(check_observations(full()).query("seed == 0")))


def test_target_rows_are_cell_means_of_sweep_rows():
    rows = target_rows(check_observations(full()), "fr")
    assert len(rows) == 3
    assert set(rows["domain"]) == {"fr"}
    assert is_sweep(rows).all()


def test_forgetting_is_measured_against_the_same_checkpoint():
    table = check_observations(full())
    rows = forgetting_rows(table, "en")
    assert len(rows) == 8  # three sweep cells and the control, of two seeds each
    np.testing.assert_allclose(rows["forgetting"], rows["loss"] - rows["zero_shot_loss"])
    english = table[table["domain"] == "en"]
    before = english[english["atpp"] == 0].set_index("seed")["loss"]
    assert rows["zero_shot_loss"].tolist() == before[rows["seed"]].tolist()
    means = cell_means(rows)
    assert len(means) == 4 and set(means["n_seeds"]) == {2}
    assert means["zero_shot_loss"].iloc[0] == before.mean()


def test_forgetting_needs_the_checkpoint_of_each_seed():
    table = check_observations(full())
    missing = is_zero_shot(table) & (table["seed"] == 1)
    with pytest.raises(InputError, match=r"'en': no zero-shot row .* ptpp 15, seed 1"):
        forgetting_rows(table[~missing], "en")
