//! Key slots: the master key, wrapped with what somebody knows or has.

use super::key::{Key, Purpose, random};
use super::recovery::{RecoveryKey, Typed};
use super::sealed::{self, SALT_LEN};
use super::secret::{Secret, SecretKind};
use crate::sys::thread_cpu_time;
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use zeroize::Zeroizing;

/// Memory that unlocking takes, in KiB, where the machine has it: 256 MiB.
const MEMORY_KIB: u32 = 256 << 10;
/// The least, in KiB, and what a probe takes: 19 MiB, OWASP's minimum for argon2id with two passes.
const MEMORY_KIB_MIN: u32 = 19 << 10;
/// Unlocking takes at most this part of the machine's memory.
const MEMORY_PART: u64 = 8;
/// Bounds for what a header may ask of us: a damaged one must not take all memory or for ever.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 1 << 10;
const PASSES_MIN: u32 = 2;

/// What opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotKind {
    /// Something that somebody knows, stretched with argon2id.
    Passphrase,
    /// A file of random bytes.
    KeyFile,
    /// A printed recovery key.
    Recovery,
}

/// How a passphrase is stretched: argon2id (RFC 9106), one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretching {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

/// A slot as the header has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its number, never given twice.
    pub id: u32,
    /// What opens it.
    pub kind: SlotKind,
    /// Whose it is, or what for, as whoever made it said; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// When it was made: seconds since 1970.
    pub made: i64,
    /// Of a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argon2id: Option<Stretching>,
    /// 16 random bytes, hexadecimal.
    pub salt: String,
    /// The sealed master key, hexadecimal.
    pub wrapped: String,
}

/// What a slot is bound to: it can't be moved to another store, nor stand for another epoch.
#[derive(Clone, Copy, Debug)]
pub struct SlotPlace<'a> {
    /// Id of the store.
    pub store: &'a [u8; 16],
    /// The epoch of the master key.
    pub epoch: u32,
}

/// The key that a slot's secret comes to.
pub struct SlotKey(Key);

impl Stretching {
    /// What takes about `time` on this machine, which has `memory` bytes.
    pub fn calibrated(time: Duration, memory: u64) -> Stretching {
        let memory_max = u32::try_from((memory / MEMORY_PART) >> 10).unwrap_or(u32::MAX);
        let memory_max = memory_max.clamp(MEMORY_KIB_MIN, MEMORY_KIB);
        let probe = Stretching { memory_kib: MEMORY_KIB_MIN, passes: 1 };
        // By the processor's time: what else the machine is doing must not make the key weaker.
        let begin = thread_cpu_time();
        drop(probe.stretch(b"a probe", &[0; SALT_LEN]));
        let pass_of_min = thread_cpu_time().saturating_sub(begin);
        let pass_of_min = pass_of_min.max(Duration::from_micros(1)).as_secs_f64();
        // How many KiB can be gone over in that time; rather more memory than more passes.
        let kib = time.as_secs_f64() / pass_of_min * f64::from(MEMORY_KIB_MIN);
        let memory_kib = (kib / f64::from(PASSES_MIN)) as u32;
        let memory_kib = memory_kib.clamp(MEMORY_KIB_MIN, memory_max);
        let passes = ((kib / f64::from(memory_kib)) as u32).clamp(PASSES_MIN, PASSES_MAX);
        Stretching { memory_kib, passes }
    }

    fn is_possible(&self) -> bool {
        (8..=MEMORY_KIB_MAX).contains(&self.memory_kib) && (1..=PASSES_MAX).contains(&self.passes)
    }

    fn stretch(&self, secret: &[u8], salt: &[u8]) -> Option<Key> {
        let params = Params::new(self.memory_kib, self.passes, 1, Some(32)).ok()?;
        let mut bytes = Zeroizing::new([0; 32]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(secret, salt, &mut bytes[..]).ok()?;
        let mut key = Key::default();
        key.set(&bytes);
        Some(key)
    }
}

impl Slot {
    /// A slot that `secret` opens, a passphrase stretched as given; holds nothing until something is wrapped into it.
    pub fn for_secret(id: u32, secret: &Secret, stretching: Stretching) -> Slot {
        match secret.kind() {
            SecretKind::Typed => Slot::new(id, SlotKind::Passphrase, Some(stretching)),
            SecretKind::KeyFile => Slot::new(id, SlotKind::KeyFile, None),
        }
    }

