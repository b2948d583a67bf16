//! What a component could use, side by side with what it is granted.

use crate::inspect::Inspection;
use crate::manifest::{Allow, Manifest};
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// One line of that table: an import with what it is granted, or something that is granted and no import uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// `wasi:http/outgoing-handler@0.2.6`; empty for what no import uses.
    pub import: String,
    /// Whether it is granted anything.
    pub state: GrantState,
    /// What it is granted, or what stands in `[allow]` and is not used, in words for people.
    pub what: String,
}

/// Whether an import is granted anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrantState {
    /// It reaches nothing outside: every guest has it.
    Always,
    /// The manifest says what.
    Granted,
    /// It is there, and leads nowhere.
    Nothing,
    /// The manifest grants what nothing in the component could use.
    Unused,
}

impl GrantState {
    /// `always`, `granted`, `nothing` or `unused`.
    pub fn as_str(self) -> &'static str {
        match self {
            GrantState::Always => "always",
            GrantState::Granted => "granted",
            GrantState::Nothing => "nothing",
            GrantState::Unused => "unused",
        }
    }
}

/// What an import leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Capability {
    Http,
    Tcp,
    Udp,
    Files,
    Environment,
    Config,
    Store,
    Call,
    Publish,
    Outbox,
    Other,
}

/// Imports by the beginnings of their names; the first that fits counts.
const CAPABILITIES: [(&str, Capability); 20] = [
    ("wasi:http/outgoing-handler@", Capability::Http),
    ("wasi:http/client@", Capability::Http),
    ("wasi:sockets/udp", Capability::Udp),
    ("wasi:sockets/", Capability::Tcp),
    ("wasi:filesystem/", Capability::Files),
    ("wasi:cli/environment@", Capability::Environment),
    ("wasi:config/", Capability::Config),
    ("wasi:keyvalue/", Capability::Store),
    ("micro:function/store@", Capability::Store),
    ("micro:function/client@", Capability::Call),
    ("micro:function/events@", Capability::Publish),
    ("wasi:messaging/producer@", Capability::Publish),
    ("micro:function/outbox@", Capability::Outbox),
    ("wasi:http/", Capability::Other),
    ("wasi:cli/", Capability::Other),
    ("wasi:clocks/", Capability::Other),
    ("wasi:io/", Capability::Other),
    ("wasi:random/", Capability::Other),
    ("wasi:logging/", Capability::Other),
    ("wasi:messaging/", Capability::Other),
];

impl Capability {
    fn of(import: &str) -> Capability {
        let found = CAPABILITIES.iter().find(|(name, _)| import.starts_with(name));
        found.map_or(Capability::Other, |(_, capability)| *capability)
    }

    /// What the manifest grants of it; none where that is nothing.
    fn granted(self, manifest: &Manifest) -> Option<String> {
        let Manifest { allow, config, env, .. } = manifest;
        let given = match self {
            Capability::Http => list(allow.http.iter().flatten()),
            Capability::Tcp => list(&allow.tcp),
            Capability::Udp => None,
            Capability::Files => list(&allow.files).map(|files| format!("{files} (read only)")),
            Capability::Environment => list(env.keys().chain(&allow.env)),
            Capability::Config => match (list(config.keys()), list(&allow.secrets)) {
                (Some(keys), Some(secrets)) => Some(format!("{keys}; secrets {secrets}")),
                (keys, secrets) => keys.or(secrets.map(|secrets| format!("secrets {secrets}"))),
            },
            Capability::Store => {
                Some(list(&allow.store).map_or("its own store".into(), |more| format!("its own store, {more}")))
            }
            Capability::Call => list(allow.call.iter().flatten()),
            Capability::Publish => list(&allow.publish),
            Capability::Outbox => match (Capability::Store.granted(manifest), Capability::Publish.granted(manifest)) {
                (Some(stores), Some(topics)) => Some(format!("{stores}; topics {topics}")),
                (stores, _) => stores,
            },
            Capability::Other => return None,
        };
        given.filter(|given| !given.is_empty())
    }

    /// What stands for nothing.
    fn nothing(self) -> &'static str {
        match self {
            Capability::Http => "no host",
            Capability::Tcp => "no connection",
            Capability::Udp => "never: UDP stays closed",
            Capability::Files => "no folder",
            Capability::Environment => "no variable",
            Capability::Config => "no value",
            Capability::Call => "no service",
            Capability::Publish => "no topic",
            Capability::Store | Capability::Outbox | Capability::Other => "",
        }
    }
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> Option<String> {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    (!items.is_empty()).then(|| items.join(", "))
}

/// The table of a component that is deployed with this manifest.
pub fn grants(inspection: &Inspection, manifest: &Manifest) -> Vec<Grant> {
    let mut all: Vec<Grant> = inspection.imports.iter().map(|import| grant(import, inspection, manifest)).collect();
    let uses = |capability| inspection.imports.iter().any(|import| Capability::of(import) == capability);
    let Allow { http, call, tcp, files, env, secrets, publish, store } = &manifest.allow;
    // Variables can hold secrets as well as what is read by `wasi:config`.
    let has_outbox = uses(Capability::Outbox);
    let has_environment = uses(Capability::Environment);
    let unused = [
        ("http", list(http.iter().flatten()), uses(Capability::Http)),
        ("tcp", list(tcp), uses(Capability::Tcp)),
        ("call", list(call.iter().flatten()), uses(Capability::Call)),
        ("store", list(store), uses(Capability::Store) || has_outbox),
        ("files", list(files), uses(Capability::Files)),
        ("env", list(env), has_environment),
        ("secrets", list(secrets), uses(Capability::Config) || has_environment),
        ("publish", list(publish), uses(Capability::Publish) || has_outbox),
    ];
    for (key, what, is_used) in unused {
        if let (Some(what), false) = (what, is_used) {
            all.push(Grant { import: String::new(), state: GrantState::Unused, what: format!("{key}: {what}") });
        }
    }
    all
}

