//! The binary: everything it does is in the library.

use std::process::ExitCode;

/// A call makes and drops some fifty small things on whichever thread serves it, which is what this allocator is for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    micro::command::run()
}
