//! How a chunk becomes a record: what is stored of it, and how long that is.

use super::format::{Codec, RecordHeader};
use super::{Base, ContentTree, Error, PackStore, Result, codec};

impl PackStore {
    /// The stored length that [`append`](PackStore::append) would come to for a chunk, without a base.
    pub fn stored_len(&self, tree: &ContentTree, plain: &[u8]) -> Result<u32> {
        let plain_len = plain.len() as u32;
        let len = |codec, body: &[u8]| {
            self.form(tree, (plain, plain_len), None, (codec, body)).0.stored_len
        };
        codec::encode(plain, None, self.options.level, len)
            .map_err(|error| Error::from_io(self.files.directory(), error))
    }

    /// The header and the payload of a chunk's record, of which compressing made `stored`.
    pub(super) fn form<'a>(
        &self,
        tree: &'a ContentTree,
        (plain, plain_len): (&'a [u8], u32),
        base: Option<&'a Base>,
        (codec, body): (Codec, &'a [u8]),
    ) -> (RecordHeader, &'a [u8], &'a [u8]) {
        let header = |codec, payload_len: usize| {
            let of: fn(_, _, _, _) -> _ = match self.files.keys() {
                Some(_) => RecordHeader::encrypted,
                None => RecordHeader::plain,
            };
            of(codec, plain_len, payload_len as u32, tree.hash())
        };
        let begin = head(codec, tree, base);
        let formed = header(codec, begin.len() + body.len());
        let raw = header(Codec::Raw, plain.len());
        // Of encrypted ones readers see by the length which are raw; and after padding the gain may be none.
        if formed.padding.is_some() && formed.stored_len >= raw.stored_len {
            return (raw, &[], plain);
        }
        (formed, begin, body)
    }
}

/// What a payload begins with.
fn head<'a>(codec: Codec, tree: &'a ContentTree, base: Option<&'a Base>) -> &'a [u8] {
    match codec {
        Codec::Raw => tree.table(),
        // What is compressed can only be read whole.
        Codec::Zstd => &[],
        Codec::Difference => base.map_or(&[], |base| &base.chunk.hash.0),
    }
}
