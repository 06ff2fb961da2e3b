//! The members of a tar archive, as anybody's tar may have written it.
//!
//! Headers, their numbers and names are read by the crate `tar`. What stands around them is read here, since that crate
//! takes extended records apart at line ends, which values (access lists, attributes that Samba writes) can hold, and knows
//! but one of the three forms of sparse files.

use crate::model::{ACL_ACCESS, ACL_DEFAULT, Acl, Timestamp};
use std::io::{self, Read};
use tar::{GnuExtSparseHeader, Header};

/// Headers, and what data is padded to.
const BLOCK_BYTES: usize = 512;
/// Extended records of one member, and long names: far beyond what anybody's attributes take.
const RECORDS_BYTES_MAX: u64 = 64 << 20;
/// Parts of one sparse file.
const SEGMENTS_MAX: u64 = 1 << 20;
/// What an attribute's record begins with.
pub(super) const XATTR: &str = "SCHILY.xattr.";

/// Access lists, which archives hold as text: by their attributes, and by their records.
pub(super) const LISTS: [(&[u8], &str); 2] =
    [(ACL_ACCESS, "SCHILY.acl.access"), (ACL_DEFAULT, "SCHILY.acl.default")];

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    /// Another name for a member before it.
    Link,
    Symlink,
    Directory,
    Fifo,
    Device,
    /// What no file comes of, by its type.
    Other(u8),
}

/// A member's header and its records.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) path: Vec<u8>,
    /// What a link leads to.
    pub(super) link: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timestamp,
    pub(super) atime: Option<Timestamp>,
    pub(super) size: u64,
    /// Offset and length of what of a file is no hole, in order; all of it is where this adds up to `size`.
    pub(super) segments: Vec<(u64, u64)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads members one after the other.
pub(super) struct Members<R> {
    input: R,
    /// Bytes of the member's data that nobody has read.
    left: u64,
    /// What the data is padded with.
    padding: u64,
    /// Records that hold for all members.
    global: Records,
}

type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// What stands before a member and belongs to it.
#[derive(Default)]
struct Before {
    records: Records,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Before {
    fn get<'a>(&'a self, global: &'a Records, key: &str) -> Option<&'a [u8]> {
        let find = |records: &'a Records| {
            records
                .iter()
                .rev()
                .find(|(name, _)| name == key.as_bytes())
                .map(|(_, value)| &value[..])
        };
        find(&self.records).or_else(|| find(global)).filter(|value| !value.is_empty())
    }
}

impl<R: Read> Members<R> {
    pub(super) fn new(input: R) -> Members<R> {
        Members { input, left: 0, padding: 0, global: Records::new() }
    }

