//! Backups: generations of a store at other places, made, verified, thinned out and restored.
