"""Stream documents from the Hugging Face Hub, or from a local directory in its formats."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from ptpp.errors import InputError
from ptpp.models.external import explain_hub_error


def hub_documents(spec: Mapping, split: str) -> Iterator[str]:
    """Yield the texts of a dataset's "train" or "valid" part, shuffled within a buffer.

    `spec` keys: `id` (a Hub name or a local directory), `train_split`, `text`, and optionally
    `config`, `revision`, `valid_split`, `shuffle_buffer` (default 10000), `seed` (default 0),
    `valid_documents`. Without `valid_split`, the first `valid_documents` of the shuffled stream
    are the validation set and the rest is for training. The order depends on `seed` alone. Code
    inside a dataset never runs. Raises InputError when the dataset, the split or the column is
    missing.
    """
    name = spec["id"]
    own_valid = spec.get("valid_split")
    held_out = spec.get("valid_documents", 0)
    if not own_valid and held_out < 1:
        raise InputError(f"dataset {name}: give valid_split, or valid_documents of at least 1")
    part = own_valid if split == "valid" and own_valid else spec["train_split"]
    rows = _open(spec, part)
    rows = rows.shuffle(seed=spec.get("seed", 0), buffer_size=spec.get("shuffle_buffer", 10_000))
    if not own_valid:
        rows = rows.take(held_out) if split == "valid" else rows.skip(held_out)
    yield from _texts(rows, spec["text"], f"dataset {name}, split {part}")


def local_files(name: str) -> list[Path]:
    """Files of a dataset in a local directory, in sorted order; [] for a Hub name."""
    return sorted(p for p in Path(name).rglob("*") if p.is_file()) if Path(name).is_dir() else []


def _open(spec: Mapping, part: str):
    """A streaming dataset of one split."""
    import datasets  # takes a second, and most runs do not need it

    try:
        if (Path(spec["id"]) / "dataset_dict.json").is_file():  # written by save_to_disk
            return datasets.load_from_disk(spec["id"])[part].to_iterable_dataset()
        return datasets.load_dataset(
            spec["id"],
            name=spec.get("config"),
            revision=spec.get("revision"),
            split=part,
            streaming=True,
        )
    except Exception as error:  # the library raises a dozen kinds, none of them its own base
        raise InputError(
            f"dataset {spec['id']}, split {part}: {explain_hub_error(error)}"
        ) from error


def _texts(rows, column: str, where: str) -> Iterator[str]:
    try:
        for row in rows:
            text = row.get(column)
            if not isinstance(text, str):
                columns = sorted(row)
                raise InputError(f"{where}: no text in column {column!r}; columns are {columns}")
            if text.strip():
                yield text
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{where}: reading failed ({explain_hub_error(error)})") from error