    /// The next member; `None` at the end of the archive, which was then read to the end of the input.
    ///
    /// # Errors
    /// The input's, and `InvalidData` for what is no archive, or is cut off.
    pub(super) fn next(&mut self) -> io::Result<Option<Member>> {
        let mut before = Before::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                io::copy(&mut self.input, &mut io::sink())?;
                return Ok(None);
            };
            match header.entry_type().as_byte() {
                b'x' | b'X' => before.records.extend(records(&self.small(&header)?)?),
                b'g' => {
                    let found = records(&self.small(&header)?)?;
                    self.global.extend(found);
                }
                b'L' => before.path = Some(without_end(self.small(&header)?)),
                b'K' => before.link = Some(without_end(self.small(&header)?)),
                _ => return self.member(&header, before).map(Some),
            }
        }
    }

    /// Reads on in the data of the member; 0 is its end.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(0);
        }
        let read = self.input.read(&mut into[..len])?;
        if read == 0 {
            return Err(cut_off());
        }
        self.left -= read as u64;
        Ok(read)
    }

    fn skip(&mut self) -> io::Result<()> {
        let rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        let skipped = io::copy(&mut (&mut self.input).take(rest), &mut io::sink())?;
        if skipped == rest { Ok(()) } else { Err(cut_off()) }
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        self.input.read_exact(header.as_mut_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => cut_off(),
            _ => error,
        })?;
        let bytes = header.as_bytes();
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        // Its own field counts as spaces.
        let sum = sum(&bytes[..148]) + 8 * u32::from(b' ') + sum(&bytes[156..]);
        match header.cksum() {
            Ok(written) if written == sum => Ok(Some(header)),
            _ => Err(invalid("it is no tar archive, or damaged")),
        }
    }

    fn set_data(&mut self, size: u64) {
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK_BYTES as u64) - size;
    }

    /// The data of a header that says something of the next one.
    fn small(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        if size > RECORDS_BYTES_MAX {
            return Err(invalid("it has records of more than 64 MiB"));
        }
        self.set_data(size);
        let mut data = vec![0; size as usize];
        let mut at = 0;
        while at < data.len() {
            at += self.read(&mut data[at..])?;
        }
        Ok(data)
    }

    fn member(&mut self, header: &Header, before: Before) -> io::Result<Member> {
        let get = |key: &str| before.get(&self.global, key).map(<[u8]>::to_vec);
        let number = |key: &str| get(key).map(|value| parse_number(&value)).transpose();
        let time = |key: &str| get(key).map(|value| parse_time(&value)).transpose();
        let stored = number("size")?.map_or_else(|| header.entry_size(), Ok)?;
        let id = |own: Option<u64>, held: io::Result<u64>| {
            u32::try_from(own.unwrap_or_else(|| held.unwrap_or(0))).unwrap_or(u32::MAX)
        };
        let seconds = header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or(0);
        let mtime = Timestamp(seconds.saturating_mul(1_000_000_000));
        let path = get("GNU.sparse.name").or_else(|| get("path")).or(before.path.clone());
        let link = get("linkpath").or(before.link.clone());
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let mut member = Member {
            kind: kind_of(header.entry_type().as_byte(), &path),
            link: link
                .or(header.link_name_bytes().map(|name| name.into_owned()))
                .unwrap_or_default(),
            path,
            mode: (header.mode().unwrap_or(0o644) & 0o7777) as u16,
            uid: id(number("uid")?, header.uid()),
            gid: id(number("gid")?, header.gid()),
            mtime: time("mtime")?.unwrap_or(mtime),
            atime: time("atime")?,
            size: stored,
            segments: vec![(0, stored)],
            xattrs: xattrs(&self.global, &before.records),
        };
        let form = (number("GNU.sparse.major")?, number("GNU.sparse.minor")?);
        let real = number("GNU.sparse.realsize")?.or(number("GNU.sparse.size")?);
        let map = get("GNU.sparse.map");
        let is_unknown =
            form != (None, None) && form != (Some(1), Some(0)) && form != (Some(0), Some(1));
        if is_unknown || (get("GNU.sparse.numblocks").is_some() && map.is_none()) {
            return Err(invalid(
                "a sparse file is in a form that is not known; pack it without --sparse",
            ));
        }
        // Another name may be said to have the size of the file; nothing follows it.
        self.set_data(if member.kind == Kind::Link { 0 } else { stored });
        if header.entry_type().as_byte() == b'S' {
            self.set_data(0);
            (member.size, member.segments) = self.old_sparse(header)?;
            self.set_data(stored);
        } else if form == (Some(1), Some(0)) {
            member.segments = self.sparse_map()?;
            member.size = real.ok_or_else(|| invalid("a sparse file has no size"))?;
        } else if let Some(map) = map {
            member.segments = pairs(map.split(|byte| *byte == b','))?;
            member.size = real.ok_or_else(|| invalid("a sparse file has no size"))?;
        }
        self.check_segments(&member)?;
        Ok(member)
    }

    /// What is read of a file is what it has outside of holes.
    fn check_segments(&self, member: &Member) -> io::Result<()> {
        if member.kind != Kind::File {
            return Ok(());
        }
        let (mut end, mut sum) = (0_u64, 0_u64);
        for (offset, len) in &member.segments {
            let next = offset.checked_add(*len).filter(|_| *offset >= end);
            end = next.ok_or_else(|| invalid("the parts of a sparse file are out of order"))?;
            sum = sum.saturating_add(*len);
        }
        match sum == self.left && end <= member.size {
            true => Ok(()),
            false => Err(invalid("the parts of a sparse file are not what it holds")),
        }
    }

    /// The map of GNU tar's own form, in the header and blocks that follow it.
    fn old_sparse(&mut self, header: &Header) -> io::Result<(u64, Vec<(u64, u64)>)> {
        let gnu = header.as_gnu().ok_or_else(|| invalid("a sparse file has no map"))?;
        let mut segments = Vec::new();
        let add = |segments: &mut Vec<_>, part: &tar::GnuSparseHeader| -> io::Result<()> {
            if !part.is_empty() && segments.len() as u64 <= SEGMENTS_MAX {
                segments.push((part.offset()?, part.length()?));
            }
            Ok(())
        };
        gnu.sparse.iter().try_for_each(|part| add(&mut segments, part))?;
        let mut goes_on = gnu.is_extended();
        while goes_on {
            let mut more = GnuExtSparseHeader::new();
            self.input.read_exact(more.as_mut_bytes())?;
            more.sparse().iter().try_for_each(|part| add(&mut segments, part))?;
            goes_on = more.is_extended();
        }
        Ok((gnu.real_size()?, segments))
    }

    /// The map of form 1.0, which begins the data: numbers in lines, padded to a block.
    fn sparse_map(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let mut text: Vec<u8> = Vec::new();
        let mut wanted = None;
        loop {
            let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
            if wanted.is_none() && lines > 0 {
                let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
                let count = parse_number(first)?;
                if count > SEGMENTS_MAX {
                    return Err(invalid("a sparse file has more than a million parts"));
                }
                wanted = Some(1 + 2 * count);
            }
            if let Some(wanted) = wanted.filter(|wanted| lines >= *wanted) {
                let numbers = text.split(|byte| *byte == b'\n').take(wanted as usize).skip(1);
                return pairs(numbers);
            }
            let mut block = [0; BLOCK_BYTES];
            let mut at = 0;
            while at < BLOCK_BYTES {
                match self.read(&mut block[at..])? {
                    0 => return Err(invalid("the map of a sparse file is cut off")),
                    read => at += read,
                }
            }
            text.extend_from_slice(&block);
        }
    }
}

