"""Hostile input: whatever a table, a fit or an option holds, it ends in one line or in numbers."""

import json
import math
import os
import re
import shutil
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest

from ptpp.cli.main import main
from ptpp.errors import InputError
from ptpp.jobs.files import check_output

GRID = pd.DataFrame(
    [
        (n, p, r, a)
        for n in (1000, 3000, 9000)
        for p in (15, 31)
        for r in (0, 0.25)
        for a in (1, 4, 16)
    ],
    columns=["n_params", "ptpp", "replay", "atpp"],
)
GRID["adapt_tokens"] = GRID["n_params"] * GRID["atpp"]
GRID["loss"] = (
    2 + 3 * GRID["n_params"] ** -0.2 + GRID["adapt_tokens"] ** -0.15
    + 0.1 * GRID["replay"] + 0.01 * np.sin(np.arange(len(GRID)))
).round(6)  # fmt: skip
TEXT = GRID.to_csv(index=False)
HEADER, *LINES = TEXT.splitlines()
POINT = ["--n-params", "3000", "--ptpp", "31", "--replay", "0.1", "--atpp", "5"]
QUICK = ["--starts", "1", "--bootstrap", "3", "--no-krige"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table and a fit with its draws and misfit."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "table.csv").write_text(TEXT)
    out = ["--out", str(folder / "fit.json"), *QUICK[:4]]
    assert main(["fit", str(folder / "table.csv"), "--law", "dcpt", *out]) == 0
    return folder


def ends_well(capsys, *arguments):
    """The exit code of a command that ends in one line of error, or in finite numbers."""
    capsys.readouterr()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        code = main([os.fspath(a) for a in arguments])
    out, err = capsys.readouterr()
    assert code in (0, 2)
    assert not told  # it would be a line more
    if code:
        assert err.startswith("error: ") and err.count("\n") == 1 and len(err) < 1100, err
        assert out == "" and "Traceback" not in err
        return code
    answer = json.loads(out, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    numbers = [answer[key] for key in ("loss", "objective") if key in answer]
    numbers += [one["value"] for one in answer.get("parameters", {}).values()]
    numbers += [one["atpp"] for one in answer.get("plans", [])]
    assert numbers and all(map(math.isfinite, numbers))
    return code


def fit_table(capsys, folder, path, *options):
    """Fits a table; nothing is left behind where it is refused."""
    out = folder / "out.json"
    law = [] if "--law" in options else ["--law", "dcpt"]
    code = ends_well(capsys, "fit", path, *law, "--out", out, "--json", *QUICK, *options)
    assert out.exists() == out.with_suffix(".npz").exists() == (code == 0)
    return code


def lines(*rows):
    return "\n".join([HEADER, *rows, ""]).encode()


TABLES = {
    "empty": b"",
    "spaces": b"   \n \n\n",
    "one byte": b"\x00",
    "byte order mark alone": b"\xef\xbb\xbf",
    "header alone": lines(),
    "one row": lines(LINES[0]),
    "two rows": lines(*LINES[:2]),
    "four rows": lines(*LINES[:4]),
    "the same row twice": lines(*LINES, LINES[0]),
    "UTF-16": TEXT.encode("utf-16"),
    "Latin-1": (HEADER + ",é\n" + LINES[0] + ",ü\n").encode("latin-1"),
    "surrogates": b"\xed\xa0\x80" + TEXT.encode(),
    "NUL in a field": lines(*LINES).replace(b"0.25", b"0.2\x005"),
    "NUL in the header": lines(*LINES).replace(b"loss", b"lo\x00ss"),
    "control characters": lines(*LINES).replace(b"0.25", b"\x1b[31m\x07"),
    "binary": bytes(range(256)) * 40,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(1000),
    "an archive": b"PK\x03\x04" + bytes(100),
    "gzip": b"\x1f\x8b\x08" + bytes(range(100)),
    "JSON": json.dumps({"loss": [1, 2]}).encode(),
    "duplicate columns": TEXT.replace("replay", "ptpp").encode(),
    "duplicate ends": "\n".join(f"{line},{line}" for line in TEXT.splitlines()).encode(),
    "no name": TEXT.replace("replay", "").encode(),
    "no header": "\n".join(LINES).encode(),
    "two headers": lines(HEADER, *LINES),
    "semicolons": TEXT.replace(",", ";").encode(),
    "tabs": TEXT.replace(",", "\t").encode(),
    "bars": TEXT.replace(",", "|").encode(),
    "decimal commas": TEXT.replace(",", ";").replace(".", ",").encode(),
    "unclosed quote": lines(*LINES[:5], '"' + LINES[5], *LINES[6:]),
    "quoted newline in a number": lines(*LINES[:5], LINES[5].replace("0.25", '"0.2\n5"')),
    "a line too long": lines(*LINES[:3], "9" * 300_000),
    "a field too long": lines(LINES[0].replace("1000", "1" * 200_000, 1)),
    "a long field": lines(LINES[0].replace("1000", "x" * 100_000, 1)),
    "a long name": (HEADER + "," + "x" * 100_000 + "\n" + LINES[0] + ",1\n").encode(),
    "many columns": (",".join(f"c{k}" for k in range(20_000)) + "\n").encode(),
    "ragged": lines(*LINES[:3], LINES[3] + ",1", *LINES[4:]),
    "short row": lines(*LINES[:3], "1,2", *LINES[4:]),
    "commas": b",,,,,\n,,,,,\n",
    "quotes": b'"""""\n""""',
    "one stage": lines(*(line for line in LINES if ",15," in line)),
    "one loss": TEXT.replace(TEXT.splitlines()[1].split(",")[-1], "1.0").encode(),
}
FINE = {
    "byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "carriage returns": TEXT.replace("\n", "\r\n").encode(),
    "old carriage returns": TEXT.replace("\n", "\r").encode(),
    "no last newline": TEXT.rstrip().encode(),
    "quoted": "\n".join('"' + x.replace(",", '","') + '"' for x in TEXT.split()).encode(),
    "quoted newline in a note": (
        HEADER + ",note\n" + "".join(f'{line},"a\n""b"""\n' for line in LINES)
    ).encode(),
    "spaces around": TEXT.replace(",", " , ").encode(),
    "an own column of any text": (
        HEADER + ",note\n" + "".join(f"{line},\x1b[31m\n" for line in LINES)
    ).encode(),
}


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
def test_a_file_that_is_no_table(tmp_path, capsys, content):
    (tmp_path / "t.csv").write_bytes(content)
    fit_table(capsys, tmp_path, tmp_path / "t.csv")


@pytest.mark.parametrize("content", FINE.values(), ids=FINE)
def test_an_odd_file_that_is_a_table_is_read(tmp_path, capsys, content):
    (tmp_path / "t.csv").write_bytes(content)
    assert fit_table(capsys, tmp_path, tmp_path / "t.csv") == 0


CELLS = (
    *("", " ", "nan", "NaN", "inf", "-inf", "Infinity", "1e308", "-1e308", "1e400", "1e-320"),
    *("0", "-0.0", "-1", "1_000", "1.000", "1.000,5", "1.234.567", '"1,000"', '"1,5"', "50%"),
    *("1/2", "=1+1", "0x10", "1e", "--1", "1 000", "１０", "٣", "½", "1B", "7 G", "None", "true"),
    *("9" * 400, "1" + "0" * 5000, "\x00", "\x1b[2J", "'", '""""', "💥", "\u202e1", "1\u00a0000"),
)


@pytest.mark.parametrize("column", ["n_params", "ptpp", "replay", "atpp", "adapt_tokens", "loss"])
@pytest.mark.parametrize("value", CELLS, ids=range(len(CELLS)))
def test_one_field_of_a_table(tmp_path, capsys, column, value):
    fields = LINES[7].split(",")
    fields[HEADER.split(",").index(column)] = value
    (tmp_path / "t.csv").write_bytes(lines(*LINES[:7], ",".join(fields), *LINES[8:]))
    fit_table(capsys, tmp_path, tmp_path / "t.csv")


OPTIONS = [
    (name, value)
    for name in ("--seed", "--starts", "--bootstrap", "--anchors", "--held-out")
    for value in ("-1", "0", "1.5", "1e3", "nan", "", "x", "1" + "0" * 30, "9" * 5000, "1.000")
] + [
    ("--starts", "10001"), ("--bootstrap", "100001"), ("--seed", str(2**32)),
    ("--held-out", "1e308"), ("--held-out", "31"), ("--held-out", "-31"),
    ("--where", "9" * 5000 + "> 1"),
    *(("--where", text) for text in ("(" * 5000, "1" + "+1" * 20_000, "ptpp <", "loss", "\x00",
      "ptpp == 1e400", "ptpp ** 9 ** 9 ** 9 > 1", "__import__('os')", "1/0 > 1")),
    *(("--rename", text) for text in ("=", "a=b", "loss=ptpp", "loss=loss*0", "x=" + "(" * 5000,
      "loss=loss*1e308", "ptpp=ptpp/0", "replay=1/0", "replay=0*nan", "seed=ptpp*1e308")),
    *(("--law", text) for text in ("", "x" * 10_000, "no.yaml", ".yaml", "\x00", "/dev/null",
      "../dcpt", "DCPT")),
    *(("--target", text) for text in ("", "x" * 10_000, "\x1b[31m", "fr")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), OPTIONS, ids=range(len(OPTIONS)))
def test_one_option_of_a_fit(folder, tmp_path, capsys, name, value):
    fit_table(capsys, tmp_path, folder / "table.csv", name, value)


@pytest.mark.parametrize(
    "arguments",
    [["--seed", "-1"], ["--starts", "10001"], ["--bootstrap", "100001"], ["--held-out", "1.000"]],
    ids=str,
)
def test_these_options_are_refused(folder, tmp_path, capsys, arguments):
    assert fit_table(capsys, tmp_path, folder / "table.csv", *arguments) == 2


VALUES = ("0", "-1", "1e308", "1e-308", "1e400", "nan", "1.000", "87.360", "1.000,5", "x", "", "7T")


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("name", ["--n-params", "--ptpp", "--replay", "--atpp"])
def test_one_number_of_a_prediction_or_a_plan(folder, capsys, name, value):
    point = [value if before == name else text for before, text in zip(["", *POINT], POINT)]  # noqa: B905
    code = ends_well(capsys, "predict", folder / "fit.json", *point, "--json")
    assert code == 2 or value not in ("nan", "1e400", "-1", "1.000,5", "x", "", "1.000")
    if name in ("--n-params", "--ptpp"):
        arguments = ["plan", folder / "table.csv", "--law", "dcpt", "--json", *QUICK]
        ends_well(capsys, *arguments, *point[:4])


DAMAGES = (
    *(None, True, "x", "1", [], [1], {}, {"x": 1}, -1, 0, 1.5, 1e308, -1e308, float("nan")),
    *(float("inf"), 10**400, "x" * 10_000),
)
DEEPER = ("params/B", "params/beta", "reference/n_params", "ranges/n_params", "settings/delta")
RECORD = (
    *("law", "protocol", "domain", "params", "fixed", "reference", "at_bounds", "objective"),
    *("n_rows", "share_1e6", "share_1e3", "converged", "ranges", "warnings", "settings"),
    *("data_sha256", "versions", "gap", "declaration", "surprise", *DEEPER),
)
MISSING = object()


def copy_fit(folder, place):
    shutil.copy(folder / "fit.json", place / "fit.json")
    shutil.copy(folder / "fit.npz", place / "fit.npz")
    return place / "fit.json"


@pytest.mark.parametrize("place", RECORD)
@pytest.mark.parametrize("value", [*DAMAGES, MISSING], ids=[*range(len(DAMAGES)), "missing"])
def test_a_tampered_record(folder, tmp_path, capsys, place, value):
    path = copy_fit(folder, tmp_path)
    record = json.loads(path.read_text())
    *above, key = place.split("/")
    part = record[above[0]] if above else record
    if value is MISSING:
        part.pop(key, None)
    else:
        part[key] = value
    path.write_text(json.dumps(record))
    code = ends_well(capsys, "predict", path, *POINT, "--json")
    harmless = record == json.loads((folder / "fit.json").read_text())
    if place in (*DEEPER[:4], "params", "law", "data_sha256", "reference", "surprise"):
        assert code == (0 if harmless else 2)


FILES = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"1",
    "deep": b"[" * 100_000,
    "deep and closed": b'{"law":' * 5000 + b"1" + b"}" * 5000,
    "digits": b'{"law": ' + b"9" * 10_000 + b"}",
    "half": b'{"law": "dcpt"',
    "NUL": b"\x00" * 100,
    "Latin-1": b'{"law": "\xe9"}',
    "twice": b"{}{}",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_a_file_that_is_no_fit(folder, tmp_path, capsys, suffix, content):
    path = copy_fit(folder, tmp_path)
    path.with_suffix(f".{suffix}").write_bytes(content)
    assert ends_well(capsys, "predict", path, *POINT, "--json") == 2


ARRAYS = {
    "missing": None,
    "text": np.array(["x", "y"]),
    "bytes": np.array([b"x"]),
    "objects": np.array([{"a": 1}], dtype=object),
    "empty": np.empty(0),
    "a number": np.array(1.0),
    "not a number": np.array([[np.nan]]),
    "infinite": np.array([np.inf]),
    "huge": np.array([1e308]),
    "flat": np.ones(3),
    "tall": np.ones((3, 2)),
    "thick": np.ones((2, 2, 2)),
    "complex": np.ones(3) * 1j,
    "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
}
DRAWS = ("names", "params", "objectives", "residuals", "band", "band_params", "seed", "fit")


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("name", [*DRAWS, "unit", "misfit residuals", "misfit slopes"])
def test_tampered_draws(folder, tmp_path, capsys, name, array):
    path = copy_fit(folder, tmp_path)
    with np.load(folder / "fit.npz") as stored:
        values = dict(stored)
    values.pop(name, None)
    if array is not None:
        values[name] = array
    np.savez(tmp_path / "fit.npz", **values)
    ends_well(capsys, "predict", path, *POINT, "--json")


@pytest.mark.parametrize("column", range(9))
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9, -1e9])
def test_one_number_of_the_draws(folder, tmp_path, capsys, column, value):
    path = copy_fit(folder, tmp_path)
    with np.load(folder / "fit.npz") as stored:
        values = dict(stored)
    values["params"][1, column] = value
    np.savez(tmp_path / "fit.npz", **values)
    assert ends_well(capsys, "predict", path, *POINT, "--json") == 2


