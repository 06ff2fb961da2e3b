//! Objects that were found damaged at a location, as notes that lie beside them: the next backup sends them once more, if the store still has what they
//! were. Otherwise what is there under the right name, and as long as it should be, is never sent again.
//!
//! A note stays, and says what became of it: where nothing can be deleted it could not go.

use super::location::Location;
use super::{Error, Result};
use std::collections::HashSet;

/// What a note says.
const DAMAGED: &[u8] = b"damaged";
const MENDED: &[u8] = b"mended";
/// Objects lie at `series/SERIES/KIND/NAME`, notes at `series/SERIES/damaged/KIND/NAME`.
const NOTES: &str = "damaged";

/// The note of an object, and what the names of all notes of a kind begin with; `None` of what is in no series.
fn note_of(key: &str) -> Option<String> {
    let (series, object) = key.strip_prefix("series/")?.split_once('/')?;
    let (kind, _) = object.split_once('/')?;
    (kind != NOTES).then(|| format!("series/{series}/{NOTES}/{object}"))
}

/// Notes an object that turned out to be damaged, if that is what the error says. Best effort: whoever only reads may not be allowed to write there.
pub(super) fn note(location: &Location, error: &Error) {
    let Error::Damaged { key, .. } = error else { return };
    let Some(note) = note_of(key) else { return };
    match location.put(&note, DAMAGED.to_vec()) {
        Ok(()) => log::warn!("{error}; the next backup sends it again, if the store still has it"),
        Err(failed) => log::debug!("{note} can't be written: {failed}"),
    }
}

/// The names of the objects below `prefix` (`series/SERIES/KIND/`) that are noted, and not mended since.
pub(super) fn noted(location: &Location, prefix: &str) -> Result<HashSet<String>> {
    let mut names = HashSet::new();
    let Some(notes) = note_of(prefix) else { return Ok(names) };
    for object in location.list(&notes)? {
        let Some(name) = object.key.strip_prefix(&notes) else { continue };
        match location.get(&object.key) {
            Ok(says) if says == DAMAGED => drop(names.insert(name.to_owned())),
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(names)
}

/// The object was sent once more.
pub(super) fn mended(location: &Location, key: &str) -> Result<()> {
    note_of(key).map_or(Ok(()), |note| location.put(&note, MENDED.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_series_has_a_note_beside_it() {
        assert_eq!(note_of("series/a/packs/1-0-ff").unwrap(), "series/a/damaged/packs/1-0-ff");
        assert_eq!(note_of("series/a/metadata/x").unwrap(), "series/a/damaged/metadata/x");
        for other in ["generations/a.json", "verso.json", "series/a", "series/a/damaged/packs/x"] {
            assert_eq!(note_of(other), None, "{other}");
        }
    }
}
