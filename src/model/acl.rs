//! POSIX access control lists: the kernel's xattr form and its rules (`fs/posix_acl.c`, acl(5)).

mod text;

/// The version of the xattr form (`POSIX_ACL_XATTR_VERSION`).
const XATTR_VERSION: u32 = 2;
/// Bytes before the entries: the version, little endian.
const HEADER_BYTES: usize = 4;
/// Bytes of an entry: tag and permissions (16 bits each), id (32 bits), little endian.
const ENTRY_BYTES: usize = 8;
/// The id of entries that name nobody (`ACL_UNDEFINED_ID`).
const UNDEFINED_ID: u32 = u32::MAX;

const TAG_USER_OBJ: u16 = 0x01;
const TAG_USER: u16 = 0x02;
const TAG_GROUP_OBJ: u16 = 0x04;
const TAG_GROUP: u16 = 0x08;
const TAG_MASK: u16 = 0x10;
const TAG_OTHER: u16 = 0x20;

/// Read, write, execute for one class of users: the lower three bits.
const PERM_MASK: u16 = 0o7;
/// Read, write, execute for owner, group and others.
const ACCESS_MASK: u32 = 0o777;

/// The xattr that holds a file's access list.
pub const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
/// The xattr that holds what a directory passes on to what is created in it.
pub const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// Why bytes are not an access list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// Not the version that we know; `EOPNOTSUPP` to a program.
    #[error("an access list of version {0}, only {XATTR_VERSION} is known")]
    Version(u32),
    /// Not a header and whole entries, or entries that the kernel would refuse; `EINVAL` to a program.
    #[error("not a valid access list")]
    Invalid,
}

/// Whom an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Owner,
    User(u32),
    OwningGroup,
    Group(u32),
    Mask,
    Other,
}

/// One line of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    who: Who,
    perm: u16,
}

/// A valid access list: owner, named users, owning group, named groups, a mask where anybody is named,
/// others, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    entries: Vec<Entry>,
}

/// What a new inode gets from the default list of its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inherited {
    /// The mode asked for, cut down to what the list allows. The umask has no part in it.
    pub mode: u32,
    /// Its access list; `None` where the mode says it all.
    pub access: Option<Acl>,
    /// Its default list: directories pass theirs on.
    pub default: Option<Acl>,
}

impl Acl {
    /// Reads the xattr form. `Ok(None)` for a list without entries: setting it removes the list.
    ///
    /// # Errors
    /// What the kernel refuses (`posix_acl_from_xattr`, `posix_acl_valid`).
    pub fn from_xattr(bytes: &[u8]) -> Result<Option<Acl>, AclError> {
        let (header, body) = bytes.split_at_checked(HEADER_BYTES).ok_or(AclError::Invalid)?;
        let version = le32(header);
        if version != XATTR_VERSION {
            return Err(AclError::Version(version));
        }
        let records = body.chunks_exact(ENTRY_BYTES);
        if !records.remainder().is_empty() {
            return Err(AclError::Invalid);
        }
        let entries = records.map(Entry::read).collect::<Option<Vec<_>>>();
        let entries = entries.ok_or(AclError::Invalid)?;
        match entries.is_empty() {
            true => Ok(None),
            false if is_valid(&entries) => Ok(Some(Acl { entries })),
            false => Err(AclError::Invalid),
        }
    }

    /// The xattr form.
    pub fn to_xattr(&self) -> Vec<u8> {
        let mut bytes = XATTR_VERSION.to_le_bytes().to_vec();
        self.entries.iter().for_each(|entry| entry.write(&mut bytes));
        bytes
    }

    /// What setting this access list on a file of `mode` makes of it (`posix_acl_update_mode`): the new
    /// mode, and the list unless the mode says the same. Clearing set-group-id for a caller outside of the
    /// group is the caller's part.
    pub fn mode_of(self, mode: u32) -> (u32, Option<Acl>) {
        let bits = self.entries.iter().fold(0, |bits, entry| match entry.who {
            Who::Owner => bits | shifted(entry.perm, 6),
            Who::OwningGroup => bits | shifted(entry.perm, 3),
            Who::Mask => bits & !0o070 | shifted(entry.perm, 3),
            Who::Other => bits | shifted(entry.perm, 0),
            Who::User(_) | Who::Group(_) => bits,
        });
        (mode & !ACCESS_MASK | bits, self.unless_plain())
    }

