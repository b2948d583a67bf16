//! What goes with a request: with a component that is deployed, and with a question for log lines.

use micro_engine::manifest::AskedLimits;
use std::collections::BTreeMap;

/// How a component is to be deployed. The default leaves everything to its manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeployOptions {
    /// The version that callers see, in place of the manifest's.
    pub version: Option<String>,
    /// The share of the calls that it gets beside the current revision, `10%`; without one it gets them all.
    pub canary: Option<String>,
    /// Deploy although deployments that import from this one break.
    pub force: bool,
    /// The guest's arguments, in place of the manifest's.
    pub args: Option<Vec<String>>,
    /// Environment variables of the guest, added to the manifest's.
    pub env: BTreeMap<String, String>,
    /// Limits, in place of the manifest's.
    pub limits: AskedLimits,
    /// What the guest reads by `wasi:config`, added to the manifest's.
    pub config: BTreeMap<String, String>,
    /// What it may reach, added to the manifest's `[allow]`.
    pub allow: BTreeMap<String, Vec<String>>,
}

impl DeployOptions {
    /// As parameters of the request; what is not asked for is not sent, so that older hosts understand it.
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = Vec::new();
        parameters.extend(self.version.clone().map(|version| ("version", version)));
        parameters.extend(self.canary.clone().map(|canary| ("canary", canary)));
        parameters.extend(self.force.then(|| ("force", "true".to_owned())));
        let has_settings = self.args.is_some()
            || !self.env.is_empty()
            || !self.config.is_empty()
            || !self.allow.is_empty()
            || !self.limits.is_empty();
        if has_settings {
            let mut settings = serde_json::json!({ "args": self.args, "env": self.env });
            if !self.limits.is_empty() {
                settings["limits"] = serde_json::json!(self.limits);
            }
            if !self.config.is_empty() {
                settings["config"] = serde_json::json!(self.config);
            }
            if !self.allow.is_empty() {
                settings["allow"] = serde_json::json!(self.allow);
            }
            parameters.push(("settings", settings.to_string()));
        }
        parameters
    }
}

/// Which log lines are wanted. The default is the last hundred.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The last so many of those that fit.
    pub lines: Option<usize>,
    /// Go on with those that come.
    pub follow: bool,
    /// Not before: RFC 3339, or how long ago, `10m`.
    pub since: Option<String>,
    /// Not after.
    pub until: Option<String>,
    /// A regular expression that the text matches.
    pub grep: Option<String>,
    /// The request they were written for, or its first digits.
    pub request: Option<String>,
    /// `stdout`, `stderr` or `host`, several with commas between.
    pub stream: Option<String>,
    /// At least as grave.
    pub level: Option<String>,
}

impl LogOptions {
    /// As parameters of the request.
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let LogOptions { lines, follow, since, until, grep, request, stream, level } = self;
        let mut parameters = Vec::new();
        parameters.extend(lines.map(|lines| ("lines", lines.to_string())));
        parameters.extend(follow.then(|| ("follow", "true".to_owned())));
        let texts = [
            ("since", since),
            ("until", until),
            ("grep", grep),
            ("request", request),
            ("stream", stream),
            ("level", level),
        ];
        parameters.extend(texts.into_iter().filter_map(|(key, text)| Some((key, text.clone()?))));
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_sent() {
        assert!(DeployOptions::default().parameters().is_empty());
        let options = DeployOptions {
            version: Some("2".into()),
            canary: Some("10%".into()),
            force: true,
            args: Some(vec!["-v".into()]),
            env: BTreeMap::from([("K".to_owned(), "a=b".to_owned())]),
            ..DeployOptions::default()
        };
        let expected = [
            ("version", "2"),
            ("canary", "10%"),
            ("force", "true"),
            ("settings", r#"{"args":["-v"],"env":{"K":"a=b"}}"#),
        ];
        assert_eq!(options.parameters(), expected.map(|(key, value)| (key, value.to_owned())));
    }
}
