//! Access lists as text, as tar archives hold them: `user::rw-,user:1234:r--,group::r--,mask::rw-,other::---`.

use super::{Acl, Entry, Who, is_valid};

/// Reading, writing, executing.
const PERMISSIONS: [(u16, char); 3] = [(4, 'r'), (2, 'w'), (1, 'x')];

impl Acl {
    /// The list as text. Users and groups are numbers.
    pub fn to_text(&self) -> String {
        let entries: Vec<String> = self.entries.iter().map(entry_to_text).collect();
        entries.join(",")
    }

    /// Reads such a text. A name that is no number is understood where a number follows the permissions, as some programs
    /// write it; `None` for what can't be understood, or is no valid list.
    pub fn from_text(text: &str) -> Option<Acl> {
        let lines = text.split([',', '\n']).map(str::trim).filter(|line| !line.is_empty());
        let entries = lines.map(entry_from_text).collect::<Option<Vec<Entry>>>()?;
        is_valid(&entries).then_some(Acl { entries })
    }
}

fn entry_to_text(entry: &Entry) -> String {
    let who = match entry.who {
        Who::Owner => "user:".to_owned(),
        Who::User(id) => format!("user:{id}"),
        Who::OwningGroup => "group:".to_owned(),
        Who::Group(id) => format!("group:{id}"),
        Who::Mask => "mask:".to_owned(),
        Who::Other => "other:".to_owned(),
    };
    let shown = |(bit, letter): (u16, char)| if entry.perm & bit != 0 { letter } else { '-' };
    format!("{who}:{}", PERMISSIONS.map(shown).iter().collect::<String>())
}

fn entry_from_text(line: &str) -> Option<Entry> {
    let mut fields = line.split(':').map(str::trim);
    let (tag, name, perms) = (fields.next()?, fields.next()?, fields.next()?);
    let id = || name.parse().ok().or_else(|| fields.clone().next()?.parse().ok());
    let who = match (tag, name) {
        ("user" | "u", "") => Who::Owner,
        ("user" | "u", _) => Who::User(id()?),
        ("group" | "g", "") => Who::OwningGroup,
        ("group" | "g", _) => Who::Group(id()?),
        ("mask" | "m", "") => Who::Mask,
        ("other" | "o", "") => Who::Other,
        _ => return None,
    };
    let mut perm = 0;
    for letter in perms.chars() {
        match PERMISSIONS.iter().find(|(_, known)| *known == letter) {
            Some((bit, _)) => perm |= bit,
            None if letter == '-' => {}
            None => return None,
        }
    }
    Some(Entry { who, perm })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let text = "user::rwx,user:1234:r-x,group::r--,group:7:-w-,mask::rwx,other::---";
        let acl = Acl::from_text(text).unwrap();
        assert_eq!(acl.to_text(), text);
        assert_eq!(Acl::from_xattr(&acl.to_xattr()).unwrap(), Some(acl.clone()));
        let named = "u::rwx\nuser:lisa:r-x:1234\ng::r--\ngroup:staff:-w-:7\nm::rwx\no::---\n";
        assert_eq!(Acl::from_text(named), Some(acl));
        for wrong in ["", "user::rwx", "u::rwx,u:lisa:r--,g::r--,m::r--,o::---", "u::rwz,g::,o::"] {
            assert_eq!(Acl::from_text(wrong), None, "{wrong}");
        }
    }
}
