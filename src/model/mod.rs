//! The vocabulary and the pure rules: ids, moments, attributes, extents, versions, retention, rules by path. No I/O.

mod acl;
mod attr;
mod extent;
mod id;
mod retention;
mod rules;
mod time;
mod version_name;
mod versions;
mod when;

pub use acl::{ACL_ACCESS, ACL_DEFAULT, Acl, AclError, Inherited};
pub use attr::{Attr, FileKind, Mode};
pub use extent::{Content, Extent, Splice, push_extent, splice};
pub use id::{ChunkHash, ChunkId, ChunkLocation, ChunkRef, Ino, PackId};
pub use retention::{
    Hold, Keep, Life, Policy, Rule, Step, Until, Verdict, plan, plan_without_versions,
};
pub use rules::{Care, NEVER, PathRule, RuleError, Rules};
pub use time::{Moment, Timestamp};
pub use version_name::{Control, is_pin_name, parse_number, real_names, shown_name, version_name};
pub use versions::{Cause, ContentDigest, State, versions};
pub use when::{When, WhenError, Zone, gmt_name, local_name, moment_name, parse_when, second_name};
