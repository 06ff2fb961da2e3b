//! The command line: arguments in, words and exit codes out. It decides nothing and starts
//! nothing; room `daemon` carries the commands out.

mod args;
mod backup;
mod check;
mod contract;
mod exit;
mod history;
mod jobs;
mod keys;
mod manual;
mod options;
mod output;
mod projects;
mod status;
mod tidy;

pub use args::{
    CheckArgs, Cli, Command, ConfigCommand, HelperArgs, InitArgs, MountArgs, PipedSecret, TidyArgs,
    UmountArgs,
};
pub use backup::{
    BackupCommand, LocationArgs, RestoreBackupArgs, StoreLocationArgs, drilled_line, plan_line,
    show_drilled, show_generations, show_made, show_plan, show_restored, show_verified,
    verified_line,
};
pub use check::{Encryption, show_check};
pub use contract::{
    EraseArgs, SpaceArgs, WhyArgs, confirmed, show_erased, show_space, show_why, version_ranges,
};
pub use exit::{Exit, Failure};
pub use history::{
    CatArgs, DestArgs, DiffArgs, LogArgs, PathArgs, PinArgs, Reader, RestoreArgs, RewindArgs,
    UndeleteArgs, UnpinArgs, show_done, show_file_diff, show_log, show_pin, show_rewind,
    show_tree_diff,
};
pub use jobs::{
    CancelJobArgs, JobLogArgs, JobProgress, JobsArgs, JobsCommand, RunJobArgs, show_job_log,
    show_job_outcome, show_jobs,
};
pub use keys::{AddKeyArgs, KeyCommand, NewSecretArgs, SecretArgs, show_keys};
pub use manual::{completions, manual};
pub use options::MountFlags;
pub use output::{Waiting, say, tell, warn};
pub use projects::{
    DriveArgs, ExportArgs, ImportArgs, ProjectArchiveArgs, ProjectCommand, ProjectDeleteArgs,
    ProjectListArgs, UnarchiveArgs, show_projects,
};
pub use status::{attention_of, show_json, show_status};
pub use tidy::{show_preview, show_tidied};
