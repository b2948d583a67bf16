//! Reads, writes and lists files.

wit_bindgen::generate!();

use exports::test::files::files::Guest;
use std::fs;

struct Files;

impl Guest for Files {
    fn read(path: String) -> Result<String, String> {
        fs::read_to_string(path).map_err(|error| error.to_string())
    }

    fn write(path: String, text: String) -> Result<(), String> {
        fs::write(path, text).map_err(|error| error.to_string())
    }

    fn remove(path: String) -> Result<(), String> {
        fs::remove_file(path).map_err(|error| error.to_string())
    }

    fn names(path: String) -> Result<Vec<String>, String> {
        let entries = fs::read_dir(path).map_err(|error| error.to_string())?;
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }
}

export!(Files);
