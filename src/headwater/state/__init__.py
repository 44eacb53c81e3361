"""The pure state core: values, documents, patches, drafts, diffs. No I/O, no clock, no chance."""
