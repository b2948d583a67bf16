//! What inspection found in each revision, and which deployments export or import an interface.

use micro_engine::Inspection;
use micro_engine::compat::unversioned;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;

/// Writes down what a revision exports and what it imports from others.
pub(super) fn put(
    transaction: &Connection,
    deployment: &str,
    number: u64,
    inspection: &Inspection,
) -> rusqlite::Result<()> {
    let exports = inspection.endpoints.iter().filter_map(|endpoint| endpoint.interface.as_deref());
    let imports = inspection.needs.iter().map(|need| &*need.interface);
    let all = exports.map(|name| (unversioned(name), false)).chain(imports.map(|name| (unversioned(name), true)));
    let all: BTreeSet<_> = all.collect();
    let mut insert = transaction.prepare_cached("INSERT INTO interfaces VALUES (?1, ?2, ?3, ?4)")?;
    for (interface, is_import) in all {
        insert.execute(params![interface, is_import, deployment, number])?;
    }
    Ok(())
}

/// What inspection found in one revision's component.
pub(in crate::runtime) fn inspection(
    connection: &Connection,
    deployment: &str,
    number: u64,
) -> rusqlite::Result<Option<Inspection>> {
    let mut statement =
        connection.prepare_cached("SELECT inspection FROM inspections WHERE deployment = ?1 AND number = ?2")?;
    statement.query_row(params![deployment, number], |row| super::json(row, 0)).optional()
}

/// The deployments whose current revision exports an interface, whatever its version, sorted by name.
pub(in crate::runtime) fn exporters(connection: &Connection, interface: &str) -> rusqlite::Result<Vec<String>> {
    current(connection, interface, false)
}

/// The deployments whose current revision imports an interface, whatever its version, sorted by name.
pub(in crate::runtime) fn importers(connection: &Connection, interface: &str) -> rusqlite::Result<Vec<String>> {
    current(connection, interface, true)
}

/// The interfaces that some kept revision of a deployment exports.
pub(in crate::runtime) fn exported(connection: &Connection, deployment: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection
        .prepare_cached("SELECT DISTINCT interface FROM interfaces WHERE deployment = ?1 AND NOT is_import")?;
    statement.query_map([deployment], |row| row.get(0))?.collect()
}

fn current(connection: &Connection, interface: &str, is_import: bool) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT d.name FROM interfaces i JOIN deployments d ON d.name = i.deployment AND d.revision = i.number
         WHERE i.interface = ?1 AND i.is_import = ?2 ORDER BY d.name",
    )?;
    statement.query_map(params![unversioned(interface), is_import], |row| row.get(0))?.collect()
}
