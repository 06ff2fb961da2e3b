//! `verso pin` and `unpin`: on a mounted drive, or on a store.

use super::drive::on_tree;
use super::history::{moment, reader, unshown};
use super::secrets::Given;
use crate::cli::{Exit, Failure, PinArgs, UnpinArgs, show_pin};
use crate::model::is_pin_name;
use crate::recall;

/// `verso pin`
pub(super) fn pin(args: &PinArgs, given: &Given) -> Result<(), Failure> {
    check_name(&args.name)?;
    let reader = reader();
    let when = args.at.as_deref().map(|text| moment(text, &reader)).transpose()?;
    on_tree(&args.path, given, true, |tree, dir| {
        let kept = recall::pin(tree, dir, &args.name, when)?;
        let view = tree.shown(&dir.join(".versions/@pins").join(&args.name));
        show_pin((&tree.shown(dir), &args.name, kept), Some(&view), &reader, args.json)
            .map_err(|error| unshown(&error))
    })
}

/// `verso unpin`
pub(super) fn unpin(args: &UnpinArgs, given: &Given) -> Result<(), Failure> {
    check_name(&args.name)?;
    let reader = reader();
    on_tree(&args.path, given, true, |tree, dir| {
        let kept = recall::unpin(tree, dir, &args.name)?;
        show_pin((&tree.shown(dir), &args.name, kept), None, &reader, args.json)
            .map_err(|error| unshown(&error))
    })
}

fn check_name(name: &str) -> Result<(), Failure> {
    if is_pin_name(name.as_bytes()) {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, format!("{name:?} can't be the name of a pin"))
        .help("up to 200 bytes without `/`: `client-approved`"))
}
