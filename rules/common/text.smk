# Text, tokenizers and token stores.


def text_source(language):
    """What a source is asked for: a language's entry without the sizes of its stores."""
    spec = LANGUAGES[language]
    return {k: v for k, v in spec.items() if k not in ("name", "train_tokens", "valid_tokens")}


def source_files(*languages):
    """Files that text is read from, so that changed text is tokenised anew."""
    return [
        path
        for language in EXPERIMENT.corpora.languages
        if language.name in languages
        for split in ("train", "valid")
        for path in language.files(split)
    ]


def tokenizer_specs():
    """The text a tokenizer is trained on; none where one is taken over."""
    if EXPERIMENT.external_tokenizer():
        return {}
    return {language: text_source(language) for language in LANGUAGES}


def tokenizer_sources():
    """Files that the tokenizer is made from; one of the Hub has none here."""
    external = EXPERIMENT.external_tokenizer()
    if external is None:
        return source_files(*LANGUAGES)
    return tokenizer_files(external["model"]) if Path(external["model"]).is_dir() else []


def tokenizer_memory():
    """MB that the tokenizer's job asks for: the trainer holds the distinct words of its text.

    A share of the text, which docs/corpora.md shows how to measure. One taken over needs little.
    """
    trained_on = len(tokenizer_specs()) * config["tokenizer"]["bytes_per_language"]
    return max(2000, 500 + 12 * trained_on // 1_000_000)


def excluded_store(wildcards):
    """Training text is written after validation text, whose documents it must not hold."""
    return [] if wildcards.split == "valid" else f"{RESULTS}/tokens/{wildcards.language}.valid.bin"


def token_parts(wildcards):
    """The parts of a training store that other jobs tokenise."""
    count = config["corpora"].get("parts", 1)
    if wildcards.split == "valid" or count == 1:
        return []
    folder = f"{RESULTS}/tokens/parts/{wildcards.language}.{wildcards.split}"
    return [f"{folder}.{part}of{count}" for part in range(count)]


def stores(split, languages):
    return [f"{RESULTS}/tokens/{language}.{split}.bin" for language in languages]


def text_spec():
    corpora = config["corpora"]
    return {key: corpora[key] for key in ("target", "base", "evaluation_tokens")}
