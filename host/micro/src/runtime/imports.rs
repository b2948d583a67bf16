//! What deployments import from each other: found at deploy, checked type by type, and kept from breaking later.

use super::Runtime;
use super::deploy::DeployError;
use super::deployment::Deployment;
use super::store::interfaces;
use micro_engine::compat::{differences, unversioned};
use micro_engine::schema::Need;
use micro_engine::{Inspection, LoadError, Manifest};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

impl Runtime {
    /// The deployment that gives each interface which `inspection` needs. What is missing or differs is a reason not to
    /// load it: at its deploy, and later until it is there again.
    pub(super) async fn find_imports(
        &self,
        importer: &str,
        inspection: &Inspection,
        manifest: &Manifest,
    ) -> Result<HashMap<Arc<str>, String>, LoadError> {
        let mut found = HashMap::new();
        let mut problems = Vec::new();
        for need in &inspection.needs {
            match self.find_import(importer, need, manifest).await {
                Ok(name) => {
                    found.insert(need.interface.clone(), name);
                }
                Err(reason) => problems.push(reason),
            }
        }
        match problems.is_empty() {
            true => Ok(found),
            false => Err(LoadError::Refused(problems.join("\n"))),
        }
    }

    async fn find_import(&self, importer: &str, need: &Need, manifest: &Manifest) -> Result<String, String> {
        let interface = &need.interface;
        let named = manifest.imports.iter().find(|(key, _)| unversioned(key) == unversioned(interface));
        if let Some((_, name)) = named {
            let Some(deployment) = self.deployment(name) else {
                return Err(format!("import {interface}: there is no deployment {name}, which [imports] names"));
            };
            return self.fits(&deployment, need).await.map(|()| name.clone());
        }
        let mut reasons = Vec::new();
        let wanted = interface.clone();
        let exporters = self.read(move |connection| interfaces::exporters(connection, &wanted)).await;
        let exporters = exporters.map_err(|error| format!("import {interface}: {error:#}"))?;
        for deployment in exporters.iter().filter_map(|name| self.deployment(name)) {
            if *deployment.name == *importer {
                continue;
            }
            match self.fits(&deployment, need).await {
                Ok(()) => return Ok(deployment.name.to_string()),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(match reasons.is_empty() {
            true => format!(
                "import {interface}: no deployment exports it; deploy one first, or name one below [imports] in micro.toml"
            ),
            false => reasons.join("\n"),
        })
    }

    async fn fits(&self, deployment: &Deployment, need: &Need) -> Result<(), String> {
        let exported = self.inspection(deployment, &deployment.current()).await;
        let exported = exported.map_err(|error| format!("import {}: {error:#}", need.interface))?;
        let found = differences(need, &exported);
        match found.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "import {}: it does not fit what {} exports:\n  {}",
                need.interface,
                deployment.name,
                found.join("\n  ")
            )),
        }
    }

    /// Refuses a component that would break deployments which import from `name` now.
    pub(super) async fn check_importers(&self, name: &str, new: &Inspection) -> Result<(), DeployError> {
        let mut broken = Vec::new();
        let exporter = name.to_string();
        // Whoever gets an interface from it does so because a revision that is kept exports it.
        let importers = self.read(move |connection| {
            let mut all = BTreeSet::new();
            for interface in interfaces::exported(connection, &exporter)? {
                all.extend(interfaces::importers(connection, &interface)?);
            }
            Ok(all)
        });
        for importer in importers.await?.iter().filter_map(|importer| self.deployment(importer)) {
            if *importer.name == *name {
                continue;
            }
            let revision = importer.current();
            let inspection = self.inspection(&importer, &revision).await?;
            for need in &inspection.needs {
                if self.gives(name, &importer, need, &revision.manifest).await {
                    let found = differences(need, new);
                    if !found.is_empty() {
                        let (interface, importer) = (&need.interface, &importer.name);
                        broken.push(format!("{importer} imports {interface}:\n  {}", found.join("\n  ")));
                    }
                }
            }
        }
        match broken.is_empty() {
            true => Ok(()),
            false => Err(DeployError::Refused(format!(
                "this would break deployments that import from {name} (deploy with --force to do it all the same)\n{}",
                broken.join("\n")
            ))),
        }
    }

    /// Whether `importer` gets what it needs from `name`.
    async fn gives(&self, name: &str, importer: &Deployment, need: &Need, manifest: &Manifest) -> bool {
        if let Some(program) = importer.current().program() {
            return program.import_target(&need.interface) == Some(name);
        }
        self.find_import(&importer.name, need, manifest).await.is_ok_and(|found| found == name)
    }
}
