//! A load whose acknowledgements are fsyncs, for power cuts: what was synced must be there, and nothing may be torn.

use super::load::{Found, close, look};
use super::{Content, Rng};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Names that one writer uses.
const NAMES: usize = 12;

/// One state of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Directory,
    File(Content),
}

/// All states that a name was given, in order, and the newest of them that is promised to survive.
#[derive(Clone, Debug)]
struct Name {
    states: Vec<State>,
    promised: usize,
}

impl Default for Name {
    fn default() -> Name {
        Name { states: vec![State::Absent], promised: 0 }
    }
}

impl Name {
    fn latest(&self) -> &State {
        self.states.last().expect("a name has at least its first state")
    }
}

/// Counts acknowledgements over all writers, and cuts the power at the chosen one.
pub(crate) struct Meter {
    /// How many are still to come; the one that takes it to zero cuts.
    left: AtomicU64,
    cut: Box<dyn Fn() + Send + Sync>,
    /// Held while an acknowledgement is noted, so that the cut falls between two of them.
    order: Mutex<()>,
}

impl Meter {
    /// Cuts at the `acknowledgements`-th fsync.
    pub(crate) fn new(acknowledgements: u64, cut: impl Fn() + Send + Sync + 'static) -> Arc<Meter> {
        let left = AtomicU64::new(acknowledgements);
        Arc::new(Meter { left, cut: Box::new(cut), order: Mutex::new(()) })
    }

    /// Never cuts by itself.
    pub(crate) fn endless() -> Arc<Meter> {
        Meter::new(u64::MAX, || {})
    }

    /// Ends the load without a cut.
    pub(crate) fn stop(&self) {
        let _order = self.order.lock().unwrap();
        self.left.store(0, Ordering::SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    /// Notes an acknowledgement; false when the power was already gone, so that it does not count.
    fn acknowledge(&self, note: impl FnOnce()) -> bool {
        let _order = self.order.lock().unwrap();
        if self.is_over() {
            return false;
        }
        note();
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            (self.cut)();
        }
        true
    }
}

/// One thread's worth of saves in a directory of its own.
#[derive(Clone)]
pub(crate) struct Saver {
    dir: PathBuf,
    rng: Rng,
    /// The control leaves every fsync out and claims all the same.
    syncing: bool,
    names: Arc<Mutex<Vec<Name>>>,
    meter: Arc<Meter>,
}

/// What was written and promised up to some moment.
#[derive(Clone)]
pub(crate) struct Ledger {
    dir: PathBuf,
    names: Vec<Name>,
}

impl Saver {
    /// A saver for the new directory `dir`, which is itself synced.
    pub(crate) fn new(
        dir: PathBuf,
        rng: Rng,
        syncing: bool,
        meter: Arc<Meter>,
    ) -> io::Result<Saver> {
        fs::create_dir(&dir)?;
        if syncing {
            sync_dir(dir.parent().expect("a directory on the drive has a parent"))?;
        }
        let names = Arc::new(Mutex::new(vec![Name::default(); NAMES]));
        Ok(Saver { dir, rng, syncing, names, meter })
    }

    /// Works until the power is gone or the meter stops; errors before that are given back.
    pub(crate) fn work(&mut self) -> Option<io::Error> {
        while !self.meter.is_over() {
            if let Err(error) = self.step() {
                // The cut may come between the call's failure and this look at it.
                std::thread::sleep(std::time::Duration::from_millis(20));
                return (!self.meter.is_over()).then_some(error);
            }
        }
        None
    }

    /// What was promised until now; whatever is promised later may be in an image taken later, too.
    pub(crate) fn ledger(&self) -> Ledger {
        let _order = self.meter.order.lock().unwrap();
        Ledger { dir: self.dir.clone(), names: self.names.lock().unwrap().clone() }
    }

    fn step(&mut self) -> io::Result<()> {
        let at = self.rng.below(NAMES as u64) as usize;
        let state = self.names.lock().unwrap()[at].latest().clone();
        match (state, self.rng.below(10)) {
            (State::Absent, 0 | 1) => self.make_directory(at),
            (State::Directory, _) => self.remove_directory(at),
            (State::File(_), 0) => self.remove(at),
            (State::File(_) | State::Absent, 1..=3) => self.save(at, false),
            (State::File(_) | State::Absent, 4..=6) => self.save(at, true),
            _ => self.replace(at),
        }
    }

    fn path(&self, at: usize) -> PathBuf {
        self.dir.join(format!("name-{at}"))
    }

    /// Notes a state that is about to be made.
    fn intend(&self, at: usize, state: State) {
        self.names.lock().unwrap()[at].states.push(state);
    }

