//! Imports and what is granted of them, side by side.

use super::table;
use crate::admin::Deployment;
use micro_engine::capability::{Grant, GrantState};

/// The imports of a deployment. A host of another version may tell them alone.
pub fn of_deployment(deployment: &Deployment) -> String {
    if deployment.grants.is_empty() {
        return table::list(&deployment.imports);
    }
    layout(deployment.grants.iter().map(|grant| (grant.import.as_str(), grant.state.as_str(), grant.what.as_str())))
}

/// The imports of a component that is not deployed.
pub fn of_component(grants: &[Grant]) -> String {
    if grants.is_empty() {
        return table::list(&[]);
    }
    let rows = grants.iter().map(|grant| (grant.import.as_str(), grant.state.as_str(), grant.what.as_str()));
    layout(rows)
}

fn layout<'g>(rows: impl Iterator<Item = (&'g str, &'g str, &'g str)>) -> String {
    let rows: Vec<(&str, String)> = rows
        .map(|(import, state, what)| match state {
            state if state == GrantState::Unused.as_str() => ("(granted, not used)", what.to_owned()),
            _ => (import, what.to_owned()),
        })
        .collect();
    table::pairs(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_grants_stand_side_by_side() {
        let grant = |import: &str, state, what: &str| Grant { import: import.into(), state, what: what.into() };
        let text = of_component(&[
            grant("wasi:http/outgoing-handler@0.2.6", GrantState::Granted, "a.com"),
            grant("wasi:io/poll@0.2.6", GrantState::Always, "always"),
            grant("", GrantState::Unused, "tcp: db:1"),
        ]);
        assert_eq!(
            text,
            "wasi:http/outgoing-handler@0.2.6  a.com\nwasi:io/poll@0.2.6                always\n\
             (granted, not used)               tcp: db:1"
        );
        assert_eq!(of_component(&[]), "none");
    }
}
