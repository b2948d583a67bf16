//! The program, run from outside as its users run it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// The program that cargo builds for these tests, from the source of the real one.
const PROGRAM: &str = "micro-under-test";

/// Another program to test, as one that was packed for release.
const OTHER_PROGRAM: &str = "MICRO_PROGRAM";

/// The root of the source tree.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

/// The folder of this test's build, `target/debug`.
pub(crate) fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    test.ancestors().nth(2).expect("cargo puts tests into PROFILE/deps").to_path_buf()
}

/// One use of the command line, or the settings for several.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    data_dir: PathBuf,
    folder: Option<PathBuf>,
    variables: Vec<(String, String)>,
    /// How the program `env` sets a signal before it becomes this one.
    signal: Option<&'static str>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit status.
    pub code: i32,
    /// What it printed on standard output.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
}

impl Program {
    /// The program with the data folder that it shall use.
    pub fn new(data_dir: &Path) -> Program {
        let path = std::env::var_os(OTHER_PROGRAM).map_or_else(|| profile_folder().join(PROGRAM), PathBuf::from);
        assert!(path.exists(), "{} is not there: run `cargo build -p micro-tests`", path.display());
        Program { path, data_dir: data_dir.to_path_buf(), folder: None, variables: Vec::new(), signal: None }
    }

    /// The program run in `folder`.
    pub fn inside(self, folder: &Path) -> Program {
        Program { folder: Some(folder.to_path_buf()), ..self }
    }

    /// The program with one more environment variable.
    pub fn with_variable(mut self, name: &str, value: &str) -> Program {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The program with the hang-up of its terminal ignored, as `nohup` has it, or not, whatever it is for the tests.
    pub fn with_hang_up(self, is_ignored: bool) -> Program {
        let option = if is_ignored { "--ignore-signal=HUP" } else { "--default-signal=HUP" };
        Program { signal: Some(option), ..self }
    }

    /// The program with files that may have a limit, behind which writing to them fails as on a full disk.
    pub fn with_files_that_may_be_limited(self) -> Program {
        Program { signal: Some("--ignore-signal=XFSZ"), ..self }
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with_input(arguments, "").await
    }

    /// Runs a command to its end, which must be a good one, and gives what it printed.
    pub async fn succeed(&self, arguments: &[&str]) -> String {
        let Outcome { code, stdout, stderr } = self.run(arguments).await;
        assert_eq!(code, 0, "micro {}: {stdout}{stderr}", arguments.join(" "));
        stdout
    }

    /// Runs a command with this text on its standard input.
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut child = self.spawn(arguments);
        let mut stdin = child.stdin.take().expect("its standard input");
        stdin.write_all(input.as_bytes()).await.expect("the command reads its input");
        drop(stdin);
        let output = child.wait_with_output().await.expect("the command ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("commands print text");
        Outcome {
            code: output.status.code().expect("the command ends by itself"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Starts a command and leaves it running; it is killed when it is dropped.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(if self.signal.is_some() { Path::new("env") } else { &self.path });
        match self.signal {
            // It becomes the program.
            Some(option) => command.arg(option).arg(&self.path),
            None => command.arg0("micro"),
        };
        command.args(arguments);
        // Nothing of the user's own settings.
        for (name, _) in std::env::vars_os().filter(|(name, _)| {
            name.to_string_lossy().starts_with("MICRO_") || name.to_string_lossy().starts_with("OTEL_")
        }) {
            command.env_remove(name);
        }
        command.env("MICRO_DATA_DIR", &self.data_dir).env("NO_COLOR", "1").env("COLUMNS", "100");
        command.env("DOCKER_CONFIG", self.data_dir.join("docker")).env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", self.path.display()))
    }
}