    /// What is created with `mode` in a directory whose default list this is
    /// (`posix_acl_create`). Symbolic links inherit nothing and must not ask.
    pub fn inherit(&self, mode: u32, is_dir: bool) -> Inherited {
        let mut access = self.clone();
        let masked = access.class_of_group();
        let mut allowed = 0;
        for (at, entry) in access.entries.iter_mut().enumerate() {
            let Some(shift) = shift_of(entry.who, at == masked) else { continue };
            entry.perm &= (mode >> shift) as u16 & PERM_MASK;
            allowed |= shifted(entry.perm, shift);
        }
        Inherited {
            mode: mode & !ACCESS_MASK | allowed,
            access: access.unless_plain(),
            default: is_dir.then(|| self.clone()),
        }
    }

    /// What `chmod` to `mode` does to a file's access list (`posix_acl_chmod`): the group bits go to the
    /// mask where there is one.
    pub fn chmod(&mut self, mode: u32) {
        let masked = self.class_of_group();
        for (at, entry) in self.entries.iter_mut().enumerate() {
            if let Some(shift) = shift_of(entry.who, at == masked) {
                entry.perm = (mode >> shift) as u16 & PERM_MASK;
            }
        }
    }

    /// The entry that the mode's group bits stand for: the mask, or the owning group where there is none.
    fn class_of_group(&self) -> usize {
        let find = |who| self.entries.iter().position(|entry| entry.who == who);
        find(Who::Mask)
            .or_else(|| find(Who::OwningGroup))
            .expect("a valid list has an owning group")
    }

    /// The list, unless it says no more than a mode can.
    fn unless_plain(self) -> Option<Acl> {
        let plain = |entry: &Entry| matches!(entry.who, Who::Owner | Who::OwningGroup | Who::Other);
        if self.entries.iter().all(plain) { None } else { Some(self) }
    }
}

