//! Manual pages and shell completions, made from the arguments themselves.

use super::exit::{Exit, Failure};
use super::{Cli, exit};
use clap::CommandFactory;
use std::io::{self, Write};
use std::path::Path;

/// Prints the completion script for `shell`.
pub fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "verso", &mut script);
    io::stdout().write_all(&script).map_err(|error| cannot_write("standard output", &error))
}

/// Prints the manual page, or writes `verso.1`, `verso-mount.1` … into `out`.
pub fn manual(out: Option<&Path>) -> Result<(), Failure> {
    let Some(dir) = out else {
        let page = page(Cli::command()).map_err(|error| cannot_write("the page", &error))?;
        return io::stdout()
            .write_all(&page)
            .map_err(|error| cannot_write("standard output", &error));
    };
    std::fs::create_dir_all(dir)
        .and_then(|()| write_pages(dir))
        .map_err(|error| cannot_write(&dir.display().to_string(), &error))
}

fn cannot_write(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Failure, format!("cannot write {what}: {error}"))
}

fn write_pages(dir: &Path) -> io::Result<()> {
    let mut top = Cli::command();
    top.build();
    std::fs::write(dir.join("verso.1"), page(Cli::command())?)?;
    write_subcommands(dir, &top, "verso")
}

/// A page for each command below `above`, whose page is called `above_name`.
fn write_subcommands(dir: &Path, above: &clap::Command, above_name: &str) -> io::Result<()> {
    for command in above.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = format!("{above_name}-{}", command.get_name());
        let titled = command.clone().display_name(name.clone());
        std::fs::write(dir.join(format!("{name}.1")), page(titled)?)?;
        write_subcommands(dir, command, &name)?;
    }
    Ok(())
}

/// A page, with the exit codes at its end.
fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let command = match command.get_name() {
        "verso" => command,
        _ => {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            command.after_help(format!("{examples}\n\n{}", exit::TABLE))
        }
    };
    let mut page = Vec::new();
    let title = command.get_display_name().unwrap_or("verso").to_owned();
    clap_mangen::Man::new(command).title(title).render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_gets_a_page_with_exit_codes() {
        let dir = tempfile::tempdir().unwrap();
        manual(Some(dir.path())).unwrap();
        for name in ["verso", "verso-init", "verso-mount", "verso-umount", "verso-config-show"] {
            let page = std::fs::read_to_string(dir.path().join(format!("{name}.1"))).unwrap();
            assert!(page.contains("Exit codes:"), "{name}");
        }
    }
}
