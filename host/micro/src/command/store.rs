//! `micro store`

use std::io::{Read, Write};

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde_json::json;

use super::layout::{size, table};
use super::{Options, Output, print};
use crate::admin::{Stores, Value};

/// Look into what guests keep, and change it
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Keys(Keys),
    Get(Get),
    Put(Put),
    Delete(Delete),
}

/// List the stores with the room they take
#[derive(Debug, Args)]
#[command(after_help = "\
A deployment's own store has the deployment's name. With --output json: {\"stores\": [{\"name\", \"entries\", \
\"bytes\"}, …]}.")]
struct List {}

/// List the keys of a store
#[derive(Debug, Args)]
#[command(after_help = "\
With --output json: a page on each line, {\"keys\": [key, …], \"next\"}; next is the key after which the next page \
begins, null on the last one.")]
struct Keys {
    /// The store
    store: String,

    /// Only keys that begin with this
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,

    /// Only keys that come after this one
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    after: String,

    /// At most so many [default: all]
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u32>,
}

/// Print a value, as the bytes that it is
#[derive(Debug, Args)]
#[command(after_help = "\
With --output json: {\"store\", \"key\", \"version\", \"value\"} for a text, and \"base64\" in place of value for other \
bytes.")]
struct Get {
    /// The store
    store: String,
    /// The key
    key: String,
}

/// Put a value
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  micro store put shop colour blue
  micro store put shop logo @logo.png --ttl 1h
  date | micro store put shop today - --if-version 0

With --output json: {\"version\"}.")]
struct Put {
    /// The store; it comes into being with its first value
    store: String,
    /// The key
    key: String,
    /// The value; @FILE reads it from a file and - from standard input
    value: String,

    /// After this time the value is gone: 90s, 1h [default: never]
    #[arg(long, value_name = "TIME", value_parser = time)]
    ttl: Option<String>,

    /// Put it only if the value is at this version; 0 if there must be none yet
    #[arg(long, alias = "if_version", value_name = "NUMBER")]
    if_version: Option<u64>,
}

/// Remove a value
#[derive(Debug, Args)]
#[command(after_help = "With --output json: {\"deleted\"}, false when there was no such value.")]
struct Delete {
    /// The store
    store: String,
    /// The key
    key: String,
}

/// Does what is asked for.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    match arguments.command {
        Command::List(List {}) => list(options).await,
        Command::Keys(arguments) => keys(arguments, options).await,
        Command::Get(arguments) => get(arguments, options).await,
        Command::Put(arguments) => put(arguments, options).await,
        Command::Delete(arguments) => delete(arguments, options).await,
    }
}

async fn list(options: &Options) -> Result<()> {
    let answer = options.host()?.stores().await?;
    if answer.value.stores.is_empty() && options.output == Output::Text {
        print::remark("nothing is kept; guests do that, and 'micro store put'");
        return Ok(());
    }
    options.print(&answer, layout)?;
    Ok(())
}

fn layout(stores: &Stores) -> String {
    let rows = stores.stores.iter().map(|store| [store.name.clone(), store.entries.to_string(), size(store.bytes)]);
    table::columns(["STORE", "ENTRIES", "SIZE"], &rows.collect::<Vec<_>>())
}

async fn keys(arguments: Keys, options: &Options) -> Result<()> {
    let Keys { store, prefix, mut after, limit } = arguments;
    let host = options.host()?;
    let mut left = limit;
    loop {
        let page = host.keys(&store, &prefix, &after, left).await?;
        options.print(&page, |page| page.keys.join("\n"))?;
        left = left.map(|left| left.saturating_sub(u32::try_from(page.value.keys.len()).unwrap_or(u32::MAX)));
        match page.value.next {
            Some(next) if left != Some(0) => after = next,
            _ => return Ok(()),
        }
    }
}

async fn get(Get { store, key }: Get, options: &Options) -> Result<()> {
    let Value { bytes, version } = options.host()?.value(&store, &key).await?;
    if options.output == Output::Text {
        let mut out = std::io::stdout().lock();
        out.write_all(&bytes)?;
        out.flush()?;
        return Ok(());
    }
    print::line(match std::str::from_utf8(&bytes) {
        Ok(text) => json!({ "store": store, "key": key, "version": version, "value": text }),
        Err(_) => json!({ "store": store, "key": key, "version": version, "base64": STANDARD.encode(&bytes) }),
    })?;
    Ok(())
}

async fn put(Put { store, key, value, ttl, if_version }: Put, options: &Options) -> Result<()> {
    let value = value_bytes(&value)?;
    let answer = options.host()?.put_value(&store, &key, value, ttl.as_deref(), if_version).await?;
    options.print(&answer, |put| format!("{store} has {key} at version {}", put.version))?;
    Ok(())
}

async fn delete(Delete { store, key }: Delete, options: &Options) -> Result<()> {
    let answer = options.host()?.delete_value(&store, &key).await?;
    options.print(&answer, |answer| match answer.deleted {
        true => format!("{key} is removed from {store}"),
        false => format!("{store} has no {key}"),
    })?;
    Ok(())
}

/// A time, as the host reads it.
fn time(text: &str) -> Result<String, String> {
    match humantime::parse_duration(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("expected a time like 90s or 1h: {error}")),
    }
}

/// The value that a word of the command line is, or points to.
pub(super) fn value_bytes(word: &str) -> Result<Vec<u8>> {
    if word == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).context("read the value from standard input")?;
        return Ok(bytes);
    }
    match word.strip_prefix('@') {
        Some(file) => std::fs::read(file).with_context(|| format!("read the value from {file}")),
        None => Ok(word.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_its_word_or_a_file() {
        assert_eq!(value_bytes("blue").unwrap(), b"blue");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0, 255]).unwrap();
        assert_eq!(value_bytes(&format!("@{}", file.path().display())).unwrap(), [0, 255]);
        assert!(value_bytes("@/no/such/file").unwrap_err().to_string().contains("/no/such/file"));
    }
}