impl Entry {
    /// One record of the xattr form; `None` for an unknown tag, permissions beyond the three, and a name
    /// that is nobody.
    fn read(record: &[u8]) -> Option<Entry> {
        let (tag, perm) = (le16(&record[..2]), le16(&record[2..4]));
        let id = le32(&record[4..]);
        let who = match tag {
            TAG_USER_OBJ => Who::Owner,
            TAG_USER if id != UNDEFINED_ID => Who::User(id),
            TAG_GROUP_OBJ => Who::OwningGroup,
            TAG_GROUP if id != UNDEFINED_ID => Who::Group(id),
            TAG_MASK => Who::Mask,
            TAG_OTHER => Who::Other,
            _ => return None,
        };
        (perm & !PERM_MASK == 0).then_some(Entry { who, perm })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let (tag, id) = match self.who {
            Who::Owner => (TAG_USER_OBJ, UNDEFINED_ID),
            Who::User(id) => (TAG_USER, id),
            Who::OwningGroup => (TAG_GROUP_OBJ, UNDEFINED_ID),
            Who::Group(id) => (TAG_GROUP, id),
            Who::Mask => (TAG_MASK, UNDEFINED_ID),
            Who::Other => (TAG_OTHER, UNDEFINED_ID),
        };
        bytes.extend(tag.to_le_bytes());
        bytes.extend(self.perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
}

/// Whether the order is right and a mask is there where somebody is named (`posix_acl_valid`).
fn is_valid(entries: &[Entry]) -> bool {
    let rank = |entry: &Entry| match entry.who {
        Who::Owner => 0,
        Who::User(_) => 1,
        Who::OwningGroup => 2,
        Who::Group(_) => 3,
        Who::Mask => 4,
        Who::Other => 5,
    };
    let count = |wanted| entries.iter().filter(|entry| rank(entry) == wanted).count();
    let names = count(1) + count(3) > 0;
    entries.is_sorted_by_key(rank)
        && [0, 2, 5].into_iter().all(|once| count(once) == 1)
        && count(4) <= 1
        && (count(4) == 1 || !names)
}

/// Where in a mode the permissions of an entry stand; `None` for an entry that the mode doesn't show.
/// `masks` says that the entry is the one that the group bits stand for.
fn shift_of(who: Who, masks: bool) -> Option<u32> {
    match who {
        Who::Owner => Some(6),
        Who::Other => Some(0),
        _ => masks.then_some(3),
    }
}

fn shifted(perm: u16, shift: u32) -> u32 {
    u32::from(perm) << shift
}

fn le16(bytes: &[u8]) -> u16 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u16::from(*byte))
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Taken from ext4 with setfacl, open, mkdir and chmod, umask 077.
    const DEFAULT: &str = "0200000001000700ffffffff02000700e803000004000500ffffffff\
        08000500d007000010000700ffffffff20000400ffffffff";
    const FILE_0666: &str = "0200000001000600ffffffff02000700e803000004000500ffffffff\
        08000500d007000010000600ffffffff20000400ffffffff";
    const FILE_0640: &str = "0200000001000600ffffffff02000700e803000004000500ffffffff\
        08000500d007000010000400ffffffff20000000ffffffff";
    const DIR_0751: &str = "0200000001000700ffffffff02000700e803000004000500ffffffff\
        08000500d007000010000500ffffffff20000000ffffffff";
    const FILE_0666_CHMOD_604: &str = "0200000001000600ffffffff02000700e803000004000500ffffffff\
        08000500d007000010000000ffffffff20000400ffffffff";
    const PLAIN_0750: &str = "0200000001000700ffffffff04000500ffffffff20000000ffffffff";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        digits.map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
    }

    fn acl(hex: &str) -> Acl {
        Acl::from_xattr(&bytes(hex)).unwrap().unwrap()
    }

    #[test]
    fn the_xattr_form_survives_the_round_trip() {
        for hex in [DEFAULT, FILE_0666, FILE_0640, PLAIN_0750] {
            assert_eq!(acl(hex).to_xattr(), bytes(hex));
        }
    }

    #[test]
    fn a_file_inherits_as_on_ext4() {
        for (asked, given, expected) in [(0o666, 0o664, FILE_0666), (0o640, 0o640, FILE_0640)] {
            let inherited = acl(DEFAULT).inherit(asked, false);
            assert_eq!(inherited.mode, given);
            assert_eq!(inherited.access, Some(acl(expected)));
            assert_eq!(inherited.default, None);
        }
    }

    #[test]
    fn a_directory_inherits_and_passes_on() {
        let inherited = acl(DEFAULT).inherit(0o2751, true);
        assert_eq!(inherited.mode, 0o2750);
        assert_eq!(inherited.access, Some(acl(DIR_0751)));
        assert_eq!(inherited.default, Some(acl(DEFAULT)));
    }

    #[test]
    fn a_default_list_without_names_only_masks_the_mode() {
        let inherited = acl(PLAIN_0750).inherit(0o666, false);
        assert_eq!((inherited.mode, inherited.access), (0o640, None));
    }

    #[test]
    fn chmod_moves_the_mask_and_leaves_the_owning_group() {
        let mut list = acl(FILE_0666);
        list.chmod(0o604);
        assert_eq!(list, acl(FILE_0666_CHMOD_604));
        let mut plain = acl(PLAIN_0750);
        plain.chmod(0o610);
        assert_eq!(plain.mode_of(0).0, 0o610);
    }

    #[test]
    fn setting_a_list_sets_the_mode_and_keeps_the_high_bits() {
        let (mode, kept) = acl(FILE_0666).mode_of(0o4700);
        assert_eq!((mode, kept), (0o4664, Some(acl(FILE_0666))));
        let (mode, kept) = acl(PLAIN_0750).mode_of(0o1777);
        assert_eq!((mode, kept), (0o1750, None));
    }

    #[test]
    fn an_empty_list_is_none() {
        assert_eq!(Acl::from_xattr(&bytes("02000000")), Ok(None));
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        assert_eq!(Acl::from_xattr(&bytes("03000000")), Err(AclError::Version(3)));
        let invalid = [
            ("no header", "0200"),
            ("half an entry", "0200000001000700"),
            ("no others", "0200000001000700ffffffff04000500ffffffff"),
            (
                "two owners",
                "0200000001000700ffffffff01000700ffffffff04000500ffffffff20000000ffffffff",
            ),
            ("wrong order", "0200000004000500ffffffff01000700ffffffff20000000ffffffff"),
            (
                "a name, no mask",
                "0200000001000700ffffffff02000700e803000004000500ffffffff20000000ffffffff",
            ),
            ("a fourth permission", "0200000001000f00ffffffff04000500ffffffff20000000ffffffff"),
            ("an unknown tag", "0200000003000700ffffffff04000500ffffffff20000000ffffffff"),
        ];
        for (what, hex) in invalid {
            assert_eq!(Acl::from_xattr(&bytes(hex)), Err(AclError::Invalid), "{what}");
        }
    }
}
