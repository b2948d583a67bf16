//! `micro topics`, `micro topic` and `micro replay`

use anyhow::Result;
use clap::Args;

use super::layout::{size, table};
use super::{Options, Output, print};
use crate::admin::topics::{Group, Topic, TopicLine, Topics};

/// List the topics that messages were published to
#[derive(Debug, Args)]
#[command(after_help = "\
LAG is what the group has yet to handle that is furthest behind. With --output json: {\"broker\", \"topics\": \
[{\"name\", \"messages\", \"bytes\", \"first\", \"next\", \"groups\", \"lag\"}, …]}.")]
pub struct AllArguments {}

/// Show a topic and who gets its messages
#[derive(Debug, Args)]
#[command(after_help = "\
With --output json: {\"name\", \"messages\", \"bytes\", \"first\", \"next\", \"groups\": [{\"name\", \"pattern\", \
\"lag\", \"in_flight\", \"members\", \"dead_letters\"}, …]}; with --forget {\"removed\"}.")]
pub struct OneArguments {
    /// The topic
    topic: String,

    /// Forget this group, which nobody is in any more: what it has yet to handle is no longer kept for it
    #[arg(long, value_name = "GROUP")]
    forget: Option<String>,

    /// What that group subscribed to, where it did so by several patterns
    #[arg(long, requires = "forget")]
    pattern: Option<String>,
}

/// Let a group have old messages again, or skip what it has yet to handle
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  micro replay orders.created --group billing --from earliest
  micro replay orders.created --group billing --from offset:1200
  micro replay orders.created --group billing --from latest

With --output json: {\"group\", \"pattern\", \"from\"}.")]
pub struct ReplayArguments {
    /// The topic
    topic: String,

    /// The group, as 'micro topic' shows it
    #[arg(long)]
    group: String,

    /// Where it goes on: earliest, latest, offset:NUMBER or time:MILLISECONDS
    #[arg(long, value_name = "POSITION")]
    from: String,

    /// What the group subscribed to, where it did so by several patterns
    #[arg(long)]
    pattern: Option<String>,
}

/// Lists all topics.
pub async fn all(_: AllArguments, options: &Options) -> Result<()> {
    let answer = options.host()?.topics().await?;
    if answer.value.topics.is_empty() && options.output == Output::Text {
        print::remark("nothing was published yet; guests do that, and 'micro publish'");
        return Ok(());
    }
    options.print(&answer, layout_all)?;
    Ok(())
}

fn layout_all(topics: &Topics) -> String {
    let row = |topic: &TopicLine| {
        let TopicLine { name, messages, bytes, groups, lag, .. } = topic;
        let lag = lag.map(|lag| lag.to_string()).unwrap_or_default();
        [name.clone(), messages.to_string(), size(*bytes), groups.to_string(), lag]
    };
    table::columns(["TOPIC", "MESSAGES", "SIZE", "GROUPS", "LAG"], &topics.topics.iter().map(row).collect::<Vec<_>>())
}

/// Shows one topic.
pub async fn one(arguments: OneArguments, options: &Options) -> Result<()> {
    let OneArguments { topic, forget, pattern } = arguments;
    let host = options.host()?;
    let Some(group) = forget else {
        let answer = host.topic(&topic).await?;
        options.print(&answer, layout_one)?;
        return Ok(());
    };
    let answer = host.forget_group(&topic, &group, pattern.as_deref()).await?;
    options.print(&answer, |answer| match answer.removed {
        true => format!("group {group} is forgotten"),
        false => format!("there is no group {group}"),
    })?;
    Ok(())
}

fn layout_one(topic: &Topic) -> String {
    let Topic { name, messages, bytes, first, next, groups } = topic;
    let offsets = match messages {
        0 => format!("none; the next one will have offset {next}"),
        _ => format!("{messages}, offsets {first} to {}", next.saturating_sub(1)),
    };
    let mut text = table::pairs(&[("topic", name.clone()), ("messages", offsets), ("size", size(*bytes))]);
    if !groups.is_empty() {
        let row = |group: &Group| {
            let Group { name, pattern, lag, in_flight, members, dead_letters } = group;
            let counts = [lag, in_flight, members, dead_letters].map(u64::to_string);
            let [lag, in_flight, members, dead_letters] = counts;
            [name.clone(), pattern.clone(), lag, in_flight, members, dead_letters]
        };
        text.push_str("\n\n");
        let heading = ["GROUP", "SUBSCRIBED TO", "LAG", "IN WORK", "MEMBERS", "DEAD LETTERS"];
        text.push_str(&table::columns(heading, &groups.iter().map(row).collect::<Vec<_>>()));
    }
    text
}

/// Sets a group back, or forward.
pub async fn replay(arguments: ReplayArguments, options: &Options) -> Result<()> {
    let ReplayArguments { topic, group, from, pattern } = arguments;
    let answer = options.host()?.replay(&topic, &group, &from, pattern.as_deref()).await?;
    options.print(&answer, |replay| format!("group {group} of {} goes on at {from}", replay.pattern))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_shows_its_groups() {
        let topic = Topic {
            name: "orders".into(),
            messages: 3,
            bytes: 2048,
            first: 2,
            next: 5,
            groups: vec![Group { name: "billing".into(), pattern: "orders.*".into(), lag: 2, ..Group::default() }],
        };
        let text = layout_one(&topic);
        assert!(text.contains("messages  3, offsets 2 to 4"), "{text}");
        assert!(text.contains("billing  orders.*       2    0        0        0"), "{text}");
    }
}