fn kind_of(byte: u8, path: &[u8]) -> Kind {
    match byte {
        // The oldest archives know a directory by its name only.
        0 | b'0' if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::Link,
        b'2' => Kind::Symlink,
        b'3' | b'4' => Kind::Device,
        b'5' | b'D' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => Kind::Other(other),
    }
}

/// `LENGTH KEY=VALUE\n`, again and again; the length is that of all of it.
fn records(mut data: &[u8]) -> io::Result<Records> {
    let broken = || invalid("it has records that are not well-formed");
    let mut found = Records::new();
    while !data.is_empty() && data[0] != 0 {
        let space = data.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
        let len = usize::try_from(parse_number(&data[..space])?).map_err(|_| broken())?;
        let record = data.get(space + 1..len).ok_or_else(broken)?;
        let record = record.strip_suffix(b"\n").ok_or_else(broken)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
        found.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        data = &data[len..];
    }
    Ok(found)
}

fn xattrs(global: &Records, own: &Records) -> Records {
    let all = global.iter().chain(own);
    all.filter_map(|(key, value)| {
        let list = LISTS.iter().find(|(_, record)| record.as_bytes() == key);
        if let Some((attribute, _)) = list {
            // What names somebody that nobody knows here is left out.
            let acl = Acl::from_text(std::str::from_utf8(value).ok()?)?;
            return Some((attribute.to_vec(), acl.to_xattr()));
        }
        Some((key.strip_prefix(XATTR.as_bytes())?.to_vec(), value.clone()))
    })
    .collect()
}

fn pairs<'a>(mut numbers: impl Iterator<Item = &'a [u8]>) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    while let Some(offset) = numbers.next() {
        let len = numbers.next().ok_or_else(|| invalid("the map of a sparse file is cut off"))?;
        found.push((parse_number(offset)?, parse_number(len)?));
    }
    Ok(found)
}

fn parse_number(text: &[u8]) -> io::Result<u64> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| invalid("a number in it is none"))
}

/// Seconds since 1970, with a fraction.
fn parse_time(text: &[u8]) -> io::Result<Timestamp> {
    let broken = || invalid("a time in it is none");
    let text = std::str::from_utf8(text).map_err(|_| broken())?;
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().map_err(|_| broken())?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: i64 = digits.parse().map_err(|_| broken())?;
    let nanos = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Ok(Timestamp(if is_negative { -nanos } else { nanos }))
}

fn without_end(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    name
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn cut_off() -> io::Error {
    invalid("it is cut off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_any_bytes() {
        let data = b"22 SCHILY.xattr.a=b\nc\n11 uid=777\n";
        let found = records(data).unwrap();
        assert_eq!(found[0], (b"SCHILY.xattr.a".to_vec(), b"b\nc".to_vec()));
        assert_eq!(found[1], (b"uid".to_vec(), b"777".to_vec()));
        for broken in [&b"5 a\n"[..], b"99 a=b\n", b"x a=b\n", b"6 a=bc", b"0 a=b\n", b"1 a=b\n"] {
            assert!(records(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn times_have_fractions_and_may_be_before_1970() {
        for (text, nanos) in [
            ("12", 12_000_000_000),
            ("1.5", 1_500_000_000),
            ("-1.000000001", -1_000_000_001),
            ("0.1234567899", 123_456_789),
        ] {
            assert_eq!(parse_time(text.as_bytes()).unwrap(), Timestamp(nanos), "{text}");
        }
        assert!(parse_time(b"1.x").is_err() && parse_time(b"").is_err());
    }

    #[test]
    fn what_is_cut_off_is_no_archive() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(700);
        header.set_mode(0o600);
        builder.append_data(&mut header, "a", &[7; 700][..]).unwrap();
        let whole = builder.into_inner().unwrap();
        let read = |bytes: &[u8]| -> io::Result<u64> {
            let mut members = Members::new(bytes);
            let mut count = 0;
            while members.next()?.is_some() {
                count += 1;
            }
            Ok(count)
        };
        assert_eq!(read(&whole).unwrap(), 1);
        for len in [0, 1, 511, 512, 700, 1212, 1535, 1536] {
            assert!(read(&whole[..len]).is_err(), "{len}");
        }
        let mut damaged = whole.clone();
        damaged[3] ^= 1;
        assert!(read(&damaged).is_err());
    }
}
