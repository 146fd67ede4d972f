"""Are the files there that the configuration names?"""

from pathlib import Path

from ptpp.config.experiment import Config
from ptpp.errors import InputError
from ptpp.models.external import check_name, model_files, tokenizer_files


def check_files(config: Config) -> None:
    """Raise InputError unless every file that is named is there.

    Snakemake itself misses an input only as long as its results are missing too.
    """
    paths = [("laws.declared", path) for path in config.laws.declared]
    if config.plan.from_scratch is not None:
        paths.append(("plan.from_scratch", config.plan.from_scratch))
    if config.observations is not None:
        paths.append(("observations", config.observations))
    else:
        paths += [
            (f"corpora.languages: {language.name}: {split}", path)
            for language in config.corpora.languages
            for split, files in language.files.items()
            for path in files
        ]
    for key, path in paths:
        if not Path(path).is_file():
            raise InputError(f"config: {key}: {path}: no such file")
    if config.is_trained:
        _check_external(config)


def _check_external(config: Config) -> None:
    """Models and tokenizers from elsewhere: names, and the files of those on this machine."""
    for size in config.external_sizes:
        for checkpoint in size.checkpoints:
            key = f"config: models.sizes: {size.name}: ptpp {checkpoint.ptpp:g}"
            check_name(checkpoint.model, checkpoint.revision, key)
            if Path(checkpoint.model).is_dir():
                model_files(checkpoint.model)
    if config.tokenizer.model is None and config.tokenizer.revision is not None:
        raise InputError("config: tokenizer.revision: is given, but no tokenizer.model")
    tokenizer = config.external_tokenizer()
    if tokenizer is not None:
        check_name(tokenizer["model"], tokenizer["revision"], "config: tokenizer.model")
        if Path(tokenizer["model"]).is_dir():
            tokenizer_files(tokenizer["model"])
