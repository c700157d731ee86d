//! `mother`: runs jobsets.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A process that was started to be the zygote, or to call a function, never comes back from here.
    sutbot::run_if_child(sutbot::stock);
    _ = rustls::crypto::ring::default_provider().install_default();
    sutbot::cli::main()
}
