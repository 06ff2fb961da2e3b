//! A proxy in front of a server, that does to connections what networks and servers on bad days do.

#![allow(dead_code)] // not every test that includes it needs all of it

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What happens to the connections from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// They are passed on.
    Fine,
    /// They are closed at once.
    Gone,
    /// They are taken, and nothing comes of it.
    Silent,
    /// Each of the next so many requests (of HTTP) gets this status and nothing else; then all is fine.
    Answers(u16, usize),
    /// Each of the next so many ends after so many bytes have been sent to the server; then all is fine.
    CutsUploads(usize, usize),
    /// The same for what comes back.
    CutsAnswers(usize, usize),
    /// Bytes go through in small pieces, with a pause after each.
    Slow,
}

struct State {
    mood: Mood,
    /// Connections taken in another mood than [`Mood::Fine`] or [`Mood::Slow`].
    harmed: usize,
    open: Vec<TcpStream>,
    ended: bool,
}

/// Listens until it is dropped.
pub(crate) struct Flaky {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
}

impl Flaky {
    pub(crate) fn before(server: u16) -> Flaky {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { mood: Mood::Fine, harmed: 0, open: Vec::new(), ended: false };
        let state = Arc::new(Mutex::new(state));
        let seen = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if seen.lock().unwrap().ended {
                    return;
                }
                let state = Arc::clone(&seen);
                thread::spawn(move || serve(client, server, &state));
            }
        });
        Flaky { port, state }
    }

    /// Changes its mood; what is open is closed.
    pub(crate) fn turns(&self, mood: Mood) {
        let mut state = self.state.lock().unwrap();
        (state.mood, state.harmed) = (mood, 0);
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many connections suffered since the last change of mood.
    pub(crate) fn harmed(&self) -> usize {
        self.state.lock().unwrap().harmed
    }
}

impl Drop for Flaky {
    fn drop(&mut self) {
        self.turns(Mood::Gone);
        self.state.lock().unwrap().ended = true;
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// The mood that a new connection meets.
fn met(state: &Mutex<State>) -> Mood {
    let mut state = state.lock().unwrap();
    let mood = state.mood;
    let left = match &mut state.mood {
        Mood::Fine | Mood::Slow => return mood,
        Mood::Gone | Mood::Silent => None,
        Mood::Answers(_, left) | Mood::CutsUploads(_, left) | Mood::CutsAnswers(_, left) => {
            Some(left)
        }
    };
    if let Some(left) = left {
        if *left == 0 {
            state.mood = Mood::Fine;
            return Mood::Fine;
        }
        *left -= 1;
    }
    state.harmed += 1;
    mood
}

fn serve(mut client: TcpStream, server: u16, state: &Mutex<State>) {
    state.lock().unwrap().open.extend(client.try_clone());
    match met(state) {
        Mood::Gone => {}
        Mood::Silent => drop(std::io::copy(&mut client, &mut std::io::sink())),
        Mood::Answers(status, _) => answer(&mut client, status),
        Mood::CutsUploads(bytes, _) => connect(&client, server, state, (bytes, usize::MAX), None),
        Mood::CutsAnswers(bytes, _) => connect(&client, server, state, (usize::MAX, bytes), None),
        Mood::Slow => {
            let pause = Some(Duration::from_millis(10));
            connect(&client, server, state, (usize::MAX, usize::MAX), pause);
        }
        Mood::Fine => connect(&client, server, state, (usize::MAX, usize::MAX), None),
    }
    // Others hold it too.
    let _ = client.shutdown(Shutdown::Both);
}

/// Passes on so many bytes to the server, and so many back.
fn connect(
    client: &TcpStream,
    server: u16,
    state: &Mutex<State>,
    (up, down): (usize, usize),
    pause: Option<Duration>,
) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
    state.lock().unwrap().open.extend(server.try_clone());
    let ends = (client.try_clone(), client.try_clone(), server.try_clone());
    let (Ok(from_client), Ok(to_client), Ok(from_server)) = ends else { return };
    let answers = thread::spawn(move || pass(from_server, to_client, down, pause));
    pass(from_client, server, up, pause);
    let _ = answers.join();
}

/// Passes on so many bytes, then ends both sides; at the end of `from` only that direction.
fn pass(mut from: TcpStream, mut to: TcpStream, mut left: usize, pause: Option<Duration>) {
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let wanted = left.min(buffer.len());
        let got = match from.read(&mut buffer[..wanted]) {
            Ok(0) => return drop(to.shutdown(Shutdown::Write)),
            Ok(got) => got,
            Err(_) => break,
        };
        if to.write_all(&buffer[..got]).is_err() {
            break;
        }
        left -= got;
        if let Some(pause) = pause {
            thread::sleep(pause);
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Reads one request with its body and answers nothing but a status.
fn answer(client: &mut TcpStream, status: u16) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let len = len.and_then(|len| len.trim().parse().ok()).unwrap_or(0);
    let _ = std::io::copy(&mut client.take(len), &mut std::io::sink());
    let _ =
        write!(client, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}
