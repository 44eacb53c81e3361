"""Stream apps over the log: the compactor (`snapshots`) and, later, Faust insights."""
