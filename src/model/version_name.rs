//! Names in `.versions`: what a version of a file is called, and how names that begin with `@` are told
//! from the control names. Names are bytes; they need not be UTF-8.

use super::{Moment, second_name};
use std::borrow::Cow;

/// The longest name of a pin, in bytes: it is a part of an attribute's name, which has no more than a file's.
const PIN_NAME_BYTES_MAX: usize = 200;
/// The longest name that a directory can hold, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// What follows the last dot is an extension if it is no longer than this, in bytes.
const EXTENSION_BYTES_MAX: usize = 16;
/// What stands before the number of a version.
const NUMBER_MARK: &[u8] = b"~v";
/// What sets control names apart from real ones.
const CONTROL: u8 = b'@';

/// Whether a moment can be kept by this name: up to 200 bytes that can be a directory's name.
pub fn is_pin_name(name: &[u8]) -> bool {
    let is_long = name.len() > PIN_NAME_BYTES_MAX;
    let has_odd = name.iter().any(|byte| matches!(byte, b'/' | 0));
    !is_long && !has_odd && !matches!(name, b"" | b"." | b"..")
}

/// The name of version `number` of the file `name`: `hero~2026-09-14T103212Z~v42.psd`.
///
/// Stem, the second that `moment` lies in (UTC), the number, and last the file's own extension, so that
/// programs open it. The result is at most 255 bytes: where it would be longer the stem is cut, at the
/// end and not within a character. Two numbers never give the same name.
///
/// The extension is what follows the last dot, with the `.tar` before it if there is one; at most 16
/// bytes, not empty, without spaces (the rest of a sentence is no extension) and without `~` (a
/// backup's `hero.psd~` opens nowhere by its name). Leading dots make no extension: `.bashrc` has none.
pub fn version_name(name: &[u8], moment: Moment, number: u64) -> Vec<u8> {
    let (stem, extension) = split(name);
    let middle = format!("~{}~v{number}", second_name(moment));
    let room = NAME_BYTES_MAX - middle.len() - extension.len();
    [cut(stem, room), middle.as_bytes(), extension].concat()
}

/// The number in a version's name; `None` for what [`version_name`] does not make.
///
/// Only the last `~v` counts, since a file may itself be called like a version, and only what follows
/// it: the stem may have been cut, and the moment may be found out from the number.
pub fn parse_number(name: &[u8]) -> Option<u64> {
    let mark = name.windows(NUMBER_MARK.len()).rposition(|bytes| bytes == NUMBER_MARK)?;
    let rest = &name[mark + NUMBER_MARK.len()..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, extension) = rest.split_at(digits);
    if number.starts_with(b"0") || !(extension.is_empty() || extension.starts_with(b".")) {
        return None;
    }
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Stem and extension; the extension with its dot.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    let whole = (name, &name[name.len()..]);
    let hidden = name.iter().take_while(|byte| **byte == b'.').count();
    let Some(dot) = name[hidden..].iter().rposition(|byte| *byte == b'.') else { return whole };
    let (stem, extension) = name.split_at(hidden + dot);
    let opens = |byte: &u8| !byte.is_ascii_whitespace() && *byte != b'~';
    if !(2..=EXTENSION_BYTES_MAX + 1).contains(&extension.len()) || !extension.iter().all(opens) {
        return whole;
    }
    match stem.strip_suffix(b".tar") {
        Some(inner) if inner.len() > hidden => name.split_at(inner.len()),
        _ => (stem, extension),
    }
}

/// The first `room` bytes, less what would be the beginning of a character only.
fn cut(stem: &[u8], room: usize) -> &[u8] {
    let Some(kept) = stem.get(..room).filter(|_| room < stem.len()) else { return stem };
    let torn = kept.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    // An invalid end that could go on is a beginning; any other never was a character.
    let begun = std::str::from_utf8(torn).is_err_and(|error| error.error_len().is_none());
    if begun { &kept[..room - torn.len()] } else { kept }
}

/// A name in `.versions` that is no file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// `@at`: the directory as it was at any moment.
    At,
    /// `@deleted`: what was deleted here.
    Deleted,
    /// `@pins`: the moments kept by name.
    Pins,
    /// `@GMT-2026.09.14-10.32.12`: the directory as it was, for Samba. Whether what follows is a moment is
    /// for [`super::parse_when`] to say.
    Gmt,
}

