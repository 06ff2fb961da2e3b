//! Moments of a directory that are kept by name.

use super::error::at;
use super::tree::{Tree, attr_if_any};
use super::{Error, Result};
use crate::model::{FileKind, Moment, Timestamp, Zone, moment_name, parse_when};
use std::io;
use std::path::Path;

/// Keeps a moment of the directory, or the present one, by a name; answers which it is.
///
/// # Errors
/// [`Error::Pinned`] where the name stands for another moment, [`Error::NotThen`] where the directory was not there.
pub fn pin(tree: &dyn Tree, dir: &Path, name: &str, when: Option<Moment>) -> Result<Moment> {
    check_directory(tree, dir)?;
    let value = when.map_or(String::new(), moment_name);
    match tree.set_xattr(dir, attribute(name).as_bytes(), value.as_bytes()) {
        Ok(()) => pinned(tree, dir, name)?.ok_or_else(|| no_pin(tree, dir, name)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let when = pinned(tree, dir, name)?.map_or(String::new(), moment_name);
            Err(Error::Pinned { path: tree.shown(dir), name: name.to_owned(), when })
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidInput && when.is_some() => {
            Err(Error::NotThen { path: tree.shown(dir), when: value })
        }
        Err(error) => Err(at(tree, "pin", dir)(error)),
    }
}

/// Takes a name back; answers which moment it stood for.
///
/// # Errors
/// [`Error::NoPin`] where the directory has no pin of this name.
pub fn unpin(tree: &dyn Tree, dir: &Path, name: &str) -> Result<Moment> {
    check_directory(tree, dir)?;
    let moment = pinned(tree, dir, name)?.ok_or_else(|| no_pin(tree, dir, name))?;
    tree.remove_xattr(dir, attribute(name).as_bytes()).map_err(at(tree, "unpin", dir))?;
    Ok(moment)
}

fn attribute(name: &str) -> String {
    format!("user.verso.pin.{name}")
}

fn no_pin(tree: &dyn Tree, dir: &Path, name: &str) -> Error {
    Error::NoPin { path: tree.shown(dir), name: name.to_owned() }
}

fn check_directory(tree: &dyn Tree, dir: &Path) -> Result<()> {
    let path = || tree.shown(dir);
    match attr_if_any(tree, dir).map_err(at(tree, "read", dir))? {
        Some(attr) if attr.kind == FileKind::Directory => Ok(()),
        Some(_) => Err(Error::NotDirectory { path: path() }),
        None => Err(Error::Missing { path: path() }),
    }
}

/// The moment that the name stands for.
fn pinned(tree: &dyn Tree, dir: &Path, name: &str) -> Result<Option<Moment>> {
    let value = tree.xattr(dir, attribute(name).as_bytes()).map_err(at(tree, "read", dir))?;
    let text = value.map(|value| String::from_utf8_lossy(&value).into_owned());
    // Exact and in UTC: neither the clock nor the zone says anything about it.
    let moment = |text: String| parse_when(&text, Timestamp(i64::MAX), &Zone::UTC).ok();
    Ok(text.and_then(moment).map(|when| when.moment))
}