    /// A slot for a recovery key.
    pub fn for_recovery(id: u32) -> Slot {
        Slot::new(id, SlotKind::Recovery, None)
    }

    fn new(id: u32, kind: SlotKind, argon2id: Option<Stretching>) -> Slot {
        let salt = to_hex(&random::<SALT_LEN>());
        Slot { id, kind, label: String::new(), made: 0, argon2id, salt, wrapped: String::new() }
    }

    /// What `secret` comes to in this slot; `None` if it isn't of this kind, or the slot is damaged.
    pub fn key_of(&self, secret: &Secret) -> Option<SlotKey> {
        match (self.kind, secret.kind()) {
            (SlotKind::Passphrase, SecretKind::Typed) => {
                let stretching = self.argon2id.filter(Stretching::is_possible)?;
                stretching.stretch(secret.bytes(), &from_hex(&self.salt)?).map(SlotKey)
            }
            (SlotKind::KeyFile, SecretKind::KeyFile) => self.plain_key(secret.bytes()),
            (SlotKind::Recovery, SecretKind::Typed) => match secret.as_recovery_key() {
                Typed::Key(key) => self.key_of_recovery(&key),
                Typed::Mistyped(_) | Typed::Other => None,
            },
            _ => None,
        }
    }

    /// The same for a recovery key.
    pub fn key_of_recovery(&self, key: &RecoveryKey) -> Option<SlotKey> {
        self.plain_key(key.bytes())
    }

    /// What is random itself needs no stretching.
    fn plain_key(&self, secret: &[u8]) -> Option<SlotKey> {
        let mut key = Key::default();
        let mut hash = blake3::hash(secret);
        key.set(hash.as_bytes());
        zeroize::Zeroize::zeroize(&mut hash);
        Some(SlotKey(key.derive(Purpose::Slot, &[&from_hex(&self.salt)?])))
    }

    /// Puts a master key into the slot.
    pub fn wrap(&mut self, key: &SlotKey, master: &Key, place: SlotPlace<'_>) {
        let sealed = sealed::seal(&key.0, Purpose::Wrap, &self.context(place), master.bytes());
        self.wrapped = to_hex(&sealed);
    }

    /// The master key, if this is the slot's key.
    pub fn unwrap(&self, key: &SlotKey, place: SlotPlace<'_>) -> Option<Key> {
        let mut sealed = from_hex(&self.wrapped)?;
        open_key(&key.0, &self.context(place), &mut sealed)
    }

    fn context(&self, place: SlotPlace<'_>) -> Vec<u8> {
        [&b"slot"[..], place.store, &place.epoch.to_le_bytes(), &self.id.to_le_bytes()].concat()
    }
}

/// A key, sealed with another one, hexadecimal. `context` says which it is.
pub fn wrap_key(with: &Key, context: &[u8], key: &Key) -> String {
    to_hex(&sealed::seal(with, Purpose::Wrap, context, key.bytes()))
}

/// The key that [`wrap_key`] sealed; `None` if it isn't that.
pub fn unwrap_key(with: &Key, context: &[u8], wrapped: &str) -> Option<Key> {
    open_key(with, context, &mut from_hex(wrapped)?)
}

fn open_key(with: &Key, context: &[u8], sealed: &mut [u8]) -> Option<Key> {
    let plain = sealed::open(with, Purpose::Wrap, context, sealed).ok()?;
    let mut key = Key::default();
    key.set((&*plain).try_into().ok()?);
    zeroize::Zeroize::zeroize(plain);
    Some(key)
}

/// Bytes as the header has them: two lower-case digits each.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    (text.len().is_multiple_of(2) && text.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .then(|| digits.map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: [u8; 16] = [3; 16];
    const PLACE: SlotPlace<'static> = SlotPlace { store: &STORE, epoch: 1 };
    const QUICK: Stretching = Stretching { memory_kib: 64, passes: 1 };

