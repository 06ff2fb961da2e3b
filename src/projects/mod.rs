//! Projects as a whole: listed, archived, exported, imported, deleted.
