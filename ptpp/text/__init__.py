"""Sources of documents, the tokenizer, and the token stores made of both."""
