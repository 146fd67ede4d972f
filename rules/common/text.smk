# Text, tokenizers and token stores.


def text_source(language):
    """What a source is asked for: a language's entry without the sizes of its stores."""
    spec = LANGUAGES[language]
    return {k: v for k, v in spec.items() if k not in ("name", "train_tokens", "valid_tokens")}


def source_files(*languages):
    """Files that text is read from, so that changed text is tokenised anew."""
    return [
        path
        for language in languages
        for split in ("train", "valid")
        for path in LANGUAGES[language].get(split, [])
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


def corpus_spec(wildcards):
    return text_source(wildcards.language)


def corpus_files(wildcards):
    return source_files(wildcards.language)


def store_tokens(wildcards):
    return LANGUAGES[wildcards.language][f"{wildcards.split}_tokens"]


def excluded_store(wildcards):
    """Training text is written after validation text, whose documents it must not hold."""
    if wildcards.split == "valid":
        return []
    return f"{RESULTS}/tokens/{wildcards.language}.valid.bin"


def stores(split, languages):
    return [f"{RESULTS}/tokens/{language}.{split}.bin" for language in languages]


def text_spec():
    corpora = config["corpora"]
    return {key: corpora[key] for key in ("target", "base", "evaluation_tokens")}
