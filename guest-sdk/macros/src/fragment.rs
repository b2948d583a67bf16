//! The part of the manifest that attributes say: the text of the custom section `micro.fragment`.

use std::fmt::Write;

/// Collected while the module is read.
#[derive(Debug, Default)]
pub(crate) struct Fragment {
    pub description: Option<String>,
    /// `kind = "service"`
    pub is_service: bool,
    pub limits: Vec<(String, Value)>,
    pub service: Vec<(String, Value)>,
    pub routes: Vec<(Route, String)>,
    pub schedules: Vec<(Schedule, String)>,
    pub subscribes: Vec<(Subscribe, String)>,
}

/// A value of TOML.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Bool(bool),
}

#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub method: String,
    pub path: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub cron: String,
    pub rest: Vec<(String, Value)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Subscribe {
    pub topic: String,
    pub rest: Vec<(String, Value)>,
}

impl Fragment {
    /// As TOML; empty when the attributes say nothing that the manifest does not say by itself.
    pub(crate) fn toml(&self) -> String {
        let mut out = String::new();
        if let Some(description) = &self.description {
            pair(&mut out, "description", &Value::Text(description.clone()));
        }
        if self.is_service {
            pair(&mut out, "kind", &Value::Text("service".to_owned()));
        }
        for (name, pairs) in [("limits", &self.limits), ("service", &self.service)] {
            if !pairs.is_empty() {
                table(&mut out, &format!("[{name}]"), pairs);
            }
        }
        let text = |value: &String| Value::Text(value.clone());
        for (route, endpoint) in &self.routes {
            let pairs = [("method", text(&route.method)), ("path", text(&route.path)), ("endpoint", text(endpoint))];
            table(&mut out, "[[route]]", &pairs);
        }
        for (schedule, endpoint) in &self.schedules {
            table(&mut out, "[[schedule]]", &[("cron", text(&schedule.cron)), ("endpoint", text(endpoint))]);
            schedule.rest.iter().for_each(|(key, value)| pair(&mut out, key, value));
        }
        for (subscribe, endpoint) in &self.subscribes {
            table(&mut out, "[[subscribe]]", &[("topic", text(&subscribe.topic)), ("endpoint", text(endpoint))]);
            subscribe.rest.iter().for_each(|(key, value)| pair(&mut out, key, value));
        }
        out
    }
}

fn table(out: &mut String, header: &str, pairs: &[(impl AsRef<str>, Value)]) {
    out.push_str(header);
    out.push('\n');
    pairs.iter().for_each(|(key, value)| pair(out, key.as_ref(), value));
}

fn pair(out: &mut String, key: &str, value: &Value) {
    // Writing to a String does not fail.
    let _ = match value {
        Value::Text(text) => writeln!(out, "{key} = {}", quoted(text)),
        Value::Integer(number) => writeln!(out, "{key} = {number}"),
        Value::Bool(value) => writeln!(out, "{key} = {value}"),
    };
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            char if char.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(char));
            }
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_is_toml() {
        let fragment = Fragment {
            description: Some("Says \"hello\" \\ more".into()),
            is_service: true,
            service: vec![("replicas".into(), Value::Integer(2))],
            routes: vec![(Route { method: "GET".into(), path: "/s/{code}".into() }, "A.B".into())],
            schedules: vec![(
                Schedule {
                    cron: "*/5 * * * *".into(),
                    rest: vec![("timezone".into(), Value::Text("Europe/Berlin".into()))],
                },
                "A.C".into(),
            )],
            ..Fragment::default()
        };
        assert_eq!(
            fragment.toml(),
            "description = \"Says \\\"hello\\\" \\\\ more\"\nkind = \"service\"\n[service]\nreplicas = 2\n\
             [[route]]\nmethod = \"GET\"\npath = \"/s/{code}\"\nendpoint = \"A.B\"\n\
             [[schedule]]\ncron = \"*/5 * * * *\"\nendpoint = \"A.C\"\ntimezone = \"Europe/Berlin\"\n"
        );
        assert_eq!(Fragment::default().toml(), "");
    }
}
