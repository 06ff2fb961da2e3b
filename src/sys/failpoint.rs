//! Named steps at which a test can kill the process, to show what a crash there leaves behind, or let it panic.
//!
//! With the cargo feature `failpoints`, `VERSO_FAILPOINT=name` kills the process with SIGKILL the first
//! time it gets to the step `name`, `name:N` the N-th time. `panic:name` and `panic:name:N` make the thread that
//! gets there panic, this one time. Without the feature nothing is compiled in.

/// Marks the step `name`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &str) {}

/// Marks the step `name`; kills the process, or panics, if it was told to do so here.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    use std::sync::OnceLock;
    static ARMED: OnceLock<Option<Failpoint>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| Failpoint::parse(&std::env::var("VERSO_FAILPOINT").ok()?));
    let Some(point) = armed.as_ref().filter(|point| point.is_due(name)) else { return };
    match point.panics {
        true => panic!("failpoint {name}"),
        false => die(),
    }
}

/// A step and how many times it may still be passed.
#[cfg(any(feature = "failpoints", test))]
#[derive(Debug)]
struct Failpoint {
    name: String,
    /// It ends the operation, not the process.
    panics: bool,
    /// The hit at which it happens, counted from 1.
    fatal: u64,
    seen: std::sync::atomic::AtomicU64,
}

#[cfg(any(feature = "failpoints", test))]
impl Failpoint {
    /// Parses `name` or `name:N` with N from 1, also after `panic:`; anything else arms nothing.
    fn parse(setting: &str) -> Option<Failpoint> {
        let (panics, setting) = match setting.strip_prefix("panic:") {
            Some(rest) => (true, rest),
            None => (false, setting),
        };
        let (name, fatal) = match setting.rsplit_once(':') {
            Some((name, count)) => (name, count.parse().ok().filter(|&n| n > 0)?),
            None => (setting, 1),
        };
        Some(Failpoint { name: name.to_owned(), panics, fatal, seen: 0.into() })
    }

    /// Counts a hit of `name`, and tells whether it is the fatal one.
    fn is_due(&self, name: &str) -> bool {
        use std::sync::atomic::Ordering;
        name == self.name && self.seen.fetch_add(1, Ordering::SeqCst) + 1 == self.fatal
    }
}

#[cfg(feature = "failpoints")]
#[allow(unsafe_code)]
fn die() -> ! {
    // SAFETY: kill and getpid take and return plain numbers.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {
        // The signal may be delivered to another thread first; nothing may run on here meanwhile.
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_hit_of_the_name_is_the_fatal_one() {
        let point = Failpoint::parse("pack-seal:2").unwrap();
        let hits = ["pack-seal", "other", "pack-seal", "pack-seal"].map(|name| point.is_due(name));
        assert_eq!(hits, [false, false, true, false]);
        assert!(Failpoint::parse("pack-seal").unwrap().is_due("pack-seal"));
    }

    #[test]
    fn a_panic_is_asked_for_by_a_word_before_the_name() {
        let point = Failpoint::parse("panic:mkdir:3").unwrap();
        assert_eq!((point.name.as_str(), point.panics, point.fatal), ("mkdir", true, 3));
        let point = Failpoint::parse("panic:mkdir").unwrap();
        assert_eq!((point.name.as_str(), point.panics, point.fatal), ("mkdir", true, 1));
        assert!(!Failpoint::parse("mkdir").unwrap().panics);
    }

    #[test]
    fn a_malformed_count_arms_nothing() {
        assert!(Failpoint::parse("name:0").is_none());
        assert!(Failpoint::parse("name:x").is_none());
    }
}
