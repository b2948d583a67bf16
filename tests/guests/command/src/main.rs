//! Does what its first argument says.

use std::env;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::process::exit;

#[expect(clippy::disallowed_methods, reason = "how a program leaves is what is tested")]
fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().collect();
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    match words.get(1).map_or("", String::as_str) {
        "args" => words.iter().try_for_each(|word| writeln!(stdout, "{word}")),
        "env" => env::vars().try_for_each(|(name, value)| writeln!(stdout, "{name}={value}")),
        "cat" => io::copy(&mut stdin, &mut stdout).map(drop),
        "lines" => stdin.lines().try_for_each(|line| {
            writeln!(stdout, "got {}", line?)?;
            stdout.flush()
        }),
        "count" => {
            let mut bytes = Vec::new();
            let length = stdin.read_to_end(&mut bytes)?;
            writeln!(stdout, "{length}")
        }
        "fail" => {
            write!(stdout, "some output")?;
            eprintln!("some reason");
            exit(3)
        }
        "fail-late" => {
            // More than anybody keeps for a client.
            stdout.write_all(&vec![b'x'; 8_000_000])?;
            exit(3)
        }
        "exit" => exit(0),
        "spin" => loop {
            std::hint::black_box(());
        },
        "flood" => loop {
            stdout.write_all(&[b'x'; 4096])?;
        },
        "trap" => panic!("asked to"),
        "cgi" => {
            write!(stdout, "Status: 418 I'm a teapot\r\nContent-Type: text/html\r\n")?;
            write!(stdout, "X-Own: yes\r\nContent-Length: 1000\r\n\r\n<p>{}", env::var("PATH_INFO").unwrap_or_default())
        }
        other => write!(stdout, "Hello {other}"),
    }
}
