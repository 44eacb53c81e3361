"""The log's meaning, pure: records, hash chain, admission, fold. No I/O, no clock."""