fn grant(import: &str, inspection: &Inspection, manifest: &Manifest) -> Grant {
    let of = |state, what: String| Grant { import: import.to_string(), state, what };
    if inspection.needs.iter().any(|need| *need.interface == *import) {
        return of(GrantState::Granted, "calls of the deployment that exports it".into());
    }
    let capability = Capability::of(import);
    match capability.granted(manifest) {
        Some(what) => of(GrantState::Granted, what),
        None if capability == Capability::Other => of(GrantState::Always, "always".into()),
        None => of(GrantState::Nothing, capability.nothing().into()),
    }
}

/// Imports that are of no use without a grant, where there is none: what they are, and what to write. That a list is
/// there and empty says that this is meant.
///
/// Sockets, files and the environment are not among them: toolchains import those for programs that use none of it.
pub fn not_granted(inspection: &Inspection, manifest: &Manifest) -> Vec<String> {
    let missing = |import: &String| match Capability::of(import) {
        Capability::Http if manifest.allow.http.is_none() => Some(format!(
            "{import} reaches no host: write http = [\"HOST\"] below [allow] in micro.toml, or deploy with --allow \
             http=HOST; http = [] or --allow http= where that is meant"
        )),
        Capability::Call if manifest.allow.call.is_none() => Some(format!(
            "{import} calls no service: write call = [\"SERVICE\"] below [allow] in micro.toml, or deploy with --allow \
             call=SERVICE; call = [] or --allow call= where that is meant"
        )),
        _ => None,
    };
    inspection.imports.iter().filter_map(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::EngineKind;

    fn inspection(imports: &[&str]) -> Inspection {
        Inspection {
            digest: String::new(),
            size: 0,
            manifest: None,
            imports: imports.iter().map(ToString::to_string).collect(),
            endpoints: Vec::new(),
            other_exports: Vec::new(),
            needs: Vec::new(),
            descriptors: None,
            web: None,
            engine: EngineKind::Lean,
        }
    }

    fn table(imports: &[&str], manifest: &str) -> Vec<(String, GrantState, String)> {
        let manifest = Manifest::parse(manifest).unwrap();
        let grants = grants(&inspection(imports), &manifest);
        grants.into_iter().map(|grant| (grant.import, grant.state, grant.what)).collect()
    }

    #[test]
    fn each_import_is_told_what_it_is_granted() {
        let manifest = "[env]\nA = \"1\"\nKEY = { secret = \"stripe-key\" }\n[config]\nmode = \"test\"\n[allow]\n\
                        http = [\"api.example.com\"]\nenv = [\"LANG\"]\nsecrets = [\"stripe-key\"]\nstore = [\"shared\"]\n\
                        files = [\"/srv/data:/data\"]\n";
        let found = table(
            &[
                "wasi:http/outgoing-handler@0.2.6",
                "wasi:http/types@0.2.6",
                "wasi:sockets/tcp@0.2.6",
                "wasi:sockets/udp@0.2.6",
                "wasi:cli/environment@0.2.6",
                "wasi:config/store@0.2.0-rc.1",
                "wasi:keyvalue/store@0.2.0-draft2",
                "wasi:filesystem/preopens@0.2.6",
                "micro:function/client@0.1.0",
            ],
            manifest,
        );
        let whats: Vec<&str> = found.iter().map(|(_, _, what)| what.as_str()).collect();
        assert_eq!(
            whats,
            [
                "api.example.com",
                "always",
                "no connection",
                "never: UDP stays closed",
                "A, KEY, LANG",
                "mode; secrets stripe-key",
                "its own store, shared",
                "/srv/data:/data (read only)",
                "no service",
            ]
        );
        assert_eq!(found[0].1, GrantState::Granted);
        assert_eq!(found[2].1, GrantState::Nothing);
    }

    #[test]
    fn what_nothing_uses_is_shown() {
        let found = table(&["wasi:io/poll@0.2.6"], "[allow]\nhttp = [\"a.com\"]\npublish = [\"orders.*\"]\ncall = []");
        let unused: Vec<_> = found.iter().filter(|(_, state, _)| *state == GrantState::Unused).collect();
        assert_eq!(unused.len(), 2, "{found:?}");
        assert_eq!((unused[0].2.as_str(), unused[1].2.as_str()), ("http: a.com", "publish: orders.*"));
    }

    #[test]
    fn an_import_that_needs_a_grant_is_missed_unless_the_manifest_says_none() {
        let inspection = inspection(&["wasi:http/outgoing-handler@0.2.6", "wasi:sockets/tcp@0.2.6"]);
        let missing = |manifest: &str| not_granted(&inspection, &Manifest::parse(manifest).unwrap());
        assert_eq!(missing("").len(), 1);
        assert!(missing("")[0].starts_with("wasi:http/outgoing-handler@0.2.6 reaches no host: write http = [\"HOST\""));
        assert_eq!(missing("[allow]\nhttp = []"), Vec::<String>::new());
    }
}
