//! What comes in as an archive.

use super::*;

/// A tar archive in memory.
pub(super) fn packed(drive: &Drive, path: &Path, id: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let to = Destination::Pipe(&mut bytes);
    export(&drive.tree(), path, OsStr::new(id), to, Compression::Zstd, &Unattended).unwrap();
    bytes
}

pub(super) fn take_in(tree: &dyn Tree, id: &str, bytes: &[u8]) -> Result<Imported> {
    import(tree, OsStr::new(id), Source::Pipe(Box::new(bytes)), &Unattended)
}

#[test]
fn an_import_is_told_of_in_history() {
    let drive = Drive::new();
    let bytes = packed(&drive, &drive.project("spring"), "spring");
    take_in(&drive.tree(), "summer", &bytes).unwrap();
    let versions = recall::versions(&drive.tree(), Path::new("projects/summer/plan")).unwrap();
    assert_eq!(versions.last().unwrap().cause, "import");
    assert!(matches!(take_in(&drive.tree(), "summer", &bytes), Err(Error::Exists { .. })));
}

/// Type, name, target of a link, content.
type Member<'a> = (u8, &'a str, &'a str, &'a [u8]);

/// An archive of members.
fn archive_of(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, link, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn hostile_archives_change_nothing_outside() {
    let drive = Drive::new();
    let tree = drive.tree();
    drive.write("shared/precious", b"p");
    let before = shape(&tree, Path::new("shared"));
    let refused: &[&[Member<'_>]] = &[
        &[(b'0', "/shared/x", "", b"x")],
        &[(b'0', "a/../../../shared/x", "", b"x")],
        &[(b'2', "a", "../../shared", b""), (b'0', "a/x", "", b"x")],
        &[(b'2', "a", "../../shared", b""), (b'1', "b", "a/precious", b"")],
        &[(b'1', "b", "../../shared/precious", b"")],
        &[(b'1', "b", "/shared/precious", b"")],
        &[(b'5', "a", "", b""), (b'2', "a", "/", b"")],
        &[(b'0', "a", "", b"x"), (b'0', "a/b", "", b"x")],
        &[(b'0', ".", "", b"x")],
        &[],
    ];
    for (number, members) in refused.iter().enumerate() {
        let outcome = take_in(&tree, "evil", &archive_of(members));
        assert!(matches!(outcome, Err(Error::Import { .. })), "{number}: {outcome:?}");
        let left = tree.list(Path::new(PROJECTS)).unwrap();
        assert!(left.is_empty(), "{number}: {left:?}");
    }
    let zip = take_in(&tree, "evil", b"PK\x03\x04 and so on");
    assert!(matches!(zip, Err(Error::Import { .. })));
    assert_eq!(shape(&tree, Path::new("shared")), before);
    let odd = archive_of(&[
        (b'0', "./a", "", b"first"),
        (b'3', "device", "", b""),
        (b'0', "x/.versions/y", "", b""),
        (b'2', "link", "../../shared/precious", b""),
        (b'0', "link", "", b"no link any more"),
        (b'0', "./a", "", b"second"),
    ]);
    let done = take_in(&tree, "odd", &odd).unwrap();
    assert_eq!((done.left_out_count, done.left_out.len()), (2, 2), "{:?}", done.left_out);
    let sizes: Vec<u64> =
        shape(&tree, Path::new("projects/odd")).values().map(|one| one.2).collect();
    assert_eq!(sizes[1..], [6, 16]);
    assert_eq!(shape(&tree, Path::new("shared")), before);
}