impl Control {
    /// The control name that `shown` is, if it is one. All are in the case in which they are written here.
    pub fn of(shown: &[u8]) -> Option<Control> {
        match shown {
            b"@at" => Some(Control::At),
            b"@deleted" => Some(Control::Deleted),
            b"@pins" => Some(Control::Pins),
            _ if shown.starts_with(b"@GMT-") && shown.len() < NAME_BYTES_MAX => Some(Control::Gmt),
            _ => None,
        }
    }
}

/// The name under which `.versions` lists the file `name`: a leading `@` is doubled, so that no file is
/// taken for a control name. A name of 255 bytes has no room for that and is listed as it is; no control
/// name is that long.
pub fn shown_name(name: &[u8]) -> Cow<'_, [u8]> {
    if name.first() == Some(&CONTROL) && name.len() < NAME_BYTES_MAX {
        return Cow::Owned([&[CONTROL], name].concat());
    }
    Cow::Borrowed(name)
}

/// The real names that something looked up in `.versions` may mean, to be tried in this order: none for a
/// control name, and otherwise one, but for 255 bytes that begin with `@@`.
///
/// Undoes [`shown_name`]. A single leading `@` is taken as it is where it makes no control name, since
/// people type what they know. The two meanings of 255 bytes with `@@` are the file of 254 bytes, and the
/// file of exactly this name: where a directory has had both only the first is found under it (more names
/// begin with `@` than there is room for), and the other one in `@at`, where nothing is escaped.
pub fn real_names(shown: &[u8]) -> impl Iterator<Item = &[u8]> {
    let doubled = shown.starts_with(&[CONTROL, CONTROL]);
    let escaped = doubled.then(|| &shown[1..]);
    let as_it_is = !doubled || shown.len() == NAME_BYTES_MAX;
    let plain = (as_it_is && Control::of(shown).is_none()).then_some(shown);
    escaped.into_iter().chain(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-09-14T10:32:12.25Z
    const MOMENT: Moment = Moment(1_789_381_932_250_000_000);

    #[test]
    fn a_pin_is_called_like_a_directory() {
        let longest = [b'x'; PIN_NAME_BYTES_MAX + 1];
        for name in [&b"client approved"[..], b"...", b"\xff", &longest[1..]] {
            assert!(is_pin_name(name), "{name:?}");
        }
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &longest] {
            assert!(!is_pin_name(name), "{name:?}");
        }
    }

    #[track_caller]
    fn called(name: &str, number: u64, expected: &str) {
        let made = version_name(name.as_bytes(), MOMENT, number);
        assert_eq!(String::from_utf8(made.clone()).unwrap(), expected);
        assert_eq!(parse_number(&made), Some(number), "{expected}");
    }

    #[test]
    fn the_extension_comes_last() {
        called("hero.psd", 42, "hero~2026-09-14T103212Z~v42.psd");
        called("Makefile", 1, "Makefile~2026-09-14T103212Z~v1");
        called(".bashrc", 1, ".bashrc~2026-09-14T103212Z~v1");
        called(".config.toml", 1, ".config~2026-09-14T103212Z~v1.toml");
        called("..x", 1, "..x~2026-09-14T103212Z~v1");
        called("ends.", 1, "ends.~2026-09-14T103212Z~v1");
        called("archive.tar.gz", 7, "archive~2026-09-14T103212Z~v7.tar.gz");
        called(".tar.gz", 7, ".tar~2026-09-14T103212Z~v7.gz");
        called("a.1234567890123456", 1, "a~2026-09-14T103212Z~v1.1234567890123456");
        called("a.12345678901234567", 1, "a.12345678901234567~2026-09-14T103212Z~v1");
        called("Offer no. 12 final", 1, "Offer no. 12 final~2026-09-14T103212Z~v1");
        called("hero.psd~", 1, "hero.psd~~2026-09-14T103212Z~v1");
        called("a.b~v9", 1, "a.b~v9~2026-09-14T103212Z~v1");
    }

    #[test]
    fn names_that_look_like_versions_have_versions() {
        called(
            "a~2026-01-01T000000Z~v3.txt",
            1,
            "a~2026-01-01T000000Z~v3~2026-09-14T103212Z~v1.txt",
        );
    }

    #[test]
    fn what_is_no_version_has_no_number() {
        for name in [
            "",
            "hero.psd",
            "~v",
            "a~v",
            "a~v.txt",
            "a~v0",
            "a~v01.txt",
            "a~v+1",
            "a~v-1",
            "a~v1x",
            "a~v1~",
            "a~v18446744073709551616",
        ] {
            assert_eq!(parse_number(name.as_bytes()), None, "{name}");
        }
        assert_eq!(parse_number(b"\xff~v18446744073709551615.\xff"), Some(u64::MAX));
    }

    #[test]
    fn a_long_stem_is_cut_before_a_character_not_within_it() {
        let name = format!("{}.psd", "ä".repeat(125));
        let made = String::from_utf8(version_name(name.as_bytes(), MOMENT, 1)).unwrap();
        assert!((254..=255).contains(&made.len()), "{made}");
        assert!(made.ends_with("ä~2026-09-14T103212Z~v1.psd"), "{made}");
        // What is no UTF-8 is cut to the byte, also when it begins like a character and does not go on.
        let made = version_name(&[0xff; 255], MOMENT, 1);
        assert_eq!(made.len(), 255);
    }

    #[test]
    fn control_names_are_no_files() {
        assert_eq!(Control::of(b"@at"), Some(Control::At));
        assert_eq!(Control::of(b"@deleted"), Some(Control::Deleted));
        assert_eq!(Control::of(b"@pins"), Some(Control::Pins));
        assert_eq!(Control::of(b"@GMT-2026.09.14-10.32.12"), Some(Control::Gmt));
        for name in [&b"at"[..], b"@", b"@AT", b"@att", b"@@at", b"@gmt-"] {
            assert_eq!(Control::of(name), None);
        }
        assert_eq!(real_names(b"@at").count(), 0);
    }

    #[test]
    fn a_leading_at_is_doubled_and_may_be_typed_alone() {
        assert_eq!(*shown_name(b"@at"), *b"@@at");
        assert_eq!(*shown_name(b"a@"), *b"a@");
        assert_eq!(real_names(b"@@at").collect::<Vec<_>>(), [b"@at"]);
        assert_eq!(real_names(b"@home").collect::<Vec<_>>(), [b"@home"]);
        assert_eq!(real_names(b"hero.psd").collect::<Vec<_>>(), [b"hero.psd"]);
    }

    #[test]
    fn the_longest_names_are_found_as_they_are() {
        for start in [&b"@x"[..], b"@@", b"@GMT-"] {
            let mut name = start.to_vec();
            name.resize(NAME_BYTES_MAX, b'x');
            assert_eq!(*shown_name(&name), *name);
            assert!(real_names(&name).any(|real| real == name));
        }
    }

    /// Names of all lengths, many of them with what has a meaning here.
    fn names() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"@".to_vec()),
            Just(b"@at".to_vec()),
            Just(b"@GMT-".to_vec()),
            Just(b".".to_vec()),
            Just(b"~v7".to_vec()),
            Just(".tar.gz".into()),
            Just("\u{1f5bc}".into()),
            "[a-zä ]{1,40}".prop_map(String::into_bytes),
            prop::collection::vec(1u8..=255, 1..100),
        ];
        let cut = |pieces: Vec<Vec<u8>>| pieces.concat().into_iter().take(NAME_BYTES_MAX).collect();
        prop::collection::vec(piece, 1..12).prop_map(cut)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn version_names_fit_and_lead_back(name in names(), nanos: i64, number in 1u64..) {
            let made = version_name(&name, Moment(nanos), number);
            prop_assert!(made.len() <= NAME_BYTES_MAX);
            prop_assert_eq!(parse_number(&made), Some(number));
            if std::str::from_utf8(&name).is_ok() {
                prop_assert!(std::str::from_utf8(&made).is_ok());
            }
        }

        #[test]
        fn escaping_is_undone(name in names()) {
            let shown = shown_name(&name);
            prop_assert!(shown.len() <= NAME_BYTES_MAX);
            prop_assert_eq!(Control::of(&shown), None);
            let found: Vec<_> = real_names(&shown).collect();
            prop_assert!(found.contains(&&name[..]));
            if !(name.len() == NAME_BYTES_MAX && name.starts_with(b"@@")) {
                prop_assert_eq!(found[0], &name[..]);
            }
        }
    }
}
