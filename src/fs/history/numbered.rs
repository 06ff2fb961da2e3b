//! The numbers of versions, for who looks at a name's past otherwise.

use super::versions::versions_of;
use crate::fs::Result;
use crate::fs::volume::Volume;
use crate::meta::View;
use crate::model::{Ino, Moment};

/// A version that `.versions` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fs) struct Numbered {
    pub(in crate::fs) number: u64,
    pub(in crate::fs) ino: Ino,
    /// From when its inode had this content.
    pub(in crate::fs) content_since: Moment,
    /// From when the name, or an earlier one of the file, showed it.
    pub(in crate::fs) began: Moment,
    /// Until when.
    pub(in crate::fs) ended: Option<Moment>,
}

impl Volume {
    /// What `.versions` lists of a name, also from the earlier names of its file.
    pub(in crate::fs) fn numbered_versions(
        &self,
        view: &View<'_>,
        dir: Ino,
        name: &[u8],
    ) -> Result<Vec<Numbered>> {
        let versions = versions_of(self, view, dir, name)?;
        let numbered = versions.iter().map(|version| Numbered {
            number: version.number,
            ino: version.ino,
            content_since: version.content_since,
            began: version.began,
            ended: version.ended,
        });
        Ok(numbered.collect())
    }
}
