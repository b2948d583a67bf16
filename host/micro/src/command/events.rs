//! `micro events`

use anyhow::Result;
use clap::Args;

use super::{Options, Output, print};
use crate::admin::Event;

/// Print what happens to deployments, as it happens
#[derive(Debug, Args)]
#[command(after_help = "\
With --output json: one object on each line, {\"time\", \"kind\", \"deployment\", \"revision\", \"detail\"}; kind is \
deployed, canary, promoted, rolled-back, removed or refused; failed, unhealthy or healthy; instance-failed or \
instance-restarted; schedule-failed; dead-letter, subscription-failed. revision is null where no revision was made.")]
pub struct Arguments {}

/// Prints events until the host ends.
pub async fn run(_: Arguments, options: &Options) -> Result<()> {
    let mut events = options.host()?.events().await?;
    while let Some(event) = events.next().await? {
        match serde_json::from_str::<Event>(&event.data) {
            Ok(event) if options.output == Output::Text => print::line(layout(&event))?,
            // An event that does not read is shown as it came.
            _ => print::line(&event.data)?,
        }
    }
    Ok(())
}

fn layout(event: &Event) -> String {
    let Event { time, kind, deployment, revision, detail } = event;
    let revision = revision.map(|revision| format!("  revision {revision}")).unwrap_or_default();
    let detail = if detail.is_empty() { String::new() } else { format!("  {detail}") };
    format!("{time}  {kind:<18}  {deployment}{revision}{detail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = Event {
            time: "2026-01-01T00:00:00Z".into(),
            kind: "deployed".into(),
            deployment: "greeter".into(),
            revision: Some(2),
            detail: String::new(),
        };
        assert_eq!(layout(&event), "2026-01-01T00:00:00Z  deployed            greeter  revision 2");
        // As the host writes them.
        let refused = r#"{"time":"2026-01-01T00:00:00Z","kind":"refused","deployment":"greeter","revision":null,"detail":"no exports"}"#;
        let refused: Event = serde_json::from_str(refused).unwrap();
        assert_eq!(layout(&refused), "2026-01-01T00:00:00Z  refused             greeter  no exports");
        let restarted = Event { kind: "instance-restarted".into(), ..event };
        assert_eq!(layout(&restarted), "2026-01-01T00:00:00Z  instance-restarted  greeter  revision 2");
    }
}
