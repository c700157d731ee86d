//! `mother`: runs jobsets.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A process that was started to be the zygote never comes back from here.
    sutbot::runner::process::run_if_zygote();
    _ = rustls::crypto::ring::default_provider().install_default();
    sutbot::cli::main()
}
