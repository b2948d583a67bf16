//! `micro dlq`

use anyhow::Result;
use clap::{Args, Subcommand};

use super::failure::Failure;
use super::layout::{age, table};
use super::{Options, Output, print};
use crate::admin::topics::{Letter, LetterGroups};

/// Look at dead letters: messages that failed again and again
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Retry(Retry),
    Drop(Drop),
}

/// List the dead letters of a group, or the groups that have some
#[derive(Debug, Args)]
#[command(after_help = "\
With --output json: {\"groups\": [{\"group\", \"letters\"}, …]}; of one group a page on each line, {\"letters\": \
[{\"offset\", \"group\", \"topic\", \"error\", \"tries\", \"died_at\", \"header\", \"body\"}, …]}, and \
\"body_base64\" in place of body where that is no text.")]
struct List {
    /// The group, as 'micro topic' shows it
    group: Option<String>,
}

/// Let dead letters come again, to their group alone
#[derive(Debug, Args)]
#[command(after_help = "With --output json: {\"retried\"}.")]
struct Retry {
    /// The group
    group: String,

    /// Only the one with this offset
    #[arg(long, value_name = "NUMBER")]
    offset: Option<u64>,
}

/// Drop dead letters for ever
#[derive(Debug, Args)]
#[command(after_help = "With --output json: {\"dropped\"}.")]
struct Drop {
    /// The group
    group: String,

    /// Only the one with this offset
    #[arg(long, value_name = "NUMBER", required_unless_present = "all")]
    offset: Option<u64>,

    /// All of the group
    #[arg(long, conflicts_with = "offset")]
    all: bool,
}

/// Does what is asked for.
pub async fn run(arguments: Arguments, options: &Options) -> Result<()> {
    match arguments.command {
        Command::List(List { group: None }) => groups(options).await,
        Command::List(List { group: Some(group) }) => list(&group, options).await,
        Command::Retry(Retry { group, offset }) => {
            let answer = options.host()?.retry_letters(&group, offset).await?;
            check(&group, offset, answer.value.retried)?;
            options.print(&answer, |taken| format!("{} come again", taken.retried))?;
            Ok(())
        }
        Command::Drop(Drop { group, offset, .. }) => {
            let answer = options.host()?.drop_letters(&group, offset).await?;
            check(&group, offset, answer.value.dropped)?;
            options.print(&answer, |taken| format!("{} are dropped", taken.dropped))?;
            Ok(())
        }
    }
}

/// One that was named should have been there.
fn check(group: &str, offset: Option<u64>, count: u64) -> Result<(), Failure> {
    match offset {
        Some(offset) if count == 0 => {
            let text =
                format!("group {group} has no dead letter with offset {offset}: 'micro dlq list {group}' shows them");
            Err(Failure::plain(text))
        }
        _ => Ok(()),
    }
}

async fn groups(options: &Options) -> Result<()> {
    let answer = options.host()?.letter_groups().await?;
    if answer.value.groups.is_empty() && options.output == Output::Text {
        print::remark("there are no dead letters");
        return Ok(());
    }
    options.print(&answer, |LetterGroups { groups }| {
        let rows: Vec<_> = groups.iter().map(|group| [group.group.clone(), group.letters.to_string()]).collect();
        table::columns(["GROUP", "DEAD LETTERS"], &rows)
    })?;
    Ok(())
}

async fn list(group: &str, options: &Options) -> Result<()> {
    let host = options.host()?;
    let (mut from, mut is_first) = (0, true);
    loop {
        let page = host.letters(group, from).await?;
        let Some(last) = page.value.letters.last().map(|letter| letter.offset) else {
            if is_first && options.output == Output::Text {
                print::remark(format!("group {group} has no dead letters"));
            }
            return Ok(());
        };
        options.print(&page, |page| table::columns(HEADING, &page.letters.iter().map(row).collect::<Vec<_>>()))?;
        (from, is_first) = (last + 1, false);
    }
}

const HEADING: [&str; 6] = ["OFFSET", "TOPIC", "DIED", "TRIES", "ERROR", "MESSAGE"];

/// What of a message is shown in a table.
const SHOWN: usize = 60;

fn row(letter: &Letter) -> [String; 6] {
    let Letter { offset, topic, error, tries, died_at, body } = letter;
    let body = body.as_deref().unwrap_or("(no text)");
    let line =
        |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect::<String>();
    [offset.to_string(), topic.clone(), age(died_at), tries.to_string(), line(error), line(body)]
}
