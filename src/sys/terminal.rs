//! Asking the person at the terminal for something that must not be seen.

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

/// What a terminal sends for Ctrl-C.
const CTRL_C: u8 = 3;

/// The terminal that this process was started from, wherever its standard streams lead.
#[derive(Debug)]
pub struct Terminal {
    tty: File,
}

impl Terminal {
    /// # Errors
    /// There is none.
    pub fn open() -> io::Result<Terminal> {
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        Ok(Terminal { tty })
    }

    /// Shows a line.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.tty, "{line}")
    }

    /// Shows `prompt` and lets `read` read the line that is typed, to its end and with the line break; it is not shown. `None`:
    /// it was ended with Ctrl-C, which is for the caller to act on.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn ask_hidden<T>(
        &mut self,
        prompt: &str,
        read: impl FnOnce(&mut dyn Read) -> T,
    ) -> io::Result<Option<T>> {
        let hidden = Hidden::new(&self.tty)?;
        write!(&self.tty, "{prompt}")?;
        let mut line = Line { tty: &self.tty, is_over: false, was_interrupted: false };
        let value = read(&mut line);
        let was_interrupted = line.was_interrupted;
        drop(hidden);
        Ok((!was_interrupted).then_some(value))
    }
}

/// While it lives, what is typed is not shown, and no key sends a signal: Ctrl-C ends the line, so that the terminal
/// can be put back to what it was before anything else happens.
struct Hidden<'a> {
    tty: &'a File,
    before: Termios,
}

impl Hidden<'_> {
    fn new(tty: &File) -> io::Result<Hidden<'_>> {
        let before = tcgetattr(tty)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        hidden.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON);
        hidden.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        tcsetattr(tty, OptionalActions::Drain, &hidden)?;
        Ok(Hidden { tty, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing anyway.
        let _ = tcsetattr(self.tty, OptionalActions::Drain, &self.before);
    }
}

/// One line: it ends where the person ended it.
struct Line<'a> {
    tty: &'a File,
    is_over: bool,
    was_interrupted: bool,
}

impl Read for Line<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_over || buffer.is_empty() {
            return Ok(0);
        }
        let len = self.tty.read(buffer)?;
        let last = buffer[..len].last();
        self.was_interrupted = last == Some(&CTRL_C);
        self.is_over = matches!(last, None | Some(&(b'\n' | CTRL_C)));
        Ok(len)
    }
}
