//! Names of users.

use std::collections::HashMap;

/// The users that this machine lists.
#[derive(Debug, Default)]
pub struct Users(HashMap<u32, String>);

impl Users {
    /// As `/etc/passwd` has them; none where it cannot be read.
    pub fn read() -> Users {
        Users::parse(&std::fs::read("/etc/passwd").unwrap_or_default())
    }

    fn parse(text: &[u8]) -> Users {
        let text = String::from_utf8_lossy(text);
        let entry = |line: &str| {
            let mut fields = line.split(':');
            let (name, uid) = (fields.next()?, fields.nth(1)?);
            Some((uid.parse().ok()?, name.to_owned()))
        };
        // Of several names for one number the first is its name.
        Users(text.lines().rev().filter_map(entry).collect())
    }

    /// The user's name, or else the number.
    pub fn name(&self, uid: u32) -> String {
        self.0.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_name_or_a_number() {
        let users = Users::parse(b"root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\nbroken\n");
        assert_eq!(users.name(0), "root");
        assert_eq!(users.name(7), "7");
    }
}