    fn typed(text: &str) -> Secret {
        Secret::read(SecretKind::Typed, text.as_bytes()).unwrap()
    }

    fn master() -> Key {
        let mut key = Key::default();
        key.set(&[5; 32]);
        key
    }

    fn slot_for(secret: &Secret) -> Slot {
        let mut slot = Slot::for_secret(1, secret, QUICK);
        let key = slot.key_of(secret).unwrap();
        slot.wrap(&key, &master(), PLACE);
        slot
    }

    fn opens(slot: &Slot, secret: &Secret, place: SlotPlace<'_>) -> bool {
        let key = slot.key_of(secret).and_then(|key| slot.unwrap(&key, place));
        key.is_some_and(|key| key.bytes() == master().bytes())
    }

    #[test]
    fn the_right_secret_opens_and_no_other() {
        let file = |byte| Secret::read(SecretKind::KeyFile, &[byte; 40][..]).unwrap();
        let slot = slot_for(&typed("my words"));
        assert!(opens(&slot, &typed("my words\n"), PLACE));
        assert!(!opens(&slot, &typed("my word"), PLACE));
        assert!(!opens(&slot, &file(b'm'), PLACE));
        let slot = slot_for(&file(9));
        assert!(opens(&slot, &file(9), PLACE) && !opens(&slot, &file(8), PLACE));
    }

    #[test]
    fn a_recovery_key_opens_as_it_is_typed() {
        let recovery = RecoveryKey::generate();
        let mut slot = Slot::for_recovery(2);
        let key = slot.key_of_recovery(&recovery).unwrap();
        slot.wrap(&key, &master(), PLACE);
        assert!(opens(&slot, &typed(&recovery.text().to_lowercase()), PLACE));
        assert!(!opens(&slot, &typed(&RecoveryKey::generate().text()), PLACE));
    }

    #[test]
    fn a_slot_elsewhere_does_not_open() {
        let secret = typed("my words");
        let slot = slot_for(&secret);
        assert!(!opens(&slot, &secret, SlotPlace { store: &[4; 16], ..PLACE }));
        assert!(!opens(&slot, &secret, SlotPlace { epoch: 2, ..PLACE }));
        assert!(!opens(&Slot { id: 2, ..slot.clone() }, &secret, PLACE));
        assert!(!opens(&Slot { salt: "00".repeat(16), ..slot.clone() }, &secret, PLACE));
        assert!(!opens(&Slot { wrapped: "zz".into(), ..slot }, &secret, PLACE));
    }

    #[test]
    fn a_slot_that_asks_for_all_memory_is_damaged() {
        let greedy = Stretching { memory_kib: u32::MAX, passes: 1 };
        let slot = Slot { argon2id: Some(greedy), ..slot_for(&typed("my words")) };
        assert!(slot.key_of(&typed("my words")).is_none());
    }

    #[test]
    fn a_known_passphrase_comes_to_a_known_key() {
        let slot = Slot {
            salt: "000102030405060708090a0b0c0d0e0f".into(),
            ..slot_for(&typed("my words"))
        };
        let key = slot.key_of(&typed("my words")).unwrap();
        // As argon2-cffi computes it, the binding of the reference implementation.
        let expected = "060be4a961c6b9fa2265ccb243df419acebbe7d2d0015b9108f373e157d84a69";
        assert_eq!(to_hex(key.0.bytes()), expected);
    }

    #[test]
    fn calibration_keeps_within_bounds() {
        let quick = Stretching::calibrated(Duration::ZERO, 1 << 40);
        assert_eq!(quick, Stretching { memory_kib: MEMORY_KIB_MIN, passes: PASSES_MIN });
        let small = Stretching::calibrated(Duration::from_secs(3600), 1 << 30);
        assert_eq!(small.memory_kib, 128 << 10);
        assert!(small.passes <= PASSES_MAX && small.is_possible());
    }
}
