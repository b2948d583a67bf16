//! Writes to stdout and stderr.

wit_bindgen::generate!();

use exports::test::logger::logger::Guest;
use std::io::Write;

struct Logger;

impl Guest for Logger {
    fn write(lines: u32) {
        for line in 1..=lines {
            println!("out {line}");
            eprintln!("err {line}");
        }
    }

    fn long(bytes: u32) {
        print!("{}", "x".repeat(bytes as usize));
        // The instance may end with the call, and a buffered half line with it.
        let _ = std::io::stdout().flush();
    }

    fn endless() {
        let mut out = std::io::stdout().lock();
        loop {
            let _ = writeln!(out, "and on, and on, and on, and on, and on, and on, and on, and on");
        }
    }

    fn binary() {
        let _ = std::io::stdout().write_all(b"\xff\xfe not text\n");
    }
}

export!(Logger);
