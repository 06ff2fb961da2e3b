//! Asking a running daemon. One request for each connection, HTTP/1.0: the answer ends where the
//! connection does, which needs no chunked encoding and no event loop on this side.

use super::socket::SocketDir;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// More headers than the daemon ever sends.
const HEADERS_MAX: usize = 32;

/// A daemon that listens.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

/// Its answer.
#[derive(Debug)]
pub struct Response {
    /// HTTP's status code.
    pub status: u16,
    /// The body: JSON, or nothing.
    pub body: serde_json::Value,
}

impl Client {
    /// Connects to the daemon of `store`; `None` when there is none.
    pub fn connect(store: &Path) -> io::Result<Option<Client>> {
        use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
        let connected = SocketDir::open(store).and_then(|dir| dir.connect());
        match connected {
            Ok(stream) => Ok(Some(Client { stream })),
            Err(e) if matches!(e.kind(), ConnectionRefused | NotFound | NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `GET path`.
    pub fn get(self, path: &str) -> io::Result<Response> {
        self.request("GET", path, "")
    }

    /// `POST path` with a JSON body.
    pub fn post(self, path: &str, body: &serde_json::Value) -> io::Result<Response> {
        self.request("POST", path, &body.to_string())
    }

    fn request(mut self, method: &str, path: &str, body: &str) -> io::Result<Response> {
        let length = body.len();
        let kind = "Content-Type: application/json";
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: verso\r\n{kind}\r\nContent-Length: {length}\r\n\r\n"
        );
        self.stream.write_all((head + body).as_bytes())?;
        let mut answer = Vec::new();
        self.stream.read_to_end(&mut answer)?;
        parse(&answer)
    }
}

impl Response {
    /// The body of a success, or else the daemon's words as an error.
    pub fn success(self) -> Result<serde_json::Value, String> {
        match self.status {
            200..300 => Ok(self.body),
            status => match self.body.get("error").and_then(|error| error.as_str()) {
                Some(error) => Err(error.to_owned()),
                None => Err(format!("the daemon answered with HTTP status {status}")),
            },
        }
    }
}

/// A whole answer; one that is cut off is an error.
fn parse(answer: &[u8]) -> io::Result<Response> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = response.parse(answer).map_err(|error| invalid(error.to_string()))?;
    let (httparse::Status::Complete(head), Some(status)) = (head, response.code) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let body = &answer[head..];
    let length = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    if length.is_some_and(|length: usize| length != body.len()) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let body = match body.is_empty() {
        true => serde_json::Value::Null,
        false => serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))?,
    };
    Ok(Response { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_off_is_an_error() {
        let whole = b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
        assert_eq!(parse(whole).unwrap().body["a"], 1);
        for len in 0..whole.len() {
            assert!(parse(&whole[..len]).is_err(), "{len}");
        }
    }
}
