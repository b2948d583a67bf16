//! Imports of other deployments: a call of an imported function goes to the deployment that exports it, as values, by
//! the road of every call.

use super::{State, origin};
use crate::access::Access;
use crate::dynamic;
use crate::error::LoadError;
use crate::inspect::Inspection;
use crate::outcome;
use crate::schema::Endpoint;
use crate::value::{Arguments, Returned, Value};
use micro_mesh::{Error, Payload};
use std::sync::Arc;
use wasmtime::component::{Accessor, Linker, Val};
use wasmtime::{Result, StoreContextMut, bail, format_err};

/// Defines every interface that the component needs of others.
pub(crate) fn link(
    linker: &mut Linker<State>,
    inspection: &Inspection,
    access: &Access,
) -> std::result::Result<(), LoadError> {
    for need in &inspection.needs {
        let linked = linker.instance(&need.interface).and_then(|mut instance| {
            for endpoint in &need.functions {
                let name = endpoint.function.to_string();
                let import = Arc::new(Import::new(endpoint, access));
                if endpoint.is_async {
                    instance.func_new_concurrent(&name, move |accessor, _, params, results| {
                        let import = import.clone();
                        Box::pin(async move { import.call_concurrent(accessor, params, results).await })
                    })?;
                } else {
                    instance.func_new_async(&name, move |store, _, params, results| {
                        let import = import.clone();
                        Box::new(async move { import.call(store, params, results).await })
                    })?;
                }
            }
            Ok(())
        });
        linked.map_err(|error| LoadError::Host(format!("link {}: {error:#}", need.interface)))?;
    }
    Ok(())
}

/// An imported function.
struct Import {
    endpoint: Endpoint,
    interface: Arc<str>,
    /// The deployment that gives it, if there is one.
    target: Option<Arc<str>>,
    result: Option<crate::schema::Type>,
    parameters: Vec<crate::schema::Type>,
}

impl Import {
    fn new(endpoint: &Endpoint, access: &Access) -> Import {
        let interface = endpoint.interface.clone().unwrap_or_default();
        Import {
            endpoint: endpoint.clone(),
            target: access.imports.get(&interface).map(|target| target.as_str().into()),
            interface,
            result: endpoint.result_type(),
            parameters: endpoint.parameter_types(),
        }
    }

    async fn call(&self, store: StoreContextMut<'_, State>, params: &[Val], results: &mut [Val]) -> Result<()> {
        let arguments = dynamic::from_vals(&self.parameters, params)?;
        let request = self.request(store.data(), arguments);
        let outcome = match request {
            Ok((client, call)) => origin::make(&client, call).await,
            Err(error) => Err(error),
        };
        self.finish(outcome, results)
    }

    async fn call_concurrent(&self, accessor: &Accessor<State>, params: &[Val], results: &mut [Val]) -> Result<()> {
        let arguments = dynamic::from_vals(&self.parameters, params)?;
        let request = accessor.with(|mut access| self.request(access.get(), arguments));
        let outcome = match request {
            Ok((client, call)) => origin::make(&client, call).await,
            Err(error) => Err(error),
        };
        self.finish(outcome, results)
    }

    fn request(
        &self,
        state: &State,
        arguments: Vec<Value>,
    ) -> std::result::Result<(micro_mesh::Client, micro_mesh::Call), Error> {
        let (Some(client), Some(target)) = (&state.origin.access.client, &self.target) else {
            return Err(Error::unavailable(super::ID, format!("nothing gives {}", self.interface)));
        };
        let payload = Payload::Value(Box::new(Arguments(arguments)));
        Ok((client.clone(), state.origin.call(target.clone(), self.endpoint.name.clone(), payload)?))
    }

    fn finish(&self, outcome: std::result::Result<micro_mesh::Reply, Error>, results: &mut [Val]) -> Result<()> {
        let returned = match outcome.map(|reply| reply.payload) {
            Ok(Payload::Value(value)) => match value.downcast::<Returned>() {
                Ok(returned) => returned.0,
                Err(_) => bail!("{}: a reply of another kind than a value", self.endpoint.name),
            },
            Ok(_) => bail!("{}: a reply of bytes where a value was due", self.endpoint.name),
            Err(error) => Some(self.failed(&error)?),
        };
        match (&self.result, returned, results) {
            (None, _, _) => Ok(()),
            (Some(ty), Some(value), [place]) => {
                *place = dynamic::to_val(ty, &value)
                    .ok_or_else(|| format_err!("{}: a reply of another type", self.endpoint.name))?;
                Ok(())
            }
            _ => bail!("{}: no reply where one was due", self.endpoint.name),
        }
    }

    /// A failed call as the function's own `err`. Where its type cannot tell, the caller traps, as it would on a trap of
    /// a function that is linked into it.
    fn failed(&self, error: &Error) -> Result<Value> {
        if let Some(Some(ty)) = &self.endpoint.reply.err
            && let Some(value) = outcome::from_error(ty, error)
        {
            return Ok(Value::Variant(1, Some(Box::new(value))));
        }
        bail!("the call of {} failed: {} ({})", self.endpoint.name, error.detail, error.code)
    }
}
