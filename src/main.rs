//! The `walhook` command; everything stands in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    walhook::cli::main()
}
