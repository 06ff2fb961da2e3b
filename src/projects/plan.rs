//! The job: which projects are archived by themselves.

use super::archive::{Order, Unless, archive, close_place, unarchive};
use super::error::{Error, Result};
use super::note::{By, Note};
use super::project::{Place, Project, Status, Unfinished};
use crate::model::{Ino, Moment, Timestamp, Zone, local_name};
use crate::recall::{Tree, printable};
use crate::sys::Task;
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// A project with this tag is not archived by itself.
pub const KEEP_TAG: &str = "verso:keep";

/// What is done with a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is archived: nothing in it changed after this time.
    Archive(Timestamp),
    /// An archiving that was interrupted goes on.
    GoOn,
    /// A way back that was interrupted goes on.
    GoBack,
    /// It is archived, and its directory is closed.
    Close,
}

/// What is to be done with one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which one.
    pub place: Place,
    /// What.
    pub step: Step,
    /// Why, for people.
    pub why: String,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is to be done now: projects that nobody touched for `after` are archived, but for those with [`KEEP_TAG`], and what
/// was interrupted is finished.
pub fn plan(projects: &[Project], now: Timestamp, after: Duration, zone: &Zone) -> Vec<Planned> {
    let planned = |project: &Project| {
        let (step, why) = decide(project, now, after, zone)?;
        let (files, bytes) = (project.survey.files, project.survey.bytes);
        Some(Planned { place: project.place.clone(), step, why, files, bytes })
    };
    projects.iter().filter_map(planned).collect()
}

fn decide(
    project: &Project,
    now: Timestamp,
    after: Duration,
    zone: &Zone,
) -> Option<(Step, String)> {
    let is_kept = project.tags.iter().any(|tag| tag == KEEP_TAG);
    match project.unfinished {
        Some(Unfinished::Archiving(_)) if is_kept => {
            Some((Step::GoBack, "archiving was interrupted, and it is to be kept".into()))
        }
        Some(Unfinished::Archiving(_)) => Some((Step::GoOn, "archiving was interrupted".into())),
        Some(Unfinished::Unarchiving) => Some((Step::GoBack, "unarchiving was interrupted".into())),
        Some(Unfinished::Closing) => Some((Step::Close, "archiving was interrupted".into())),
        None if project.place.status == Status::Archived || is_kept => None,
        // Something in there may be newer than what can be seen.
        None if project.survey.unreadable > 0 => None,
        None => {
            let changed = project.survey.last_change?;
            let is_due = project.age(now).is_some_and(|age| age >= after);
            let since = local_name(Moment(changed.0), zone);
            is_due.then(|| (Step::Archive(changed), format!("untouched since {since}")))
        }
    }
}

/// Does what was planned for one project; what is in use, or changed since, is put off: `Ok(false)`.
///
/// # Errors
/// [`Error::Stopped`], and what else keeps it from being done.
pub fn carry_out(
    tree: &dyn Tree,
    planned: &Planned,
    now: Timestamp,
    zone: &Zone,
    is_open: &dyn Fn(&HashSet<Ino>) -> bool,
    task: &dyn Task,
) -> Result<bool> {
    let Planned { place, step, why, .. } = planned;
    let changed_since = match step {
        Step::Archive(changed) => Some(*changed),
        Step::GoOn | Step::GoBack | Step::Close => None,
    };
    let done = match step {
        Step::Archive(_) | Step::GoOn => {
            let by = By { uid: 0, name: "verso".into() };
            let unless = Some(Unless { changed_since, is_open });
            let (why, zone) = (why.clone(), zone.clone());
            let order = Order { why, by, now, at: now, zone, unless };
            archive(tree, &place.id, &order, task).map(drop)
        }
        Step::GoBack => {
            let within = match place.status {
                Status::Active => Path::new(&place.id),
                Status::Archived => place.path.strip_prefix(super::ARCHIVED).unwrap_or(&place.path),
            };
            unarchive(tree, within.as_os_str(), task).map(drop)
        }
        Step::Close => match Note::of(tree, &place.path)? {
            Some((_, note)) => close_place(tree, place, &note).map(drop),
            None => Err(Error::Unknown { id: printable(Path::new(&place.id)) }),
        },
    };
    match done {
        Err(Error::InUse { .. }) => Ok(false),
        done => done.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projects::survey::Survey;
    use std::path::PathBuf;

    const DAY: i64 = 86_400_000_000_000;
    const NOW: Timestamp = Timestamp(1000 * DAY);

    fn project(id: &str, changed: i64, tags: &[&str]) -> Project {
        let place = Place {
            id: id.into(),
            path: PathBuf::from("projects").join(id),
            status: Status::Active,
        };
        let survey = Survey { last_change: Some(Timestamp(changed)), ..Survey::default() };
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Project { place, tags, survey, unfinished: None }
    }

    fn steps(projects: &[Project]) -> Vec<(String, Step)> {
        let days = Duration::from_secs(90 * 86_400);
        let planned = plan(projects, NOW, days, &Zone::UTC).into_iter();
        planned.map(|one| (one.place.id.into_string().unwrap(), one.step)).collect()
    }

    #[test]
    fn what_nobody_touched_is_archived_and_nothing_else() {
        let old = NOW.0 - 90 * DAY;
        let mut hidden = project("hidden", old, &[]);
        hidden.survey.unreadable = 1;
        let mut archived = project("archived", 0, &[]);
        archived.place.status = Status::Archived;
        let all = [
            project("old", old, &["a", "b"]),
            project("young", old + 1, &[]),
            project("kept", 0, &["a", KEEP_TAG]),
            project("future", NOW.0 + DAY, &[]),
            hidden,
            archived,
        ];
        assert_eq!(steps(&all), [("old".to_owned(), Step::Archive(Timestamp(old)))]);
    }

    #[test]
    fn what_was_interrupted_is_finished_whatever_its_age() {
        let unfinished =
            |what, tags: &[&str]| Project { unfinished: Some(what), ..project("p", NOW.0, tags) };
        let begun = Unfinished::Archiving(NOW);
        for (what, tags, step) in [
            (begun, &[][..], Step::GoOn),
            (begun, &[KEEP_TAG], Step::GoBack),
            (Unfinished::Unarchiving, &[], Step::GoBack),
            (Unfinished::Closing, &[], Step::Close),
        ] {
            assert_eq!(steps(&[unfinished(what, tags)]), [("p".to_owned(), step)]);
        }
    }
}
