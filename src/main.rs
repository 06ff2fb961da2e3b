//! The `verso` binary: everything is in the library.

fn main() -> std::process::ExitCode {
    versofs::daemon::main()
}
