"""The pure state core: values, documents, patches, drafts, diffs; no I/O, clock or randomness."""