def test_draws_that_claim_more_than_there_is(folder, tmp_path, capsys):
    path = copy_fit(folder, tmp_path)
    with zipfile.ZipFile(folder / "fit.npz") as stored:
        parts = {name: stored.read(name) for name in stored.namelist()}
    for claim in (b"(9999999999, 9), }", b"(-1, 9), }", b"(3, 9.5), }", b"(3, "):
        with zipfile.ZipFile(tmp_path / "fit.npz", "w") as changed:
            for name, content in parts.items():
                if name == "params.npy":
                    content = re.sub(rb"\(3, \d+\), }", claim.ljust(10), content)
                changed.writestr(name, content)
        assert ends_well(capsys, "predict", path, *POINT, "--json") == 2


@pytest.fixture
def odd_files(folder, tmp_path):
    """Things that are no files, by name."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "to_fifo").symlink_to(tmp_path / "fifo")
    names = ("fifo", "directory", "loop", "dangling", "to_fifo")
    others = ("/dev/zero", "/dev/null", "/proc/self/mem", "a\x00b", "x" * 5000, "\udcff.csv")
    return [*(str(tmp_path / name) for name in names), *others, "", str(tmp_path / "fifo" / "x")]


def test_what_is_no_file_is_refused_and_nothing_hangs(folder, tmp_path, capsys, odd_files):
    for path in odd_files:
        fit = ["fit", folder / "table.csv", "--law", "dcpt", "--out", tmp_path / "out", *QUICK]
        commands = {
            "table": ["fit", path, *fit[2:]],
            "law": [*fit[:3], f"{path}.yaml" if path.endswith("fifo") else path, *fit[4:]],
            "fit": ["predict", path, *POINT],
            "scratch": ["plan", *fit[1:4], *POINT[:4], *QUICK, "--from-scratch", path],
        }
        for command in commands.values():
            assert ends_well(capsys, *command) == 2


def test_no_output_goes_where_something_else_stands(folder, tmp_path, capsys, odd_files):
    table = shutil.copy(folder / "table.csv", tmp_path / "table.csv")
    (tmp_path / "link").symlink_to(table)
    os.link(table, tmp_path / "hard")
    (tmp_path / "notes.json").write_text('{"mine": 1}')
    (tmp_path / "draws.npz").write_bytes(b"mine")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    names = ["table.csv", "link", "hard", "notes.json", "draws.json", "x.csv", "directory", "fifo"]
    places = [str(tmp_path / name) for name in [*names, "to_fifo", "table.csv/x"]]
    places += ["a\x00b", "x" * 5000, ""]
    before = {p: p.lstat().st_mtime_ns for p in tmp_path.iterdir()}
    for place in places:
        fit = ["fit", table, "--law", "dcpt", *QUICK, "--out", place]
        assert ends_well(capsys, *fit) == 2, place
        if not place.endswith("draws.json") and place:
            plan = ["plan", table, "--law", "dcpt", *QUICK, *POINT[:4], "--out", place]
            assert ends_well(capsys, *plan) == 2, place
    assert before == {p: p.lstat().st_mtime_ns for p in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "path", ["/dev/null", "/dev/full", "/dev/stdout", "/dev/new", "/dev/fd/1", "/proc/self/fd/1"]
)
def test_nothing_goes_among_devices(tmp_path, path):
    """Asked of the check alone: a fit that came through would take the place of the device."""
    for place in (path, tmp_path / "dev" / path.rsplit("/", 1)[1]):
        if place != path:
            (tmp_path / "dev").symlink_to(path.rsplit("/", 1)[0])
        with pytest.raises(InputError, match="a device; accepted is the name of a file to write"):
            check_output(place)


def test_a_fit_takes_the_place_of_a_fit_and_a_plan_that_of_a_plan(folder, tmp_path, capsys):
    for _ in range(2):
        assert fit_table(capsys, tmp_path, folder / "table.csv") == 0
        plan = ["plan", folder / "table.csv", "--law", "dcpt", *QUICK, *POINT[:4], "--json"]
        assert ends_well(capsys, *plan, "--out", tmp_path / "plan.csv") == 0


def test_names_that_differ_have_draws_that_differ(folder, tmp_path, capsys):
    for k, name in enumerate(("fit.v1", "fit.v2", "fit.json")):
        out = ["--law", "dcpt", "--out", tmp_path / name, *QUICK, "--seed", k, "--json"]
        assert ends_well(capsys, "fit", folder / "table.csv", *map(str, out)) == 0
    names = {"fit.v1", "fit.v1.npz", "fit.v2", "fit.v2.npz", "fit.json", "fit.npz"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in ("fit.v1", "fit.v2", "fit.json"):
        assert ends_well(capsys, "predict", tmp_path / name, *POINT, "--json") == 0
    # x and x.json would share x.npz.
    fit = ["fit", folder / "table.csv", "--law", "dcpt", *QUICK, "--out"]
    assert ends_well(capsys, *fit, tmp_path / "fit.v1.json") == 2
    assert ends_well(capsys, *fit, tmp_path / "fit") == 2


def test_draws_of_another_fit_of_the_same_law_are_refused(folder, tmp_path, capsys):
    path = copy_fit(folder, tmp_path)
    where = ["--where", "loss < 3.0", "--law", "dcpt", *QUICK, "--json"]
    other = tmp_path / "other.json"
    assert ends_well(capsys, "fit", folder / "table.csv", *where, "--out", other) == 0
    shutil.copy(tmp_path / "other.npz", tmp_path / "fit.npz")
    assert main(["predict", str(path), *POINT]) == 2
    assert "fit.npz: draws of another fit than the one beside it" in capsys.readouterr().err
