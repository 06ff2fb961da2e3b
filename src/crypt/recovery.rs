//! Recovery keys: printed, kept in a safe, and typed in by hand on a bad day.

use super::key::random;
use zeroize::Zeroizing;

/// Crockford's base 32: no I, L, O, U.
const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Groups of a recovery key.
const GROUPS: usize = 7;
/// Symbols of a group without the check symbol: 5 bits each, 140 in all.
const GROUP_LEN: usize = 4;
/// Symbols that are typed.
const TYPED_LEN: usize = GROUPS * (GROUP_LEN + 1);
/// Groups that must be right for a text to be taken for a mistyped recovery key.
const RIGHT_GROUPS_MIN: usize = GROUPS / 2 + 1;

/// A recovery key.
pub struct RecoveryKey(Zeroizing<[u8; GROUPS * GROUP_LEN]>);

/// What a typed text is.
pub enum Typed {
    /// A recovery key.
    Key(RecoveryKey),
    /// One that has a mistake in this group, counted from 1.
    Mistyped(usize),
    /// Something else.
    Other,
}

impl RecoveryKey {
    /// A new one.
    pub fn generate() -> RecoveryKey {
        let mut values = Zeroizing::new(random::<{ GROUPS * GROUP_LEN }>());
        values.iter_mut().for_each(|value| *value &= 31);
        RecoveryKey(values)
    }

    /// What is printed: groups of four symbols and a check symbol.
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(TYPED_LEN + GROUPS));
        for (number, group) in self.0.chunks(GROUP_LEN).enumerate() {
            if number > 0 {
                text.push('-');
            }
            let symbols = group.iter().copied().chain([check(number, group)]);
            symbols.for_each(|value| text.push(char::from(SYMBOLS[usize::from(value)])));
        }
        text
    }

    /// The secret bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0[..]
    }

    /// What somebody typed: case, spaces and dashes don't matter, nor whether O was meant for 0, I or L for 1.
    pub fn read(typed: &[u8]) -> Typed {
        let mut values = Zeroizing::new([0; TYPED_LEN]);
        let mut len = 0;
        for &byte in
            typed.iter().filter(|byte| !matches!(byte, b' ' | b'-' | b'\t' | b'\n' | b'\r'))
        {
            let (Some(slot), Some(value)) = (values.get_mut(len), value_of(byte)) else {
                return Typed::Other;
            };
            *slot = value;
            len += 1;
        }
        if len < TYPED_LEN { Typed::Other } else { RecoveryKey::checked(&values) }
    }

    fn checked(values: &[u8; TYPED_LEN]) -> Typed {
        let mut key = RecoveryKey(Zeroizing::new([0; GROUPS * GROUP_LEN]));
        let mut wrong = Vec::new();
        for (number, typed) in values.chunks(GROUP_LEN + 1).enumerate() {
            let (group, checks) = typed.split_at(GROUP_LEN);
            if checks != [check(number, group)] {
                wrong.push(number + 1);
            }
            key.0[number * GROUP_LEN..][..GROUP_LEN].copy_from_slice(group);
        }
        match wrong.first() {
            None => Typed::Key(key),
            Some(&first) if GROUPS - wrong.len() >= RIGHT_GROUPS_MIN => Typed::Mistyped(first),
            Some(_) => Typed::Other,
        }
    }
}

fn value_of(symbol: u8) -> Option<u8> {
    let symbol = match symbol.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    SYMBOLS.iter().position(|&known| known == symbol).map(|value| value as u8)
}

/// CRC-5 (x^5 + x^2 + 1, primitive) over the number of the group and its symbols: it tells each wrong symbol, and each
/// two neighbours that were exchanged.
fn check(number: usize, group: &[u8]) -> u8 {
    let step = |crc: u8, value: u8| {
        (0..5)
            .fold(crc ^ value, |crc, _| if crc & 16 != 0 { crc << 1 ^ 0b10_0101 } else { crc << 1 })
            & 31
    };
    group.iter().fold(step(0b1_1111, number as u8), |crc, &value| step(crc, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(typed: &str, key: &RecoveryKey) -> bool {
        matches!(RecoveryKey::read(typed.as_bytes()), Typed::Key(read) if read.0 == key.0)
    }

    #[test]
    fn it_is_read_however_it_is_typed() {
        let key = RecoveryKey(Zeroizing::new(std::array::from_fn(|i| (i * 7 % 32) as u8)));
        let text = key.text();
        assert_eq!(&text[..], "07ENK-W3AH7-RZ6DV-MV29H-GQY57-CKT1K-8FPXF");
        assert!(is(&text, &key));
        assert!(is(&text.to_lowercase(), &key));
        assert!(is(&text.replace('-', " "), &key));
        assert!(is(
            &format!(" {} \n", text.replace('-', "").replace('0', "o").replace('1', "l")),
            &key
        ));
    }

    #[test]
    fn each_wrong_symbol_is_told_with_its_group() {
        let key = RecoveryKey::generate();
        let text: Vec<u8> = key.text().bytes().filter(|&byte| byte != b'-').collect();
        for at in 0..text.len() {
            for &symbol in SYMBOLS.iter().filter(|&&symbol| symbol != text[at]) {
                let mut typed = text.clone();
                typed[at] = symbol;
                let read = RecoveryKey::read(&typed);
                assert!(matches!(read, Typed::Mistyped(group) if group == at / 5 + 1), "{at}");
            }
        }
    }

    #[test]
    fn exchanged_neighbours_and_groups_are_told() {
        let key = RecoveryKey::generate();
        let text: Vec<u8> = key.text().bytes().filter(|&byte| byte != b'-').collect();
        for at in (0..text.len() - 1).filter(|&at| text[at] != text[at + 1]) {
            let mut typed = text.clone();
            typed.swap(at, at + 1);
            assert!(matches!(RecoveryKey::read(&typed), Typed::Mistyped(_)), "{at}");
        }
        let mut typed = text.clone();
        typed.rotate_left(5);
        assert!(!matches!(RecoveryKey::read(&typed), Typed::Key(_)));
    }

    #[test]
    fn a_passphrase_is_something_else() {
        for text in
            ["", "correct horse battery staple", "12345", "07ENN-W3AHX-RZ6DG-MSG9W-GQX45-CJST"]
        {
            assert!(matches!(RecoveryKey::read(text.as_bytes()), Typed::Other), "{text}");
        }
        let many = "A".repeat(36);
        assert!(matches!(RecoveryKey::read(many.as_bytes()), Typed::Other));
    }
}
