//! Places that may have a chunk which is damaged here.

use crate::chunks::PackStore;
use crate::model::ChunkRef;

/// A place is not asked any more in a run after it failed so many times in a row: each time may take minutes.
const FAILURES_MAX: u32 = 3;

/// A place outside of the store that may have its chunks: a backup location.
pub trait Spare: Sync {
    /// What people call it.
    fn name(&self) -> &str;

    /// The plain bytes of the chunk, if this place has it whole; they are verified again. `chunk` and, where it is stored as a difference here,
    /// `base` are as the chunk table has them now: there they may lie elsewhere.
    ///
    /// # Errors
    /// Why the place can't be asked, for people. What is damaged there is not there: `None`.
    fn fetch(
        &self,
        chunk: &ChunkRef,
        base: Option<&ChunkRef>,
    ) -> std::result::Result<Option<Vec<u8>>, String>;
}

/// All such places, as one run knows them.
pub(in crate::fs) struct Spares<'a> {
    spares: Vec<(&'a dyn Spare, u32)>,
}

impl<'a> Spares<'a> {
    pub(in crate::fs) fn new(spares: &[&'a dyn Spare]) -> Spares<'a> {
        Spares { spares: spares.iter().map(|spare| (*spare, 0)).collect() }
    }

    /// The chunk's bytes from the first place that has them, and what that is called.
    pub(super) fn fetch(
        &mut self,
        packs: &PackStore,
        chunk: &ChunkRef,
        base: Option<&ChunkRef>,
    ) -> Option<(&'a str, Vec<u8>)> {
        let id = chunk.id.0;
        for (spare, failures) in &mut self.spares {
            if *failures >= FAILURES_MAX {
                continue;
            }
            let spare: &'a dyn Spare = *spare;
            let name = spare.name();
            let fetched = spare.fetch(chunk, base);
            *failures = if fetched.is_ok() { 0 } else { *failures + 1 };
            match fetched {
                Ok(Some(plain)) if packs.is_content(&plain, chunk) => {
                    return Some((name, plain));
                }
                Ok(Some(_)) => log::error!("what {name} has for chunk {id} is something else"),
                Ok(None) => {}
                Err(why) => log::warn!("{name} can't be asked for chunk {id}: {why}"),
            }
        }
        None
    }
}
