//! The control API: HTTP and JSON over the Unix socket `STORE/control.sock`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | 200 and the daemon's and the store's state |
//! | `POST /v1/sync` | 204 once everything acknowledged is on disk |
//! | `POST /v1/check` `{"read_data": bool, "repair": bool}` | 200 and the report; 409 while another runs |
//! | `POST /v1/tidy` `{"floor_ms": number or null}` | 200 and what came free |
//! | `POST /v1/preview` `{"floor_ms": number or null, "limit": number}` | 200 and what that would remove, name by name up to `limit` |
//! | `POST /v1/room` `{}` | 200 and what the room that the store takes is for, and when how much comes free |
//! | `POST /v1/why`, `/v1/space`, `/v1/erase` `{"path": [bytes]}` | 200 and what retention says, what would come free, what was erased; `path` from the drive's root; 404 where it never was |
//! | `GET /v1/jobs` | 200 and the jobs: what runs, how the last runs ended, and when the next ones are |
//! | `POST /v1/jobs/run` `{"name": string, "dry_run": bool, "options": any}` | 200 and `{"ticket": number}`, at once; 404 for an unknown job, 409 where it runs already |
//! | `POST /v1/jobs/cancel` `{"name": string}` | 204: the run ends at its next step; 404 for an unknown job, 409 where it doesn't run |
//! | `POST /v1/jobs/log` `{"name": string, "count": number}` | 200 and the last runs, the newest first; 404 where there never was one |
//! | `POST /v1/unmount` `{"lazy": bool}` | 204 once the drive is gone from the tree; 409 when it is busy |
//!
//! Errors are `{"error": "…"}`. Who may connect is decided by the socket's permissions and, for a
//! private socket, once more by the caller's user id. This room translates; what the requests do
//! is in whoever implements [`Control`].

mod client;
mod server;
mod socket;

pub use client::{Client, Response};
pub use server::{Server, ServerOptions};

use crate::fs::CheckOptions;
use std::time::Duration;

/// What can be asked of a running daemon. Calls may take long and run on threads of their own.
pub trait Control: Send + Sync + 'static {
    /// The daemon's and the store's state.
    fn status(&self) -> Result<serde_json::Value, Refusal>;
    /// Puts everything that was acknowledged on disk.
    fn sync(&self) -> Result<(), Refusal>;
    /// Checks the store, and repairs it if asked to.
    fn check(&self, options: CheckOptions) -> Result<serde_json::Value, Refusal>;
    /// Carries out retention and gives room back, at once; `floor` takes the place of the setting.
    fn tidy(&self, floor: Option<Duration>) -> Result<serde_json::Value, Refusal>;
    /// What [`Control::tidy`] would remove; of the single names at most `limit` lines.
    fn preview(&self, floor: Option<Duration>, limit: usize) -> Result<serde_json::Value, Refusal>;
    /// What the room that the store takes is for, and when how much of it comes free.
    fn room(&self) -> Result<serde_json::Value, Refusal>;
    /// What retention says about everything that the name at `path` showed.
    fn why(&self, path: &[u8]) -> Result<serde_json::Value, Refusal>;
    /// What would come free without `path`.
    fn space(&self, path: &[u8]) -> Result<serde_json::Value, Refusal>;
    /// Erases the history of `path`.
    fn erase(&self, path: &[u8]) -> Result<serde_json::Value, Refusal>;
    /// The jobs: what runs, how the last runs ended, and when the next ones are.
    fn jobs(&self) -> Result<serde_json::Value, Refusal>;
    /// Lets a job run now; `options` are for the job.
    fn run_job(
        &self,
        name: &str,
        dry_run: bool,
        options: serde_json::Value,
    ) -> Result<serde_json::Value, Refusal>;
    /// Lets a run of a job end.
    fn cancel_job(&self, name: &str) -> Result<(), Refusal>;
    /// The last runs of a job, at most `count`.
    fn job_log(&self, name: &str, count: u32) -> Result<serde_json::Value, Refusal>;
    /// Takes the drive out of the tree; the daemon then ends by itself.
    fn unmount(&self, lazy: bool) -> Result<(), Refusal>;
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not now: somebody uses it.
    #[error("{0}")]
    Busy(String),
    /// What it was about is not there, and never was.
    #[error("{0}")]
    Missing(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
}