    /// Notes that the newest state of `at` is synced.
    fn promise(&self, at: usize) {
        self.meter.acknowledge(|| {
            let name = &mut self.names.lock().unwrap()[at];
            name.promised = name.states.len() - 1;
        });
    }

    /// Saves in place, as simple programs do; synced or left to the drive.
    fn save(&mut self, at: usize, sync: bool) -> io::Result<()> {
        let content = Content::random(&mut self.rng);
        self.intend(at, State::File(content.clone()));
        let mut file = File::create(self.path(at))?;
        file.write_all(&content.bytes())?;
        if sync {
            self.sync_file(&file)?;
            self.promise(at);
        }
        close(file)
    }

    /// Saves as careful programs do: a temporary file, synced, renamed over, the directory synced.
    fn replace(&mut self, at: usize) -> io::Result<()> {
        let content = Content::random(&mut self.rng);
        let temporary = self.dir.join(format!(".tmp-{at}"));
        let mut file = File::create(&temporary)?;
        file.write_all(&content.bytes())?;
        self.sync_file(&file)?;
        close(file)?;
        self.intend(at, State::File(content));
        fs::rename(&temporary, self.path(at))?;
        self.sync_own_dir()?;
        self.promise(at);
        Ok(())
    }

    fn remove(&mut self, at: usize) -> io::Result<()> {
        self.intend(at, State::Absent);
        fs::remove_file(self.path(at))?;
        self.sync_own_dir()?;
        self.promise(at);
        Ok(())
    }

    fn make_directory(&mut self, at: usize) -> io::Result<()> {
        self.intend(at, State::Directory);
        fs::create_dir(self.path(at))?;
        self.sync_own_dir()?;
        self.promise(at);
        Ok(())
    }

    fn remove_directory(&mut self, at: usize) -> io::Result<()> {
        self.intend(at, State::Absent);
        fs::remove_dir(self.path(at))?;
        self.sync_own_dir()?;
        self.promise(at);
        Ok(())
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        if self.syncing { file.sync_all() } else { Ok(()) }
    }

    fn sync_own_dir(&self) -> io::Result<()> {
        if self.syncing { sync_dir(&self.dir) } else { Ok(()) }
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What a comparison after a power cut found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Promised states that are gone.
    pub(crate) lost: Vec<String>,
    /// Files that hold no whole version, or can't be read.
    pub(crate) torn: Vec<String>,
    /// Names compared.
    pub(crate) compared: usize,
}

impl Verdict {
    pub(crate) fn add(&mut self, other: Verdict) {
        self.lost.extend(other.lost);
        self.torn.extend(other.torn);
        self.compared += other.compared;
    }

    pub(crate) fn assert_good(&self, what: &str) {
        let Verdict { lost, torn, .. } = self;
        assert!(lost.is_empty() && torn.is_empty(), "{what}: lost {lost:#?}, torn {torn:#?}");
    }
}

impl Ledger {
    /// Compares what was promised in `self` with the drive; `later` knows the states that came afterwards.
    /// The directory is looked for below `root`, where it was below `old_root` when it was written.
    pub(crate) fn compare(&self, later: &Ledger, old_root: &Path, root: &Path) -> Verdict {
        let dir = root.join(self.dir.strip_prefix(old_root).expect("the directory lies below"));
        let mut verdict = Verdict::default();
        for (at, (promised, all)) in self.names.iter().zip(&later.names).enumerate() {
            let path = dir.join(format!("name-{at}"));
            compare_name(&path, promised.promised, &all.states, &mut verdict);
        }
        verdict
    }
}

fn compare_name(path: &Path, promised: usize, states: &[State], verdict: &mut Verdict) {
    verdict.compared += 1;
    let found = match look(path) {
        Ok(found) => found,
        Err(error) => return verdict.torn.push(format!("{}: {error}", path.display())),
    };
    if states[promised..].iter().any(|state| matches(state, &found)) {
        return;
    }
    if created_in(&states[promised..]) && matches(&State::File(Content::default()), &found) {
        return;
    }
    let line = format!("{}: {found}, promised {:?}", path.display(), states[promised]);
    let older = states[..promised].iter().any(|state| matches(state, &found));
    if older { verdict.lost.push(line) } else { verdict.torn.push(line) }
}

/// Whether a file came where none was: creating it is a change of its own, so it may be there, still empty. One that
/// was there before must never be: emptying it for a new save is no version.
fn created_in(states: &[State]) -> bool {
    let created = |pair: &[State]| match pair {
        [before, State::File(_)] => !matches!(before, State::File(_)),
        _ => false,
    };
    states.windows(2).any(created)
}

fn matches(state: &State, found: &Found) -> bool {
    match (state, found) {
        (State::Absent, Found::Absent) | (State::Directory, Found::Directory) => true,
        (State::File(content), Found::File(bytes)) => content.bytes() == *bytes,
        _ => false,
    }
}
