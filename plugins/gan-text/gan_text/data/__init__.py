"""Text data: vocabularies (tokenizers), the fields of a sample, and the named datasets."""
